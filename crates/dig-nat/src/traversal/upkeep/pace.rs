//! How often something may be tried: four rules, each with its own memory.

use std::time::Duration;

/// The first pause after a setback.
const RETRY_LEAST: Duration = Duration::from_millis(500);
/// The longest while the peer is in use.
const RETRY_MOST: Duration = Duration::from_secs(8);
/// The longest while nobody waits for it, of both kinds of attempts.
const IDLE_MOST: Duration = Duration::from_secs(60);
/// From the beginning of one attempt at a direct path to that of the next.
const DIRECT_EVERY: Duration = Duration::from_secs(3);
/// Two losses of direct lanes within this time are a habit.
const FLAP_WINDOW: Duration = Duration::from_secs(10);
/// The first pause for it, and the longest.
const FLAP_LEAST: Duration = Duration::from_secs(2);
const FLAP_MOST: Duration = Duration::from_secs(30);
/// Attempts without a pause: one a second, and so many at once.
const BURST: u32 = 3;
const BURST_EVERY: Duration = Duration::from_secs(1);

/// Attempts at any path, one after the other: each setback doubles the pause.
#[derive(Debug)]
pub(super) struct Retry {
    seed: u64,
    setbacks: u32,
    since: Duration,
    pause: Duration,
}

impl Retry {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            setbacks: 0,
            since: Duration::ZERO,
            pause: Duration::ZERO,
        }
    }

    /// When the next may begin.
    pub(super) fn ready(&self) -> Duration {
        self.since + self.pause
    }

    /// One led to nothing that lasted.
    pub(super) fn failed(&mut self, now: Duration, idle: bool) {
        let most = if idle { IDLE_MOST } else { RETRY_MOST };
        let pause = RETRY_LEAST.saturating_mul(1 << self.setbacks.min(16));
        // Three quarters to five quarters, so that both sides of a pair do not go on in step.
        let jitter = mix(self.seed.wrapping_add(u64::from(self.setbacks))) % 512;
        self.pause = pause.min(most) * (768 + jitter as u32) / 1024;
        self.since = now;
        self.setbacks = self.setbacks.saturating_add(1);
    }

    /// One led to something that lasted, or the network is another.
    pub(super) fn succeeded(&mut self) {
        self.setbacks = 0;
        self.pause = Duration::ZERO;
    }

    /// Somebody waits: no pause is longer than one in use.
    pub(super) fn hurry(&mut self, now: Duration) {
        if self.ready() > now + RETRY_MOST {
            self.succeeded();
        }
    }
}

/// Attempts at a direct path beside a relayed one.
#[derive(Debug)]
pub(super) struct Direct {
    last: Option<Duration>,
    every: Duration,
}

impl Default for Direct {
    fn default() -> Self {
        Self {
            last: None,
            every: DIRECT_EVERY,
        }
    }
}

impl Direct {
    pub(super) fn ready(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last + self.every)
    }

    pub(super) fn began(&mut self, now: Duration, idle: bool) {
        self.every = if idle && self.last.is_some() {
            (self.every * 2).min(IDLE_MOST)
        } else {
            DIRECT_EVERY
        };
        self.last = Some(now);
    }

    pub(super) fn hurry(&mut self) {
        self.every = DIRECT_EVERY;
    }
}

/// Direct lanes that come and go.
#[derive(Debug, Default)]
pub(super) struct Flap {
    last: Option<Duration>,
    hold: Duration,
}

impl Flap {
    /// The last direct lane was lost.
    pub(super) fn lost(&mut self, now: Duration) {
        let habit = |last: Duration| now.saturating_sub(last) <= FLAP_WINDOW + self.hold;
        self.hold = if self.last.is_some_and(habit) {
            (self.hold * 2).clamp(FLAP_LEAST, FLAP_MOST)
        } else {
            Duration::ZERO
        };
        self.last = Some(now);
    }

    /// Until when the next is waited with.
    pub(super) fn until(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last + self.hold)
    }
}

/// What begins without a pause (generic cell rate algorithm, ITU-T I.371): the time by which all of it would have been paid for.
#[derive(Debug, Default)]
pub(super) struct Burst {
    paid: Duration,
}

impl Burst {
    pub(super) fn free(&self) -> Duration {
        self.paid.saturating_sub(BURST_EVERY * (BURST - 1))
    }

    pub(super) fn take(&mut self, now: Duration) {
        self.paid = self.paid.max(now) + BURST_EVERY;
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
