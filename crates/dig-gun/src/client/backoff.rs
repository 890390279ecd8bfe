//! How long to wait before the next try.

use super::chance::Chance;
use std::time::Duration;

/// The waits of one relay: from [`Backoff::FIRST`] doubling to [`Backoff::LONGEST`], each cut to a random part of itself ("full
/// jitter"), so that the clients of a relay that restarts do not come back all at once. gun.js waits 2 s each time.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Longest first wait.
    pub(crate) const FIRST: Duration = Duration::from_millis(250);
    /// Longest wait: a relay that was away for however long has its clients back within it.
    pub(crate) const LONGEST: Duration = Duration::from_secs(8);
    /// A connection that lasted so long was a good one: the waits begin anew.
    pub(crate) const GOOD: Duration = Duration::from_secs(10);

    /// How long to wait after a failure; `up` is how long the connection lasted, nothing if there was none.
    pub(crate) fn after(&mut self, up: Duration, chance: &mut Chance) -> Duration {
        if up >= Self::GOOD {
            self.failures = 0;
        }
        let longest = Self::FIRST
            .saturating_mul(1 << self.failures.min(20))
            .min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(chance.fraction())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_bound_with_jitter_and_begins_anew_after_a_good_connection() {
        for seed in 0..200 {
            let mut chance = Chance::new(seed);
            let mut backoff = Backoff::default();
            let mut bound = Backoff::FIRST;
            let mut waited = Duration::ZERO;
            for _ in 0..40 {
                let wait = backoff.after(Duration::ZERO, &mut chance);
                assert!(wait <= bound, "seed {seed}: {wait:?} > {bound:?}");
                waited += wait;
                bound = (bound * 2).min(Backoff::LONGEST);
            }
            // 35 waits of 4 s on average: not nothing, and not the whole.
            assert!(waited > Duration::from_secs(60), "seed {seed}: {waited:?}");
            assert!(waited < Duration::from_secs(250), "seed {seed}: {waited:?}");
            let short = backoff.after(Backoff::GOOD, &mut chance);
            assert!(short <= Backoff::FIRST, "seed {seed}: {short:?}");
        }
    }
}
