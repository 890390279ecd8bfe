//! Which groups a peer holds.

use crate::set::NumberSet;

/// What a peer said that it holds, less what it then refused.
#[derive(Debug, Clone, Default)]
pub(super) enum Holding {
    /// Nothing, or it has not said yet.
    #[default]
    Nothing,
    /// Every group.
    All,
    /// These groups.
    Some(NumberSet),
}

impl Holding {
    pub(super) fn has(&self, group: u64) -> bool {
        match self {
            Self::Nothing => false,
            Self::All => true,
            Self::Some(groups) => groups.contains(group),
        }
    }

    /// The smallest group from `from` on that is in `open` and held.
    pub(super) fn next_of(&self, open: &NumberSet, from: u64) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::All => open.next_present(from),
            Self::Some(groups) => open.next_in_both(groups, from),
        }
    }

    /// Adds a group; whether that is news. `groups` is how many there are in all.
    pub(super) fn gain(&mut self, group: u64, groups: u64) -> bool {
        match self {
            Self::Nothing => {
                let mut held = NumberSet::empty(groups);
                let news = held.insert(group);
                *self = Self::Some(held);
                news
            }
            Self::All => false,
            Self::Some(held) => held.insert(group),
        }
    }

    /// Takes a group away. `groups` is how many there are in all.
    pub(super) fn lose(&mut self, group: u64, groups: u64) {
        if matches!(self, Self::All) {
            *self = Self::Some(NumberSet::full(groups));
        }
        if let Self::Some(held) = self {
            held.remove(group);
        }
    }
}
