//! The knobs of a fetch.

use crate::scheduler::Strategy;
use dig_types::Sha256Hash;
use std::{fmt, sync::Arc, time::Duration};

/// Chooses files of a folder by their path in it.
pub type PathFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// How to fetch.
#[derive(Clone)]
#[non_exhaustive]
pub struct FetchConfig {
    /// Order of the chunks. Default: fastest available.
    pub strategy: Strategy,
    /// Most requests at a time, all peers together. Default: no cap, as each peer's rate and round-trip time set its own.
    pub concurrency: Option<u32>,
    /// Most requests at a time to one peer. Default: no cap, for the same reason.
    pub peer_concurrency: Option<u32>,
    /// Chunks a request asks for, 1 to 16. Default 16: what is hashed together.
    pub request_chunks: u8,
    /// Bytes a second, all peers together. Default: no limit.
    pub limit: Option<u64>,
    /// Bytes asked for and not yet written. Default 24 MiB: 240 MB/s at 100 ms, and a process below 64 MiB.
    pub budget: u64,
    /// Which files of a folder are wanted. Default: all. A sink that says itself
    /// [what it wants](crate::sink::ContentSink::wanted_chunks) has the last word.
    pub select: Option<PathFilter>,
    /// The SHA-256 that the whole file must have; nothing is released before. Default: none, the tree proves every byte.
    pub verify_sha256: Option<Sha256Hash>,
    /// End once it is known what the content is, and for a folder what it holds, without opening the sink. Default: no.
    pub describe_only: bool,
    /// Ask the first link for the first mebibyte together with what the content is, which saves a round trip. Turn it off where
    /// an earlier run has left something, since that mebibyte is likely to be there. Default: yes.
    pub eager: bool,
    /// End with an error after this long without a verified byte. Default: none; the caller decides by events and [`Fetch::give_up`](super::Fetch::give_up).
    pub patience: Option<Duration>,
    /// Largest content taken. Default 16 TiB, whose bitmaps take 32 MiB each.
    pub max_size: u64,
    /// Seed of whatever is chosen at random. Default: random.
    pub seed: u64,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            concurrency: None,
            peer_concurrency: None,
            request_chunks: 16,
            limit: None,
            budget: 24 << 20,
            select: None,
            verify_sha256: None,
            describe_only: false,
            eager: true,
            patience: None,
            max_size: 16 << 40,
            seed: fastrand::u64(..),
        }
    }
}

impl fmt::Debug for FetchConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchConfig")
            .field("strategy", &self.strategy)
            .field("limit", &self.limit)
            .field("budget", &self.budget)
            .field("verify_sha256", &self.verify_sha256)
            .field("describe_only", &self.describe_only)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
