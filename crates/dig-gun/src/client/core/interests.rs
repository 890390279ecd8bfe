//! What subscribers want.

use super::Output;
use crate::{
    graph::Node,
    lex::{Query, SoulQuery},
    value::{Key, Soul},
};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Subscriptions by what they ask for: those that ask for the same are one to the relays.
#[derive(Debug, Default)]
pub(super) struct Interests {
    by_soul: HashMap<Soul, Vec<Interest>>,
    by_range: Vec<Interest>,
    queries: BTreeMap<u64, Query>,
}

#[derive(Debug)]
struct Interest {
    query: Query,
    subscribers: BTreeSet<u64>,
}

impl Interests {
    /// One more subscriber; whether nobody else has asked for the same.
    pub(super) fn add(&mut self, id: u64, query: &Query) -> bool {
        self.queries.insert(id, query.clone());
        let same = match &query.soul {
            SoulQuery::One(soul) => self.by_soul.entry(soul.clone()).or_default(),
            SoulQuery::Many(_) => &mut self.by_range,
        };
        if let Some(interest) = same.iter_mut().find(|interest| interest.query == *query) {
            interest.subscribers.insert(id);
            return false;
        }
        same.push(Interest {
            query: query.clone(),
            subscribers: BTreeSet::from([id]),
        });
        true
    }

    /// One subscriber less; what it asked for if nobody else asks for the same.
    pub(super) fn remove(&mut self, id: u64) -> Option<Query> {
        let query = self.queries.remove(&id)?;
        let same = match &query.soul {
            SoulQuery::One(soul) => self.by_soul.get_mut(soul)?,
            SoulQuery::Many(_) => &mut self.by_range,
        };
        let place = same.iter().position(|interest| interest.query == query)?;
        let interest = same.get_mut(place)?;
        interest.subscribers.remove(&id);
        if !interest.subscribers.is_empty() {
            return None;
        }
        same.swap_remove(place);
        if let SoulQuery::One(soul) = &query.soul
            && same.is_empty()
        {
            self.by_soul.remove(soul);
        }
        Some(query)
    }

    /// What to ask relays for, each once, oldest subscribers first.
    pub(super) fn queries(&self) -> impl Iterator<Item = &Query> {
        let first = self.queries.iter().filter(|each| self.is_first(*each));
        first.map(|(_, query)| query)
    }

    /// The next of these after that of this subscriber, all around; and who asks for it.
    pub(super) fn next_after(&self, id: u64) -> Option<(u64, &Query)> {
        let later = self.queries.range(id.saturating_add(1)..);
        let mut round = later.chain(self.queries.range(..=id));
        let next = round.find(|each| self.is_first(*each))?;
        Some((*next.0, next.1))
    }

    /// How many subscribers there are.
    pub(super) fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether nobody has asked for the same earlier.
    fn is_first(&self, (id, query): (&u64, &Query)) -> bool {
        let same = self
            .of(&query.soul)
            .find(|interest| interest.query == *query);
        same.is_some_and(|interest| interest.subscribers.first() == Some(id))
    }

    fn of(&self, soul: &SoulQuery) -> impl Iterator<Item = &Interest> {
        match soul {
            SoulQuery::One(soul) => self.by_soul.get(soul).map_or(&[][..], Vec::as_slice),
            SoulQuery::Many(_) => &self.by_range,
        }
        .iter()
    }

    fn about<'a>(&'a self, soul: &'a Soul) -> impl Iterator<Item = &'a Interest> {
        let named = self.by_soul.get(soul).into_iter().flatten();
        let ranged = self
            .by_range
            .iter()
            .filter(|interest| interest.query.matches_soul(soul));
        named.chain(ranged)
    }

    /// Whether anything of this node is wanted.
    pub(super) fn wants_soul(&self, soul: &Soul) -> bool {
        self.about(soul).next().is_some()
    }

    /// The fields of this that somebody wants, if any.
    pub(super) fn wanted(&self, mut node: Node) -> Option<Node> {
        let interests: Vec<_> = self.about(&node.soul).collect();
        let wanted = |key: &Key| {
            interests
                .iter()
                .any(|interest| interest.query.matches_key(key))
        };
        node.fields.retain(|key, _| wanted(key));
        (!node.fields.is_empty()).then_some(node)
    }

    /// Tells each subscriber what it wants of this.
    pub(super) fn tell(&self, changed: &Node, out: &mut VecDeque<Output>) {
        for interest in self.about(&changed.soul) {
            let mut node = changed.clone();
            node.fields.retain(|key, _| interest.query.matches_key(key));
            if node.fields.is_empty() {
                continue;
            }
            for &subscriber in &interest.subscribers {
                out.push_back(Output::Changed(subscriber, node.clone()));
            }
        }
    }
}
