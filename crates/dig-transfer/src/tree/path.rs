//! Inclusion paths (RFC 9162 §2.1.3).

use super::{LayerBuilder, leaf_of_bytes, node};
use crate::chunk::Digest;
use std::sync::Arc;

/// Whether `path`, lowest first, leads from the node at `index` of `count` to `root` (RFC 9162 §2.1.3.2).
///
/// `count` must be known to be right, as by the content's hash: a path alone does not prove it.
/// A path of any other length than the tree demands is refused.
pub fn verify_path(
    node_hash: Digest,
    index: u64,
    count: u64,
    path: &[Digest],
    root: &Digest,
) -> bool {
    if index >= count {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, count - 1, node_hash);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            // The last node of a layer without a sibling is its own parent.
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The tree's hashing for `rs_merkle`: with prefixes, so that no node can pass as a leaf.
#[derive(Debug, Clone)]
struct Rfc9162;

impl rs_merkle::Hasher for Rfc9162 {
    type Hash = [u8; 32];

    fn hash(data: &[u8]) -> [u8; 32] {
        leaf_of_bytes(data).0
    }

    fn concat_and_hash(left: &[u8; 32], right: Option<&[u8; 32]>) -> [u8; 32] {
        right.map_or(*left, |right| node(&Digest(*left), &Digest(*right)).0)
    }
}

/// Nodes of one stretch of the layer: what one path costs in time and memory.
const STRETCH: usize = 512;

/// Builds paths from the nodes of a layer up to its root.
///
/// A stretch of 2^n nodes that begins at a multiple of 2^n has a node of its own in the tree, so a path is one
/// inside the stretch and one above it: `rs_merkle` never holds more than 512 nodes (and 256 above, for
/// the largest manifest), where the whole layer would take it 25 MB.
#[derive(Debug, Clone)]
pub struct PathBuilder {
    nodes: Arc<[Digest]>,
    stretches: Arc<[Digest]>,
}

impl PathBuilder {
    /// A builder for this layer.
    pub fn new(nodes: Arc<[Digest]>) -> Self {
        let mut stretches = LayerBuilder::new(STRETCH as u64);
        for node in nodes.iter() {
            stretches.push(*node);
        }
        Self {
            nodes,
            stretches: stretches.finish(),
        }
    }

    /// The nodes of the layer.
    pub const fn nodes(&self) -> &Arc<[Digest]> {
        &self.nodes
    }

    /// The path from the node at `index`, lowest first; `None` beyond the end.
    pub fn path(&self, index: usize) -> Option<Vec<Digest>> {
        let stretch = self.nodes.chunks(STRETCH).nth(index / STRETCH)?;
        let mut path = path_in(stretch, index % STRETCH)?;
        path.extend(path_in(&self.stretches, index / STRETCH)?);
        Some(path)
    }
}

fn path_in(nodes: &[Digest], index: usize) -> Option<Vec<Digest>> {
    if index >= nodes.len() {
        return None;
    }
    let leaves: Vec<[u8; 32]> = nodes.iter().map(|node| node.0).collect();
    let tree = rs_merkle::MerkleTree::<Rfc9162>::from_leaves(&leaves);
    Some(
        tree.proof(&[index])
            .proof_hashes()
            .iter()
            .map(|hash| Digest(*hash))
            .collect(),
    )
}

#[cfg(test)]
pub(super) fn rs_merkle_root(leaves: &[Digest]) -> Option<Digest> {
    let leaves: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf.0).collect();
    rs_merkle::MerkleTree::<Rfc9162>::from_leaves(&leaves)
        .root()
        .map(Digest)
}
