//! Nodes and graphs, and how two versions of them become one.
//!
//! Gun calls its rule HAM. For each field alone, with what is known, what comes in, and the time by one's own clock:
//!
//! 1. What is written later than now waits until then ([`Deferred`]).
//! 2. The later one wins.
//! 3. Of two written at one time the one with the greater JSON text wins ([`Value::json_order`]).
//!
//! What remains is the greatest of all writes in the order of (state, JSON text), so merging is commutative, associative and
//! idempotent: whoever got the same writes, in any order and however often, holds the same. Nothing is deleted; a tombstone
//! is a [`Value::Null`]. A write that is refused for being too far ahead is as good as one that never came: its writer has to be told.
//!
//! ```
//! use dig_gun::{
//!     graph::{Graph, Node},
//!     value::{Key, Soul, State, Value},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (soul, name) = (Soul::new("mark")?, Key::new("name")?);
//! let at = |milliseconds| State::new(milliseconds).ok_or("not finite");
//! let mut graph = Graph::new();
//! let now = at(1_700_000_000_000.0)?;
//! let first = Node::new(soul.clone()).with(name.clone(), Value::text("Mark"), now);
//! let at_once = Node::new(soul.clone()).with(name.clone(), Value::text("Marc"), now);
//! for write in [&first, &at_once, &first] {
//!     graph.merge(now, write);
//! }
//! let held = graph.get(&soul).and_then(|node| node.fields.get(&name));
//! assert_eq!(held.map(|field| &field.value), Some(&Value::text("Mark")), "k is behind c");
//! # Ok(())
//! # }
//! ```

mod deferred;
mod json;
#[cfg(test)]
pub(crate) mod samples;

pub use deferred::{Deferred, DeferredConfig, NotDeferred};
pub use json::{InvalidData, set_soul};

use crate::{
    lex::{Lex, Query, Range, SoulQuery},
    value::{Key, Soul, State, Value},
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
};

/// A value and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// What.
    pub value: Value,
    /// When.
    pub state: State,
}

/// A node, or some fields of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub soul: Soul,
    /// Its fields.
    pub fields: BTreeMap<Key, Field>,
}

/// What is to be done with a field that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is new, or wins: it replaces what is known.
    Take,
    /// It is what is known.
    Same,
    /// Something later is known.
    Older,
    /// Another value of the same state is known, and wins.
    Lesser,
    /// It is for a time to come, and waits until then whatever is known.
    Future(State),
}

/// Compares what came in with what is known, where the clock shows `clock`.
pub fn decide(clock: State, known: Option<&Field>, incoming: &Field) -> Verdict {
    if incoming.state > clock {
        return Verdict::Future(incoming.state);
    }
    let Some(known) = known else {
        return Verdict::Take;
    };
    match incoming.state.cmp(&known.state) {
        Ordering::Greater => Verdict::Take,
        Ordering::Less => Verdict::Older,
        Ordering::Equal => match incoming.value.json_order(&known.value) {
            Ordering::Greater => Verdict::Take,
            Ordering::Equal => Verdict::Same,
            Ordering::Less => Verdict::Lesser,
        },
    }
}

/// What a merge did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// The fields that were taken; all others stayed as they were.
    pub changed: Node,
    /// The fields that wait for their time ([`Verdict::Future`]), in no place yet: they belong into [`Deferred`].
    pub deferred: Vec<(Key, Field)>,
}

impl Node {
    /// A node without fields.
    pub const fn new(soul: Soul) -> Self {
        Self {
            soul,
            fields: BTreeMap::new(),
        }
    }

    /// The same with one more field, which replaces one of that key.
    #[must_use]
    pub fn with(mut self, key: Key, value: Value, state: State) -> Self {
        self.fields.insert(key, Field { value, state });
        self
    }

