//! Whom a name belongs to.

use dig_types::{ContentHash, ContentKind, ContentName, NodeId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::{Mutex, PoisonError},
};

/// What was decided about names before: trust on first use (design: a bare name resolves to its pinned claimant).
pub trait NamePins: Send + Sync + fmt::Debug {
    /// Whom the name belongs to, as far as this user is concerned.
    fn owner(&self, name: &ContentName) -> Option<NodeId>;

    /// Remembers the owner of a name that has none yet.
    fn pin(&self, name: &ContentName, owner: NodeId);
}

/// Pins that end with the process.
#[derive(Debug, Default)]
pub struct MemoryPins(Mutex<HashMap<ContentName, NodeId>>);

impl NamePins for MemoryPins {
    fn owner(&self, name: &ContentName) -> Option<NodeId> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .copied()
    }

    fn pin(&self, name: &ContentName, owner: NodeId) {
        let mut pins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pins.entry(name.clone()).or_insert(owner);
    }
}

/// A node that claims to know what a name or a SHA-256 stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claimant {
    /// Who claims it.
    pub node: NodeId,
    /// What it would be.
    pub hash: ContentHash,
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes.
    pub size: u64,
}

/// What the claims amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nobody claims it.
    Nobody,
    /// This content, on the word of this node.
    Agreed(Claimant),
    /// Several nodes mean different contents; the user must say whom to believe.
    Disputed(Vec<Claimant>),
}

/// Judges the claims to a name: the pinned owner's word counts alone, then that of trusted nodes, then agreement of all.
pub(crate) fn judge(
    claims: &[Claimant],
    pinned: Option<NodeId>,
    trusted: &BTreeSet<NodeId>,
) -> Verdict {
    if claims.is_empty() {
        return Verdict::Nobody;
    }
    if let Some(claim) = pinned.and_then(|owner| claims.iter().find(|claim| claim.node == owner)) {
        return Verdict::Agreed(claim.clone());
    }
    let from_trusted: Vec<_> = claims
        .iter()
        .filter(|claim| trusted.contains(&claim.node))
        .collect();
    let counted = if from_trusted.is_empty() {
        claims.iter().collect()
    } else {
        from_trusted
    };
    let by_hash: BTreeMap<ContentHash, &Claimant> =
        counted.iter().map(|claim| (claim.hash, *claim)).collect();
    match (by_hash.len(), counted.first()) {
        // A name with a known owner is not taken over by the first stranger who uses it.
        (1, Some(claim)) if pinned.is_none() || trusted.contains(&claim.node) => {
            Verdict::Agreed((*claim).clone())
        }
        _ => Verdict::Disputed(claims.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(node: u8, hash: u8) -> Claimant {
        Claimant {
            node: NodeId::from_bytes([node; 32]),
            hash: ContentHash::from_bytes([hash; 32]),
            kind: ContentKind::File,
            size: 1,
        }
    }

    #[test]
    fn owners_before_trusted_before_agreement() {
        let nobody = BTreeSet::new();
        let trusted = BTreeSet::from([NodeId::from_bytes([2; 32])]);
        let owner = Some(NodeId::from_bytes([3; 32]));
        let same = [claim(1, 7), claim(2, 7)];
        let different = [claim(1, 7), claim(2, 8), claim(3, 9)];
        assert_eq!(judge(&[], None, &nobody), Verdict::Nobody);
        assert_eq!(judge(&same, None, &nobody), Verdict::Agreed(claim(1, 7)));
        assert_eq!(
            judge(&different, None, &nobody),
            Verdict::Disputed(different.to_vec())
        );
        assert_eq!(
            judge(&different, None, &trusted),
            Verdict::Agreed(claim(2, 8))
        );
        assert_eq!(
            judge(&different, owner, &trusted),
            Verdict::Agreed(claim(3, 9))
        );
        assert_eq!(
            judge(&same, owner, &nobody),
            Verdict::Disputed(same.to_vec())
        );
    }
}
