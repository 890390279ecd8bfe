//! A lane: one ordered pipe of frames to one peer, whoever carries it.
//!
//! A task writes; [`LaneReceiver::recv`] reads. Rules:
//!
//! 1. `send` waits while [`SessionConfig::send_queue`](crate::SessionConfig::send_queue) bytes wait for the network. The session's own frames (PING, PONG, BYE) never
//!    wait for room, and the answer to a PING is dropped when eight already wait: a flood costs the flooder.
//! 2. A lane in use sends a PING every five seconds, whatever else it sends. An idle one sends as few as keep NATs open: when for 15
//!    seconds (over a byte stream 55) nothing left or nothing came. A side that does not read sends them every five seconds, for
//!    it does not answer. A lane is dead when a PING stays unanswered for twenty seconds *while it is read*; time
//!    that this program slept through with its machine does not count.
//! 3. Who stops reading stops the peer, through the carrier's flow control; memory stays bounded on both sides.
//! 4. A lane ends once, with one [`CloseReason`]: by either side's BYE, by a fault, or when one half is dropped. What was
//!    queued before [`LaneSender::close`] still goes out, within 300 ms.

mod pulse;
mod queue;
mod receiver;
mod sender;
mod vigil;
mod writer;

pub use receiver::LaneReceiver;
pub use sender::LaneSender;

use crate::{
    config::SessionConfig,
    endpoint::SocketId,
    handshake::{Outcome, ProtocolError},
    pipe::{Inlet, Outlet},
    pool::Direction,
    wire::{ByeCode, FrameDecoder, Grease},
};
use dig_identity::PublicKey;
use dig_types::{InstanceId, NodeId};
use pulse::Pulse;
use queue::Queue;
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::{sync::oneshot, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What carries a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// QUIC over datagrams.
    Quic,
    /// TLS 1.3 over TCP, or over another byte stream.
    TlsTcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::TlsTcp => "tls-tcp",
        })
    }
}

/// Who and what is at the other end of a lane.
#[derive(Debug, Clone)]
pub struct LaneInfo {
    /// Who has proved to be there.
    pub node: NodeId,
    /// The identity key it proved.
    pub key: PublicKey,
    /// Which run of that node's program: lanes of one node and instance belong to one peer.
    pub instance: InstanceId,
    /// Where, if that can be said.
    pub remote: Option<SocketAddr>,
    /// What carries the lane.
    pub transport: Transport,
    /// The datagram socket that it uses; `None` for a byte stream.
    pub socket: Option<SocketId>,
    /// Unanswered requests that the peer takes on this lane.
    pub max_requests: u16,
    /// Where the peer says that it listens (UDP and TCP), 0 if nowhere.
    pub port: u16,
    /// Whether the peer says that it serves content.
    pub serves: bool,
    /// Whether the peer passed the challenge–response that this side demanded.
    pub authenticated: bool,
}

/// Nothing more can be sent: the lane has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the lane is closed")]
pub struct LaneClosed;

/// Why a lane ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// This side closed it.
    #[error("closed here: {code}")]
    Local {
        /// The code sent.
        code: ByeCode,
        /// The text sent.
        text: String,
    },
    /// The peer closed it.
    #[error("closed by the other side: {code} {text}")]
    Remote {
        /// The code received.
        code: ByeCode,
        /// The text received.
        text: String,
    },
    /// The connection ended without a word.
    #[error("the connection ended")]
    Ended,
    /// Nothing arrived for too long.
    #[error("the other side fell silent")]
    Dead,
    /// A frame went on too slowly.
    #[error("the other side sends too slowly")]
    Slow,
    /// The peer does not take what is sent.
    #[error("the other side does not read")]
    Stalled,
    /// The peer broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// A frame to be sent was longer than the protocol allows; a fault of the caller.
    #[error("a frame of {0} bytes was to be sent; at most 66,560 are allowed")]
    FrameTooLong(usize),
    /// The connection failed.
    #[error("the connection failed: {1}")]
    Failed(io::ErrorKind, String),
}

impl CloseReason {
    fn failed(error: &io::Error) -> Self {
        match error.kind() {
            // A peer that is killed, or closes TCP without TLS's closing word, says no more than this.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Self::Ended,
            io::ErrorKind::TimedOut => Self::Dead,
            kind => Self::Failed(kind, error.to_string()),
        }
    }
}

/// An open lane.
#[derive(Debug)]
pub struct Lane {
    sender: LaneSender,
    receiver: LaneReceiver,
}

/// The datagram socket of a lane.
#[derive(Debug)]
pub(crate) struct SocketUse {
    pub(crate) id: SocketId,
    /// Cancelled when the socket is detached.
    pub(crate) detached: CancellationToken,
}

/// What ends a lane from below.
#[derive(Debug)]
pub(crate) struct Shutdown {
    /// Cancelled when the endpoint closes.
    pub(crate) endpoint: CancellationToken,
    pub(crate) socket: Option<SocketUse>,
}

impl Shutdown {
    /// Waits until the lane must go, and says with which code.
    async fn asked(&self) -> ByeCode {
        let detached = async {
            match &self.socket {
                Some(socket) => socket.detached.cancelled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.endpoint.cancelled() => ByeCode::SHUTTING_DOWN,
            // The node stays: its other lanes and sockets do.
            () = detached => ByeCode::DONE,
        }
    }
}

/// Everything a lane is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) outcome: Outcome,
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) transport: Transport,
    pub(crate) direction: Direction,
    pub(crate) shutdown: Shutdown,
    pub(crate) pipe: (Inlet, Outlet),
    pub(crate) decoder: FrameDecoder,
    pub(crate) grease: Grease,
}

impl Lane {
    /// Starts the lane's writer. When it is asked to shut down, the lane says so and ends.
    pub(crate) fn start(parts: Parts, config: &SessionConfig, tasks: &TaskTracker) -> Self {
        let Outcome {
            peer,
            hello,
            authenticated,
            early,
        } = parts.outcome;
        let info = Arc::new(LaneInfo {
            node: peer.node_id(),
            key: peer,
            instance: hello.instance,
            remote: parts.remote,
            transport: parts.transport,
            socket: parts.shutdown.socket.as_ref().map(|socket| socket.id),
            max_requests: hello.max_requests,
            port: hello.port,
            serves: hello.serves,
            authenticated,
        });
        let (inlet, outlet) = parts.pipe;
        let pulse = Pulse::new(config, parts.transport, parts.direction, Instant::now());
        let queue = Arc::new(Queue::new(config.send_queue, pulse));
        let quic = outlet.quic().cloned();
        let (give_back, given_back) = oneshot::channel();
        let writer = writer::Writer::new(outlet, Arc::clone(&queue), parts.grease, config);
        tasks.spawn(writer.run(parts.shutdown, given_back));
        let window = config.quic_window;
        Self {
            sender: LaneSender::new(Arc::clone(&info), Arc::clone(&queue), quic, window),
            receiver: LaneReceiver::new(
                info,
                queue,
                inlet,
                give_back,
                parts.decoder,
                early,
                config,
            ),
        }
    }

    /// Who and what is at the other end.
    pub fn info(&self) -> &LaneInfo {
        self.sender.info()
    }

    /// The two halves. Dropping either ends the lane.
    pub fn split(self) -> (LaneSender, LaneReceiver) {
        (self.sender, self.receiver)
    }
}
