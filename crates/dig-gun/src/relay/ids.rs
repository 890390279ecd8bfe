//! Names of our own messages.

use crate::message::MessageId;

/// A sequence of names that differ (SplitMix64). Not secret: an answer is believed only of whoever was asked.
#[derive(Debug)]
pub(super) struct Ids(u64);

impl Ids {
    /// The sequence of this seed.
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next name.
    pub(super) fn next(&mut self) -> MessageId {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        MessageId::from_random(z ^ (z >> 31))
    }
}
