//! Asking a node of the local network what it has.

use crate::discovery::{Claim, Lookup};
use dig_types::NodeId;
use futures::future::BoxFuture;
use std::{fmt, net::SocketAddr, time::Duration};

/// Asks one node whether it has what is looked for, over an authenticated lane (RESOLVE, `docs/protocol.md` §7).
pub trait NodeQuery: Send + Sync + fmt::Debug {
    /// Dials the node at any of its addresses, best first, and asks. Dropping the future ends the attempt.
    fn resolve(
        &self,
        addrs: Vec<SocketAddr>,
        lookup: Lookup,
    ) -> BoxFuture<'static, Result<Answer, QueryError>>;
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It has it.
    Found {
        /// Who the node proved to be.
        node: NodeId,
        /// What it has. Asked by content hash, a node does not repeat the hash: it may be `None` then.
        claims: Vec<Claim>,
    },
    /// A SHA-256 that could match is still being computed.
    Pending {
        /// When it may be known.
        eta: Duration,
    },
    /// It does not have it.
    NotFound,
}

/// Why a node gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// Nothing answers at its addresses.
    #[error("nothing answers at the node's addresses")]
    Unreachable,
    /// It did not answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
    /// It answered, but refused: by policy, or because it is busy.
    #[error("the node refused the question")]
    Refused,
    /// What it said is not the protocol.
    #[error("the node does not speak the protocol")]
    Protocol,
}
