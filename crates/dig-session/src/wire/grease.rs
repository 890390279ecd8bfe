//! Noise in reserved places: what receivers must ignore is sent now and then, so that they keep ignoring it (the idea of RFC 8701).

use super::{FIRST_GREASE, Hello};
use bytes::Bytes;
use dig_types::{Frame, FrameType};

/// Longest noise in a frame, in bytes.
const MAX_NOISE: usize = 32;

/// A source of noise: the operating system's randomness, or a seed where runs must repeat. Never used for secrets.
#[derive(Debug, Clone)]
pub(crate) enum Grease {
    System,
    Seeded(u64),
}

impl Grease {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        seed.map_or(Self::System, Self::Seeded)
    }

    /// The HELLO frame with noise in it.
    pub(crate) fn hello(&mut self, hello: &Hello) -> Frame {
        let field = self.next().to_be_bytes();
        let length = usize::from(field[0] % 9);
        let id = FIRST_GREASE | u16::from_be_bytes([field[1], field[2]]);
        let noise = self.next();
        let value = self.next().to_be_bytes();
        hello.frame(noise, (id, &value[..length.min(value.len())]))
    }

    /// A frame of noise.
    pub(crate) fn frame(&mut self) -> Frame {
        let mut noise = [0; MAX_NOISE];
        for part in noise.chunks_exact_mut(8) {
            part.copy_from_slice(&self.next().to_be_bytes());
        }
        let shape = self.next().to_be_bytes();
        let kind = FIRST_GREASE | u16::from_be_bytes([shape[0], shape[1]]);
        let length = usize::from(shape[2]) % (MAX_NOISE + 1);
        Frame::new(FrameType(kind), 0, Bytes::copy_from_slice(&noise[..length]))
    }

    /// Whether to send noise this time: once in about sixteen.
    pub(crate) fn is_due(&mut self) -> bool {
        self.next().is_multiple_of(16)
    }

    fn next(&mut self) -> u64 {
        match self {
            // Without randomness the noise is monotonous, which harms nobody.
            Self::System => getrandom::u64().unwrap_or_default(),
            Self::Seeded(state) => {
                // SplitMix64 (Steele, Lea, Flood 2014).
                *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
                let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
                z ^ (z >> 31)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_odd_reserved_short_and_varied() {
        let mut grease = Grease::new(Some(7));
        let frames: Vec<_> = (0..1_000).map(|_| grease.frame()).collect();
        for frame in &frames {
            assert!(!frame.kind.is_critical() && frame.kind.0 >= FIRST_GREASE);
            assert!(frame.payload.len() <= MAX_NOISE);
        }
        let lengths: std::collections::BTreeSet<_> =
            frames.iter().map(|frame| frame.payload.len()).collect();
        assert_eq!(lengths.len(), MAX_NOISE + 1);
        assert_eq!(Grease::new(Some(7)).frame(), frames[0]);
    }
}
