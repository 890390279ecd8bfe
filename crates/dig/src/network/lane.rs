//! Lanes of dig-session as dig-transfer sees them.

use crate::introductions::Introductions;
use dig_nat::rendezvous::LaneId;
use dig_session::{LaneReceiver, LaneSender, Transport};
use dig_transfer::lane::{Carrier, FrameReceiver, FrameSender, Lane, LaneClosed, LaneInfo};
use dig_types::Frame;
use futures::{FutureExt as _, future::BoxFuture};
use std::{net::SocketAddr, time::Duration};

/// Turns an authenticated lane into one that carries transfers and introductions; its sender comes back too, to see when it
/// closes.
pub(crate) fn adapt(
    lane: dig_session::Lane,
    introductions: &Introductions,
    relayed: bool,
) -> (Lane, LaneSender, LaneId) {
    let session = lane.info();
    let info = LaneInfo {
        node: session.node,
        instance: session.instance,
        // A socket for both families shows IPv4 peers in IPv6 clothes.
        remote: session
            .remote
            .map(|addr| SocketAddr::new(addr.ip().to_canonical(), addr.port())),
        carrier: match session.transport {
            Transport::Quic => Carrier::Quic,
            // Any later transport is a byte stream too.
            _ => Carrier::TlsTcp,
        },
        relayed,
        max_requests: session.max_requests,
    };
    let (sender, receiver) = lane.split();
    let id = introductions.joined(&sender);
    let receiver = Receiver {
        lane: receiver,
        id,
        introductions: introductions.clone(),
    };
    let lane = Lane {
        info,
        sender: Box::new(Sender(sender.clone())),
        receiver: Box::new(receiver),
    };
    (lane, sender, id)
}

#[derive(Debug)]
struct Sender(LaneSender);

impl FrameSender for Sender {
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>> {
        self.0
            .send(frame)
            .map(|sent| sent.map_err(|_| LaneClosed))
            .boxed()
    }

    fn close(&self, code: u16, text: &str) {
        self.0.close(code, text);
    }

    fn rtt(&self) -> Option<Duration> {
        self.0.rtt()
    }

    fn trust(&self) {
        self.0.trust();
    }

    fn ping(&self) {
        self.0.ping();
    }

    fn silence(&self) -> Option<Duration> {
        Some(self.0.silence())
    }
}

#[derive(Debug)]
struct Receiver {
    lane: LaneReceiver,
    id: LaneId,
    introductions: Introductions,
}

impl FrameReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>> {
        async {
            loop {
                let frame = self.lane.recv().await?;
                if !self.introductions.take(self.id, &frame) {
                    return Some(frame);
                }
            }
        }
        .boxed()
    }
}
