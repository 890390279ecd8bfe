//! Ways of getting a path to a peer.

use std::{fmt, net::SocketAddr, str::FromStr};

/// How the path to a peer was found (whitepaper section 3); the names are those of `--methods` and of `connected` events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Method {
    /// An address on a network that this machine is on.
    Local,
    /// The peer's own address, dialled as it is; or ours, dialled by the peer.
    Direct,
    /// A port that a router mapped by PCP (RFC 6887).
    Pcp,
    /// A port that a router mapped by NAT-PMP (RFC 6886).
    NatPmp,
    /// A port that a router mapped by UPnP (IGD 1 or 2).
    Upnp,
    /// TCP connections from both sides through the mappings of both NATs (RFC 5128 section 3.4).
    TcpHolePunch,
    /// Datagrams from both sides through the mappings of both NATs (RFC 5128 section 3.3).
    UdpHolePunch,
    /// TCP connections from both sides at an agreed time (RFC 9293 section 3.5, whitepaper section 3.4).
    TcpSimultaneousOpen,
    /// STUN connectivity checks between all candidates of both sides (RFC 8445, whitepaper section 3.5).
    Ice,
    /// A relay: datagrams through a TURN server (RFC 8656, whitepaper section 3.6).
    Turn,
}

impl Method {
    /// Every method, in the order of the whitepaper's decision flow (section 9): the order of preference, and that in which
    /// they are tried one by one.
    pub const ALL: [Self; 10] = [
        Self::Local,
        Self::Direct,
        Self::Pcp,
        Self::NatPmp,
        Self::Upnp,
        Self::TcpHolePunch,
        Self::UdpHolePunch,
        Self::TcpSimultaneousOpen,
        Self::Ice,
        Self::Turn,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Direct => "direct",
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
            Self::Upnp => "upnp",
            Self::TcpHolePunch => "tcp-hole-punch",
            Self::UdpHolePunch => "udp-hole-punch",
            Self::TcpSimultaneousOpen => "tcp-simultaneous-open",
            Self::Ice => "ice",
            Self::Turn => "turn",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What carries bytes to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A byte stream.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// An outside address that a router maps to a node: it is for one transport only, unlike other addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MappedAddr {
    /// How it was mapped: [`Method::Pcp`], [`Method::NatPmp`] or [`Method::Upnp`].
    pub method: Method,
    /// By what it is reached.
    pub transport: Transport,
    /// Where.
    pub addr: SocketAddr,
}

/// The text names no method.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no such method; the methods are local, direct, pcp, nat-pmp, upnp, tcp-hole-punch, udp-hole-punch, tcp-simultaneous-open, ice, turn"
)]
pub struct UnknownMethod;

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let named = |method: &Self| method.name() == text;
        Self::ALL.into_iter().find(named).ok_or(UnknownMethod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood_and_told_when_one_is_not() {
        for method in Method::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
            assert!(UnknownMethod.to_string().contains(method.name()));
        }
        assert_eq!("UPNP".parse::<Method>(), Err(UnknownMethod));
    }
}
