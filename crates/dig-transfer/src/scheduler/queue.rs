//! What is missing, what of it nobody was asked for, and who could supply it.

use super::holding::Holding;
use crate::{
    chunk::{GROUP_CHUNKS, Run},
    set::NumberSet,
};
use std::ops::Range;

/// Classes told apart; groups of further combinations of holders share class 0.
const MAX_CLASSES: usize = 64;

/// Groups that the same peers hold, so far as they have free chunks.
#[derive(Debug)]
pub(super) struct Class {
    /// Which peers hold these groups, a bit for each slot. Class 0 is of mixed holders.
    pub(super) holders: u64,
    /// The groups with a chunk that nobody was asked for.
    open: NumberSet,
    /// Such chunks in all.
    pub(super) free: u64,
    /// Groups, also those without free chunks.
    members: u64,
}

/// Two bits a chunk, one byte a group, and one bit a group for each class.
#[derive(Debug)]
pub(super) struct Queue {
    missing: Vec<u16>,
    free: Vec<u16>,
    left: u64,
    first: usize,
    classes: Vec<Class>,
    class_of: Vec<u8>,
}

/// Chunk numbers fit `usize` here: a group index is at most 2^32 (the wire's limit).
fn index(group: u64) -> usize {
    usize::try_from(group).unwrap_or(usize::MAX)
}

fn bit(chunk: u64) -> u16 {
    1 << (chunk % GROUP_CHUNKS)
}

impl Queue {
    /// All of `missing` is missing, and free.
    pub(super) fn new(missing: &NumberSet) -> Self {
        let groups = missing.bound().div_ceil(GROUP_CHUNKS);
        let open = || NumberSet::empty(groups);
        let class = |open| Class {
            holders: 0,
            open,
            free: 0,
            members: 0,
        };
        let mut queue = Self {
            missing: vec![0; index(groups)],
            free: vec![0; index(groups)],
            left: 0,
            first: 0,
            classes: vec![
                class(open()),
                Class {
                    members: groups,
                    ..class(open())
                },
            ],
            class_of: vec![1; index(groups)],
        };
        for chunk in missing.iter() {
            queue.want(chunk);
        }
        queue
    }

    /// Chunks missing.
    pub(super) const fn left(&self) -> u64 {
        self.left
    }

    /// Groups in all.
    pub(super) fn groups(&self) -> u64 {
        self.missing.len() as u64
    }

    pub(super) fn is_missing(&self, chunk: u64) -> bool {
        self.missing
            .get(index(chunk / GROUP_CHUNKS))
            .is_some_and(|mask| mask & bit(chunk) != 0)
    }

    /// The lowest missing chunk.
    pub(super) fn first_missing(&mut self) -> Option<u64> {
        while *self.missing.get(self.first)? == 0 {
            self.first += 1;
        }
        Some(
            self.first as u64 * GROUP_CHUNKS + u64::from(self.missing[self.first].trailing_zeros()),
        )
    }

    /// The missing chunks from `from` on.
    pub(super) fn missing_from(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        let masks = self
            .missing
            .iter()
            .enumerate()
            .skip(index(from / GROUP_CHUNKS));
        let chunks = masks.flat_map(|(group, mask)| {
            let base = group as u64 * GROUP_CHUNKS;
            (0..GROUP_CHUNKS)
                .filter(move |at| mask >> at & 1 == 1)
                .map(move |at| base + at)
        });
        chunks.skip_while(move |chunk| *chunk < from)
    }

    /// Adds a chunk to what is missing; it is free.
    pub(super) fn want(&mut self, chunk: u64) {
        let group = index(chunk / GROUP_CHUNKS);
        let Some(mask) = self
            .missing
            .get_mut(group)
            .filter(|mask| **mask & bit(chunk) == 0)
        else {
            return;
        };
        *mask |= bit(chunk);
        self.left += 1;
        self.first = self.first.min(group);
        self.release(chunk);
    }

    /// A chunk is here; whether it was missing.
    pub(super) fn done(&mut self, chunk: u64) -> bool {
        if !self.is_missing(chunk) {
            return false;
        }
        self.take(Run {
            first: chunk,
            count: 1,
        });
        self.missing[index(chunk / GROUP_CHUNKS)] &= !bit(chunk);
        self.left -= 1;
        true
    }

    /// Somebody is asked for these chunks.
    pub(super) fn take(&mut self, run: Run) {
        for chunk in run.chunks() {
            let group = chunk / GROUP_CHUNKS;
            let Some(free) = self
                .free
                .get_mut(index(group))
                .filter(|free| **free & bit(chunk) != 0)
            else {
                continue;
            };
            *free &= !bit(chunk);
            let emptied = *free == 0;
            let class = &mut self.classes[usize::from(self.class_of[index(group)])];
            class.free -= 1;
            if emptied {
                class.open.remove(group);
            }
        }
    }

