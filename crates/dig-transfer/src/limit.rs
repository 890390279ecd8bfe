//! Rate limits as token buckets.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How much may be taken at once after a pause: a quarter of a second's worth, so that a limit holds over any second to within 25 %.
const BURST: Duration = Duration::from_millis(250);

/// A token bucket that goes into debt: each taker is told how long to wait for what it took, in the order in which they asked.
/// It reads no clock; `now` is the time since any fixed instant.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    /// Bytes a second; `None` for no limit.
    rate: Option<u64>,
    /// Until when all that was granted is paid for; before `now` while there is credit.
    paid_until: Duration,
}

impl TokenBucket {
    /// A bucket that grants `rate` bytes a second, all of them if `None`.
    pub const fn new(rate: Option<u64>) -> Self {
        Self {
            rate,
            paid_until: Duration::ZERO,
        }
    }

    /// Bytes a second, if there is a limit.
    pub const fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Changes the rate from `now` on.
    pub fn set_rate(&mut self, now: Duration, rate: Option<u64>) {
        self.rate = rate;
        self.paid_until = self.paid_until.min(now);
    }

    /// Takes `bytes`, and says how long to wait before using them.
    pub fn take(&mut self, now: Duration, bytes: u64) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        self.paid_until = self.paid_until.max(now.saturating_sub(BURST));
        let wait = self.paid_until.saturating_sub(now);
        let cost =
            Duration::try_from_secs_f64(bytes as f64 / rate.max(1) as f64).unwrap_or(Duration::MAX);
        self.paid_until = self.paid_until.saturating_add(cost);
        wait
    }
}

/// A [`TokenBucket`] that tasks share and wait for.
#[derive(Debug)]
pub struct RateLimit {
    bucket: Mutex<TokenBucket>,
    start: Instant,
}

impl RateLimit {
    /// A limit of `rate` bytes a second, none if `None`.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            bucket: Mutex::new(TokenBucket::new(rate)),
            start: Instant::now(),
        }
    }

    /// Bytes a second, if there is a limit.
    pub fn rate(&self) -> Option<u64> {
        self.with(|bucket, _| bucket.rate())
    }

    /// Changes the limit.
    pub fn set_rate(&self, rate: Option<u64>) {
        self.with(|bucket, now| bucket.set_rate(now, rate));
    }

    /// Takes `bytes`, and says how long to wait before using them.
    pub fn take(&self, bytes: u64) -> Duration {
        self.with(|bucket, now| bucket.take(now, bytes))
    }

    /// Takes `bytes` and waits until they may be used.
    pub async fn acquire(&self, bytes: u64) {
        let wait = self.take(bytes);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }

    fn with<T>(&self, action: impl FnOnce(&mut TokenBucket, Duration) -> T) -> T {
        let now = self.start.elapsed();
        action(
            &mut self.bucket.lock().unwrap_or_else(PoisonError::into_inner),
            now,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_grants_more_than_rate_and_burst(rate in 1_000_u64..10_000_000, takes in proptest::collection::vec((0_u64..200, 1_u64..70_000), 1..200)) {
            let mut bucket = TokenBucket::new(Some(rate));
            let (mut now, mut granted) = (Duration::from_secs(5), 0);
            let start = now;
            for (pause, bytes) in takes {
                now += Duration::from_millis(pause);
                let ready = now + bucket.take(now, bytes);
                let allowed = (ready - start + BURST).as_secs_f64() * rate as f64;
                prop_assert!(granted as f64 <= allowed + 1.0, "{granted} of {allowed} at {ready:?}");
                granted += bytes;
                // A taker that waits as told keeps the debt at one piece.
                now = ready;
            }
        }
    }

    #[test]
    fn no_limit_never_waits() {
        let mut bucket = TokenBucket::new(None);
        assert_eq!(bucket.take(Duration::ZERO, u64::MAX), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_share_the_rate_in_turn() {
        let limit = RateLimit::new(Some(100_000));
        let start = Instant::now();
        for _ in 0..11 {
            futures::join!(limit.acquire(50_000), limit.acquire(50_000));
        }
        // 22 pieces of half a second, less the burst and less the last one, which is granted when its turn comes.
        let elapsed = start.elapsed().as_secs_f64();
        assert!((10.0..10.6).contains(&elapsed), "{elapsed}");
    }
}
