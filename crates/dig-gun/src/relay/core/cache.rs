//! The nodes that are held in memory.

use crate::{
    graph::{Merged, Node, Verdict, decide, field_weight},
    value::{Soul, State},
};
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// What an entry takes beside its node: its places here, and the leaf of the map of its fields, which has room for eleven.
const ENTRY: usize = 720;

/// Whole nodes by soul, within a bound. What was not used for long goes first, by the clock algorithm; what is not yet
/// durable stays, for the store would give an old version of it. A node without fields is one that the store has not.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<Soul, Entry>,
    /// Every soul once, those to look at first in front.
    ring: VecDeque<Soul>,
    bytes: usize,
    limit: usize,
    /// Nodes that are no longer as the store has them, and go when it has their last change.
    distrusted: Vec<Soul>,
}

/// What a node would be after a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    /// Whether it would be another one, now or in a time to come.
    pub(super) changes: bool,
    /// Whether there was nothing of it before.
    pub(super) new: bool,
    /// Its fields then.
    pub(super) fields: usize,
    /// Its bytes then, at most.
    pub(super) bytes: usize,
}

#[derive(Debug)]
struct Entry {
    node: Arc<Node>,
    bytes: usize,
    used: bool,
    /// The commit that holds the last change.
    commit: u64,
}

impl Cache {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            ring: VecDeque::new(),
            bytes: 0,
            limit,
            distrusted: Vec::new(),
        }
    }

    /// The node of this soul, if it is in memory.
    pub(super) fn get(&mut self, soul: &Soul) -> Option<&Arc<Node>> {
        let entry = self.entries.get_mut(soul)?;
        entry.used = true;
        Some(&entry.node)
    }

    /// Whether the node of this soul is in memory.
    pub(super) fn holds(&self, soul: &Soul) -> bool {
        self.entries.contains_key(soul)
    }

    /// What the node would be if that were merged into it.
    pub(super) fn assess(&self, clock: State, incoming: &Node) -> Growth {
        let known = self.entries.get(&incoming.soul);
        let fields = known.map(|entry| &entry.node.fields);
        let mut growth = Growth {
            changes: false,
            new: fields.is_none_or(BTreeMap::is_empty),
            fields: fields.map_or(0, BTreeMap::len),
            bytes: known.map_or(0, |entry| entry.bytes),
        };
        for (key, field) in &incoming.fields {
            let old = fields.and_then(|fields| fields.get(key));
            if !matches!(
                decide(clock, old, field),
                Verdict::Take | Verdict::Future(_)
            ) {
                continue;
            }
            growth.changes = true;
            growth.fields += usize::from(old.is_none());
            let less = old.map_or(0, |old| field_weight(key, old));
            growth.bytes = (growth.bytes + field_weight(key, field)).saturating_sub(less);
        }
        growth
    }

    /// Holds what was read from the store, unless the node is here already.
    pub(super) fn insert(&mut self, node: Node) {
        if self.entries.contains_key(&node.soul) {
            return;
        }
        let bytes = node.weight() + ENTRY;
        let soul = node.soul.clone();
        self.bytes += bytes;
        self.ring.push_back(soul.clone());
        let entry = Entry {
            node: Arc::new(node),
            bytes,
            used: false,
            commit: 0,
        };
        self.entries.insert(soul, entry);
    }

    /// Merges into the node, which must be in memory; what changes belongs to that commit.
    pub(super) fn merge(&mut self, clock: State, incoming: &Node, commit: u64) -> Option<Merged> {
        let entry = self.entries.get_mut(&incoming.soul)?;
        let before = weight_of(&entry.node, incoming);
        let merged = Arc::make_mut(&mut entry.node).merge(clock, incoming);
        if !merged.changed.fields.is_empty() {
            let after = weight_of(&entry.node, incoming);
            entry.bytes = (entry.bytes + after).saturating_sub(before);
            self.bytes = (self.bytes + after).saturating_sub(before);
            entry.commit = commit;
        }
        entry.used = true;
        Some(merged)
    }

    /// Forgets a node that is no longer as the store has it, as soon as no commit after `durable` has a change of it.
    pub(super) fn distrust(&mut self, soul: &Soul, durable: u64) {
        match self.entries.get(soul) {
            Some(entry) if entry.commit > durable => self.distrusted.push(soul.clone()),
            Some(_) => self.forget(soul),
            None => {}
        }
    }

    /// Forgets those nodes whose last change is durable, or failed, by now.
    pub(super) fn forget_distrusted(&mut self, durable: u64) {
        for soul in std::mem::take(&mut self.distrusted) {
            self.distrust(&soul, durable);
        }
    }

    fn forget(&mut self, soul: &Soul) {
        if let Some(entry) = self.entries.remove(soul) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.ring.retain(|other| other != soul);
        }
    }

    /// Lets go of what is too much, but for what is in commits after `durable`.
    pub(super) fn shrink(&mut self, durable: u64) {
        // Twice around: the first time, marks go.
        let mut left = self.ring.len() * 2;
        while self.bytes > self.limit && left > 0 {
            left -= 1;
            let Some(soul) = self.ring.pop_front() else {
                return;
            };
            let Some(entry) = self.entries.get_mut(&soul) else {
                continue;
            };
            if entry.used || entry.commit > durable {
                entry.used = false;
                self.ring.push_back(soul);
                continue;
            }
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            self.entries.remove(&soul);
        }
    }

    /// Bytes of all nodes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// What the fields of `node` take that `other` has too.
