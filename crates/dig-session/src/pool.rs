//! A peer as a set of lanes: who is connected, by which lanes, and how many there may be.

use dig_types::{InstanceId, NodeId};
use std::{collections::BTreeMap, fmt};

/// One run of one node's program: its lanes are one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId {
    /// The node.
    pub node: NodeId,
    /// The run.
    pub instance: InstanceId,
}

/// Who opened a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// This side dialled.
    Outgoing,
    /// The peer dialled.
    Inbound,
}

/// How many lanes a pool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Lanes of one peer. Default 8: four for each direction of interest, and replacements while paths change.
    pub per_peer: usize,
    /// Lanes this side dialled. Default 50, the whitepaper's `maxConnections`.
    pub outgoing: usize,
    /// Lanes that peers dialled. Default 1,000: at 1 MiB of queue each, what a server can hold.
    pub inbound: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            per_peer: 8,
            outgoing: 50,
            inbound: 1_000,
        }
    }
}

/// How many lanes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounts {
    /// Peers with at least one lane.
    pub peers: usize,
    /// Lanes this side dialled.
    pub outgoing: usize,
    /// Lanes that peers dialled.
    pub inbound: usize,
}

/// Names a lane in its pool; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey(u64);

/// Which limit a lane would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolLimit {
    /// [`PoolLimits::per_peer`].
    PerPeer,
    /// [`PoolLimits::outgoing`].
    Outgoing,
    /// [`PoolLimits::inbound`].
    Inbound,
}

impl fmt::Display for PoolLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerPeer => "as many lanes of this peer as allowed are open",
            Self::Outgoing => "as many outgoing connections as allowed are open",
            Self::Inbound => "as many inbound connections as allowed are open",
        })
    }
}

/// The pool is full; the handle comes back. The lane is to be closed with `BYE` code 4.
#[derive(Debug, thiserror::Error)]
#[error("{limit}")]
pub struct PoolFull<T> {
    /// Which limit was met.
    pub limit: PoolLimit,
    /// What was to be inserted.
    pub handle: T,
}

#[derive(Debug)]
struct Entry<T> {
    key: PoolKey,
    direction: Direction,
    handle: T,
}

/// Lanes by peer, in the order in which they came. `T` is whatever is kept of a lane.
#[derive(Debug)]
pub struct Pool<T> {
    limits: PoolLimits,
    peers: BTreeMap<PeerId, Vec<Entry<T>>>,
    homes: BTreeMap<PoolKey, PeerId>,
    counts: PoolCounts,
    next: u64,
}

