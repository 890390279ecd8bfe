//! What is known of the subscribed nodes.

use crate::{
    graph::{Merged, Node},
    lex::{Query, SoulQuery},
    value::{Soul, State},
};
use std::collections::BTreeMap;

/// Nodes within a bound of memory. Over it, those are forgotten that changed least recently.
#[derive(Debug)]
pub(super) struct Known {
    max_bytes: usize,
    /// An upper bound: what replaces something is counted beside it until the next clearing.
    bytes: usize,
    nodes: BTreeMap<Soul, Entry>,
    changes: u64,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    changed: u64,
}

impl Known {
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            nodes: BTreeMap::new(),
            changes: 0,
        }
    }

    /// Takes over what wins.
    pub(super) fn merge(&mut self, clock: State, incoming: &Node) -> Merged {
        let soul = &incoming.soul;
        let mut fresh = None;
        let entry = match self.nodes.get_mut(soul) {
            Some(entry) => entry,
            None => fresh.insert(Entry {
                node: Node::new(soul.clone()),
                changed: 0,
            }),
        };
        let merged = entry.node.merge(clock, incoming);
        if !merged.changed.fields.is_empty() {
            self.changes += 1;
            entry.changed = self.changes;
            self.bytes += merged.changed.weight();
            if let Some(entry) = fresh {
                self.nodes.insert(soul.clone(), entry);
            }
            if self.bytes > self.max_bytes {
                self.clear();
            }
        }
        merged
    }

    /// Forgets as much as makes a quarter of the room free.
    fn clear(&mut self) {
        let mut by_age: BTreeMap<u64, (Soul, usize)> = BTreeMap::new();
        self.bytes = 0;
        for (soul, entry) in &self.nodes {
            let weight = entry.node.weight();
            self.bytes += weight;
            by_age.insert(entry.changed, (soul.clone(), weight));
        }
        for (soul, weight) in by_age.into_values() {
            if self.bytes <= self.max_bytes / 4 * 3 {
                return;
            }
            self.nodes.remove(&soul);
            self.bytes -= weight;
        }
    }

    /// What is known of what this asks for, whatever its budget.
    pub(super) fn matching(&self, query: &Query) -> Vec<Node> {
        let part = |entry: &Entry| {
            let fields = entry.node.fields.iter();
            let node = Node {
                soul: entry.node.soul.clone(),
                fields: fields
                    .filter(|(key, _)| query.matches_key(key))
                    .map(|(key, field)| (key.clone(), field.clone()))
                    .collect(),
            };
            (!node.fields.is_empty()).then_some(node)
        };
        match &query.soul {
            SoulQuery::One(soul) => self.nodes.get(soul).and_then(part).into_iter().collect(),
            SoulQuery::Many(_) => {
                let matching = self
                    .nodes
                    .iter()
                    .filter(|(soul, _)| query.matches_soul(soul));
                matching.filter_map(|(_, entry)| part(entry)).collect()
            }
        }
    }

    /// Forgets what this asks for, except the nodes that are still wanted.
    pub(super) fn retain(&mut self, query: &Query, wanted: impl Fn(&Soul) -> bool) {
        match &query.soul {
            SoulQuery::One(soul) if wanted(soul) => {}
            SoulQuery::One(soul) => {
                if let Some(entry) = self.nodes.remove(soul) {
                    self.bytes = self.bytes.saturating_sub(entry.node.weight());
                }
            }
            SoulQuery::Many(_) => {
                self.nodes.retain(|soul, _| wanted(soul));
                self.bytes = self.nodes.values().map(|entry| entry.node.weight()).sum();
            }
        }
    }
}
