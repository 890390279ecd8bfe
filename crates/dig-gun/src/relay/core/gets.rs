//! Questions, their answers, and who follows what from then on.

use super::{
    ConnId, Core, Now, Output, PutKey, Waiting, connection::Role, subscriptions::Interest,
};
use crate::{
    graph::Node,
    lex::{KeyQuery, Lex, Query, SoulQuery},
    message::MessageId,
    value::Soul,
};
use std::{sync::Arc, time::Duration};

/// Questions by pattern that are under way at a time; each reads from the store what it may.
const FINDS: usize = 256;
/// A relay is asked again for the same thing no sooner than this, when somebody asks for it again.
pub(super) const AGAIN: Duration = Duration::from_secs(4);

/// Somebody who asks.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) conn: ConnId,
    /// What the answer refers to; without it, there is none.
    id: Option<MessageId>,
    /// The hash of what they have.
    known: Option<i32>,
    pub(super) query: Query,
    /// Whether they ask for the first time.
    fresh: bool,
}

/// An answer, to be written in text. The nodes are those that hold what is asked for, to be selected from.
#[derive(Debug)]
pub(in super::super) struct Answer {
    /// The question.
    pub(in super::super) to: MessageId,
    /// The hash of what who asks has; if it is that of the answer, there is none (Gun's rule).
    pub(in super::super) known: Option<i32>,
    /// What is asked for.
    pub(in super::super) query: Query,
    /// Where it is.
    pub(in super::super) nodes: Vec<Arc<Node>>,
}

/// A question of ours, to be written in text.
#[derive(Debug)]
pub(in super::super) struct Ask {
    /// Its name.
    pub(in super::super) id: MessageId,
    /// What is asked for.
    pub(in super::super) query: Query,
    /// What we have.
    pub(in super::super) known: Option<Arc<Node>>,
}

impl Interest {
    fn of(query: &Query) -> Option<Self> {
        let soul = query.one_soul()?.clone();
        let key = match &query.key {
            Some(KeyQuery::One(key)) => Some(key.clone()),
            // Whoever asks for some fields is told of all.
            Some(KeyQuery::Many(_)) | None => None,
        };
        Some(Self { soul, key })
    }

    /// The question for it.
    pub(super) fn query(&self) -> Query {
        match &self.key {
            Some(key) => Query::field(self.soul.clone(), key.clone()),
            None => Query::node(self.soul.clone()),
        }
    }
}

/// Whether a node has something of what is asked for.
fn has(node: &Node, query: &Query) -> bool {
    match &query.key {
        None => !node.fields.is_empty(),
        Some(KeyQuery::One(key)) => node.fields.contains_key(key),
        Some(KeyQuery::Many(lex)) => node.fields.keys().any(|key| lex.matches(key.as_str())),
    }
}

impl Core {
    /// Somebody asks. To ask is to subscribe: there is no other way in Gun, and no way to end it.
    pub(super) fn on_get(
        &mut self,
        now: Now,
        conn: ConnId,
        id: Option<MessageId>,
        known: Option<i32>,
        query: Query,
    ) {
        let fresh = match &query.soul {
            SoulQuery::One(_) => self.follow(conn, &query),
            SoulQuery::Many(lex) => self.follow_pattern(conn, lex),
        };
        let soul = query.one_soul().cloned();
        let asker = Asker {
            conn,
            id,
            known,
            query,
            fresh,
        };
        match soul {
            None => self.find(asker),
            Some(soul) => self.reply_or_wait(now, soul, asker),
        }
    }

    /// Answers now, or when the node was read.
    pub(super) fn reply_or_wait(&mut self, now: Now, soul: Soul, asker: Asker) {
        if self.is_here(&soul) {
            self.reply(now, asker);
        } else {
            self.wait(soul, Waiting::Answer(asker));
        }
    }

    /// Whether the node is in memory, and nothing waits for it.
    pub(super) fn is_here(&self, soul: &Soul) -> bool {
        self.cache.holds(soul) && !self.waiting.contains_key(soul)
    }

    /// Whether it is new that somebody follows this.
    fn follow(&mut self, conn: ConnId, query: &Query) -> bool {
        let (Some(interest), Some(connection)) =
            (Interest::of(query), self.connections.get_mut(&conn))
        else {
            return false;
        };
        if connection.follows.contains(&interest) {
            return false;
        }
        let room = connection.follows.len() < self.limits.subscriptions
            && self.subscriptions.len() < self.limits.subscriptions_in_all;
        if !room {
            self.counters.unfollowed += 1;
            // What somebody asked for long ago it may no longer want, and cannot say so.
            let Some(oldest) = connection.follows.pop_oldest() else {
                return false;
            };
            self.subscriptions.forget(conn, &oldest);
        }
        self.subscriptions.add(conn, &interest);
        connection.follows.push(interest);
        true
    }

    /// Whether it is new that somebody follows this pattern.
    fn follow_pattern(&mut self, conn: ConnId, lex: &Lex) -> bool {
        let patterns = self.subscriptions.patterns_of(conn);
        if patterns.contains(lex) {
            return false;
        }
        let room = patterns.len() < self.limits.patterns;
        if !room || self.subscriptions.patterns() >= self.limits.patterns_in_all {
            self.counters.unfollowed += 1;
            return false;
        }
        self.subscriptions.add_pattern(conn, lex.clone());
        true
    }

