//! Reading by query, in terms of [`Storage::scan`] and [`Storage::souls`].

use super::{Storage, StoreError};
use crate::{
    graph::Node,
    lex::{Allowance, KeyQuery, Lex, Query, SoulQuery},
    value::{Key, Soul},
};
use std::ops::ControlFlow::{self, Break, Continue};

/// Most nodes that one query looks at, and says that it was cut: one that asks for a key few nodes have would otherwise walk through the whole store.
const MOST_SOULS: usize = 10_000;

/// What a query found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Nodes with at least one field each.
    pub nodes: Vec<Node>,
    /// Whether it stopped for want of room, not because there was nothing more or the query wanted no more.
    pub cut: bool,
}

pub(super) fn load<S: Storage + ?Sized>(
    storage: &S,
    soul: &Soul,
) -> Result<Option<Node>, StoreError> {
    let mut node = Node::new(soul.clone());
    let known = storage.scan(soul, &Lex::default(), false, &mut |key, field| {
        node.fields.insert(key, field);
        Continue(())
    })?;
    Ok(known.then_some(node))
}

pub(super) fn load_fields<S: Storage + ?Sized>(
    storage: &S,
    soul: &Soul,
    keys: &[Key],
) -> Result<Option<Node>, StoreError> {
    let mut node = Node::new(soul.clone());
    for wanted in keys {
        let known = storage.scan(soul, &exactly(wanted), false, &mut |key, field| {
            node.fields.insert(key, field);
            Break(())
        })?;
        if !known {
            return Ok(None);
        }
    }
    Ok(Some(node))
}

pub(super) fn find<S: Storage + ?Sized>(
    storage: &S,
    query: &Query,
    max_bytes: usize,
) -> Result<Found, StoreError> {
    let mut finding = Finding {
        query,
        allowance: query.allowance(),
        room: max_bytes,
        found: Found::default(),
    };
    let souls = match &query.soul {
        SoulQuery::One(soul) => vec![soul.clone()],
        SoulQuery::Many(range) => finding.souls(storage, range)?,
    };
    for soul in souls {
        if finding.look_at(storage, soul)?.is_break() {
            break;
        }
    }
    Ok(finding.found)
}

/// A query being answered.
struct Finding<'a> {
    query: &'a Query,
    /// Not spent yet.
    allowance: Allowance,
    /// Bytes.
    room: usize,
    found: Found,
}

impl Finding<'_> {
    /// The souls to look at, in the order asked for.
    fn souls<S: Storage + ?Sized>(
        &mut self,
        storage: &S,
        range: &Lex,
    ) -> Result<Vec<Soul>, StoreError> {
        let mut souls = Vec::new();
        let mut room = self.room;
        let mut cut = false;
        // Of whole nodes each takes at least 1 of the budget.
        let wanted = match self.query.key {
            None => self.query.budget.map_or(1, |budget| budget.max(1) as usize),
            Some(_) => usize::MAX,
        };
        storage.souls(range, self.query.reverse, &mut |soul| {
            if souls.len() == wanted {
                return Break(());
            }
            let fits = souls.is_empty() || room >= soul.weight();
            if souls.len() == MOST_SOULS || !fits {
                cut = true;
                return Break(());
            }
            room = room.saturating_sub(soul.weight());
            souls.push(soul);
            Continue(())
        })?;
        self.found.cut = cut;
        Ok(souls)
    }

    /// Takes what is asked for of one node; breaks if nothing more can be taken of any.
    fn look_at<S: Storage + ?Sized>(
        &mut self,
        storage: &S,
        soul: Soul,
    ) -> Result<ControlFlow<()>, StoreError> {
        let one;
        let everything = Lex::default();
        let keys = match &self.query.key {
            None => &everything,
            Some(KeyQuery::Many(keys)) => keys,
            Some(KeyQuery::One(key)) => {
                one = exactly(key);
                &one
            }
        };
        let mut node = Node::new(soul);
        let mut flow = Continue(());
        let of = node.soul.clone();
        storage.scan(&of, keys, self.query.reverse, &mut |key, field| {
            let weight = key.weight() + field.value.weight();
            let first = node.fields.is_empty() && self.found.nodes.is_empty();
            // What is too long for any answer is still one, on its own.
            if weight > self.room && !first {
                self.found.cut = true;
                flow = Break(());
                return flow;
            }
            self.allowance.take(&field.value);
            self.room = self.room.saturating_sub(weight);
            node.fields.insert(key, field);
            if self.allowance.is_spent() {
                flow = Break(());
            }
            flow
        })?;
        if !node.fields.is_empty() {
            self.found.nodes.push(node);
        }
        Ok(flow)
    }
}

/// The range that holds this key alone.
fn exactly(key: &Key) -> Lex {
    Lex::between(key.as_str(), key.as_str())
}
