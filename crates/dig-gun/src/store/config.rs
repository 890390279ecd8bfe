//! How much a store keeps, and how long.

use super::Usage;
use dig_types::Timestamp;
use std::time::Duration;

/// How exactly it is known when a soul was written: one that is written often need not be filed anew each time.
const STEP: Duration = Duration::from_secs(60);

/// Bounds of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Bytes kept: souls, keys and values, and 64 more for every soul and 24 for every field, which is about what they take
    /// in a file. A file has room for changes too, and so grows to up to twice that. What is over the bound goes, oldest
    /// first. Default: 1 GiB.
    pub max_bytes: u64,
    /// Souls kept; over the bound, the oldest go. Default: 2,000,000.
    pub max_souls: u64,
    /// What nobody wrote for this long is forgotten; `None`: nothing is. Default: 30 days, for Gun has no way to say that
    /// something is no longer needed.
    pub expire_after: Option<Duration>,
    /// Bytes of memory for pages of the file, read and to be written; in memory, a store needs none. Default: 16 MiB, so
    /// that a relay stays below 80 MB.
    pub cache_bytes: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            max_souls: 2_000_000,
            expire_after: Some(Duration::from_secs(30 * 24 * 3600)),
            cache_bytes: 16 << 20,
        }
    }
}

impl StoreConfig {
    /// Whether that is too much.
    pub(super) const fn is_exceeded_by(&self, usage: Usage) -> bool {
        usage.bytes > self.max_bytes || usage.souls > self.max_souls
    }
}

/// Whether a soul on record as written at `recorded` is to be filed anew when it is written at `at`.
pub(super) fn is_newer(recorded: Timestamp, at: Timestamp) -> bool {
    at >= recorded + STEP
}
