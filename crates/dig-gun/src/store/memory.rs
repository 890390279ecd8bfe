//! A store that lasts as long as its process.

use super::{Storage, StoreConfig, StoreError, Usage, config, size};
use crate::{
    graph::{Field, Node},
    lex::{Lex, Range},
    value::{Key, Soul},
};
use dig_types::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::{Bound, ControlFlow},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Keeps nodes in memory, within the same bounds as one on disk: for tests, and for relays that need not remember.
#[derive(Debug)]
pub struct MemoryStorage {
    config: StoreConfig,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    nodes: BTreeMap<Soul, Record>,
    /// Every soul by when it was written, and by when it came: the order in which they go.
    ages: BTreeSet<(Timestamp, u64, Soul)>,
    usage: Usage,
    next_id: u64,
}

#[derive(Debug)]
struct Record {
    node: Node,
    id: u64,
    written: Timestamp,
    bytes: u64,
}

impl MemoryStorage {
    /// An empty one with these bounds.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config,
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new(StoreConfig::default())
    }
}

impl Storage for MemoryStorage {
    fn scan(
        &self,
        soul: &Soul,
        keys: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Key, Field) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        let kept = self.kept();
        let Some(record) = kept.nodes.get(soul) else {
            return Ok(false);
        };
        if let Some(bounds) = bounds(keys, Key::bound) {
            let fields = record.node.fields.range(bounds);
            let fields = fields.map(|(key, field)| (key.clone(), field.clone()));
            hand_out(fields, reverse, |(key, field)| take(key, field));
        }
        Ok(true)
    }

    fn souls(
        &self,
        range: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Soul) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        if let Some(bounds) = bounds(range, Soul::bound) {
            let kept = self.kept();
            let souls = kept.nodes.range(bounds).map(|(soul, _)| soul.clone());
            hand_out(souls, reverse, take);
        }
        Ok(())
    }

    fn commit(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        let mut kept = self.kept();
        let mut in_order: Vec<&Node> = changes
            .iter()
            .filter(|change| !change.fields.is_empty())
            .collect();
        // Of one age, souls go in their order.
        in_order.sort_by(|a, b| a.soul.cmp(&b.soul));
        for change in &in_order {
            kept.keep(change, at);
        }
        Ok(kept.make_room(&self.config, &in_order))
    }

    fn expire(&self, now: Timestamp, budget: usize) -> Result<Vec<Soul>, StoreError> {
        let Some(after) = self.config.expire_after else {
            return Ok(Vec::new());
        };
        let mut kept = self.kept();
        let old: Vec<Soul> = kept
            .ages
            .iter()
            .take_while(|(written, ..)| *written + after <= now)
            .take(budget)
            .map(|(.., soul)| soul.clone())
            .collect();
        for soul in &old {
            kept.forget(soul);
        }
        Ok(old)
    }

    fn usage(&self) -> Usage {
        self.kept().usage
    }
}

/// The range's bounds as names; `None` if nothing can be between them.
fn bounds<Name>(range: &Lex, name: impl Fn(&str) -> Name) -> Option<(Bound<Name>, Bound<Name>)> {
    let Range { from, to } = range.range()?;
    Some((from.map(|from| name(&from)), to.map(|to| name(&to))))
}

fn hand_out<T>(
    mut these: impl DoubleEndedIterator<Item = T>,
    reverse: bool,
    mut take: impl FnMut(T) -> ControlFlow<()>,
) {
    // Told to stop: nothing remains to be done.
    let _ = if reverse {
        these.by_ref().rev().try_for_each(&mut take)
    } else {
        these.try_for_each(&mut take)
    };
}

impl Kept {
    fn keep(&mut self, change: &Node, at: Timestamp) {
        let soul = &change.soul;
        if !self.nodes.contains_key(soul) {
            let record = Record {
                node: Node::new(soul.clone()),
                id: self.next_id,
                written: at,
                bytes: size::of_soul(soul),
            };
            self.next_id += 1;
            self.usage.souls += 1;
            self.usage.bytes += record.bytes;
            self.ages.insert((at, record.id, soul.clone()));
            self.nodes.insert(soul.clone(), record);
        }
        let Some(record) = self.nodes.get_mut(soul) else {
            return;
        };
        if config::is_newer(record.written, at) {
            self.ages.remove(&(record.written, record.id, soul.clone()));
            self.ages.insert((at, record.id, soul.clone()));
            record.written = at;
        }
        let before = record.bytes;
        for (key, field) in &change.fields {
            let old = record.node.fields.insert(key.clone(), field.clone());
            record.bytes += size::of_field(key, field);
            record.bytes -= old.map_or(0, |old| size::of_field(key, &old));
        }
        self.usage.bytes = self.usage.bytes + record.bytes - before;
    }

    fn make_room(&mut self, config: &StoreConfig, changes: &[&Node]) -> Vec<Soul> {
        let mut gone = Vec::new();
        if !config.is_exceeded_by(self.usage) {
            return gone;
        }
        let spared: BTreeSet<&Soul> = changes.iter().map(|change| &change.soul).collect();
        while config.is_exceeded_by(self.usage) {
            let oldest = self
                .ages
                .iter()
                .map(|(.., soul)| soul)
                .find(|soul| !spared.contains(soul));
            let Some(oldest) = oldest.cloned() else {
                break;
            };
            self.forget(&oldest);
            gone.push(oldest);
        }
        gone
    }

    fn forget(&mut self, soul: &Soul) {
        if let Some(record) = self.nodes.remove(soul) {
            self.ages.remove(&(record.written, record.id, soul.clone()));
            self.usage.souls -= 1;
            self.usage.bytes -= record.bytes;
        }
    }
}
