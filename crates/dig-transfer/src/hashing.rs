//! SHA-256 of many chunks at once.
//!
//! One SHA-256 cannot use more than a fraction of a CPU's vector units, many side by side can: 16 chunks at
//! once are about seven times as fast as one after the other with AVX-512, and three to four times with AVX2.
//! Where the CPU has instructions for SHA-256, one stream is fast already, and interleaving them gives half as much again.
//! `examples/hash_speed.rs` measures it.

use crate::{chunk::Digest, tree::sha256};
use std::{fmt, sync::LazyLock};

/// Chunks that are best hashed together: the lanes of the widest kernel.
pub const BATCH: usize = 16;
/// From this many chunks on the vector kernel is faster than one stream after the other.
const WORTH_BATCHING: usize = 3;

/// Computes the entries of chunks.
pub trait BatchHasher: Send + Sync + fmt::Debug {
    /// Appends the SHA-256 of each chunk to `out`. Up to [`BATCH`] chunks of one length at a time are fastest.
    fn hash(&self, chunks: &[&[u8]], out: &mut Vec<Digest>);

    /// What does the work, for logs and benchmarks.
    fn name(&self) -> &str;
}

/// One chunk after the other, by aws-lc.
#[derive(Debug, Clone, Copy)]
pub struct OneByOne;

impl BatchHasher for OneByOne {
    fn hash(&self, chunks: &[&[u8]], out: &mut Vec<Digest>) {
        out.extend(chunks.iter().map(|chunk| sha256(chunk)));
    }

    fn name(&self) -> &str {
        "aws-lc"
    }
}

/// Several chunks at once in the lanes of vector registers, by tape-sha256; one or two by aws-lc.
#[derive(Debug, Clone, Copy)]
pub struct SideBySide;

impl BatchHasher for SideBySide {
    fn hash(&self, chunks: &[&[u8]], out: &mut Vec<Digest>) {
        for batch in chunks.chunks(BATCH) {
            if batch.len() < WORTH_BATCHING {
                OneByOne.hash(batch, out);
                continue;
            }
            let mut digests = [[0; 32]; BATCH];
            let digests = &mut digests[..batch.len()];
            tape_sha256::hash_many(batch, digests);
            out.extend(digests.iter().map(|digest| Digest(*digest)));
        }
    }

    fn name(&self) -> &str {
        tape_sha256::backend()
    }
}

/// The fastest hasher that computes SHA-256 on this machine. The vector kernel is compared with aws-lc when it is first
/// asked for, in every lane; should the two disagree, aws-lc does everything.
pub fn hasher() -> &'static dyn BatchHasher {
    static HASHER: LazyLock<&'static dyn BatchHasher> = LazyLock::new(|| choose(&SideBySide));
    *HASHER
}

fn choose(fast: &'static dyn BatchHasher) -> &'static dyn BatchHasher {
    if agrees(fast) {
        return fast;
    }
    tracing::error!(
        kernel = fast.name(),
        "vector SHA-256 computes wrong hashes on this machine; not using it"
    );
    &OneByOne
}

/// Whether a hasher equals aws-lc: equal and different lengths around the block and padding edges, every
/// number of lanes, and two batches in one call.
fn agrees(hasher: &dyn BatchHasher) -> bool {
    const LENGTHS: [usize; 16] = [
        0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 4095, 4096, 4097,
    ];
    let bytes: Vec<u8> = (0..LENGTHS.len() + 4097)
        .map(|i| (i * i / 251 + i) as u8)
        .collect();
    let mixed: Vec<&[u8]> = LENGTHS
        .iter()
        .enumerate()
        .map(|(i, len)| &bytes[i..i + len])
        .collect();
    let equal: Vec<&[u8]> = (0..BATCH + 5).map(|i| &bytes[i..i + 1024]).collect();
    (1..=BATCH)
        .map(|lanes| &mixed[..lanes])
        .chain([&equal[..]])
        .all(|chunks| {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            hasher.hash(chunks, &mut found);
            OneByOne.hash(chunks, &mut expected);
            found == expected
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// Wrong in one lane, and only for long inputs.
    #[derive(Debug)]
    struct Broken;

    impl BatchHasher for Broken {
        fn hash(&self, chunks: &[&[u8]], out: &mut Vec<Digest>) {
            OneByOne.hash(chunks, out);
            let last = out.len() - 1;
            if chunks.len() == BATCH && chunks[last].len() > 4000 {
                out[last].0[0] ^= 1;
            }
        }

        fn name(&self) -> &str {
            "broken"
        }
    }

    #[test]
    fn a_kernel_that_is_wrong_is_not_used() {
        static BROKEN: Broken = Broken;
        assert_eq!(choose(&BROKEN).name(), "aws-lc");
        assert_ne!(choose(&SideBySide).name(), "aws-lc");
    }

    #[test]
    fn every_hasher_equals_the_reference() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..60 {
            let longest = if round < 6 { 70_000 } else { 3_000 };
            let chunks: Vec<Vec<u8>> = (0..random.usize(0..40))
                .map(|_| {
                    let len = if round % 2 == 0 {
                        longest
                    } else {
                        random.usize(0..longest)
                    };
                    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
                })
                .collect();
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let expected: Vec<Digest> = chunks
                .iter()
                .map(|chunk| Digest(Sha256::digest(chunk).into()))
                .collect();
            for hasher in [hasher(), &OneByOne, &SideBySide] {
                let mut found = Vec::new();
                hasher.hash(&chunks, &mut found);
                assert_eq!(
                    found,
                    expected,
                    "{} with seed {seed}, round {round}",
                    hasher.name()
                );
            }
        }
    }
}
