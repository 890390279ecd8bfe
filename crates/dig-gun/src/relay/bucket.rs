//! Tokens that refill with time.

use std::time::Duration;

/// So many tokens at once, refilled at a rate. It may go into debt, so that what is larger than the bucket is possible and
/// paid for afterwards.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    refilled: Duration,
}

/// The rate of a bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// Tokens a second.
    per_second: f64,
    /// Tokens that a bucket holds.
    burst: f64,
}

impl Rate {
    /// So many a second, and the same at once.
    pub(super) fn per_second(tokens: u32) -> Self {
        Self {
            per_second: tokens.into(),
            burst: tokens.into(),
        }
    }

    /// So many in a day, all at once if need be.
    pub(super) fn per_day(tokens: f64) -> Self {
        Self {
            per_second: tokens / 86_400.0,
            burst: tokens,
        }
    }
}

impl Bucket {
    /// A full one.
    pub(super) const fn full(now: Duration, rate: Rate) -> Self {
        Self {
            tokens: rate.burst,
            refilled: now,
        }
    }

    fn refill(&mut self, now: Duration, rate: Rate) {
        let passed = now.saturating_sub(self.refilled).as_secs_f64();
        self.tokens = (self.tokens + passed * rate.per_second).min(rate.burst);
        self.refilled = now;
    }

    /// Takes tokens, on debt if need be.
    pub(super) fn spend(&mut self, now: Duration, rate: Rate, tokens: f64) {
        self.refill(now, rate);
        self.tokens -= tokens;
    }

    /// Takes tokens if there are as many.
    pub(super) fn take(&mut self, now: Duration, rate: Rate, tokens: f64) -> bool {
        self.refill(now, rate);
        let enough = self.tokens >= tokens;
        if enough {
            self.tokens -= tokens;
        }
        enough
    }

    /// How long until it is out of debt.
    pub(super) fn debt(&self, rate: Rate) -> Duration {
        Duration::try_from_secs_f64(-self.tokens / rate.per_second).unwrap_or_default()
    }

    /// Whether it is as full as it gets.
    pub(super) fn is_full(&mut self, now: Duration, rate: Rate) -> bool {
        self.refill(now, rate);
        self.tokens >= rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn debt_is_paid_at_the_rate() {
        let rate = Rate::per_second(10);
        let mut bucket = Bucket::full(Duration::ZERO, rate);
        bucket.spend(Duration::ZERO, rate, 10.0);
        assert_eq!(bucket.debt(rate), Duration::ZERO);
        bucket.spend(Duration::ZERO, rate, 20.0);
        assert_eq!(bucket.debt(rate), 2 * SECOND);
        bucket.spend(SECOND, rate, 0.0);
        assert_eq!(bucket.debt(rate), SECOND);
        assert!(!bucket.take(2 * SECOND, rate, 1.0));
        assert!(bucket.take(3 * SECOND, rate, 10.0));
        assert!(!bucket.is_full(3 * SECOND, rate));
        assert!(bucket.is_full(9 * SECOND, rate));
    }

    #[test]
    fn a_rate_of_nothing_waits_for_ever_without_panic() {
        let rate = Rate::per_second(0);
        let mut bucket = Bucket::full(Duration::ZERO, rate);
        assert!(!bucket.take(SECOND, rate, 1.0));
        bucket.spend(SECOND, rate, 1.0);
        let _ = bucket.debt(rate);
    }
}