    /// Nobody is asked for this chunk any more.
    pub(super) fn release(&mut self, chunk: u64) {
        let group = chunk / GROUP_CHUNKS;
        if !self.is_missing(chunk) || self.free[index(group)] & bit(chunk) != 0 {
            return;
        }
        self.free[index(group)] |= bit(chunk);
        let class = &mut self.classes[usize::from(self.class_of[index(group)])];
        class.free += 1;
        class.open.insert(group);
    }

    /// States who holds a group.
    pub(super) fn set_holders(&mut self, group: u64, holders: u64) {
        let Some(&old) = self.class_of.get(index(group)) else {
            return;
        };
        if old != 0 && self.classes[usize::from(old)].holders == holders {
            return;
        }
        let class = self.class_with(holders);
        let free = u64::from(self.free[index(group)].count_ones());
        let (from, to) = (usize::from(old), usize::from(class));
        self.classes[from].members -= 1;
        self.classes[from].free -= free;
        self.classes[from].open.remove(group);
        self.classes[to].members += 1;
        self.classes[to].free += free;
        if free > 0 {
            self.classes[to].open.insert(group);
        }
        self.class_of[index(group)] = class;
    }

    fn class_with(&mut self, holders: u64) -> u8 {
        let known = self
            .classes
            .iter()
            .skip(1)
            .position(|class| class.members > 0 && class.holders == holders);
        let unused = || {
            self.classes
                .iter()
                .skip(1)
                .position(|class| class.members == 0)
        };
        if let Some(at) = known.or_else(unused) {
            self.classes[at + 1].holders = holders;
            return at as u8 + 1;
        }
        if self.classes.len() == MAX_CLASSES {
            return 0;
        }
        let open = NumberSet::empty(self.groups());
        self.classes.push(Class {
            holders,
            open,
            free: 0,
            members: 0,
        });
        self.classes.len() as u8 - 1
    }

    /// The classes that have free chunks, with their numbers.
    pub(super) fn open_classes(&self) -> impl Iterator<Item = (usize, &Class)> {
        self.classes
            .iter()
            .enumerate()
            .filter(|(_, class)| class.free > 0)
    }

    /// Whether a group is of this class.
    pub(super) fn is_in(&self, group: u64, class: usize) -> bool {
        let of = self.class_of.get(index(group));
        of.is_some_and(|of| usize::from(*of) == class)
    }

    /// Whether any chunk from `from` on is free.
    pub(super) fn has_free_from(&self, from: u64) -> bool {
        let bounds = from..self.groups() * GROUP_CHUNKS;
        !bounds.is_empty()
            && self
                .open_classes()
                .any(|(class, _)| self.run_in(class, &Holding::All, &bounds, 1).is_some())
    }

    /// The first free chunk whose group nobody holds.
    pub(super) fn first_without(&self, held: impl Fn(u64) -> bool) -> Option<u64> {
        let suspects = self
            .classes
            .iter()
            .enumerate()
            .filter(|(at, class)| *at == 0 || class.holders == 0);
        let lost = suspects.filter_map(|(_, class)| class.open.iter().find(|group| !held(*group)));
        lost.min()
            .map(|group| group * GROUP_CHUNKS + u64::from(self.free[index(group)].trailing_zeros()))
    }

    /// The lowest free run in a class that `holding` covers and that lies in `within`, at most `longest` chunks.
    pub(super) fn run_in(
        &self,
        class: usize,
        holding: &Holding,
        within: &Range<u64>,
        longest: u8,
    ) -> Option<Run> {
        let open = &self.classes[class].open;
        let mut group = holding.next_of(open, within.start / GROUP_CHUNKS)?;
        while group * GROUP_CHUNKS < within.end {
            if let Some(run) = self.run_of(group, within, longest) {
                return Some(run);
            }
            group = holding.next_of(open, group + 1)?;
        }
        None
    }

    /// The lowest free run of a group.
    pub(super) fn run_of(&self, group: u64, within: &Range<u64>, longest: u8) -> Option<Run> {
        let base = group * GROUP_CHUNKS;
        let start = within.start.saturating_sub(base).min(GROUP_CHUNKS);
        let end = within.end.saturating_sub(base).min(GROUP_CHUNKS);
        let inside = ((1_u32 << end) - 1) & !((1_u32 << start) - 1);
        let free = u32::from(*self.free.get(index(group))?) & inside;
        let at = free.trailing_zeros();
        let length = (free != 0).then(|| (free >> at).trailing_ones())?;
        Some(Run {
            first: base + u64::from(at),
            count: (length as u8).min(longest),
        })
    }
}
