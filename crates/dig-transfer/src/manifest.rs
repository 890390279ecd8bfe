//! The manifest: one layer of a content's tree, by which any group of chunks is checked alone.

use crate::{
    chunk::Digest,
    header::ContentHeader,
    layout::Shape,
    tree::{LayerBuilder, leaf, root_of_entries, root_of_nodes, verify_path},
};
use std::sync::Arc;

/// Why nodes are no manifest of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Another number of nodes than the content has.
    #[error("the manifest has {found} nodes, not {expected}")]
    Count {
        /// As many as the content has.
        expected: u64,
        /// As many as came.
        found: u64,
    },
    /// The nodes lead to another root.
    #[error("the manifest does not lead to the content's root")]
    Root,
}

/// Why entries are not those of a group. Whoever sent them lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The content has no such group.
    #[error("group {0} lies beyond the end of the content")]
    NoSuchGroup(u64),
    /// Another number of entries than the group has chunks.
    #[error("{found} entries for a group of {expected} chunks")]
    Count {
        /// Chunks of the group.
        expected: u64,
        /// Entries that came.
        found: u64,
    },
    /// The entries do not lead to the node or root, or the path has the wrong length.
    #[error("the entries are not those of the content")]
    Mismatch,
}

/// A layer of nodes over 2^k chunks each, known to have the content's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    shape: Shape,
    nodes: Arc<[Digest]>,
}

impl Manifest {
    /// The manifest of a content, checked against its root.
    pub fn from_nodes(header: &ContentHeader, nodes: Arc<[Digest]>) -> Result<Self, ManifestError> {
        let shape = Shape::new(header.chunks);
        let (expected, found) = (shape.nodes(), nodes.len() as u64);
        if found != expected {
            return Err(ManifestError::Count { expected, found });
        }
        if root_of_nodes(&nodes) != header.root {
            return Err(ManifestError::Root);
        }
        Ok(Self { shape, nodes })
    }

    /// *k*: each node stands over 2^k chunks.
    pub const fn level(&self) -> u32 {
        self.shape.level()
    }

    /// The nodes.
    pub const fn nodes(&self) -> &Arc<[Digest]> {
        &self.nodes
    }

    /// The root of the content.
    pub fn root(&self) -> Digest {
        root_of_nodes(&self.nodes)
    }

    /// Checks that `entries` are those of a group, by the path to its manifest node (empty where k = 4).
    pub fn verify_group(
        &self,
        group: u64,
        entries: &[Digest],
        path: &[Digest],
    ) -> Result<(), ProofError> {
        let group_node = node_of_group(self.shape, group, entries)?;
        let node = self.shape.node_of_group(group);
        let groups = self.shape.node_groups(node);
        let root = usize::try_from(node)
            .ok()
            .and_then(|node| self.nodes.get(node));
        let root = root.ok_or(ProofError::NoSuchGroup(group))?;
        let proved = verify_path(
            group_node,
            group - groups.start,
            groups.end - groups.start,
            path,
            root,
        );
        proved.then_some(()).ok_or(ProofError::Mismatch)
    }
}

/// Checks that `entries` are those of a group by the path to the root, where the manifest is not here yet.
///
/// For a folder whose table is not here yet, the header's count is only believed; that a wrong one proves nothing but
/// true first chunks is argued in `docs/protocol.md` §6.
pub fn verify_group_to_root(
    header: &ContentHeader,
    group: u64,
    entries: &[Digest],
    path: &[Digest],
) -> Result<(), ProofError> {
    let shape = Shape::new(header.chunks);
    let node = node_of_group(shape, group, entries)?;
    let proved = verify_path(node, group, shape.groups(), path, &header.root);
    proved.then_some(()).ok_or(ProofError::Mismatch)
}

fn node_of_group(shape: Shape, group: u64, entries: &[Digest]) -> Result<Digest, ProofError> {
    let chunks = shape.group_chunks(group);
    let (expected, found) = (chunks.end - chunks.start, entries.len() as u64);
    match expected {
        0 => Err(ProofError::NoSuchGroup(group)),
        _ if expected != found => Err(ProofError::Count { expected, found }),
        _ => Ok(root_of_entries(entries)),
    }
}

/// Builds the manifest of a content from its entries as they come.
#[derive(Debug)]
pub struct ManifestBuilder {
    shape: Shape,
    layer: LayerBuilder,
}

impl ManifestBuilder {
    /// For a content of this shape.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            layer: LayerBuilder::new(1 << shape.level()),
        }
    }

    /// Appends entries.
    pub fn push(&mut self, entries: &[Digest]) {
        for entry in entries {
            self.layer.push(leaf(entry));
        }
    }

    /// The manifest; its root is the content's. As many entries as the content has chunks must have come.
    pub fn finish(self) -> Manifest {
        Manifest {
            shape: self.shape,
            nodes: self.layer.finish(),
        }
    }
}

#[cfg(test)]
mod tests;
