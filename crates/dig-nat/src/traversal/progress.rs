//! What an attempt tells while it goes on.

use super::audience::{Command, PathNumber};
use crate::{
    attempt::{Failure, Role},
    candidate::Transport,
    io::OwnUdp,
    signaling::{SignalError, secure::SealError},
    trace::{AttemptId, Trace},
    turn::Relay,
};
use dig_types::{Method, NodeId};
use futures::Stream;
use std::{
    fmt,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, sync::mpsc};

/// What [`Connecting`] yields.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress {
    /// A method tries an address for the first time.
    Attempt {
        /// The method.
        method: Method,
        /// The address.
        addr: SocketAddr,
    },
    /// A path. Asking for more says that it was of no use; [`Connecting::confirm`] says that it is used. After one that is
    /// [relayed](FoundPath::relayed), better ones may come.
    Path(FoundPath),
    /// There is no path, or none that is better than the last one; nothing comes after it.
    Failed(Failed),
}

/// A path on which both sides proved that they belong to the same attempt. Who the peer is, a session over it has yet to prove.
#[derive(Debug)]
pub struct FoundPath {
    /// With whom.
    pub peer: NodeId,
    /// In which attempt.
    pub attempt: AttemptId,
    /// The initiator is the client of the session over it, the responder its server.
    ///
    /// Whoever asked to connect may find itself the responder, where both sides asked at the same time. It then serves the
    /// stream, or, of a datagram path, waits for the peer's connection.
    pub role: Role,
    /// How it was found.
    pub method: Method,
    /// How long that took, from the beginning of the attempt.
    pub elapsed: Duration,
    /// How much of that passed after the peer had answered.
    pub after_signaling: Duration,
    /// The round-trip time, where it was measured.
    pub rtt: Option<Duration>,
    /// Whether a relay stands between, this side's or the peer's.
    pub relayed: bool,
    /// The path itself.
    pub path: Path,
    /// Names it between whoever asked and the attempt.
    pub(super) number: PathNumber,
}

/// A path.
#[derive(Debug)]
pub enum Path {
    /// Datagrams between this address and one of this node's sockets reach each other's end.
    Udp {
        /// The peer's end.
        remote: SocketAddr,
        /// This side's end.
        from: UdpFrom,
    },
    /// A connected stream, on which the preamble of the attempt was exchanged and nothing else.
    Tcp {
        /// The stream.
        stream: TcpStream,
        /// The peer's end.
        remote: SocketAddr,
    },
}

/// From where datagrams of a path leave, and where they arrive.
#[derive(Debug)]
pub enum UdpFrom {
    /// The shared socket.
    Shared,
    /// An own allocation on a TURN server. It lasts while somebody [wants](crate::turn::Relays::want) relays.
    Relay(Relay),
    /// A socket of its own.
    Own(OwnUdp),
}

impl Path {
    /// The peer's end.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Self::Udp { remote, .. } | Self::Tcp { remote, .. } => *remote,
        }
    }

    /// By what.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Udp { .. } => Transport::Udp,
            Self::Tcp { .. } => Transport::Tcp,
        }
    }
}

/// Why there is no path, and what was tried.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: TraverseError,
    /// What was tried.
    pub trace: Trace,
}

impl Failed {
    /// Nothing was tried.
    pub(super) fn before(peer: NodeId, error: TraverseError) -> Self {
        let trace = Trace {
            own_nat: crate::attempt::NatHint::Unknown,
            peer_nat: None,
            attempt: AttemptId([0; 16]),
            peer,
            signaling: None,
            methods: Vec::new(),
        };
        Self { error, trace }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

/// Why an attempt gave no path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraverseError {
    /// The attempt ran, and ended so.
    #[error(transparent)]
    Ended(#[from] Failure),
    /// No signal reaches the peer.
    #[error("no signal reaches the peer: {0}")]
    Signal(#[from] SignalError),
    /// The offer cannot be sealed for the peer.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// As many attempts are going on as [`NatConfig::max_outgoing`](super::NatConfig::max_outgoing) allows.
    #[error("too many connection attempts at a time; wait until some have ended")]
    TooMany,
    /// An attempt with that peer is going on already.
    #[error("an attempt to reach this peer is going on already")]
    GoingOn,
    /// The manager was shut down.
    #[error("the node is shutting down")]
    Closed,
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Randomness,
}

/// An attempt to reach a peer: a stream of its [`Progress`].
///
/// Dropping it ends the attempt, on the peer's side too, and closes its streams; not those of paths that were confirmed.
#[derive(Debug)]
pub struct Connecting {
    progress: mpsc::Receiver<Progress>,
    commands: mpsc::UnboundedSender<Command>,
    /// A path was given, and nothing was said of it yet.
    offered: Option<PathNumber>,
}

impl Connecting {
    pub(super) fn new(
        progress: mpsc::Receiver<Progress>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self {
            progress,
            commands,
            offered: None,
        }
    }

    /// The path last given is used. If it is direct, everything else is cancelled, on both sides, and nothing comes any more. If it is
    /// relayed, the search for a better one goes on as long as this value lives; each that is found comes as a path
    /// again, and the end of the stream says that there is no more to come. Does nothing if no path was given.
    pub fn confirm(&mut self) {
        if let Some(number) = self.offered.take() {
            // A task that has ended has nothing left to cancel.
            let _ = self.commands.send(Command::Confirm(number));
        }
    }
}

impl Stream for Connecting {
    type Item = Progress;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Progress>> {
        if let Some(number) = self.offered.take() {
            let _ = self.commands.send(Command::Reject(number));
        }
        let next = self.progress.poll_recv(cx);
        if let Poll::Ready(Some(Progress::Path(found))) = &next {
            self.offered = Some(found.number);
        }
        next
    }
}
