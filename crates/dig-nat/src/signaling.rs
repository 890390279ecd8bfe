//! Signaling: carrying small sealed messages between two peers that have no path yet.
//!
//! A [`Signaling`] carries bytes and is trusted with nothing. [`secure::SecureSignaling`] makes the bytes: sealed to the
//! peer, signed for it, good once and for a minute. [`memory`] carries them for tests and simulation,
//! [`rendezvous`](crate::rendezvous) through a peer that both sides are connected to.

pub(crate) mod bucket;
pub mod envelope;
pub mod memory;
pub mod prekey;
mod replay;
pub mod seal;
pub mod secure;

use crate::candidate::Transport;
use bytes::Bytes;
use dig_types::NodeId;
use futures::future::BoxFuture;
use std::{fmt, net::SocketAddr};

/// Largest message that a carrier must take, in bytes.
pub const MAX_SIGNAL: usize = 4096;

/// An address from which the carrier itself sees a peer come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Observed {
    /// By what.
    pub transport: Transport,
    /// Where from.
    pub addr: SocketAddr,
}

/// A message that arrived. It may be lost, repeated, reordered or made up: whoever opens it finds out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// Who the carrier says it is from; a hint.
    pub from: Option<NodeId>,
    /// Where the carrier sees the sender, if it sees it: at most eight.
    pub observed: Vec<Observed>,
    /// The message.
    pub bytes: Bytes,
}

impl Signal {
    /// Most observed addresses that are believed.
    pub const MAX_OBSERVED: usize = 8;
}

/// Why a message could not be handed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// Nobody who carries signals knows that peer.
    #[error(
        "no rendezvous peer or Gun relay knows node {0}; it may be offline, or use another one (--via, --gun)"
    )]
    NotFound(NodeId),
    /// There is nobody who carries signals.
    #[error(
        "nobody who carries signals is connected; name a rendezvous peer with --via [ID@]ADDR, or a Gun relay with --gun URL"
    )]
    NoCarrier,
    /// Too many messages.
    #[error("whoever carries signals asks to slow down")]
    Busy,
    /// The message has more than [`MAX_SIGNAL`] bytes.
    #[error("a signal has at most {MAX_SIGNAL} bytes")]
    TooLarge,
}

/// Carries sealed messages; it learns who talks when, and nothing else. Messages may be lost, repeated and reordered.
pub trait Signaling: Send + Sync + fmt::Debug {
    /// Hands a message on towards a node.
    fn send(&self, to: NodeId, message: Bytes) -> BoxFuture<'_, Result<(), SignalError>>;

    /// The next message for this node; `None` at the end. Cancelling it loses nothing.
    fn receive(&self) -> BoxFuture<'_, Option<Signal>>;

    /// The signed prekey that a node published, as it published it; the caller checks it.
    fn prekey(&self, of: NodeId) -> BoxFuture<'_, Result<Bytes, SignalError>>;
}
