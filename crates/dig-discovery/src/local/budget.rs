//! How often an address that never answered may be dialled, whoever names it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Dials to one silent address in [`WINDOW`]: enough for a node that is just starting, too few to harm a victim.
const ADDR_DIALS: u32 = 3;
/// Dials to all silent ports of one machine in [`WINDOW`]: four nodes that a firewall hides.
const HOST_DIALS: u32 = 12;
/// An hour.
const WINDOW: Duration = Duration::from_secs(3600);
/// Most addresses, and machines, remembered: those of four full directories.
const MAX_ENTRIES: usize = 4096;

/// Counts dials that were not answered. Times are since any fixed start.
#[derive(Debug, Default)]
pub(super) struct DialBudget {
    addrs: Ledger<SocketAddr>,
    hosts: Ledger<IpAddr>,
}

impl DialBudget {
    /// Whether it may be dialled once more; if so, that dial is counted.
    pub(super) fn spend(&mut self, now: Duration, addr: SocketAddr) -> bool {
        let allowed = self.addrs.count(now, &addr) < ADDR_DIALS
            && self.hosts.count(now, &addr.ip()) < HOST_DIALS;
        if allowed {
            self.addrs.add(now, addr);
            self.hosts.add(now, addr.ip());
        }
        allowed
    }

    /// Somebody answers there.
    pub(super) fn answered(&mut self, addr: &SocketAddr) {
        self.addrs.0.remove(addr);
        self.hosts.0.remove(&addr.ip());
    }
}

#[derive(Debug)]
struct Ledger<K>(BTreeMap<K, Dials>);

#[derive(Debug, Clone, Copy)]
struct Dials {
    since: Duration,
    count: u32,
}

impl<K: Ord + Copy> Ledger<K> {
    fn count(&self, now: Duration, key: &K) -> u32 {
        let open = self.0.get(key).filter(|dials| dials.is_open(now));
        open.map_or(0, |dials| dials.count)
    }

    fn add(&mut self, now: Duration, key: K) {
        if !self.0.contains_key(&key) && self.0.len() >= MAX_ENTRIES {
            self.make_room(now);
        }
        let count = self.count(now, &key);
        let since = self.0.get(&key).filter(|_| count > 0);
        let since = since.map_or(now, |dials| dials.since);
        let count = count + 1;
        self.0.insert(key, Dials { since, count });
    }

    fn make_room(&mut self, now: Duration) {
        self.0.retain(|_, dials| dials.is_open(now));
        while self.0.len() >= MAX_ENTRIES {
            let oldest = self.0.iter().min_by_key(|(_, dials)| dials.since);
            let Some(key) = oldest.map(|(key, _)| *key) else {
                return;
            };
            self.0.remove(&key);
        }
    }
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl Dials {
    fn is_open(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u16, port: u16) -> SocketAddr {
        SocketAddr::new([10, 0, (number >> 8) as u8, number as u8].into(), port)
    }

    #[test]
    fn silence_costs_an_hour() {
        let mut budget = DialBudget::default();
        let minute = |minutes: u64| Duration::from_secs(60 * minutes);
        let mut spend = |at, number, port| budget.spend(minute(at), addr(number, port));
        assert_eq!((0..60).filter(|&at| spend(at, 1, 4433)).count(), 3);
        assert!(spend(60, 1, 4433), "an hour later");
        assert!(spend(1, 2, 4433), "another machine");
        let ports = (5000..6000).filter(|&port| spend(60, 3, port));
        assert_eq!(ports.count(), 12, "one machine, any port");
    }

    #[test]
    fn an_answer_clears_the_account_and_memory_is_bounded() {
        let mut budget = DialBudget::default();
        for second in 0..40 {
            assert!(budget.spend(Duration::from_secs(second), addr(1, 4433)));
            budget.answered(&addr(1, 4433));
        }
        for number in 0..4_200 {
            budget.spend(Duration::from_millis(number.into()), addr(number, 4433));
        }
        assert_eq!(
            (budget.addrs.0.len(), budget.hosts.0.len()),
            (MAX_ENTRIES, MAX_ENTRIES)
        );
        assert_eq!(budget.addrs.count(Duration::ZERO, &addr(4_199, 4433)), 1);
        assert_eq!(budget.addrs.count(Duration::ZERO, &addr(0, 4433)), 0);
    }
}