impl<T> Pool<T> {
    /// An empty pool.
    pub const fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            peers: BTreeMap::new(),
            homes: BTreeMap::new(),
            counts: PoolCounts {
                peers: 0,
                outgoing: 0,
                inbound: 0,
            },
            next: 0,
        }
    }

    /// Adds a lane of a peer, if the limits allow.
    pub fn insert(
        &mut self,
        peer: PeerId,
        direction: Direction,
        handle: T,
    ) -> Result<PoolKey, PoolFull<T>> {
        let lanes = self.peers.get(&peer).map_or(0, Vec::len);
        let limit = match direction {
            _ if lanes >= self.limits.per_peer => Some(PoolLimit::PerPeer),
            Direction::Outgoing if self.counts.outgoing >= self.limits.outgoing => {
                Some(PoolLimit::Outgoing)
            }
            Direction::Inbound if self.counts.inbound >= self.limits.inbound => {
                Some(PoolLimit::Inbound)
            }
            Direction::Outgoing | Direction::Inbound => None,
        };
        if let Some(limit) = limit {
            return Err(PoolFull { limit, handle });
        }
        let key = PoolKey(self.next);
        self.next += 1;
        *self.count(direction) += 1;
        self.homes.insert(key, peer);
        self.peers.entry(peer).or_default().push(Entry {
            key,
            direction,
            handle,
        });
        self.counts.peers = self.peers.len();
        Ok(key)
    }

    /// Removes a lane.
    pub fn remove(&mut self, key: PoolKey) -> Option<T> {
        let peer = self.homes.remove(&key)?;
        let lanes = self.peers.get_mut(&peer)?;
        let at = lanes.iter().position(|entry| entry.key == key)?;
        let entry = lanes.remove(at);
        if lanes.is_empty() {
            self.peers.remove(&peer);
        }
        *self.count(entry.direction) -= 1;
        self.counts.peers = self.peers.len();
        Some(entry.handle)
    }

    /// The lanes of one peer.
    pub fn get(&self, peer: PeerId) -> impl Iterator<Item = (PoolKey, &T)> {
        self.peers
            .get(&peer)
            .into_iter()
            .flatten()
            .map(|entry| (entry.key, &entry.handle))
    }

    /// The lanes of all runs of one node.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = (PeerId, PoolKey, &T)> {
        let first = PeerId {
            node,
            instance: InstanceId::from_bytes([0; 16]),
        };
        let last = PeerId {
            node,
            instance: InstanceId::from_bytes([0xFF; 16]),
        };
        self.peers
            .range(first..=last)
            .flat_map(|(peer, lanes)| lanes.iter().map(|entry| (*peer, entry.key, &entry.handle)))
    }

    /// All lanes.
    pub fn iter(&self) -> impl Iterator<Item = (PeerId, PoolKey, &T)> {
        self.peers
            .iter()
            .flat_map(|(peer, lanes)| lanes.iter().map(|entry| (*peer, entry.key, &entry.handle)))
    }

    /// How many lanes there are.
    pub const fn counts(&self) -> PoolCounts {
        self.counts
    }

    const fn count(&mut self, direction: Direction) -> &mut usize {
        match direction {
            Direction::Outgoing => &mut self.counts.outgoing,
            Direction::Inbound => &mut self.counts.inbound,
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self::new(PoolLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(node: u8, instance: u8) -> PeerId {
        PeerId {
            node: NodeId::from_bytes([node; 32]),
            instance: InstanceId::from_bytes([instance; 16]),
        }
    }

    #[test]
    fn lanes_of_a_node_and_of_a_run() {
        let mut pool = Pool::default();
        let first = pool.insert(peer(1, 1), Direction::Outgoing, 'a').unwrap();
        pool.insert(peer(1, 1), Direction::Inbound, 'b').unwrap();
        pool.insert(peer(1, 2), Direction::Inbound, 'c').unwrap();
        pool.insert(peer(2, 1), Direction::Inbound, 'd').unwrap();
        let of = |pool: &Pool<char>, node| -> String {
            pool.of_node(peer(node, 0).node)
                .map(|(_, _, lane)| *lane)
                .collect()
        };
        assert_eq!(of(&pool, 1), "abc");
        assert_eq!(
            pool.get(peer(1, 1))
                .map(|(_, lane)| *lane)
                .collect::<String>(),
            "ab"
        );
        assert_eq!(pool.remove(first), Some('a'));
        assert_eq!(pool.remove(first), None);
        assert_eq!(of(&pool, 1), "bc");
        let counts = PoolCounts {
            peers: 3,
            outgoing: 0,
            inbound: 3,
        };
        assert_eq!(pool.counts(), counts);
    }

    proptest! {
        #[test]
        fn counts_are_right_and_limits_hold(steps in proptest::collection::vec((0_u8..4, any::<bool>(), any::<bool>(), 0_u64..40), 0..200)) {
            let limits = PoolLimits { per_peer: 3, outgoing: 4, inbound: 5 };
            let mut pool = Pool::new(limits);
            let mut model: BTreeMap<PoolKey, (u8, bool)> = BTreeMap::new();
            for (who, out, add, key) in steps {
                let of = |want: bool| model.values().filter(|(_, out)| *out == want).count();
                let peers = model.values().filter(|(peer, _)| *peer == who).count();
                if add {
                    let full = peers >= 3 || (out && of(true) >= 4) || (!out && of(false) >= 5);
                    let direction = if out { Direction::Outgoing } else { Direction::Inbound };
                    match pool.insert(peer(who, 0), direction, who) {
                        Ok(key) => prop_assert!(!full && model.insert(key, (who, out)).is_none()),
                        Err(error) => prop_assert!(full && error.handle == who),
                    }
                } else {
                    let key = PoolKey(key);
                    prop_assert_eq!(pool.remove(key), model.remove(&key).map(|(peer, _)| peer));
                }
                let of = |want: bool| model.values().filter(|(_, out)| *out == want).count();
                prop_assert_eq!(pool.counts().outgoing, of(true));
                prop_assert_eq!(pool.counts().inbound, of(false));
                prop_assert_eq!(pool.iter().count(), model.len());
            }
        }
    }
}
