//! Whose relay is where.

use super::lock;
use dig_types::NodeId;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

/// Remembered relayed addresses; the oldest go first.
const MOST: usize = 256;

/// The relayed addresses that peers have named in attempts: what comes from there passes a relay.
///
/// Known before any packet can come from there, unlike the path of an attempt that a peer began, which that peer's connection may
/// overtake. A copy is a further handle.
#[derive(Debug, Clone, Default)]
pub struct PeerRelays(Arc<Mutex<VecDeque<(NodeId, SocketAddr)>>>);

impl PeerRelays {
    /// Whether a peer has named this address as one that is relayed to it.
    pub fn contains(&self, peer: NodeId, addr: SocketAddr) -> bool {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        lock(&self.0).contains(&(peer, addr))
    }

    pub(super) fn note(&self, peer: NodeId, relays: impl Iterator<Item = SocketAddr>) {
        let mut known = lock(&self.0);
        for addr in relays {
            if !known.contains(&(peer, addr)) {
                known.push_back((peer, addr));
            }
        }
        let excess = known.len().saturating_sub(MOST);
        known.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_its_peers_and_many_do_not_add_up() {
        let (one, other) = (NodeId::from_bytes([1; 32]), NodeId::from_bytes([2; 32]));
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        let relays = PeerRelays::default();
        relays.note(one, [at(1), at(2), at(1)].into_iter());
        assert!(relays.contains(one, at(1)) && relays.contains(one, at(2)));
        assert!(!relays.contains(other, at(1)) && !relays.contains(one, at(3)));
        assert!(relays.contains(one, "[::ffff:192.0.2.1]:2".parse().unwrap()));
        relays.note(other, (1_000..1_000 + MOST as u16).map(at));
        assert!(!relays.contains(one, at(1)) && relays.contains(other, at(1_000)));
        assert_eq!(lock(&relays.0).len(), MOST);
    }
}
