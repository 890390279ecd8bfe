//! What a host tells while it runs.

use dig_transfer::lane::Carrier;
use dig_types::{ContentHash, NodeId, Sha256Hash};
use std::net::SocketAddr;

/// News of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostEvent {
    /// The SHA-256 of a shared file is known, and every chunk of it was read again and found right.
    Sha256 {
        /// The content.
        hash: ContentHash,
        /// What `sha256sum` prints for it.
        sha256: Sha256Hash,
    },
    /// A peer has opened a content.
    Serving {
        /// The peer.
        node: NodeId,
        /// Where it is.
        remote: Option<SocketAddr>,
        /// The content.
        hash: ContentHash,
        /// What carries it.
        carrier: Carrier,
        /// Whether a relay stands between.
        relayed: bool,
    },
    /// Most of what a peer is sent goes over another path now, for half a second or longer.
    Path {
        /// The peer.
        node: NodeId,
        /// Where it is.
        remote: Option<SocketAddr>,
        /// The content.
        hash: ContentHash,
        /// What carries it.
        carrier: Carrier,
        /// Whether a relay stands between.
        relayed: bool,
    },
    /// A peer has been sent this much of a content, in all.
    Progress {
        /// The peer.
        node: NodeId,
        /// The content.
        hash: ContentHash,
        /// Bytes.
        bytes: u64,
    },
    /// A peer says that it holds all that it wanted, verified.
    Delivered {
        /// The peer.
        node: NodeId,
        /// The content.
        hash: ContentHash,
    },
    /// A peer is gone.
    Ended {
        /// The peer.
        node: NodeId,
        /// The content.
        hash: ContentHash,
        /// Bytes it was sent.
        bytes: u64,
    },
    /// A content is served no longer.
    Withdrawn {
        /// The content.
        hash: ContentHash,
        /// Why.
        reason: String,
    },
}
