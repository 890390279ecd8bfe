//! How a host behaves.

use std::{path::PathBuf, time::Duration};

/// Knobs of a [`FileHost`](crate::FileHost).
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The port that announcements carry. Default: 0, which announces nothing.
    pub port: u16,
    /// Time between announcements of one content. Default: 30 minutes, half of what announcements live (whitepaper 5.1).
    pub reannounce: Duration,
    /// Time between looks at the shared files. Default: 2 s, so that an edited file is withdrawn before long even when nobody reads it.
    pub watch: Duration,
    /// Where hashes are kept, so that sharing again is instant. Default: nowhere.
    pub cache: Option<PathBuf>,
    /// Whether the SHA-256 of shared files is computed in the background. Default: yes.
    pub background_sha256: bool,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            port: 0,
            reannounce: Duration::from_secs(30 * 60),
            watch: Duration::from_secs(2),
            cache: None,
            background_sha256: true,
        }
    }
}
