//! What a relay does, without sockets, disk, tasks or clock.
//!
//! Whoever owns those calls the methods that tell what happened, and after each takes every [`Output`] and does what it says, loads and commits
//! in their order. Nothing here waits: what needs a node that is not in memory stands in a queue for it until the node is
//! there, and what is to be acknowledged stands in a queue until it is durable.

mod asks;
mod cache;
mod commits;
mod connection;
mod gets;
mod joins;
mod origins;
mod puts;
mod subscriptions;

pub(super) use connection::{ConnId, From, Turned};
pub(super) use gets::{Answer, Ask};
pub(super) use puts::AT_ONCE;

use super::{counters::Counters, ids::Ids, limits::Limits};
use crate::{
    graph::{Deferred, Node},
    lex::Query,
    message::{Body, Dam, Message, MessageId},
    value::{Soul, State},
};
use asks::Asks;
use cache::Cache;
use commits::Commits;
use connection::{Connection, Role};
use gets::Asker;
use joins::Joins;
use origins::Origins;
use puts::{Put, PutKey};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use subscriptions::Subscriptions;

/// What is to be done.
#[derive(Debug)]
pub(super) enum Output {
    /// Tell somebody.
    Send(ConnId, Message),
    /// Tell all of them.
    Push(Vec<ConnId>, Message),
    /// Answer somebody.
    Answer(ConnId, Answer),
    /// Ask somebody.
    Ask(ConnId, Ask),
    /// Read a node and call [`Core::loaded`].
    Load(Soul),
    /// Read the nodes that a query by pattern asks for, and call [`Core::found`].
    Find(u64, Query),
    /// Make these changes durable, after those before, and call [`Core::committed`]; at once if they are `hurried`, else
    /// with the next ones or within a moment.
    Commit { changes: Vec<Node>, hurried: bool },
    /// End a connection, and call [`Core::gone`].
    Close(ConnId, Closing),
}

/// Why the relay ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Closing {
    /// It leads back here.
    #[error("this is a connection of the relay to itself")]
    Oneself,
}

/// What came over a connection.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message that may be acted on.
    Message(Message),
    /// One that is refused already.
    Refused {
        /// Whom the refusal names; of what has no name, nothing is said.
        id: Option<MessageId>,
        /// Why.
        error: Arc<str>,
    },
}

/// A node that was read, if there is one, or why it could not be.
pub(super) type Loaded = (Soul, Result<Option<Node>, Arc<str>>);

/// What time it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Since some moment in the past; for timers.
    pub(super) since: Duration,
    /// By the clock on the wall; for states.
    pub(super) clock: State,
}

/// When what came may be given to [`Core::on_messages`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once.
    Now,
    /// When no other connection that got this answer is at it.
    InTurn,
    /// After this while, and then in turn.
    After(Duration),
}

/// What waits for a node to be read.
#[derive(Debug)]
enum Waiting {
    Merge { put: PutKey, node: Node },
    Answer(Asker),
    Sync(ConnId, Soul),
}

/// The relay.
#[derive(Debug)]
pub(super) struct Core {
    limits: Limits,
    ids: Ids,
    /// Its name towards peers.
    pid: Arc<str>,
    connections: BTreeMap<ConnId, Connection>,
    connected: u64,
    origins: Origins,
    subscriptions: Subscriptions,
    cache: Cache,
    waiting: HashMap<Soul, Vec<Waiting>>,
    /// Bytes of puts in `waiting`.
    unread: usize,
    puts: BTreeMap<PutKey, Put>,
    /// What of long puts was not looked at yet.
    rest: VecDeque<(PutKey, Node)>,
    commits: Commits,
    deferred: Deferred,
    /// Puts that are acknowledged when their last field is due.
    future: BTreeMap<(State, u64), (ConnId, MessageId)>,
    finds: HashMap<u64, Asker>,
    /// Those of them that wait for puts that came before,
    unmerged_finds: VecDeque<u64>,
    /// and those that wait for a commit.
    unwritten_finds: VecDeque<(u64, u64)>,
    asks: Asks,
    joins: Joins,
    /// Connections to peers that pass questions on: those joined, and those that came to us.
    relays: BTreeSet<ConnId>,
    counters: Counters,
    output: VecDeque<Output>,
    serial: u64,
    /// What time it was when it was last told.
    time: Duration,
    /// When somebody last sent something who keeps to their rate.
    modest: Option<Duration>,
}