    /// Takes over what wins. `incoming` is of the same soul; of another one nothing is taken.
    pub fn merge(&mut self, clock: State, incoming: &Self) -> Merged {
        let mut merged = Merged {
            changed: Self::new(self.soul.clone()),
            deferred: Vec::new(),
        };
        if incoming.soul != self.soul {
            return merged;
        }
        for (key, field) in &incoming.fields {
            let known = self.fields.get_mut(key);
            match decide(clock, known.as_deref(), field) {
                Verdict::Take => {
                    match known {
                        Some(known) => known.clone_from(field),
                        None => drop(self.fields.insert(key.clone(), field.clone())),
                    }
                    merged.changed.fields.insert(key.clone(), field.clone());
                }
                Verdict::Future(_) => merged.deferred.push((key.clone(), field.clone())),
                Verdict::Same | Verdict::Older | Verdict::Lesser => {}
            }
        }
        merged
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let fields = self.fields.iter();
        self.soul.weight()
            + fields
                .map(|(key, field)| field_weight(key, field))
                .sum::<usize>()
    }
}

/// About how many bytes of memory one field of a node takes.
pub fn field_weight(key: &Key, field: &Field) -> usize {
    key.weight() + size_of::<State>() + field.value.weight()
}

/// Nodes by soul. It grows without bound: for tests, and for whoever bounds what goes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: BTreeMap<Soul, Node>,
}

impl Graph {
    /// An empty graph.
    pub const fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
        }
    }

    /// Takes over what wins. A node of which nothing is taken is not made.
    pub fn merge(&mut self, clock: State, incoming: &Node) -> Merged {
        match self.nodes.entry(incoming.soul.clone()) {
            btree_map::Entry::Occupied(known) => known.into_mut().merge(clock, incoming),
            btree_map::Entry::Vacant(place) => {
                let mut node = Node::new(incoming.soul.clone());
                let merged = node.merge(clock, incoming);
                if !node.fields.is_empty() {
                    place.insert(node);
                }
                merged
            }
        }
    }

    /// The node of this soul.
    pub fn get(&self, soul: &Soul) -> Option<&Node> {
        self.nodes.get(soul)
    }

    /// Removes the node of this soul. This is no deletion for other peers: merging may bring it back.
    pub fn remove(&mut self, soul: &Soul) -> Option<Node> {
        self.nodes.remove(soul)
    }

    /// What a query asks for, of each node that has some of it; in the order of souls, or backwards if the query is.
    pub fn select(&self, query: &Query) -> Vec<Node> {
        let mut allowance = query.allowance();
        let mut selected = Vec::new();
        let mut add = |node: &Node| {
            let node = query.select_within(node, &mut allowance);
            if !node.fields.is_empty() {
                selected.push(node);
            }
            !allowance.is_spent()
        };
        match &query.soul {
            SoulQuery::One(soul) => {
                self.nodes.get(soul).map(add);
            }
            SoulQuery::Many(lex) => {
                let mut nodes = self.souls_within(lex);
                let mut next = || {
                    if query.reverse {
                        nodes.next_back()
                    } else {
                        nodes.next()
                    }
                };
                while next().is_some_and(&mut add) {}
            }
        }
        selected
    }

    fn souls_within(&self, lex: &Lex) -> impl DoubleEndedIterator<Item = &Node> {
        let within = lex.range().map(|Range { from, to }| {
            let bounds = (
                from.map(|from| Soul::bound(&from)),
                to.map(|to| Soul::bound(&to)),
            );
            self.nodes.range(bounds).map(|(_, node)| node)
        });
        within.into_iter().flatten()
    }

    /// All nodes, in the order of their souls.
    pub fn nodes(&self) -> impl DoubleEndedIterator<Item = &Node> {
        self.nodes.values()
    }

    /// All nodes, in the order of their souls.
    pub fn into_nodes(self) -> impl DoubleEndedIterator<Item = Node> {
        self.nodes.into_values()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

#[cfg(test)]
mod tests;
