//! Peers as others name them.

use crate::{HexError, MappedAddr, NodeId};
use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc};

/// Why a text is no peer address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddrError {
    /// What stands before the `@` is no node id.
    #[error("what stands before the `@` is no node id: {0}")]
    Node(#[from] HexError),
    /// The address is not IP:PORT.
    #[error("expected [NODEID@]IP:PORT, such as 192.168.1.5:4433 or [fd00::1]:4433")]
    Address,
    /// Port 0 cannot be dialled.
    #[error("port 0 cannot be dialled")]
    Port,
}

/// Where a peer listens and, where it is known, who it must prove to be: `[NODEID@]IP:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddr {
    /// Who must answer there; `None` accepts anyone, and the content hash is the proof.
    pub node: Option<NodeId>,
    /// Where: the UDP and the TCP port have this number.
    pub addr: SocketAddr,
}

impl FromStr for PeerAddr {
    type Err = PeerAddrError;

    fn from_str(text: &str) -> Result<Self, PeerAddrError> {
        let (node, addr) = match text.split_once('@') {
            Some((node, addr)) => (Some(node.parse()?), addr),
            None => (None, text),
        };
        let addr: SocketAddr = addr.parse().map_err(|_| PeerAddrError::Address)?;
        if addr.port() == 0 {
            return Err(PeerAddrError::Port);
        }
        Ok(Self { node, addr })
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{node}@{}", self.addr),
            None => write!(f, "{}", self.addr),
        }
    }
}

/// How a peer became known, most trustworthy first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerSource {
    /// The user named it.
    Explicit,
    /// A ticket names it.
    Ticket,
    /// It answered on the local network.
    Local,
    /// Another peer told of it.
    Exchange,
    /// The distributed hash table.
    Dht,
    /// A Gun relay.
    Gun,
}

/// A peer that may have a content, as some discovery mechanism reports it: a hint, never a proof.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerRecord {
    /// Who it is, where that is known.
    pub node: Option<NodeId>,
    /// Where it may be reached, best first.
    pub addrs: Vec<SocketAddr>,
    /// Where a router maps a port to it.
    pub mapped: Vec<MappedAddr>,
    /// Peers that can introduce us to it, where it is known who they are (section 13 of `docs/protocol.md`).
    pub via: Vec<PeerAddr>,
    /// URLs of the Gun relays over which signals reach it, where it is known who it is (section 16 there).
    pub relays: Vec<Arc<str>>,
    /// Where the report comes from.
    pub source: PeerSource,
}

impl PeerRecord {
    /// Whether it says any way of reaching the peer.
    pub const fn has_way(&self) -> bool {
        !(self.addrs.is_empty()
            && self.mapped.is_empty()
            && self.via.is_empty()
            && self.relays.is_empty())
    }

    /// What it says beyond another record of the same peer; `None` if nothing.
    #[must_use]
    pub fn beyond(mut self, known: &Self) -> Option<Self> {
        self.addrs.retain(|addr| !known.addrs.contains(addr));
        self.mapped.retain(|mapped| !known.mapped.contains(mapped));
        self.via.retain(|via| !known.via.contains(via));
        self.relays.retain(|relay| !known.relays.contains(relay));
        self.has_way().then_some(self)
    }

    /// A record of one address.
    pub fn from_addr(peer: PeerAddr, source: PeerSource) -> Self {
        Self {
            node: peer.node,
            addrs: vec![peer.addr],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_identity() {
        let node = NodeId::from_bytes([1; 32]);
        let text = format!("{node}@[::1]:4433");
        let peer: PeerAddr = text.parse().unwrap();
        assert_eq!((peer.node, peer.to_string()), (Some(node), text));
        assert_eq!("127.0.0.1:0".parse::<PeerAddr>(), Err(PeerAddrError::Port));
        assert_eq!("host:1".parse::<PeerAddr>(), Err(PeerAddrError::Address));
        assert!(matches!(
            "ab@127.0.0.1:1".parse::<PeerAddr>(),
            Err(PeerAddrError::Node(_))
        ));
    }
}
