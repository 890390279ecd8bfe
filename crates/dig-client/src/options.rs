//! How to fetch.

use dig_transfer::{fetch::PathFilter, scheduler::Strategy};
use dig_types::{NodeId, PeerAddr, Sha256Hash};
use std::{collections::BTreeSet, fmt, path::PathBuf, time::Duration};

/// Where the content goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// Into this folder, under the content's own name.
    Folder(PathBuf),
    /// To this path; if a folder is there, into it under the content's own name.
    Path(PathBuf),
    /// To standard output, in order. Not for folders.
    StandardOutput,
}

/// How to fetch a content (whitepaper 6.1, 6.2 and 8.1).
#[derive(Clone)]
pub struct DownloadOptions {
    /// Where the content goes. Default: the current folder.
    pub destination: Destination,
    /// Whether to replace what is there. Default: no.
    pub force: bool,
    /// Order of the pieces. Default: fastest available.
    pub strategy: Strategy,
    /// Most requests at a time, all peers together. Default: no cap, as each peer's measured rate and round-trip time set its own.
    pub concurrency: Option<u32>,
    /// Most requests at a time to one peer. Default: no cap, for the same reason.
    pub peer_concurrency: Option<u32>,
    /// Chunks of 64 KiB a request asks for, 1 to 16 (the whitepaper's `chunkSize`). Default: 16, since batched hashing wants as many.
    pub request_chunks: u8,
    /// Bytes a second, all peers together. Default: no limit.
    pub limit: Option<u64>,
    /// What the whole file must hash to (the whitepaper's `verificationHash`). Default: the content hash is proof enough.
    pub sha256: Option<Sha256Hash>,
    /// Which files of a folder are wanted. Default: all.
    pub filter: Option<PathFilter>,
    /// Peers to ask besides those that are found.
    pub peers: Vec<PeerAddr>,
    /// If not empty: deal with no other nodes than these.
    pub trusted: BTreeSet<NodeId>,
    /// Whether to wait for a source as long as it takes. Default: no.
    pub wait: bool,
    /// How long to go without a source or without progress. Default: 30 s, the time in which a restarted host is back.
    pub timeout: Duration,
    /// Whether to serve what is already here to others. Default: yes.
    pub serve: bool,
}

impl Default for DownloadOptions {
    fn default() -> Self {
        Self {
            destination: Destination::Folder(PathBuf::from(".")),
            force: false,
            strategy: Strategy::default(),
            concurrency: None,
            peer_concurrency: None,
            request_chunks: 16,
            limit: None,
            sha256: None,
            filter: None,
            peers: Vec::new(),
            trusted: BTreeSet::new(),
            wait: false,
            timeout: Duration::from_secs(30),
            serve: true,
        }
    }
}

impl fmt::Debug for DownloadOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DownloadOptions")
            .field("destination", &self.destination)
            .field("force", &self.force)
            .field("strategy", &self.strategy)
            .field("limit", &self.limit)
            .field("sha256", &self.sha256)
            .field("peers", &self.peers)
            .field("trusted", &self.trusted)
            .finish_non_exhaustive()
    }
}
