//! What was accepted of late, so that it is not accepted again.

use crate::trace::AttemptId;
use dig_types::{NodeId, Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// The highest round accepted of each sender in each attempt, for as long as a message of then would not be refused for
/// its age. Nothing accepted is forgotten before: full means that nothing new is accepted.
#[derive(Debug)]
pub(super) struct ReplayWindow {
    seen: BTreeMap<(NodeId, AttemptId), Seen>,
    capacity: usize,
    max_age: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    round: u32,
    /// Refused for its age from then on.
    until: Timestamp,
}

/// Why a message is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replay {
    /// This round was accepted before.
    Repeated,
    /// A later round was accepted before.
    RolledBack,
    /// There is no room to remember it.
    Full,
}

impl ReplayWindow {
    pub(super) const fn new(capacity: usize, max_age: Duration) -> Self {
        Self {
            seen: BTreeMap::new(),
            capacity,
            max_age,
        }
    }

    /// Accepts a message once. Its age has been checked.
    pub(super) fn accept(
        &mut self,
        now: Timestamp,
        sender: NodeId,
        attempt: AttemptId,
        round: u32,
        issued: Timestamp,
    ) -> Result<(), Replay> {
        let until = issued + self.max_age;
        if let Some(seen) = self.seen.get_mut(&(sender, attempt)) {
            if round == seen.round {
                return Err(Replay::Repeated);
            }
            if round < seen.round {
                return Err(Replay::RolledBack);
            }
            seen.round = round;
            seen.until = seen.until.max(until);
            return Ok(());
        }
        if self.seen.len() >= self.capacity {
            self.seen.retain(|_, seen| seen.until >= now);
        }
        if self.seen.len() >= self.capacity {
            return Err(Replay::Full);
        }
        self.seen.insert((sender, attempt), Seen { round, until });
        Ok(())
    }

    /// Accepts nothing more of a sender in an attempt: what it sent before its end may still be on the way.
    pub(super) fn close(&mut self, now: Timestamp, sender: NodeId, attempt: AttemptId) {
        if let Some(seen) = self.seen.get_mut(&(sender, attempt)) {
            seen.round = u32::MAX;
            // By a clock that is ahead as far as it may be.
            seen.until = now + self.max_age + self.max_age;
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const AGE: Duration = Duration::from_secs(60);

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn attempt(number: u128) -> AttemptId {
        AttemptId(number.to_be_bytes())
    }

    #[test]
    fn each_round_once_and_never_backwards() {
        let mut window = ReplayWindow::new(8, AGE);
        let mut accept =
            |sender, number, round| window.accept(NOW, node(sender), attempt(number), round, NOW);
        assert_eq!(accept(1, 1, 5), Ok(()));
        assert_eq!(accept(1, 1, 5), Err(Replay::Repeated));
        assert_eq!(accept(1, 1, 4), Err(Replay::RolledBack));
        assert_eq!(accept(1, 1, 9), Ok(()));
        assert_eq!(accept(1, 1, 6), Err(Replay::RolledBack));
        assert_eq!(accept(1, 2, 1), Ok(()), "another attempt");
        assert_eq!(accept(2, 1, 1), Ok(()), "another sender");
    }

    #[test]
    fn nothing_of_a_closed_attempt_is_accepted() {
        let mut window = ReplayWindow::new(4, AGE);
        window.accept(NOW, node(1), attempt(1), 1, NOW).unwrap();
        window.close(NOW, node(1), attempt(1));
        for later in [0, 60, 120] {
            let issued = NOW + Duration::from_secs(later.min(60));
            let refused = window.accept(
                NOW + Duration::from_secs(later),
                node(1),
                attempt(1),
                7,
                issued,
            );
            assert_eq!(refused, Err(Replay::RolledBack), "after {later} s");
        }
    }

    #[test]
    fn forgets_only_what_its_age_refuses() {
        let mut window = ReplayWindow::new(4, AGE);
        for number in 0..4 {
            let issued = NOW + Duration::from_secs(number);
            window
                .accept(NOW, node(1), attempt(number.into()), 1, issued)
                .unwrap();
        }
        let full = NOW + AGE;
        let new = attempt(99);
        assert_eq!(
            window.accept(full, node(1), new, 1, full),
            Err(Replay::Full)
        );
        let later = NOW + AGE + Duration::from_millis(1);
        assert_eq!(window.accept(later, node(1), new, 1, later), Ok(()));
        assert_eq!(window.len(), 4);
        assert_eq!(
            window.accept(later, node(1), attempt(1), 1, later),
            Err(Replay::Repeated)
        );
    }
}
