//! Chunks, groups and their hashes.

use data_encoding::HEXLOWER;
use std::fmt;

/// Bytes of a chunk; the last one of a file may be shorter.
pub const CHUNK_LEN: usize = 65_536;
/// Chunks of a group: the unit of availability, and the most that one request asks for (1 MiB).
pub const GROUP_CHUNKS: u64 = 16;

/// A SHA-256: the entry of a chunk or a node of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", HEXLOWER.encode(&self.0[..4]))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// Contiguous chunks of one group: what one request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    /// The first chunk.
    pub first: u64,
    /// 1 to 16.
    pub count: u8,
}

impl Run {
    /// The group that the run lies in.
    pub const fn group(&self) -> u64 {
        self.first / GROUP_CHUNKS
    }

    /// The numbers of the chunks.
    pub fn chunks(&self) -> std::ops::Range<u64> {
        self.first..self.first + u64::from(self.count)
    }
}
