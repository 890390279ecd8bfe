//! Whether a router forgot everything, by the clock that it starts anew when it does.

use super::Now;

/// The clock of one router.
#[derive(Debug, Default)]
pub(super) struct Epoch {
    last: Option<(Now, u32)>,
    generation: u32,
}

impl Epoch {
    /// The router says that its clock shows `seconds`.
    pub(super) fn heard(&mut self, now: Now, seconds: u32, pcp: bool) {
        if let Some((then, before)) = self.last {
            let ours = now.saturating_sub(then).as_secs();
            let is_new = if pcp {
                is_new_by_pcp(ours, before.into(), seconds.into())
            } else {
                is_new_by_nat_pmp(ours, before.into(), seconds.into())
            };
            self.generation += u32::from(is_new);
        }
        self.last = Some((now, seconds));
    }

    /// How often it forgot everything.
    pub(super) const fn generation(&self) -> u32 {
        self.generation
    }
}

/// RFC 6887 §8.5: back in time by more than a second, or clocks that differ by more than a sixteenth and two seconds.
const fn is_new_by_pcp(ours: u64, before: u64, seconds: u64) -> bool {
    if seconds + 1 < before {
        return true;
    }
    let theirs = seconds.saturating_sub(before);
    ours + 2 < theirs - theirs / 16 || theirs + 2 < ours - ours / 16
}

/// RFC 6886 §3.6: less than seven eighths of what passed here, two seconds allowed.
const fn is_new_by_nat_pmp(ours: u64, before: u64, seconds: u64) -> bool {
    seconds + 2 < before + ours - ours / 8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// How often the router forgot, over (our seconds, its seconds).
    fn resets(pcp: bool, answers: &[(u64, u32)]) -> u32 {
        let mut epoch = Epoch::default();
        for (ours, theirs) in answers {
            epoch.heard(Duration::from_secs(*ours), *theirs, pcp);
        }
        epoch.generation()
    }

    #[test]
    fn a_router_that_keeps_time_forgot_nothing() {
        for pcp in [false, true] {
            assert_eq!(
                resets(pcp, &[(0, 1000), (0, 1000), (1, 1000), (3600, 4599)]),
                0
            );
            assert_eq!(resets(pcp, &[(10, 0), (3610, 3590)]), 0);
        }
    }

    #[test]
    fn a_router_whose_clock_went_back_forgot_everything() {
        for pcp in [false, true] {
            assert_eq!(resets(pcp, &[(0, 1000), (3600, 100)]), 1);
            assert_eq!(resets(pcp, &[(0, 1000), (3600, 2000)]), 1);
            assert_eq!(
                resets(pcp, &[(0, u32::MAX), (1, 0), (2, u32::MAX), (3, 0)]),
                2 + u32::from(pcp)
            );
        }
    }
}
