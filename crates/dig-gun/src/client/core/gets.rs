//! Queries that wait for their answers.
//!
//! Nothing in Gun says that an answer is complete: a gun.js relay answers from its memory, again from its disk, with "not found" in between,
//! and once more when another peer knows something. So an answer is waited for a little longer, as gun.js does.

use super::{Relay, relay::Asked};
use crate::{
    client::{GetError, chance::Chance},
    graph::{Graph, Node},
    lex::{KeyQuery, Query, SoulQuery},
    message::MessageId,
    value::State,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Most queries at a time.
const MOST: usize = 4096;
/// How long more is waited for after an answer; gun.js waits 99 ms.
const GRACE: Duration = Duration::from_millis(100);
/// The same after a part of an answer that says that there are more.
const MORE_GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Gets {
    gets: BTreeMap<u64, Get>,
    due: BTreeSet<(Duration, u64)>,
}

#[derive(Debug)]
struct Get {
    query: Query,
    found: Graph,
    /// Bytes of memory that may still be found.
    room: usize,
    /// When something is to be done.
    due: Duration,
    /// When no more is waited for.
    end: Duration,
    /// When the whole node is asked for instead of a range, which gun.js sometimes does not answer.
    widen: Option<Duration>,
    /// When what has come is all.
    settled: Option<Duration>,
    relays: BTreeMap<u32, Heard>,
}

/// What came from a relay.
#[derive(Debug)]
struct Heard {
    ids: Vec<MessageId>,
    answered: bool,
    /// Its last answer said that there is more.
    more: bool,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) from: u32,
    pub(super) nodes: &'a [Node],
    pub(super) more: bool,
}

/// A query that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) id: u64,
    /// The messages whose answers do not matter any more.
    pub(super) ids: Vec<(u32, MessageId)>,
    /// What was found; nothing if no relay has answered.
    pub(super) found: Option<Vec<Node>>,
}

impl Gets {
    /// One more query, to be asked with [`Gets::ask`].
    pub(super) fn add(
        &mut self,
        now: Duration,
        id: u64,
        query: Query,
        patience: Duration,
        room: usize,
    ) -> Result<(), GetError> {
        if self.gets.len() >= MOST {
            return Err(GetError::TooMany);
        }
        let is_range = matches!(query.key, Some(KeyQuery::Many(_)));
        let widens = is_range && query.one_soul().is_some();
        let end = now + patience;
        let mut get = Get {
            query,
            found: Graph::new(),
            room,
            due: end,
            end,
            widen: widens.then_some(now + patience / 2),
            settled: None,
            relays: BTreeMap::new(),
        };
        get.due = get.next();
        self.due.insert((get.due, id));
        self.gets.insert(id, get);
        Ok(())
    }

    /// Asks a relay.
    pub(super) fn ask(&mut self, id: u64, to: u32, relay: &mut Relay, chance: &mut Chance) {
        if let Some(get) = self.gets.get_mut(&id) {
            get.ask(id, to, get.query.clone(), relay, chance);
        }
    }

    /// A relay is connected.
    pub(super) fn on_up(&mut self, to: u32, relay: &mut Relay, chance: &mut Chance) {
        for (&id, get) in &mut self.gets {
            get.ask(id, to, get.query.clone(), relay, chance);
        }
    }

    /// A relay is not connected any more.
    pub(super) fn on_down(&mut self, now: Duration, from: u32) {
        for (&id, get) in &mut self.gets {
            let answered = get.relays.remove(&from).is_some_and(|heard| heard.answered);
            if answered {
                get.settled.get_or_insert(now + GRACE);
            }
            get.settle(now);
            self.due.remove(&(get.due, id));
            get.due = get.next();
            self.due.insert((get.due, id));
        }
    }

