//! Estimators: goodput, round-trip time, and the bucket of a rate limit.

use super::Now;
use std::time::Duration;

/// Weight of the past falls to 1/e in so many seconds of busy time.
const MEMORY: f64 = 1.0;
/// A rate is believed after so many seconds of busy time.
const BELIEVED: f64 = 0.002;
/// A round-trip minimum is forgotten after one to two of these.
const RTT_EPOCH: Duration = Duration::from_secs(5);

/// Goodput over recent busy time: a ratio of decayed bytes to decayed seconds.
///
/// The clock starts with the first arrival of a busy spell, so that neither idleness nor the first round trip counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Rate {
    bytes: f64,
    seconds: f64,
    last: Option<Now>,
}

impl Rate {
    /// Counts an arrival.
    pub(super) fn add(&mut self, now: Now, bytes: u32) {
        if let Some(last) = self.last.replace(now) {
            let fade = self.fade(now.saturating_sub(last).as_secs_f64());
            self.bytes = self.bytes * fade.kept + f64::from(bytes);
            self.seconds = self.seconds * fade.kept + fade.passed;
        }
    }

    /// Stops the clock: nothing more is asked for.
    pub(super) fn pause(&mut self) {
        self.last = None;
    }

    /// Starts anew.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Takes a fresher measurement for the truth.
    pub(super) fn assume(&mut self, rate: f64) {
        self.seconds = self.seconds.min(0.25);
        self.bytes = rate * self.seconds;
    }

    /// Bytes a second, once measured.
    pub(super) fn measured(&self) -> Option<f64> {
        (self.seconds >= BELIEVED).then(|| self.bytes / self.seconds)
    }

    /// The rate in the light of silence since the last arrival, beyond `expected` seconds.
    pub(super) fn doubted(&self, now: Now, expected: f64) -> Option<f64> {
        let measured = self.measured()?;
        let silence = self.last.map_or(0.0, |last| {
            now.saturating_sub(last).as_secs_f64() - expected
        });
        if silence <= 0.0 {
            return Some(measured);
        }
        let fade = self.fade(silence);
        Some(self.bytes * fade.kept / (self.seconds * fade.kept + fade.passed))
    }

    #[expect(clippy::unused_self, reason = "reads as what it does to this estimate")]
    fn fade(&self, seconds: f64) -> Fade {
        let kept = (-seconds / MEMORY).exp();
        Fade {
            kept,
            passed: MEMORY * (1.0 - kept),
        }
    }
}

struct Fade {
    kept: f64,
    passed: f64,
}

/// Least round-trip time of the last 5 to 10 seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MinRtt {
    current: Option<Duration>,
    previous: Option<Duration>,
    epoch: Now,
}

impl MinRtt {
    pub(super) fn new(now: Now, first: Option<Duration>) -> Self {
        Self {
            current: first,
            previous: None,
            epoch: now,
        }
    }

    pub(super) fn sample(&mut self, now: Now, rtt: Duration) {
        if now.saturating_sub(self.epoch) > RTT_EPOCH {
            (self.previous, self.current, self.epoch) = (self.current, None, now);
        }
        self.current = Some(self.current.map_or(rtt, |least| least.min(rtt)));
    }

    pub(super) fn get(&self) -> Option<Duration> {
        match (self.current, self.previous) {
            (Some(current), Some(previous)) => Some(current.min(previous)),
            (current, previous) => current.or(previous),
        }
    }
}

/// A token bucket that may be overdrawn by one request: whole requests pass, their average obeys the limit.
#[derive(Debug, Clone)]
pub(super) struct RateLimit {
    rate: Option<f64>,
    tokens: f64,
    at: Now,
}

impl RateLimit {
    pub(super) fn new(rate: Option<u64>) -> Self {
        let mut limit = Self {
            rate: None,
            tokens: 0.0,
            at: Now::ZERO,
        };
        limit.set(Now::ZERO, rate);
        limit
    }

    pub(super) fn set(&mut self, now: Now, rate: Option<u64>) {
        self.rate = rate.map(|rate| (rate as f64).max(1.0));
        self.at = now;
        self.tokens = self.tokens.min(0.0);
    }

    /// Chunk-sized steps when the limit is small: the bytes that 50 ms of the limit are worth.
    pub(super) fn step(&self) -> Option<f64> {
        self.rate.map(|rate| rate * 0.05)
    }

    /// Whether a request may go out now.
    pub(super) fn allows(&mut self, now: Now) -> bool {
        let Some(rate) = self.rate else { return true };
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + rate * passed).min(rate * 0.1);
        self.tokens >= 0.0
    }

    pub(super) fn spend(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens -= bytes as f64;
        }
    }

    /// What was asked for and will not come.
    pub(super) fn refund(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens += bytes as f64;
        }
    }

    /// When the next request may go out, if not now.
    pub(super) fn wake(&self) -> Option<Now> {
        let rate = self.rate.filter(|_| self.tokens < 0.0)?;
        Some(
            self.at
                + Duration::from_secs_f64((-self.tokens / rate).min(3600.0))
                + Duration::from_micros(1),
        )
    }
}
