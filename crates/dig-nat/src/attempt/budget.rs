//! How many packets may go to addresses that have not answered.

use std::time::Duration;

/// Packets that one attempt sends in all to addresses which have not answered with an authenticated check. A peer can aim us at an
/// address; it cannot make us a nuisance there.
pub const MAX_UNANSWERED: u32 = 100;

/// What is left of [`MAX_UNANSWERED`].
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Budget {
    pub(super) fn new() -> Self {
        Self(MAX_UNANSWERED)
    }

    /// Takes so many packets; whether there were as many.
    pub(super) fn spend(&mut self, packets: u32) -> bool {
        let left = self.0.checked_sub(packets);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }

    /// Gives packets back whose address has answered since.
    pub(super) fn refund(&mut self, packets: u32) {
        self.0 = (self.0 + packets).min(MAX_UNANSWERED);
    }

    /// SYNs that the system sends within a time: at once, after 1 s, 3 s, 7 s … (RFC 6298 §2).
    pub(super) fn syns(timeout: Duration) -> u32 {
        u64::BITS - (timeout.as_secs() + 1).leading_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_never_overdrawn() {
        let mut budget = Budget::new();
        assert!(budget.spend(99) && !budget.spend(2) && budget.spend(1) && !budget.spend(1));
    }

    #[test]
    fn what_was_answered_is_given_back_and_no_more() {
        let mut budget = Budget::new();
        assert!(budget.spend(100) && !budget.spend(1));
        budget.refund(30);
        assert!(budget.spend(30) && !budget.spend(1));
        budget.refund(u32::MAX / 2);
        assert!(budget.spend(100) && !budget.spend(1));
    }

    #[test]
    fn syns_are_counted_as_the_system_repeats_them() {
        for (ms, syns) in [
            (0, 1),
            (999, 1),
            (1000, 2),
            (2999, 2),
            (3000, 3),
            (5000, 3),
            (7000, 4),
        ] {
            assert_eq!(Budget::syns(Duration::from_millis(ms)), syns, "{ms} ms");
        }
    }
}
