//! The nodes that are advertised now.

use super::advert::Advert;
use std::{collections::BTreeMap, net::IpAddr};

/// Most nodes remembered. More than any real network shows, below 1 MiB.
const MAX_NODES: usize = 1024;

/// Advertised nodes by the name of their service instance.
#[derive(Debug, Clone, Default)]
pub(super) struct Directory(BTreeMap<String, Advert>);

impl Directory {
    /// Adds or replaces a node; whether that changed anything. When there is no room, a node at the
    /// address with the most nodes gives way to one at an address with fewer.
    pub(super) fn upsert(&mut self, advert: Advert) -> bool {
        if self.0.get(&advert.name) == Some(&advert) {
            return false;
        }
        if !self.0.contains_key(&advert.name) && self.0.len() >= MAX_NODES {
            let Some(crowded) = self.crowded(&advert) else {
                return false;
            };
            self.0.remove(&crowded);
        }
        self.0.insert(advert.name.clone(), advert);
        true
    }

    /// Removes a node; whether it was there.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        self.0.remove(name).is_some()
    }

    /// Forgets all nodes.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The node of that name.
    pub(super) fn get(&self, name: &str) -> Option<&Advert> {
        self.0.get(name)
    }

    /// All nodes, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Advert> {
        self.0.values()
    }

    /// The last node of the address with the most nodes, if that has more than the newcomer's.
    fn crowded(&self, newcomer: &Advert) -> Option<String> {
        let mut hosts: BTreeMap<Option<IpAddr>, (usize, &str)> = BTreeMap::new();
        for advert in self.0.values() {
            let host = hosts.entry(host(advert)).or_default();
            *host = (host.0 + 1, &advert.name);
        }
        let own = hosts.get(&host(newcomer)).map_or(0, |(count, _)| *count);
        let (count, name) = hosts.into_values().max_by_key(|(count, _)| *count)?;
        (count > own + 1).then(|| name.to_owned())
    }
}

fn host(advert: &Advert) -> Option<IpAddr> {
    advert.addrs.first().map(std::net::SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_machine_leaves_room_for_another() {
        let advert = |number: usize, ip: &str| Advert {
            name: format!("{number}._dig._udp.local."),
            addrs: vec![std::net::SocketAddr::new(ip.parse().unwrap(), 4433)],
        };
        let mut directory = Directory::default();
        for number in 0..5000 {
            directory.upsert(advert(number, "10.0.0.66"));
        }
        assert_eq!(directory.0.len(), MAX_NODES);
        assert!(directory.upsert(advert(9000, "10.0.0.1")));
        assert!(!directory.upsert(advert(9000, "10.0.0.1")), "nothing new");
        for number in 0..5000 {
            directory.upsert(advert(number, "10.0.0.66"));
        }
        assert_eq!(directory.0.len(), MAX_NODES);
        assert!(directory.get("9000._dig._udp.local.").is_some());
        assert!(
            directory.remove("9000._dig._udp.local.") && !directory.remove("9000._dig._udp.local.")
        );
    }
}
