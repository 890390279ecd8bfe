//! What goes into an attempt and comes out of it.

use crate::candidate::Transport;
use bytes::Bytes;
use dig_types::Method;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Length of the preamble that both sides send on every stream of an attempt before anything else.
pub const PREAMBLE: usize = 64;

/// Names one TCP connection within an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// From which of this side's UDP sockets a datagram leaves, or at which one it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// The node's one port.
    Shared,
    /// An own allocation on a TURN server, named by its relayed address.
    Relay(SocketAddr),
    /// That one of the sockets opened for this attempt alone.
    Extra(u16),
}

/// From which port to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LocalPort {
    /// Any port of the system's choice.
    Ephemeral,
    /// The port that this node listens on, which goes on listening meanwhile.
    Listening,
    /// That entry of [`Local::fresh`](super::Local::fresh).
    Fresh(usize),
}

/// A TCP connection to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connect {
    /// Its name from now on.
    pub id: StreamId,
    /// From where.
    pub from: LocalPort,
    /// Where to.
    pub to: SocketAddr,
    /// When the first SYN shall leave, on the clock of `now`: not earlier, and as little later as possible.
    pub not_before: Duration,
    /// How long the system may try, counted from `not_before`.
    pub timeout: Duration,
}

/// What happened to a stream. The attempt closes what it [abandons](Output::Abandon); the driver tells what others end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamEvent {
    /// It is connected. The driver begins to read its first [`PREAMBLE`] bytes.
    Connected {
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// The first bytes came.
    Preamble([u8; PREAMBLE]),
    /// It did not connect, or ended before its preamble came.
    Failed(StreamFailure),
}

/// Why a stream failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFailure {
    /// Somebody answered with a reset.
    Refused,
    /// Nobody answered in time.
    TimedOut,
    /// It ended before the preamble came.
    Closed,
    /// The system says something else.
    Other(String),
}

impl fmt::Display for StreamFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Closed => f.write_str("closed before the peer proved itself"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// A path that both authenticated directions have been seen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path {
    /// How it was found.
    pub method: Method,
    /// Datagrams or a stream.
    pub transport: Transport,
    /// The peer's end.
    pub remote: SocketAddr,
    /// This side's end of a datagram path; [`Port::Shared`] for a stream.
    pub from: Port,
    /// Relays that stand between: this side's, the peer's, or both.
    pub relays: u8,
    /// The stream, where it is one.
    pub stream: Option<StreamId>,
    /// Round-trip time, where it could be measured.
    pub rtt: Option<Duration>,
}

impl Path {
    /// Whether a relay stands between.
    pub fn is_relayed(&self) -> bool {
        self.relays > 0
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With a path: the one confirmed (initiator), or one that served (responder).
    Connected(Method),
    /// Without.
    Failed(Failure),
}

/// Why an attempt ended without a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The offer was not answered: the peer is offline, or no signal reaches it.
    #[error(
        "the peer did not answer the offer; it may be offline, or the rendezvous peer does not reach it"
    )]
    NoSignal,
    /// Every method failed; the trace says how.
    #[error("no method gave a path")]
    NoPath,
    /// The peer gave up.
    #[error("the peer gave up")]
    PeerStopped,
    /// This side was [stopped](super::Attempt::stop).
    #[error("stopped")]
    Stopped,
}

/// What the driver does. In order: an opener must have left before the answer that follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Seal these bytes and send them to the peer.
    Signal(Bytes),
    /// Send a datagram.
    Datagram {
        /// From where.
        from: Port,
        /// Where to.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
        /// With this time-to-live; `None`: the system's.
        ttl: Option<u8>,
    },
    /// Let what comes from an address in at an own allocation (RFC 8656 §9), from every port and for as long as the attempt goes on.
    /// Nothing is sent to it: a datagram that comes before the peer's NAT is open could spoil the peer's mapping.
    Permit {
        /// The allocation, named by its relayed address.
        relay: SocketAddr,
        /// Whom.
        ip: IpAddr,
    },
    /// Make a TCP connection, and tell [`Attempt::on_stream`](super::Attempt::on_stream) how it goes.
    Connect(Connect),
    /// Write this preamble to a connected stream, before anything else.
    Write {
        /// Which stream.
        id: StreamId,
        /// What.
        bytes: [u8; PREAMBLE],
    },
    /// Close a stream, or stop connecting; nothing is to be told about it any more.
    Abandon {
        /// Which stream.
        id: StreamId,
    },
    /// A path. The initiator gets one at a time and makes a session over it, as its client; then it calls
    /// [`confirm`](super::Attempt::confirm) or [`reject_path`](super::Attempt::reject_path). The responder gets every stream that
    /// proved itself, and serves each; of its datagram paths it gets the first, and serves them anyway.
    Path(Path),
    /// Open so many UDP sockets for this attempt alone, on ports of the system's choice and of the family of `to`, and
    /// tell [`Attempt::on_ports`](super::Attempt::on_ports) how many there are: none, if it is not allowed. They are
    /// [`Port::Extra`] 0, 1, 2 …; each sends at most [`PER_PORT`](super::PER_PORT) packets to `to` that nobody asked for.
    OpenPorts {
        /// On which address the packets from there go.
        to: IpAddr,
        /// How many.
        count: u16,
        /// Whether the NAT gives its ports in order: learn from a STUN server, by another new socket, which one it gave last,
        /// after the sockets are open and before anything leaves from them.
        measure: bool,
    },
    /// Open one UDP socket for this attempt alone, for IPv4, on a port of the system's choice; learn from a STUN server where the NAT
    /// shows it, by this socket itself; and tell [`Attempt::on_fresh`](super::Attempt::on_fresh). It is [`Port::Extra`] 0. Nothing else may
    /// leave from it but what the attempt sends.
    OpenFresh,
    /// Tell [`Attempt::on_spray`](super::Attempt::on_spray) how many packets of these may go to ports of that address that are
    /// guessed, from [`Port::Shared`].
    AskSpray {
        /// Where to.
        to: IpAddr,
        /// How many are wanted.
        packets: u16,
    },
    /// Guessing ports is over. Sockets of [`Output::OpenPorts`] and [`Output::OpenFresh`] are closed but for those in an [`Output::Path`] and
    /// the one to keep; of the packets allowed, so many did not leave.
    TacticEnded {
        /// A path that was found starts at this one of them, and may yet be [given](Output::Path).
        keep: Option<u16>,
        /// How many.
        unused: u16,
    },
    /// It is over. Nothing comes after it; streams in no [`Output::Path`] have been abandoned.
    Ended(Ended),
}
