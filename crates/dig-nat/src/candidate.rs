//! Candidates: addresses at which a peer may be reached (RFC 8445 §5.1.1).

use dig_types::Method;
pub use dig_types::Transport;
use std::net::SocketAddr;

/// Where a candidate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CandidateKind {
    /// An address of an interface.
    Host,
    /// A port that a router mapped; the method is one of [`Method::Pcp`], [`Method::NatPmp`] and [`Method::Upnp`].
    Mapped(Method),
    /// The address that a STUN server or a rendezvous peer saw.
    ServerReflexive,
    /// The address from which a check of the peer came.
    PeerReflexive,
    /// The address of an allocation on a TURN server (RFC 8656 §2): what is sent there is relayed.
    Relayed,
}

/// An address at which a peer may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    /// Where it comes from.
    pub kind: CandidateKind,
    /// By what.
    pub transport: Transport,
    /// Where; IPv4 never in IPv6 clothes.
    pub addr: SocketAddr,
}