    /// Answers from what is in memory. What is not there may be at a relay: then the answer waits for it.
    pub(super) fn reply(&mut self, now: Now, mut asker: Asker) {
        if !self.connections.contains_key(&asker.conn) {
            return;
        }
        let Some(interest) = Interest::of(&asker.query) else {
            return;
        };
        let Some(node) = self.cache.get(&interest.soul).cloned() else {
            self.wait(interest.soul, Waiting::Answer(asker));
            return;
        };
        let fresh = std::mem::take(&mut asker.fresh);
        let conn = asker.conn;
        let asked = self.pass_on(now, conn, &interest, &node);
        if has(&node, &asker.query) || asked.is_empty() {
            self.answer(&asker, vec![Arc::clone(&node)]);
        } else if let Some(refused) = self.asks.hold(now.since, asker, asked) {
            self.answer(&refused, vec![Arc::clone(&node)]);
        }
        if fresh {
            // What they wrote while they were away, they tell only if they are asked.
            self.ask(now, conn, &interest, &node, None);
        }
    }

    /// Answers with what is asked for in these nodes.
    pub(super) fn answer(&mut self, asker: &Asker, nodes: Vec<Arc<Node>>) {
        let Some(id) = asker.id.clone() else {
            return;
        };
        self.counters.answers += 1;
        self.charge(asker.conn, nodes.iter().map(|node| node.weight()).sum());
        let answer = Answer {
            to: id,
            known: asker.known,
            query: asker.query.clone(),
            nodes,
        };
        self.output.push_back(Output::Answer(asker.conn, answer));
    }

    /// Asks somebody for what they may have, once; from then on they tell of changes. They may forget to: after `again` they are asked
    /// once more. Returns the name of the question.
    pub(super) fn ask(
        &mut self,
        now: Now,
        conn: ConnId,
        interest: &Interest,
        known: &Arc<Node>,
        again: Option<Duration>,
    ) -> Option<MessageId> {
        let connection = self.connections.get_mut(&conn)?;
        let most = match connection.role {
            Role::Unknown => self.limits.subscriptions,
            Role::Relay | Role::Joined(_) => self.limits.subscriptions_in_all,
        };
        let has_room = connection.asked.len() < most;
        match connection.asked.get_mut(interest) {
            Some(last) if again.is_some_and(|again| now.since >= *last + again) => {
                *last = now.since;
            }
            None if has_room => {
                connection.asked.insert(interest.clone(), now.since);
            }
            Some(_) | None => return None,
        }
        self.counters.asks += 1;
        let id = self.ids.next();
        let ask = Ask {
            id: id.clone(),
            query: interest.query(),
            known: has(known, &interest.query()).then(|| Arc::clone(known)),
        };
        self.output.push_back(Output::Ask(conn, ask));
        Some(id)
    }

    /// Asks the relays, those that we joined first, unless they were asked just now.
    fn pass_on(
        &mut self,
        now: Now,
        conn: ConnId,
        interest: &Interest,
        known: &Arc<Node>,
    ) -> Vec<(MessageId, ConnId)> {
        if self.relays.is_empty() {
            return Vec::new();
        }
        let mut relays: Vec<_> = self.joins.connections().collect();
        let others = self.relays.iter().filter(|relay| !relays.contains(relay));
        let others: Vec<_> = others.take(self.limits.asked_peers).copied().collect();
        relays.extend(others);
        relays.retain(|relay| *relay != conn);
        let asked = relays.into_iter().filter_map(|relay| {
            let id = self.ask(now, relay, interest, known, Some(AGAIN))?;
            Some((id, relay))
        });
        asked.collect()
    }

    /// Finds nodes by pattern. What is on its way to the disk must be there first.
    fn find(&mut self, asker: Asker) {
        if asker.id.is_none() {
            return;
        }
        if self.finds.len() >= FINDS {
            self.answer(&asker, Vec::new());
            return;
        }
        self.serial += 1;
        self.finds.insert(self.serial, asker);
        self.unmerged_finds.push_back(self.serial);
    }

    /// Finds what may be found now: first, whatever came before is to be merged,
    pub(super) fn find_merged(&mut self) {
        let oldest = self
            .puts
            .first_key_value()
            .map_or(PutKey::MAX, |(put, _)| *put);
        while let Some(find) = self.unmerged_finds.front().copied()
            && find < oldest
        {
            self.unmerged_finds.pop_front();
            self.unwritten_finds.push_back((self.commits.last(), find));
        }
    }

    /// and then, to be on the disk.
    pub(super) fn find_written(&mut self) {
        let durable = self.commits.durable();
        while let Some((commit, find)) = self.unwritten_finds.front().copied()
            && commit <= durable
        {
            self.unwritten_finds.pop_front();
            if let Some(asker) = self.finds.get(&find) {
                self.output
                    .push_back(Output::Find(find, asker.query.clone()));
            }
        }
    }

    /// These nodes, in their order, are what a query by pattern asks for.
    pub(in super::super) fn found(&mut self, find: u64, nodes: Vec<Node>) {
        if let Some(asker) = self.finds.remove(&find)
            && self.connections.contains_key(&asker.conn)
        {
            self.answer(&asker, nodes.into_iter().map(Arc::new).collect());
        }
    }
}
