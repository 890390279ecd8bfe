//! Lanes as this crate sees them: ordered pipes of frames to a peer, as they come and go.

use dig_types::{Frame, InstanceId, NodeId};
use futures::future::BoxFuture;
use std::{fmt, net::SocketAddr, time::Duration};

mod memory;

pub use memory::memory_lanes;

/// The lane is closed; nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lane is closed")]
pub struct LaneClosed;

/// What carries a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Carrier {
    /// QUIC over a datagram path.
    Quic,
    /// TLS 1.3 over a byte stream.
    TlsTcp,
    /// A pipe inside one process.
    Memory,
}

/// Who and what is at the other end of a lane.
#[derive(Debug, Clone)]
pub struct LaneInfo {
    /// Who proved to be there.
    pub node: NodeId,
    /// Which run of that node's program.
    pub instance: InstanceId,
    /// Where, if that can be said.
    pub remote: Option<SocketAddr>,
    /// What carries the lane.
    pub carrier: Carrier,
    /// Whether a relay stands between.
    pub relayed: bool,
    /// Requests that the other side answers at a time on this lane.
    pub max_requests: u16,
}

/// The sending half. Implementations queue little: `send` waits while the queue is full.
pub trait FrameSender: Send + Sync + fmt::Debug {
    /// Sends one frame; frames of one caller keep their order.
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>>;

    /// Ends the lane with a code and a text of `docs/protocol.md` §3; frames already queued may still go out.
    fn close(&self, code: u16, text: &str);

    /// Smoothed round-trip time, where it is known.
    fn rtt(&self) -> Option<Duration>;

    /// Verified bytes have come over this lane, so that it may be allowed more memory. Does nothing by default.
    fn trust(&self) {}

    /// Asks the other side for a sign of life, now. The answer shows in [`silence`](Self::silence). Does nothing by default.
    fn ping(&self) {}

    /// How long ago anything last arrived over this lane, answers to [`ping`](Self::ping) and parts of frames included.
    /// `None`, the default: it cannot be told, and only whole frames count as signs of life.
    fn silence(&self) -> Option<Duration> {
        None
    }
}

/// The receiving half.
pub trait FrameReceiver: Send + fmt::Debug {
    /// The next frame that is not the session's own; `None` when the lane has ended.
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>>;
}

/// An open lane.
#[derive(Debug)]
pub struct Lane {
    /// Who and what is at the other end.
    pub info: LaneInfo,
    /// The sending half.
    pub sender: Box<dyn FrameSender>,
    /// The receiving half.
    pub receiver: Box<dyn FrameReceiver>,
}
