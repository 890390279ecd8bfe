//! Lanes of dig-session as dig-transfer sees them.

use dig_session::{LaneReceiver, LaneSender, Transport};
use dig_transfer::lane::{Carrier, FrameReceiver, FrameSender, Lane, LaneClosed, LaneInfo};
use dig_types::Frame;
use futures::{FutureExt as _, future::BoxFuture};
use std::{net::SocketAddr, time::Duration};

/// Turns an authenticated lane into one that carries transfers; its sender comes back too, to see when it closes.
pub(crate) fn adapt(lane: dig_session::Lane) -> (Lane, LaneSender) {
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
        relayed: false,
        max_requests: session.max_requests,
    };
    let (sender, receiver) = lane.split();
    let lane = Lane {
        info,
        sender: Box::new(Sender(sender.clone())),
        receiver: Box::new(Receiver(receiver)),
    };
    (lane, sender)
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
}

#[derive(Debug)]
struct Receiver(LaneReceiver);

impl FrameReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>> {
        self.0.recv().boxed()
    }
}
