//! The sending half of a lane.

use super::{CloseReason, LaneClosed, LaneInfo, queue::Queue};
use crate::wire::{Bye, ByeCode};
use dig_types::Frame;
use quinn::{Connection, VarInt};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// Sends frames on a lane. Clones send on the same lane; when the last is dropped the lane ends.
#[derive(Debug, Clone)]
pub struct LaneSender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    info: Arc<LaneInfo>,
    queue: Arc<Queue>,
    quic: Option<Connection>,
    window: u32,
}

impl LaneSender {
    pub(super) fn new(
        info: Arc<LaneInfo>,
        queue: Arc<Queue>,
        quic: Option<Connection>,
        window: u32,
    ) -> Self {
        Self(Arc::new(Inner {
            info,
            queue,
            quic,
            window,
        }))
    }

    /// Who and what is at the other end.
    pub fn info(&self) -> &LaneInfo {
        &self.0.info
    }

    /// Queues a frame; waits while the queue is full. Frames of one caller keep their order; callers take turns. A
    /// frame with more than 66,560 bytes of payload ends the lane.
    pub async fn send(&self, frame: Frame) -> Result<(), LaneClosed> {
        self.0.queue.push(frame).await
    }

    /// Ends the lane with a code and a text of `docs/protocol.md` §3. Does not wait; what is queued still goes out, within 300 ms.
    pub fn close(&self, code: u16, text: &str) {
        let Bye { code, text } = Bye::new(ByeCode(code), text);
        self.0.queue.end(CloseReason::Local { code, text });
    }

    /// Waits until the lane has ended.
    pub async fn closed(&self) {
        self.0.queue.ended.cancelled().await;
    }

    /// Why the lane has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.0.queue.reason().cloned()
    }

    /// The peer has sent bytes that proved true: it may have more of them under way. Widens the receive window of QUIC.
    pub fn trust(&self) {
        if let Some(connection) = &self.0.quic {
            connection.set_receive_window(VarInt::from(self.0.window));
        }
    }

    /// Sends a PING now. Worth while after a change of the network: a packet from the new address is what makes the peer follow (RFC
    /// 9000 §9), and the answer shows that the lane lives. Does not wait. While more is under way than the path has confirmed it may take,
    /// the PING leaves with QUIC's next probe, whose pauses double (RFC 9002 §6.2).
    pub fn ping(&self) {
        self.0.queue.want_ping();
    }

    /// For how long nothing has arrived on this lane, not counting time in which [`LaneReceiver::recv`](crate::LaneReceiver::recv) is not
    /// waited for. While the lane is in use something arrives every five seconds. Bytes that wait for lost ones before them have not arrived.
    pub fn silence(&self) -> Duration {
        self.0.queue.silence()
    }

    /// Where the peer is now: QUIC follows a peer that dialled to its new address.
    pub fn remote(&self) -> Option<SocketAddr> {
        match &self.0.quic {
            Some(connection) => {
                let remote = connection.remote_address();
                Some(SocketAddr::new(remote.ip().to_canonical(), remote.port()))
            }
            None => self.0.info.remote,
        }
    }

    /// Smoothed round-trip time; `None` before the first measurement.
    pub fn rtt(&self) -> Option<Duration> {
        match &self.0.quic {
            Some(connection) => Some(connection.rtt()),
            None => self.0.queue.rtt(),
        }
    }

    /// Bytes of frames given to the network so far.
    pub fn bytes_sent(&self) -> u64 {
        self.0.queue.sent.load(Ordering::Relaxed)
    }

    /// Bytes received so far.
    pub fn bytes_received(&self) -> u64 {
        self.0.queue.received.load(Ordering::Relaxed)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.end(CloseReason::Local {
            code: ByeCode::DONE,
            text: String::new(),
        });
    }
}
