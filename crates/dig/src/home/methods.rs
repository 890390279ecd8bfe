//! By which method a peer was reached last time, for each network that this machine was on.

use super::{Home, HomeError, read_json, write_json};
use dig_nat::traversal::{NetworkKey, PathMemory};
use dig_types::{Method, NodeId, SystemClock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most peers that are remembered; those reached longest ago go first.
const MAX_PEERS: usize = 1000;

/// How a peer was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Reached {
    method: String,
    /// When, in Unix milliseconds.
    at: u64,
}

type Table = BTreeMap<String, Reached>;

/// The memory of a home: a file that its processes share. It holds no address, only a digest of the network.
#[derive(Debug)]
pub(crate) struct HomeMethods(pub(crate) Home);

impl HomeMethods {
    fn file(&self) -> std::path::PathBuf {
        self.0.dir().join("methods.json")
    }

    fn load(&self) -> Table {
        read_json(&self.file()).unwrap_or_default()
    }

    fn write(&self, key: String, reached: Option<Reached>) -> Result<(), HomeError> {
        let mut table = self.load();
        let method = reached.as_ref().map(|new| &new.method);
        if table.get(&key).map(|old| &old.method) == method {
            return Ok(());
        }
        match reached {
            Some(reached) => table.insert(key, reached),
            None => table.remove(&key),
        };
        while table.len() > MAX_PEERS {
            let oldest = table.iter().min_by_key(|(_, reached)| reached.at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else {
                break;
            };
            table.remove(&oldest);
        }
        self.0.create()?;
        write_json(&self.file(), &table)
    }
}

fn key(network: NetworkKey, peer: NodeId) -> String {
    let network: String = network.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{network}/{peer}")
}

impl PathMemory for HomeMethods {
    fn recall(&self, network: NetworkKey, peer: NodeId) -> Option<Method> {
        let table = self.load();
        table.get(&key(network, peer))?.method.parse().ok()
    }

    fn remember(&self, network: NetworkKey, peer: NodeId, method: Option<Method>) {
        use dig_types::Clock as _;
        let reached = method.map(|method| Reached {
            method: method.to_string(),
            at: SystemClock.now().as_millis(),
        });
        if let Err(error) = self.write(key(network, peer), reached) {
            tracing::debug!(%error, "how a peer was reached is not remembered");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_remembered_for_each_network_and_junk_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let memory = HomeMethods(Home::new(dir.path().join("home")));
        let (here, there) = (NetworkKey([1; 16]), NetworkKey([2; 16]));
        let peer = NodeId::from_bytes([3; 32]);
        assert_eq!(memory.recall(here, peer), None);
        memory.remember(here, peer, Some(Method::UdpHolePunch));
        assert_eq!(memory.recall(here, peer), Some(Method::UdpHolePunch));
        assert_eq!(memory.recall(there, peer), None);
        memory.remember(here, peer, None);
        assert_eq!(memory.recall(here, peer), None);
        std::fs::write(memory.file(), b"[").unwrap();
        assert_eq!(memory.recall(here, peer), None);
        memory.remember(here, peer, Some(Method::Direct));
        assert_eq!(memory.recall(here, peer), Some(Method::Direct));
    }
}