impl Core {
    /// A relay that is to be joined to so many others. Ids and its name are drawn from the seed; nothing depends on their being secret.
    pub(super) fn new(limits: Limits, seed: u64, joins: usize) -> Self {
        let mut ids = Ids::new(seed);
        Self {
            pid: ids.next().as_str().into(),
            ids,
            connections: BTreeMap::new(),
            connected: 0,
            origins: Origins::new(&limits),
            subscriptions: Subscriptions::default(),
            cache: Cache::new(limits.cache),
            waiting: HashMap::new(),
            unread: 0,
            puts: BTreeMap::new(),
            rest: VecDeque::new(),
            commits: Commits::default(),
            deferred: Deferred::new(limits.deferred.clone()),
            future: BTreeMap::new(),
            finds: HashMap::new(),
            unmerged_finds: VecDeque::new(),
            unwritten_finds: VecDeque::new(),
            asks: Asks::new(limits.asked, limits.patience),
            joins: Joins::new(joins, limits.missed),
            relays: BTreeSet::new(),
            counters: Counters::default(),
            output: VecDeque::new(),
            serial: 0,
            time: Duration::ZERO,
            modest: None,
            limits,
        }
    }

    /// The next thing to do.
    pub(super) fn pop_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// What came over a connection, in its order. If there is a long put among it, which is not done yet, [`Self::go_on_with_puts`] is
    /// to be called until it is.
    pub(super) fn on_messages(&mut self, now: Now, conn: ConnId, messages: Vec<Incoming>) -> bool {
        if !self.connections.contains_key(&conn) {
            return false;
        }
        let before = self.rest.len();
        for incoming in messages {
            match incoming {
                Incoming::Message(message) => self.on_message(now, conn, message),
                Incoming::Refused { id, error } => self.refuse(conn, id, error),
            }
        }
        let is_long = self.rest.len() > before;
        self.settle();
        is_long
    }

    fn on_message(&mut self, now: Now, conn: ConnId, message: Message) {
        let Message {
            id,
            answers,
            hash,
            body,
            ..
        } = message;
        match (body, answers) {
            (Body::Put(nodes), None) => {
                self.counters.puts += 1;
                self.on_put(now, Put::of(conn, id), nodes);
            }
            (Body::Put(nodes), Some(asked)) => {
                self.counters.answers_heard += 1;
                self.on_put(now, Put::of(conn, None), nodes);
                self.on_answer(now, conn, &asked);
            }
            (Body::NotFound, Some(asked)) => self.on_answer(now, conn, &asked),
            (Body::Get(query), _) => {
                self.counters.gets += 1;
                self.on_get(now, conn, id, hash, query);
            }
            (Body::Dam(dam), answers) => self.on_dam(conn, id, answers, dam),
            (Body::Ack { .. } | Body::NotFound | Body::Other, _) => self.counters.ignored += 1,
        }
    }

    fn refuse(&mut self, conn: ConnId, id: Option<MessageId>, error: Arc<str>) {
        self.counters.refused += 1;
        if let Some(id) = id {
            let refusal = Message::refused(self.ids.next(), id, error);
            self.output.push_back(Output::Send(conn, refusal));
        }
    }

    fn on_dam(
        &mut self,
        conn: ConnId,
        id: Option<MessageId>,
        answers: Option<MessageId>,
        dam: Dam,
    ) {
        let (pid, asks) = match dam {
            Dam::Hi => {
                if let Some(connection) = self.connections.get_mut(&conn) {
                    connection.greeted = true;
                }
                return;
            }
            Dam::AskPid(pid) => (pid, true),
            Dam::Pid(pid) => (Some(pid), false),
            Dam::Error(_) | Dam::Mob(_) | Dam::Other => {
                self.counters.ignored += 1;
                return;
            }
        };
        if let Some(pid) = pid {
            self.on_pid(conn, &pid);
        }
        if asks && answers.is_none() {
            let mut reply = Message::dam(self.ids.next(), Dam::Pid(Arc::clone(&self.pid)));
            reply.answers = id;
            self.output.push_back(Output::Send(conn, reply));
        }
    }