fn weight_of(node: &Node, other: &Node) -> usize {
    let fields = other.fields.keys().filter_map(|key| {
        let field = node.fields.get(key)?;
        Some(field_weight(key, field))
    });
    fields.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{Key, Value};

    fn soul(name: &str) -> Soul {
        Soul::new(name).unwrap()
    }

    fn node(name: &str, text: &str, state: f64) -> Node {
        let state = State::new(state).unwrap();
        Node::new(soul(name)).with(Key::new("k").unwrap(), Value::text(text), state)
    }

    const LATER: f64 = 1e9;

    fn clock() -> State {
        State::new(LATER).unwrap()
    }

    #[test]
    fn bytes_are_those_of_the_nodes() {
        let mut cache = Cache::new(usize::MAX);
        cache.insert(node("a", "short", 1.0));
        cache.insert(Node::new(soul("b")));
        let long = node("a", &"long".repeat(1000), 2.0);
        cache.merge(clock(), &long, 1).unwrap();
        cache.merge(clock(), &node("a", "older", 1.5), 2).unwrap();
        let expected: usize = ["a", "b"]
            .iter()
            .map(|name| cache.get(&soul(name)).unwrap().weight() + ENTRY)
            .sum();
        assert_eq!(cache.bytes(), expected);
        cache.forget(&soul("a"));
        cache.forget(&soul("a"));
        cache.forget(&soul("b"));
        assert_eq!((cache.bytes(), cache.len(), cache.ring.len()), (0, 0, 0));
    }

    #[test]
    fn what_is_not_durable_stays() {
        let mut cache = Cache::new(0);
        cache.insert(Node::new(soul("kept")));
        cache.insert(Node::new(soul("gone")));
        cache.merge(clock(), &node("kept", "x", 1.0), 7).unwrap();
        cache.shrink(6);
        assert!(cache.holds(&soul("kept")) && !cache.holds(&soul("gone")));
        cache.shrink(7);
        assert!(!cache.holds(&soul("kept")));
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn what_was_used_goes_last() {
        let mut cache = Cache::new(10 * (ENTRY + 100));
        for number in 0..1000 {
            cache.insert(Node::new(soul(&format!("soul {number}"))));
            assert!(
                number == 0 || cache.get(&soul("soul 0")).is_some(),
                "{number}"
            );
            cache.shrink(0);
        }
        assert!(cache.bytes() <= cache.limit);
    }
}
