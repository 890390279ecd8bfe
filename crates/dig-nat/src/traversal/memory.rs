//! What worked last time.

use crate::{candidate::CandidateKind, gather::Gatherer};
use dig_types::{Method, NodeId};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError},
};

/// Names the network that this machine is on, as far as can be told: a digest of its networks and of where others see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkKey(pub [u8; 16]);

impl NetworkKey {
    /// The key of where the gatherer stands.
    pub(super) fn of(gatherer: &Gatherer) -> Self {
        let mut places: Vec<String> = gatherer
            .subnets()
            .into_iter()
            .map(|subnet| format!("{}/{}", subnet.ip, subnet.prefix))
            .collect();
        let outside = gatherer.candidates();
        let outside = outside
            .iter()
            .filter(|candidate| candidate.kind == CandidateKind::ServerReflexive);
        places.extend(outside.map(|candidate| candidate.addr.ip().to_string()));
        places.sort();
        places.dedup();
        let digest = Sha256::digest(places.join(" "));
        let mut key = [0; 16];
        key.copy_from_slice(&digest[..16]);
        Self(key)
    }
}

/// Remembers by which method a peer was reached from a network. It is a hint: it changes what is tried first, never what is tried.
pub trait PathMemory: Send + Sync + fmt::Debug {
    /// What worked last time.
    fn recall(&self, network: NetworkKey, peer: NodeId) -> Option<Method>;

    /// This worked; `None`: nothing did.
    fn remember(&self, network: NetworkKey, peer: NodeId, method: Option<Method>);
}

/// Pairs that [`Remembered`] holds; the one that was written longest ago goes first.
const MOST: usize = 1024;

/// Remembers as long as the program runs.
#[derive(Debug, Default)]
pub struct Remembered(Mutex<Pairs>);

#[derive(Debug, Default)]
struct Pairs {
    /// Counts writes.
    clock: u64,
    methods: BTreeMap<(NetworkKey, NodeId), (Method, u64)>,
}

impl PathMemory for Remembered {
    fn recall(&self, network: NetworkKey, peer: NodeId) -> Option<Method> {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs
            .methods
            .get(&(network, peer))
            .map(|(method, _)| *method)
    }

    fn remember(&self, network: NetworkKey, peer: NodeId, method: Option<Method>) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(method) = method else {
            pairs.methods.remove(&(network, peer));
            return;
        };
        pairs.clock += 1;
        let written = pairs.clock;
        pairs.methods.insert((network, peer), (method, written));
        if pairs.methods.len() > MOST {
            let oldest = pairs
                .methods
                .iter()
                .min_by_key(|(_, (_, written))| *written);
            if let Some(oldest) = oldest.map(|(pair, _)| *pair) {
                pairs.methods.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> NodeId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        NodeId::from_bytes(bytes)
    }

    #[test]
    fn a_pair_of_network_and_peer_has_its_own_method() {
        let memory = Remembered::default();
        let (home, away) = (NetworkKey([1; 16]), NetworkKey([2; 16]));
        memory.remember(home, node(1), Some(Method::UdpHolePunch));
        assert_eq!(memory.recall(home, node(1)), Some(Method::UdpHolePunch));
        assert_eq!(memory.recall(away, node(1)), None);
        assert_eq!(memory.recall(home, node(2)), None);
        memory.remember(home, node(1), None);
        assert_eq!(memory.recall(home, node(1)), None);
    }

    #[test]
    fn it_forgets_what_was_written_longest_ago() {
        let memory = Remembered::default();
        let network = NetworkKey([0; 16]);
        for number in 0..=MOST {
            memory.remember(network, node(number), Some(Method::Direct));
        }
        assert_eq!(memory.recall(network, node(0)), None);
        assert_eq!(memory.recall(network, node(1)), Some(Method::Direct));
    }
}
