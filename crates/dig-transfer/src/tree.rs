//! The tree over a content's chunks: Merkle Tree Hash of RFC 9162 §2.1.1 with the chunks' entries as inputs.
//!
//! Roots are computed by a stack of finished subtrees, in memory that does not grow with the content.
//! Paths are built by `rs_merkle`; they are checked by [`verify_path`] only, since that crate's own
//! verifier takes duplicate indices, trailing hashes and wrong counts.

use crate::chunk::Digest;
use aws_lc_rs::digest::{SHA256, digest};
use std::sync::Arc;

mod path;

pub use path::{PathBuilder, verify_path};

/// SHA-256 of some bytes, for short inputs: chunks go through [`crate::hashing`].
pub(crate) fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Digest(out)
}

/// The leaf of an entry: SHA-256(0x00 ‖ entry).
pub fn leaf(entry: &Digest) -> Digest {
    leaf_of_bytes(&entry.0)
}

/// The leaf of any input (RFC 9162 §2.1.1).
pub fn leaf_of_bytes(input: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(1 + input.len());
    bytes.push(0);
    bytes.extend_from_slice(input);
    sha256(&bytes)
}

/// The node above two nodes: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(&left.0);
    bytes[33..].copy_from_slice(&right.0);
    sha256(&bytes)
}

/// The root of no entries: SHA-256 of nothing.
pub fn empty_root() -> Digest {
    sha256(&[])
}

/// The root over entries.
pub fn root_of_entries(entries: &[Digest]) -> Digest {
    let mut stack = RootStack::default();
    for entry in entries {
        stack.push(leaf(entry));
    }
    stack.root()
}

/// The root over nodes that stand over equally many chunks each (but for the last): leaves, groups, a manifest.
pub fn root_of_nodes(nodes: &[Digest]) -> Digest {
    let mut stack = RootStack::default();
    for node in nodes {
        stack.push(*node);
    }
    stack.root()
}

/// Computes the root over nodes as they come, keeping one hash a level.
#[derive(Debug, Clone, Default)]
pub struct RootStack {
    /// Roots of the finished subtrees, largest first: one for each bit set in `count`.
    peaks: Vec<Digest>,
    count: u64,
}

impl RootStack {
    /// Appends a node.
    pub fn push(&mut self, mut last: Digest) {
        for _ in 0..self.count.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                last = node(&left, &last);
            }
        }
        self.peaks.push(last);
        self.count += 1;
    }

    /// Number of nodes so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The root over the nodes so far.
    pub fn root(&self) -> Digest {
        let mut peaks = self.peaks.iter().rev();
        let Some(last) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

/// Collects the layer of nodes over `width` consecutive nodes each.
#[derive(Debug)]
pub(crate) struct LayerBuilder {
    width: u64,
    open: RootStack,
    nodes: Vec<Digest>,
}

impl LayerBuilder {
    /// A layer of which each node stands over `width` of the nodes pushed; a power of two.
    pub(crate) fn new(width: u64) -> Self {
        Self {
            width,
            open: RootStack::default(),
            nodes: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, node: Digest) {
        self.open.push(node);
        if self.open.count() == self.width {
            self.nodes.push(std::mem::take(&mut self.open).root());
        }
    }

    pub(crate) fn finish(mut self) -> Arc<[Digest]> {
        if self.open.count() > 0 {
            self.nodes.push(self.open.root());
        }
        self.nodes.into()
    }
}

#[cfg(test)]
mod tests;
