//! What a download tells while it runs, and what it ends with.

use crate::connector::{DialFailure, Method, Timing};
pub use dig_transfer::fetch::PathShare;
use dig_transfer::lane::Carrier;
use dig_types::{ContentHash, ContentKind, NodeId};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// News of a download.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum DownloadEvent {
    /// Sources are being looked for.
    Searching,
    /// A host is still computing the SHA-256 that was asked for.
    Pending {
        /// How long it will take, as the host says.
        estimate: Duration,
    },
    /// It is known what a name or a SHA-256 stands for.
    Resolved {
        /// The content.
        hash: ContentHash,
        /// On whose word.
        node: NodeId,
    },
    /// A peer is being dialled.
    Attempt {
        /// Who is expected there.
        node: Option<NodeId>,
        /// Where.
        addr: Option<SocketAddr>,
        /// How.
        method: Method,
    },
    /// A peer could not be reached at one address.
    DialFailed(DialFailure),
    /// A link to a peer carries data now. Comes again when a better link takes over.
    Connected {
        /// The peer.
        node: NodeId,
        /// Where it is.
        remote: Option<SocketAddr>,
        /// How the path was found.
        method: Method,
        /// Whether a relay stands between.
        relayed: bool,
        /// What carries it.
        carrier: Carrier,
        /// How long it took.
        timing: Timing,
    },
    /// It is known what comes; nothing has been written yet.
    Opened {
        /// File or folder.
        kind: ContentKind,
        /// What its host calls it.
        name: String,
        /// Bytes.
        size: u64,
        /// Number of files.
        files: u64,
    },
    /// An earlier run left this much, verified.
    Resumed {
        /// Bytes.
        bytes: u64,
    },
    /// How far it is.
    Progress(Progress),
    /// A peer sent something false and is not asked again; what it sent before was verified and stays.
    Banned {
        /// The peer.
        node: NodeId,
        /// What it did.
        reason: String,
    },
    /// Nobody is there to fetch from at the moment.
    Waiting {
        /// Why, as far as known.
        reason: String,
    },
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Verified bytes, those of earlier runs included.
    pub bytes: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes a second now, those of earlier runs excluded.
    pub rate: u64,
    /// Peers that data comes from.
    pub peers: usize,
}

/// A finished download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// What it is.
    pub hash: ContentHash,
    /// Where it is; `None` if it went to standard output.
    pub path: Option<PathBuf>,
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes that this run fetched.
    pub fetched: u64,
    /// Bytes that came besides: a second time, too late, or false.
    pub wasted: u64,
    /// Over which paths they came, in the order in which these were first used. Empty if all was here already.
    pub paths: Vec<PathShare>,
    /// How long it took.
    pub elapsed: Duration,
    /// What proves it.
    pub verified: Verified,
}

/// What proves that a download is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verified {
    /// Every chunk led to the content hash.
    Tree,
    /// So it did, and the whole file has the SHA-256 that was asked for.
    Sha256,
}
