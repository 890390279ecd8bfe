//! The manifest on its way.

use crate::{chunk::Digest, link::LinkId, manifest::Manifest};
use std::time::Duration;
use tokio::time::Instant;

/// Without a node for this long, somebody else is asked: the parts of a manifest follow each other.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer to `MANIFEST_GET` as far as it is here.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) from: LinkId,
    pub(super) request: u32,
    pub(super) nodes: Vec<Digest>,
    last: Instant,
}

impl Parts {
    pub(super) const fn new(now: Instant, from: LinkId, request: u32) -> Self {
        Self {
            from,
            request,
            nodes: Vec::new(),
            last: now,
        }
    }

    /// Takes a part; `false` if it does not follow what is here.
    pub(super) fn add(&mut self, now: Instant, first: u32, nodes: &[Digest]) -> bool {
        self.last = now;
        if usize::try_from(first) != Ok(self.nodes.len()) {
            return false;
        }
        self.nodes.extend_from_slice(nodes);
        true
    }

    pub(super) fn is_stalled(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > PATIENCE
    }
}

/// How far the manifest is.
#[derive(Debug)]
pub(super) enum ManifestState {
    /// Nobody is asked.
    Missing,
    /// Somebody is asked.
    Asked(Parts),
    /// All nodes are here; their root is being computed.
    Checking(LinkId),
    /// Here and right.
    Here(Manifest),
}

impl ManifestState {
    pub(super) const fn here(&self) -> Option<&Manifest> {
        match self {
            Self::Here(manifest) => Some(manifest),
            _ => None,
        }
    }

    /// Forgets an answer that will not come.
    pub(super) fn forget(&mut self, from: LinkId) {
        if matches!(self, Self::Asked(parts) if parts.from == from) {
            *self = Self::Missing;
        }
    }
}
