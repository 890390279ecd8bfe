//! How many strangers may be at the door at a time.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

/// Counts incoming handshakes, in all and by network.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    limit_per_network: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_network: HashMap<Network, usize>,
}

/// A network whose addresses one party can be assumed to hold: IPv4 /24, IPv6 /48.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Network {
    V4([u8; 3]),
    V6([u8; 6]),
}

impl Network {
    fn of(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f])
            }
        }
    }
}

/// A place at the door; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    network: Option<Network>,
}

impl Admission {
    pub(super) fn new(limit: usize, limit_per_network: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            limit_per_network,
            open: Mutex::default(),
        })
    }

    /// A place for a handshake with that address, if one is free. An unknown address counts in all only.
    pub(super) fn enter(self: &Arc<Self>, remote: Option<SocketAddr>) -> Option<Place> {
        let network = remote.map(Network::of);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.limit {
            return None;
        }
        if let Some(network) = network {
            let count = open.by_network.entry(network).or_default();
            if *count >= self.limit_per_network {
                return None;
            }
            *count += 1;
        }
        open.all += 1;
        Some(Place {
            admission: Arc::clone(self),
            network,
        })
    }

    /// Handshakes under way.
    pub(super) fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .admission
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(network) = self.network
            && let Some(count) = open.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                open.by_network.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_and_all_are_bounded_and_places_return() {
        let admission = Admission::new(3, 2);
        let at = |text: &str| admission.enter(Some(text.parse().unwrap()));
        let first = at("10.0.0.1:1").unwrap();
        let second = at("[::ffff:10.0.0.2]:1").unwrap();
        assert!(at("10.0.0.3:1").is_none(), "the network is full");
        let third = at("10.0.1.1:1").unwrap();
        assert!(at("[2001:db8::1]:1").is_none(), "all is full");
        drop((first, third));
        assert!(at("10.0.0.3:1").is_some());
        drop(second);
        assert_eq!(admission.open(), 0);
        assert!(admission.open.lock().unwrap().by_network.is_empty());
    }
}
