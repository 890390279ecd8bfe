//! How fast it goes.

use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;

/// Time over which a rate is taken: long enough to read, short enough to follow.
const SPAN: Duration = Duration::from_secs(3);

/// A rate over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Meter {
    samples: VecDeque<(Instant, u64)>,
}

impl Meter {
    /// Takes note of how many bytes there are by now.
    pub(super) fn sample(&mut self, now: Instant, bytes: u64) {
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && self.samples.get(1).is_some_and(|(at, _)| now - *at > SPAN)
        {
            self.samples.pop_front();
        }
    }

    /// Bytes a second.
    pub(super) fn rate(&self) -> u64 {
        let (Some((start, before)), Some((end, after))) =
            (self.samples.front(), self.samples.back())
        else {
            return 0;
        };
        let elapsed = (*end - *start).as_secs_f64();
        if elapsed > 0.0 {
            (after.saturating_sub(*before) as f64 / elapsed) as u64
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_last_seconds() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        assert_eq!(meter.rate(), 0);
        for tick in 0..100_u64 {
            // 1,000 bytes a tick, and ten times that from the middle on.
            let bytes = 1_000 * tick + 9_000 * tick.saturating_sub(50);
            meter.sample(start + Duration::from_millis(100 * tick), bytes);
            let expected = if tick <= 50 { 10_000 } else { 100_000 };
            if (5..=50).contains(&tick) || tick > 85 {
                assert_eq!(meter.rate(), expected, "tick {tick}");
            }
        }
    }
}