    /// A peer says who it is. Clients greet first ("hi"); relays, and gun.js in Node, which is one, do not.
    fn on_pid(&mut self, conn: ConnId, pid: &str) {
        if pid == &*self.pid {
            self.output.push_back(Output::Close(conn, Closing::Oneself));
            return;
        }
        let Some(connection) = self.connections.get_mut(&conn) else {
            return;
        };
        if connection.role == Role::Unknown && !connection.greeted {
            connection.role = Role::Relay;
            self.relays.insert(conn);
        }
    }

    /// Reads a node for what waits for it.
    fn wait(&mut self, soul: Soul, waiting: Waiting) {
        if let Waiting::Merge { node, .. } = &waiting {
            self.unread += node.weight();
        }
        let queue = self.waiting.entry(soul.clone()).or_default();
        queue.push(waiting);
        if queue.len() == 1 {
            self.counters.loads += 1;
            self.output.push_back(Output::Load(soul));
        }
    }

    /// These nodes were read, or could not be; `None` of which there is nothing.
    pub(super) fn loaded(&mut self, now: Now, nodes: Vec<Loaded>) {
        for (soul, node) in nodes {
            let error = match node {
                Ok(node) => {
                    self.cache
                        .insert(node.unwrap_or_else(|| Node::new(soul.clone())));
                    None
                }
                Err(error) => {
                    self.counters.store_errors += 1;
                    Some(error)
                }
            };
            for waiting in self.waiting.remove(&soul).unwrap_or_default() {
                self.resume(now, waiting, error.as_ref());
            }
        }
        self.settle();
    }

    /// The node that this waited for is there, or cannot be read.
    fn resume(&mut self, now: Now, waiting: Waiting, error: Option<&Arc<str>>) {
        match (waiting, error) {
            (Waiting::Merge { put, node }, error) => {
                self.unread = self.unread.saturating_sub(node.weight());
                self.on_part(now, put, &node, error);
            }
            (Waiting::Answer(asker), None) => self.reply(now, asker),
            (Waiting::Sync(conn, soul), None) => self.sync(conn, &soul),
            (Waiting::Answer(asker), Some(_)) => self.answer(&asker, Vec::new()),
            (Waiting::Sync(..), Some(_)) => {}
        }
    }

    /// The store let go of these nodes.
    pub(super) fn forgotten(&mut self, souls: Vec<Soul>) {
        for soul in souls {
            self.cache.distrust(&soul, self.commits.durable());
        }
    }

    /// Time passed.
    pub(super) fn on_timeout(&mut self, now: Now) {
        self.on_due(now);
        self.on_patience_over(now);
        self.on_sync(now);
        self.settle();
    }

    /// When [`Self::on_timeout`] is due, in time since that moment.
    pub(super) fn deadline(&self, now: Now) -> Option<Duration> {
        let due = self.deferred.next().map(|state| {
            // Looked at again after an hour at most, as clocks are set.
            let ahead = (state.get() - now.clock.get()).clamp(0.0, 3_600_000.0);
            now.since + Duration::from_secs_f64(ahead / 1000.0)
        });
        let others = [self.asks.deadline(), self.joins.deadline()];
        others.into_iter().chain([due]).flatten().min()
    }

    /// What happened so far, and how things are.
    pub(super) fn counters(&self) -> Counters {
        Counters {
            connections: self.connections.len() as u64,
            relays: self.relays.len() as u64,
            subscriptions: self.subscriptions.len() as u64,
            patterns: self.subscriptions.patterns() as u64,
            cached_nodes: self.cache.len() as u64,
            cached_bytes: self.cache.bytes() as u64,
            deferred: self.deferred.len() as u64,
            unwritten_bytes: self.commits.unwritten() as u64,
            ..self.counters
        }
    }
}

#[cfg(test)]
mod tests;
