//! Sets of chunk or group numbers.

/// A set of numbers below a fixed bound, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberSet {
    words: Vec<u64>,
    bound: u64,
    count: u64,
}

impl NumberSet {
    /// The empty set of numbers below `bound`.
    pub fn empty(bound: u64) -> Self {
        let words = usize::try_from(bound.div_ceil(64)).unwrap_or(usize::MAX);
        Self {
            words: vec![0; words],
            bound,
            count: 0,
        }
    }

    /// All numbers below `bound`.
    pub fn full(bound: u64) -> Self {
        let mut set = Self::empty(bound);
        set.words.fill(u64::MAX);
        if let (Some(last), 1..) = (set.words.last_mut(), bound % 64) {
            *last = (1 << (bound % 64)) - 1;
        }
        set.count = bound;
        set
    }

    /// One more than the largest number that may be in the set.
    pub const fn bound(&self) -> u64 {
        self.bound
    }

    /// How many numbers are in the set.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether every number below the bound is in the set.
    pub const fn is_full(&self) -> bool {
        self.count == self.bound
    }

    /// Whether `number` is in the set; numbers from the bound on never are.
    pub fn contains(&self, number: u64) -> bool {
        self.word(number)
            .is_some_and(|word| self.words[word] >> (number % 64) & 1 == 1)
    }

    /// Adds a number; whether it is new. Numbers from the bound on are not added.
    pub fn insert(&mut self, number: u64) -> bool {
        let Some(word) = self.word(number) else {
            return false;
        };
        let bit = 1 << (number % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// Removes a number; whether it was there.
    pub fn remove(&mut self, number: u64) -> bool {
        let there = self.contains(number);
        if let (true, Some(word)) = (there, self.word(number)) {
            self.words[word] &= !(1 << (number % 64));
            self.count -= 1;
        }
        there
    }

    /// The smallest number from `from` on that is in the set.
    pub fn next_present(&self, from: u64) -> Option<u64> {
        self.next_bit(from, |word| word)
    }

    /// The smallest number from `from` on, below the bound, that is not in the set.
    pub fn next_absent(&self, from: u64) -> Option<u64> {
        self.next_bit(from, |word| !word)
    }

    /// The smallest number from `from` on that is in both sets.
    pub fn next_in_both(&self, other: &Self, from: u64) -> Option<u64> {
        let first = self.word(from)?;
        let mut mask = u64::MAX << (from % 64);
        for (index, (ours, theirs)) in self.words.iter().zip(&other.words).enumerate().skip(first) {
            let bits = ours & theirs & mask;
            if bits != 0 {
                return Some(index as u64 * 64 + u64::from(bits.trailing_zeros()));
            }
            mask = u64::MAX;
        }
        None
    }

    /// The numbers in the set, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::successors(self.next_present(0), |last| self.next_present(last + 1))
    }

    fn next_bit(&self, from: u64, view: impl Fn(u64) -> u64) -> Option<u64> {
        let first = self.word(from)?;
        let mut mask = u64::MAX << (from % 64);
        for (index, word) in self.words.iter().enumerate().skip(first) {
            let bits = view(*word) & mask;
            if bits != 0 {
                let number = index as u64 * 64 + u64::from(bits.trailing_zeros());
                return (number < self.bound).then_some(number);
            }
            mask = u64::MAX;
        }
        None
    }

    fn word(&self, number: u64) -> Option<usize> {
        (number < self.bound).then_some(usize::try_from(number / 64).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set(bound in 0_u64..300, numbers in proptest::collection::vec((0_u64..320, any::<bool>()), 0..200)) {
            let (mut set, mut model) = (NumberSet::empty(bound), BTreeSet::new());
            for (number, add) in numbers {
                if add {
                    prop_assert_eq!(set.insert(number), number < bound && model.insert(number));
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            prop_assert!(set.iter().eq(model.iter().copied()));
            for from in 0..bound + 2 {
                prop_assert_eq!(set.next_present(from), model.range(from..).next().copied());
                prop_assert_eq!(set.next_absent(from), (from..bound).find(|n| !model.contains(n)));
            }
        }

        #[test]
        fn common_numbers_are_found(a in proptest::collection::btree_set(0_u64..200, 0..60), b in proptest::collection::btree_set(0_u64..300, 0..60)) {
            let (mut ours, mut theirs) = (NumberSet::empty(200), NumberSet::empty(300));
            a.iter().for_each(|n| { ours.insert(*n); });
            b.iter().for_each(|n| { theirs.insert(*n); });
            for from in 0..210 {
                prop_assert_eq!(ours.next_in_both(&theirs, from), a.intersection(&b).find(|n| **n >= from).copied());
            }
        }

        #[test]
        fn full_sets_are_full(bound in 0_u64..300) {
            let set = NumberSet::full(bound);
            prop_assert!(set.is_full() && set.next_absent(0).is_none());
            prop_assert!(set.iter().eq(0..bound));
        }
    }
}
