//! Who is told of which changes.

use super::ConnId;
use crate::{
    lex::Lex,
    value::{Key, Soul},
};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

/// What somebody follows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Interest {
    /// A node,
    pub(super) soul: Soul,
    /// or a field of it.
    pub(super) key: Option<Key>,
}

/// What a connection follows, in the order in which it began to.
#[derive(Debug, Default)]
pub(super) struct Followed {
    known: HashSet<Interest>,
    order: VecDeque<Interest>,
}

impl Followed {
    /// Whether it follows this.
    pub(super) fn contains(&self, interest: &Interest) -> bool {
        self.known.contains(interest)
    }

    /// How much it follows.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// It follows this from now on.
    pub(super) fn push(&mut self, interest: Interest) {
        if self.known.insert(interest.clone()) {
            self.order.push_back(interest);
        }
    }

    /// Lets go of what it has followed longest.
    pub(super) fn pop_oldest(&mut self) -> Option<Interest> {
        let oldest = self.order.pop_front()?;
        self.known.remove(&oldest);
        Some(oldest)
    }

    /// All of it, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Interest> {
        self.order.iter()
    }
}

/// All subscriptions. Their number is the callers' to bound.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    nodes: HashMap<Soul, Watchers>,
    patterns: BTreeMap<ConnId, Vec<Lex>>,
    /// How many souls and fields are followed, and how many patterns.
    count: usize,
    pattern_count: usize,
}

/// Who follows a node, each in the order of connections.
#[derive(Debug, Default)]
struct Watchers {
    whole: Vec<ConnId>,
    fields: BTreeMap<Key, Vec<ConnId>>,
}

impl Subscriptions {
    /// Somebody follows this from now on, who did not before.
    pub(super) fn add(&mut self, conn: ConnId, interest: &Interest) {
        let watchers = self.nodes.entry(interest.soul.clone()).or_default();
        let new = match &interest.key {
            None => insert(&mut watchers.whole, conn),
            Some(key) => insert(watchers.fields.entry(key.clone()).or_default(), conn),
        };
        self.count += usize::from(new);
    }

    /// Somebody follows souls of this pattern from now on.
    pub(super) fn add_pattern(&mut self, conn: ConnId, lex: Lex) {
        self.patterns.entry(conn).or_default().push(lex);
        self.pattern_count += 1;
    }

    /// How many patterns somebody follows.
    pub(super) fn patterns_of(&self, conn: ConnId) -> &[Lex] {
        self.patterns.get(&conn).map_or(&[], Vec::as_slice)
    }