    /// A relay answers. What has ended by that.
    pub(super) fn on_answer(
        &mut self,
        now: Duration,
        clock: State,
        id: u64,
        answer: &Answer<'_>,
    ) -> Option<Ended> {
        let get = self.gets.get_mut(&id)?;
        get.take(clock, answer.nodes);
        let heard = get.relays.get_mut(&answer.from)?;
        heard.answered = true;
        heard.more = answer.more;
        if !answer.nodes.is_empty() {
            get.settled = Some(now + if answer.more { MORE_GRACE } else { GRACE });
        }
        get.settle(now);
        self.due.remove(&(get.due, id));
        get.due = get.next();
        self.due.insert((get.due, id));
        if get.is_complete() {
            self.end(id)
        } else {
            None
        }
    }

    /// Does what is due. What has ended by that.
    pub(super) fn on_timeout(
        &mut self,
        now: Duration,
        relays: &mut BTreeMap<u32, Relay>,
        chance: &mut Chance,
    ) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(&(due, id)) = self.due.first().filter(|(due, _)| *due <= now) {
            let Some(get) = self.gets.get_mut(&id) else {
                self.due.remove(&(due, id));
                continue;
            };
            if get.widen.take_if(|widen| *widen <= now).is_none() {
                ended.extend(self.end(id));
                continue;
            }
            if let SoulQuery::One(soul) = &get.query.soul {
                let whole = Query::node(soul.clone());
                let silent = get.relays.iter().filter(|(_, heard)| !heard.answered);
                for to in silent.map(|(to, _)| *to).collect::<Vec<_>>() {
                    if let Some(relay) = relays.get_mut(&to) {
                        get.ask(id, to, whole.clone(), relay, chance);
                    }
                }
            }
            self.due.remove(&(due, id));
            get.due = get.next();
            self.due.insert((get.due, id));
        }
        ended
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    fn end(&mut self, id: u64) -> Option<Ended> {
        let get = self.gets.remove(&id)?;
        self.due.remove(&(get.due, id));
        let answered = get.settled.is_some() || get.relays.values().any(|heard| heard.answered);
        let ids = get
            .relays
            .into_iter()
            .flat_map(|(relay, heard)| heard.ids.into_iter().map(move |id| (relay, id)));
        Some(Ended {
            id,
            ids: ids.collect(),
            found: answered.then(|| get.found.select(&get.query)),
        })
    }
}

impl Get {
    fn ask(&mut self, id: u64, to: u32, query: Query, relay: &mut Relay, chance: &mut Chance) {
        let message = relay.ask(query, None, Some(Asked::Get(id)), chance);
        let heard = self.relays.entry(to).or_insert(Heard {
            ids: Vec::new(),
            answered: false,
            more: false,
        });
        heard.ids.push(message);
    }

    /// Takes what was asked for, as far as there is room.
    fn take(&mut self, clock: State, nodes: &[Node]) {
        for node in nodes
            .iter()
            .filter(|node| self.query.matches_soul(&node.soul))
        {
            let mut node = node.clone();
            node.fields.retain(|key, _| self.query.matches_key(key));
            let weight = node.weight();
            if weight > self.room {
                tracing::debug!(soul = %node.soul, "an answer is too large to be taken whole");
                continue;
            }
            let taken = self.found.merge(clock, &node).changed;
            if !taken.fields.is_empty() {
                self.room -= taken.weight().min(self.room);
            }
        }
    }

    /// Stops waiting soon if all relays that were asked have answered.
    fn settle(&mut self, now: Duration) {
        let all = !self.relays.is_empty()
            && self
                .relays
                .values()
                .all(|heard| heard.answered && !heard.more);
        if all {
            self.settled.get_or_insert(now + GRACE);
        }
    }

    /// Whether nothing can be added: one field was asked for, and every relay has told it.
    fn is_complete(&self) -> bool {
        let one = matches!(
            self.query,
            Query {
                soul: SoulQuery::One(_),
                key: Some(KeyQuery::One(_)),
                ..
            }
        );
        one && !self.found.is_empty() && self.relays.values().all(|heard| heard.answered)
    }

    fn next(&self) -> Duration {
        let times = [self.widen, self.settled];
        times
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.end)
            .min(self.end)
    }
}
