//! How often an address that never answered may be dialled, whoever names it.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Dials to one silent address in [`WINDOW`]: enough for a node that is just starting, too few to harm a victim.
const MAX_DIALS: u32 = 3;
/// An hour.
const WINDOW: Duration = Duration::from_secs(3600);
/// Most addresses remembered; four full directories.
const MAX_ENTRIES: usize = 4096;

/// Counts dials that were not answered. Times are since any fixed start.
#[derive(Debug, Default)]
pub(super) struct DialBudget(BTreeMap<SocketAddr, Dials>);

#[derive(Debug, Clone, Copy)]
struct Dials {
    since: Duration,
    count: u32,
}

impl DialBudget {
    /// Whether it may be dialled once more; if so, that dial is counted.
    pub(super) fn spend(&mut self, now: Duration, addr: SocketAddr) -> bool {
        if !self.0.contains_key(&addr) && self.0.len() >= MAX_ENTRIES {
            self.forget_oldest(now);
        }
        let fresh = Dials {
            since: now,
            count: 0,
        };
        let dials = self.0.entry(addr).or_insert(fresh);
        if now.saturating_sub(dials.since) >= WINDOW {
            *dials = fresh;
        }
        let allowed = dials.count < MAX_DIALS;
        dials.count += u32::from(allowed);
        allowed
    }

    /// Somebody answers there.
    pub(super) fn answered(&mut self, addr: &SocketAddr) {
        self.0.remove(addr);
    }

    fn forget_oldest(&mut self, now: Duration) {
        self.0
            .retain(|_, dials| now.saturating_sub(dials.since) < WINDOW);
        while self.0.len() >= MAX_ENTRIES {
            let oldest = self.0.iter().min_by_key(|(_, dials)| dials.since);
            let Some(addr) = oldest.map(|(addr, _)| *addr) else {
                return;
            };
            self.0.remove(&addr);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(number: u16) -> SocketAddr {
        SocketAddr::new([10, 0, (number >> 8) as u8, number as u8].into(), 4433)
    }

    #[test]
    fn silence_costs_an_hour() {
        let mut budget = DialBudget::default();
        let minute = |minutes: u64| Duration::from_secs(60 * minutes);
        let allowed = (0..60)
            .filter(|&at| budget.spend(minute(at), addr(1)))
            .count();
        assert_eq!(allowed, 3);
        assert!(budget.spend(minute(60), addr(1)), "an hour later");
        assert!(budget.spend(minute(1), addr(2)), "another address");
    }

    #[test]
    fn an_answer_clears_the_account_and_memory_is_bounded() {
        let mut budget = DialBudget::default();
        for second in 0..20 {
            assert!(budget.spend(Duration::from_secs(second), addr(1)));
            budget.answered(&addr(1));
        }
        for number in 0..10_000 {
            budget.spend(Duration::from_millis(number.into()), addr(number));
        }
        assert_eq!(budget.0.len(), MAX_ENTRIES);
        assert!(budget.0.contains_key(&addr(9_999)) && !budget.0.contains_key(&addr(0)));
    }
}