    /// Somebody is gone who followed these.
    pub(super) fn remove<'a>(
        &mut self,
        conn: ConnId,
        interests: impl IntoIterator<Item = &'a Interest>,
    ) {
        let gone = self
            .patterns
            .remove(&conn)
            .map_or(0, |patterns| patterns.len());
        self.pattern_count -= gone;
        for interest in interests {
            self.forget(conn, interest);
        }
    }

    /// Somebody no longer follows this.
    pub(super) fn forget(&mut self, conn: ConnId, interest: &Interest) {
        let Some(watchers) = self.nodes.get_mut(&interest.soul) else {
            return;
        };
        let removed = match &interest.key {
            None => remove(&mut watchers.whole, conn),
            Some(key) => watchers.remove(key, conn),
        };
        self.count -= usize::from(removed);
        if watchers.whole.is_empty() && watchers.fields.is_empty() {
            self.nodes.remove(&interest.soul);
        }
    }

    /// Who follows the whole node, by name or by pattern, each once and in order, into `found`.
    pub(super) fn whole(&self, soul: &Soul, found: &mut Vec<ConnId>) {
        if let Some(watchers) = self.nodes.get(soul) {
            found.extend_from_slice(&watchers.whole);
        }
        for (conn, patterns) in &self.patterns {
            if patterns.iter().any(|lex| lex.matches(soul.as_str())) {
                found.push(*conn);
            }
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Whether anybody follows single fields of the node.
    pub(super) fn has_fields(&self, soul: &Soul) -> bool {
        let watchers = self.nodes.get(soul);
        watchers.is_some_and(|watchers| !watchers.fields.is_empty())
    }

    /// Who follows this field of the node alone.
    pub(super) fn field(&self, soul: &Soul, key: &Key) -> &[ConnId] {
        let watchers = self.nodes.get(soul);
        let found = watchers.and_then(|watchers| watchers.fields.get(key));
        found.map_or(&[], Vec::as_slice)
    }

    /// All that is followed by name, in order, but at most so many.
    pub(super) fn all(&self, limit: usize) -> Vec<Interest> {
        let mut souls: Vec<_> = self.nodes.iter().collect();
        souls.sort_unstable_by_key(|(soul, _)| *soul);
        let interests = souls.into_iter().flat_map(|(soul, watchers)| {
            let whole = (!watchers.whole.is_empty()).then_some(None);
            let fields = watchers.fields.keys().cloned().map(Some);
            // Who asks for the whole node asks for its fields.
            let keys: Vec<_> = match whole {
                Some(whole) => vec![whole],
                None => fields.collect(),
            };
            keys.into_iter().map(|key| Interest {
                soul: soul.clone(),
                key,
            })
        });
        interests.take(limit).collect()
    }

    /// How many souls and fields are followed.
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// How many patterns are followed.
    pub(super) const fn patterns(&self) -> usize {
        self.pattern_count
    }
}

impl Watchers {
    fn remove(&mut self, key: &Key, conn: ConnId) -> bool {
        let Some(watchers) = self.fields.get_mut(key) else {
            return false;
        };
        let removed = remove(watchers, conn);
        if watchers.is_empty() {
            self.fields.remove(key);
        }
        removed
    }
}

fn insert(list: &mut Vec<ConnId>, conn: ConnId) -> bool {
    let place = list.binary_search(&conn);
    if let Err(place) = place {
        list.insert(place, conn);
    }
    place.is_err()
}

fn remove(list: &mut Vec<ConnId>, conn: ConnId) -> bool {
    let place = list.binary_search(&conn);
    if let Ok(place) = place {
        list.remove(place);
    }
    place.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(soul: &str, key: Option<&str>) -> Interest {
        Interest {
            soul: Soul::new(soul).unwrap(),
            key: key.map(|key| Key::new(key).unwrap()),
        }
    }

    #[test]
    fn whoever_is_gone_follows_nothing() {
        let mut all = Subscriptions::default();
        let (a, b) = (ConnId(1), ConnId(2));
        let of_a: HashSet<_> = [
            interest("x", None),
            interest("x", Some("k")),
            interest("y", None),
        ]
        .into();
        let of_b: HashSet<_> = [interest("x", Some("k"))].into();
        for each in &of_a {
            all.add(a, each);
            all.add(a, each);
        }
        for each in &of_b {
            all.add(b, each);
        }
        all.add_pattern(a, Lex::prefix("x"));
        assert_eq!((all.len(), all.patterns()), (4, 1));
        let x = Soul::new("x").unwrap();
        let k = Key::new("k").unwrap();
        let mut found = Vec::new();
        all.whole(&x, &mut found);
        assert_eq!(found, [a], "once, though by name and by pattern");
        assert_eq!(all.field(&x, &k), [a, b]);
        assert_eq!(all.all(10), [interest("x", None), interest("y", None)]);
        all.remove(a, &of_a);
        assert_eq!(all.field(&x, &k), [b]);
        assert_eq!(all.all(10), [interest("x", Some("k"))]);
        all.remove(b, &of_b);
        assert_eq!((all.len(), all.patterns()), (0, 0));
        assert!(all.nodes.is_empty() && all.patterns.is_empty());
    }
}
