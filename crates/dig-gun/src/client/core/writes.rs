//! What was written, until every relay has answered for it.

use super::outgoing::Slot;
use crate::{
    client::{PutError, Refusal, RelayUrl},
    frame::{MAX_CHARS, split_put},
    graph::Node,
    lex::Query,
    value::{Key, Soul},
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

#[derive(Debug)]
pub(super) struct Writes {
    max_bytes: usize,
    bytes: usize,
    writes: BTreeMap<u64, Write>,
    /// Those that some relay has stored.
    acknowledged: BTreeSet<u64>,
    /// When each is given up.
    ends: BTreeSet<(Duration, u64)>,
}

#[derive(Debug)]
pub(super) struct Write {
    /// Whether somebody waits for its end.
    pub(super) awaited: bool,
    parts: Vec<Part>,
    weight: usize,
    end: Duration,
    acknowledged: bool,
    progress: BTreeMap<u32, Progress>,
}

/// As much of a write as goes into one message.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) nodes: Vec<Node>,
    pub(super) weight: usize,
}

/// How far a write is at one relay.
#[derive(Debug)]
struct Progress {
    /// The parts that it has not answered for.
    open: BTreeSet<u32>,
    /// Those of them that were sent at some time.
    sent: BTreeSet<u32>,
    refused: Option<String>,
}

impl Writes {
    /// No writes, of which there may be so many bytes.
    pub(super) const fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            bytes: 0,
            writes: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Which writes are to be forgotten so that there is room for these nodes.
    pub(super) fn make_room(&self, nodes: &[Node]) -> Result<Vec<u64>, PutError> {
        let mut bytes = self.bytes + weight(nodes);
        let mut gone = Vec::new();
        let mut candidates = self.acknowledged.iter();
        while bytes > self.max_bytes {
            let Some(id) = candidates.next() else {
                return Err(PutError::Full { held: self.bytes });
            };
            bytes -= self.writes.get(id).map_or(0, |write| write.weight);
            gone.push(*id);
        }
        Ok(gone)
    }

    /// One more write; in how many parts.
    pub(super) fn add(&mut self, id: u64, nodes: Vec<Node>, awaited: bool, end: Duration) -> u32 {
        let parts = split_put(nodes, MAX_CHARS).into_iter().map(|nodes| Part {
            weight: weight(&nodes),
            nodes,
        });
        let parts: Vec<_> = parts.collect();
        let count = parts.len() as u32;
        let weight = parts.iter().map(|part| part.weight).sum();
        self.bytes += weight;
        self.ends.insert((end, id));
        let write = Write {
            awaited,
            parts,
            weight,
            end,
            acknowledged: false,
            progress: BTreeMap::new(),
        };
        self.writes.insert(id, write);
        count
    }

