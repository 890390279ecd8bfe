//! Numbers that differ from run to run, all out of the attempt's seed.

use super::keys::expand;
use std::{fmt, time::Duration};

/// SplitMix64 (Steele, Lea, Flood 2014): jitter and transaction numbers. Nothing secret comes from it; checks are proved by their MAC.
pub(super) struct Jitter(u64);

impl fmt::Debug for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jitter(..)")
    }
}

impl Jitter {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = expand(b"", seed, b"dig-attempt/1 jitter");
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time from the first to the second.
    pub(super) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = most.saturating_sub(least).as_micros().max(1) as u64;
        least + Duration::from_micros(self.next() % span)
    }
}
