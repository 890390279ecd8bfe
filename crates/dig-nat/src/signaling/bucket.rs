//! A token bucket: so many at once, so many a second.

use std::time::Duration;

/// Parts of a token: time is counted in milliseconds, so a rate of 1 a second gives one part each.
const PARTS: u64 = 1000;

/// A rate and a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Tokens that come back each second.
    pub(crate) per_second: u32,
    /// Tokens of a full bucket.
    pub(crate) burst: u32,
}

/// Tokens left, in thousandths, and when they were counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    parts: u64,
    at: Duration,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn full(now: Duration, rate: Rate) -> Self {
        Self {
            parts: u64::from(rate.burst) * PARTS,
            at: now,
        }
    }

    /// Takes a token; `false` if there is none.
    pub(crate) fn take(&mut self, now: Duration, rate: Rate) -> bool {
        self.refill(now, rate);
        match self.parts.checked_sub(PARTS) {
            None => false,
            Some(left) => {
                self.parts = left;
                true
            }
        }
    }

    /// Whether nothing was taken of late, so that a new bucket would be the same.
    pub(crate) fn is_full(&mut self, now: Duration, rate: Rate) -> bool {
        self.refill(now, rate);
        self.parts == u64::from(rate.burst) * PARTS
    }

    /// A clock that was set back refills nothing, and counts anew from there.
    fn refill(&mut self, now: Duration, rate: Rate) {
        let passed = now.saturating_sub(self.at);
        let millis = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        if now >= self.at && millis == 0 {
            return;
        }
        self.at = now;
        self.parts = self
            .parts
            .saturating_add(millis.saturating_mul(u64::from(rate.per_second)))
            .min(u64::from(rate.burst) * PARTS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 4,
        burst: 8,
    };

    fn taken(bucket: &mut Bucket, now: Duration) -> usize {
        (0..100).take_while(|_| bucket.take(now, RATE)).count()
    }

    #[test]
    fn gives_a_burst_then_a_rate() {
        let mut bucket = Bucket::full(Duration::ZERO, RATE);
        assert_eq!(taken(&mut bucket, Duration::ZERO), 8);
        assert_eq!(taken(&mut bucket, Duration::from_millis(249)), 0);
        assert_eq!(taken(&mut bucket, Duration::from_millis(250)), 1);
        assert_eq!(taken(&mut bucket, Duration::from_secs(3600)), 8);
        assert!(!bucket.is_full(Duration::from_secs(3601), RATE));
        assert!(bucket.is_full(Duration::from_secs(3602), RATE));
    }

    #[test]
    fn asking_often_loses_no_time() {
        let mut bucket = Bucket::full(Duration::ZERO, RATE);
        taken(&mut bucket, Duration::ZERO);
        let given: usize = (0..10_000)
            .map(|step| taken(&mut bucket, Duration::from_micros(step * 100)))
            .sum();
        assert_eq!(given, 3, "just below one second");
    }

    #[test]
    fn a_clock_set_back_neither_blocks_nor_fills() {
        let mut bucket = Bucket::full(Duration::from_secs(1000), RATE);
        assert_eq!(taken(&mut bucket, Duration::from_secs(1000)), 8);
        assert_eq!(taken(&mut bucket, Duration::from_secs(10)), 0);
        assert_eq!(taken(&mut bucket, Duration::from_secs(11)), 4);
    }
}