    pub(super) fn get(&self, id: u64) -> Option<&Write> {
        self.writes.get(&id)
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Write> {
        let write = self.writes.remove(&id)?;
        self.bytes -= write.weight;
        self.acknowledged.remove(&id);
        self.ends.remove(&(write.end, id));
        Some(write)
    }

    /// A part, if its write is still there.
    pub(super) fn part(&self, (id, part): Slot) -> Option<&Part> {
        self.writes.get(&id)?.parts.get(part as usize)
    }

    /// What this relay has not answered for, oldest first.
    pub(super) fn open_at(&self, relay: u32) -> impl Iterator<Item = Slot> {
        self.writes.iter().flat_map(move |(&id, write)| {
            let progress = write.progress.get(&relay);
            let open =
                move |part: &u32| progress.is_none_or(|progress| progress.open.contains(part));
            let parts = 0..write.parts();
            parts.filter(open).map(move |part| (id, part))
        })
    }

    /// A part goes to a relay; whether it went there before.
    pub(super) fn sent(&mut self, relay: u32, (id, part): Slot) -> bool {
        let Some(write) = self.writes.get_mut(&id) else {
            return false;
        };
        !write.progress(relay).sent.insert(part)
    }

    /// A relay has stored or refused a part; whether it has now answered for all.
    pub(super) fn settle(&mut self, relay: u32, (id, part): Slot, refused: Option<String>) -> bool {
        let Some(write) = self.writes.get_mut(&id) else {
            return false;
        };
        let progress = write.progress(relay);
        let news = progress.open.remove(&part);
        progress.refused = progress.refused.take().or(refused);
        news && progress.open.is_empty()
    }

    /// Some relay has stored it: it is kept until then for the others.
    pub(super) fn acknowledged(&mut self, id: u64, end: Duration) {
        if let Some(write) = self.writes.get_mut(&id) {
            write.awaited = false;
            if !write.acknowledged {
                write.acknowledged = true;
                self.acknowledged.insert(id);
                self.ends.remove(&(write.end, id));
                write.end = end;
                self.ends.insert((end, id));
            }
        }
    }

    /// A write whose time is over.
    pub(super) fn pop_late(&mut self, now: Duration) -> Option<u64> {
        let &(end, id) = self.ends.first().filter(|(end, _)| *end <= now)?;
        self.ends.remove(&(end, id));
        Some(id)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.ends.first().map(|(end, _)| *end)
    }
}

impl Write {
    pub(super) fn parts(&self) -> u32 {
        self.parts.len() as u32
    }

    fn progress(&mut self, relay: u32) -> &mut Progress {
        let parts = self.parts();
        self.progress.entry(relay).or_insert_with(|| Progress {
            open: (0..parts).collect(),
            sent: BTreeSet::new(),
            refused: None,
        })
    }

    /// Whether this relay has answered for all of it.
    pub(super) fn is_settled(&self, relay: u32) -> bool {
        let progress = self.progress.get(&relay);
        progress.is_some_and(|progress| progress.open.is_empty())
    }

    /// How many relays have stored all of it.
    pub(super) fn stored_by(&self) -> usize {
        let stored = |progress: &&Progress| progress.open.is_empty() && progress.refused.is_none();
        self.progress.values().filter(stored).count()
    }

    /// Whether some relay has stored all of it.
    pub(super) const fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }

    /// What the relays say that refused it.
    pub(super) fn refusals(&self, url: impl Fn(u32) -> Option<RelayUrl>) -> Vec<Refusal> {
        let refusal = |(&relay, progress): (&u32, &Progress)| {
            Some(Refusal {
                relay: url(relay)?,
                text: progress.refused.clone()?,
            })
        };
        self.progress.iter().filter_map(refusal).collect()
    }
}

impl Part {
    /// What to ask a relay in order to see whether it holds this.
    pub(super) fn questions(&self) -> impl Iterator<Item = Query> {
        self.nodes.iter().map(|node| {
            let mut keys = node.fields.keys();
            match (keys.next(), keys.next()) {
                (Some(key), None) => Query::field(node.soul.clone(), key.clone()),
                _ => Query::node(node.soul.clone()),
            }
        })
    }

    /// Its fields.
    pub(super) fn names(&self) -> impl Iterator<Item = (Soul, Key)> {
        self.nodes.iter().flat_map(|node| {
            node.fields
                .keys()
                .map(|key| (node.soul.clone(), key.clone()))
        })
    }

    /// Its fields of which these nodes show that they are stored, or that something is that wins over them.
    pub(super) fn shown_by<'a>(&'a self, nodes: &[Node]) -> Vec<(&'a Soul, &'a Key)> {
        let mut shown = Vec::new();
        for there in nodes {
            for ours in self.nodes.iter().filter(|node| node.soul == there.soul) {
                for (key, field) in &ours.fields {
                    let stored = there.fields.get(key).is_some_and(|there| {
                        let order = there.state.cmp(&field.state);
                        order.then_with(|| there.value.json_order(&field.value)) != Ordering::Less
                    });
                    if stored {
                        shown.push((&ours.soul, key));
                    }
                }
            }
        }
        shown
    }
}

fn weight(nodes: &[Node]) -> usize {
    nodes.iter().map(Node::weight).sum()
}
