//! What a client tells its owner.

use std::{net::SocketAddr, ops::Range};

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The allocation is there.
    Up {
        /// Where peers reach us.
        relayed: SocketAddr,
        /// Where the server sees us.
        mapped: SocketAddr,
    },
    /// The server sees us elsewhere, and the allocation is still ours.
    Moved {
        /// Where it sees us now.
        mapped: SocketAddr,
    },
    /// It is over, and nothing follows: with a reason, or because it was given back.
    Ended(Option<ClientError>),
}

/// A peer's datagram within the frame that brought it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it, as the server saw it.
    pub from: SocketAddr,
    /// Which bytes of the frame it is.
    pub data: Range<usize>,
}

/// What became of a datagram for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The frame is to be sent to the server now.
    Frame,
    /// It waits for the peer's permission, for which the server is being asked.
    Held,
}

/// Why a datagram does not go to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no allocation yet, or no more.
    #[error("the relay is not there")]
    NotUp,
    /// The server lets nothing pass to that address, or not now.
    #[error("the relay lets nothing pass to that address")]
    Refused,
    /// The relayed address is of the other family.
    #[error("the relay does not reach addresses of that family")]
    Family,
    /// Too many addresses are in use.
    #[error("too many peers share the relay; wait until some are done")]
    TooManyPeers,
    /// More than 65,000 bytes.
    #[error("the datagram is too long for a relay")]
    TooLong,
}

/// Why there is no allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The server does not answer, or not any more.
    #[error("the TURN server does not answer; check its host, port and transport, or that it runs")]
    NoAnswer,
    /// The server does not know these credentials.
    #[error("the TURN server refuses the credentials; check user and password")]
    Unauthorized,
    /// The server has no such allocation, or another one, for where we come from (437).
    #[error("the TURN server no longer knows the allocation (437)")]
    Mismatch,
    /// We moved, and the server's allocations do not.
    #[error("this machine's address changed, and the TURN server moves no allocations")]
    Moved,
    /// No room: this user has too many allocations (486), or the server (508).
    #[error(
        "the TURN server gives no more allocations ({0}); end other programs that use it, or name another server"
    )]
    Quota(u16),
    /// Another server is to be asked (300).
    #[error("the TURN server sends us to {0}")]
    Redirected(SocketAddr),
    /// Another refusal, by its code (RFC 8656 §19).
    #[error("the TURN server refuses ({0}); name another one")]
    Refused(u16),
    /// An answer lacks what it must have.
    #[error("the TURN server's answers make no sense; name another one")]
    Malformed,
}
