//! What was written for a time to come.

use super::{Field, Node, field_weight};
use crate::value::{Key, Soul, State, Value};
use std::{
    collections::{BTreeMap, btree_map},
    time::Duration,
};

/// How much of the future is kept.
#[derive(Debug, Clone)]
pub struct DeferredConfig {
    /// How far ahead of one's own clock a state may be. Default: 1 day, as much as a clock is wrong that shows the wrong date or time zone.
    pub horizon: Duration,
    /// How many fields are kept. Default: 10,000.
    pub max_fields: usize,
    /// How many bytes of memory they may take. Default: 4 MiB.
    pub max_bytes: usize,
}

impl Default for DeferredConfig {
    fn default() -> Self {
        Self {
            horizon: Duration::from_secs(24 * 60 * 60),
            max_fields: 10_000,
            max_bytes: 4 << 20,
        }
    }
}

impl DeferredConfig {
    /// These bytes, if they may be taken.
    const fn room_for(&self, bytes: usize) -> Result<usize, NotDeferred> {
        if bytes <= self.max_bytes {
            Ok(bytes)
        } else {
            Err(NotDeferred::Full)
        }
    }
}

/// Fields that wait for their time, within bounds.
#[derive(Debug, Default)]
pub struct Deferred {
    config: DeferredConfig,
    /// Ordered by when they are due. All states of a field are kept: each is shown in its time.
    waiting: BTreeMap<(State, Soul, Key), Value>,
    bytes: usize,
}

impl Deferred {
    /// Nothing yet.
    pub const fn new(config: DeferredConfig) -> Self {
        Self {
            config,
            waiting: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Keeps this field until its time; what is kept already is kept once. What is due already is kept too, until
    /// [`due`](Self::due) is asked.
    pub fn hold(
        &mut self,
        clock: State,
        soul: &Soul,
        key: Key,
        field: Field,
    ) -> Result<(), NotDeferred> {
        let ahead = field.state.get() - clock.get();
        let horizon = self.config.horizon;
        if ahead > horizon.as_secs_f64() * 1000.0 {
            return Err(NotDeferred::TooFarAhead { ahead, horizon });
        }
        let is_room = self.waiting.len() < self.config.max_fields;
        let weight = weight(soul, &key, &field);
        match self.waiting.entry((field.state, soul.clone(), key)) {
            btree_map::Entry::Occupied(known) if field.value.json_order(known.get()).is_le() => {}
            btree_map::Entry::Occupied(mut known) => {
                let others = self.bytes - known.get().weight();
                self.bytes = self.config.room_for(others + field.value.weight())?;
                known.insert(field.value);
            }
            btree_map::Entry::Vacant(place) if is_room => {
                self.bytes = self.config.room_for(self.bytes + weight)?;
                place.insert(field.value);
            }
            btree_map::Entry::Vacant(_) => return Err(NotDeferred::Full),
        }
        Ok(())
    }

    /// Takes what is due, one node a soul. Merge it like what comes in.
    pub fn due(&mut self, clock: State) -> Vec<Node> {
        let mut nodes: BTreeMap<Soul, Node> = BTreeMap::new();
        while let Some(first) = self
            .waiting
            .first_entry()
            .filter(|first| first.key().0 <= clock)
        {
            let ((state, soul, key), value) = first.remove_entry();
            let field = Field { value, state };
            self.bytes -= weight(&soul, &key, &field);
            let node = nodes
                .entry(soul)
                .or_insert_with_key(|soul| Node::new(soul.clone()));
            // States ascend, so a later write of the same field replaces an earlier one, as the merge would.
            node.fields.insert(key, field);
        }
        nodes.into_values().collect()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<State> {
        self.waiting
            .first_key_value()
            .map(|((state, ..), _)| *state)
    }

    /// About how many bytes of memory they take; 0 when none waits.
    pub const fn weight(&self) -> usize {
        self.bytes
    }

    /// How many fields wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn weight(soul: &Soul, key: &Key, field: &Field) -> usize {
    soul.weight() + field_weight(key, field)
}

/// Why a field of a time to come is refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NotDeferred {
    /// Its time is too far ahead.
    #[error("written {:.0} s in the future, and at most {} s are waited for: set the clock of the writer", .ahead / 1000.0, .horizon.as_secs())]
    TooFarAhead {
        /// By how many milliseconds it is ahead.
        ahead: f64,
        /// How far ahead would do.
        horizon: Duration,
    },
    /// Too much waits already.
    #[error(
        "too much is waiting for its time already: set the clock of the writer, or write it again later"
    )]
    Full,
}
