//! A world for the core: a clock, and what it said to each relay.

use crate::{
    client::{
        ClientConfig,
        core::{Core, Moment, Output},
    },
    frame::frames_in,
    graph::Node,
    lex::Query,
    message::{Body, Message, MessageId, WireLimits},
    value::{Key, Soul, State, Value},
};
use std::{collections::VecDeque, time::Duration};

/// The time of day when the test begins.
pub(super) const DAY: f64 = 1_795_344_000_000.0;

pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Duration,
    /// What was sent and not taken yet.
    pub(super) sent: VecDeque<(u32, Message)>,
    /// The lengths of the frames that were sent.
    pub(super) frames: Vec<usize>,
    /// Everything else that was put out and not taken yet.
    pub(super) others: VecDeque<Output>,
    ids: u64,
}

pub(super) fn config(relays: usize) -> ClientConfig {
    ClientConfig {
        relays: (0..relays)
            .map(|relay| format!("ws://relay{relay}/gun").parse().unwrap())
            .collect(),
        seed: 7,
        ..ClientConfig::default()
    }
}

impl World {
    /// A client whose relays are being dialled.
    pub(super) fn new(config: ClientConfig) -> Self {
        let mut world = Self {
            core: Core::new(config),
            now: Duration::from_secs(1),
            sent: VecDeque::new(),
            frames: Vec::new(),
            others: VecDeque::new(),
            ids: 0,
        };
        world.drain();
        world
    }

    /// A client that is connected to so many relays, and has said hello.
    pub(super) fn connected(relays: usize) -> Self {
        let mut world = Self::new(config(relays));
        for relay in 0..relays {
            world.open(relay as u32);
        }
        world.sent.clear();
        world.others.clear();
        world
    }

    pub(super) fn at(&self) -> Moment {
        Moment {
            now: self.now,
            clock: state(self.now.as_secs_f64() * 1000.0),
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            let Output::Send(relay, frame) = output else {
                self.others.push_back(output);
                continue;
            };
            self.frames.push(frame.len());
            for text in frames_in(&frame) {
                let message = Message::parse(&text.unwrap(), &WireLimits::default());
                self.sent.push_back((relay, message.unwrap()));
            }
        }
    }

    pub(super) fn open(&mut self, relay: u32) {
        self.core.opened(self.at(), relay);
        self.drain();
    }

    pub(super) fn close(&mut self, relay: u32) {
        self.core.closed(self.at(), relay, "it fell".to_owned());
        self.drain();
    }

    /// Lets time pass, and what is due be done in time.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut calls = 0;
        while let Some(due) = self.core.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.core.on_timeout(self.at());
            self.drain();
            calls += 1;
            assert!(calls < 100_000, "the core spins");
        }
        self.now = end;
    }

    pub(super) fn put(&mut self, nodes: Vec<Node>) -> u64 {
        let id = self.core.put(self.at(), nodes, true).unwrap();
        self.drain();
        id
    }

    pub(super) fn put_soon(&mut self, nodes: Vec<Node>) -> u64 {
        let id = self.core.put(self.at(), nodes, false).unwrap();
        self.drain();
        id
    }

    pub(super) fn once(&mut self, query: Query) -> u64 {
        let id = self.core.once(self.at(), query).unwrap();
        self.drain();
        id
    }

    pub(super) fn subscribe(&mut self, query: Query) -> u64 {
        let id = self.core.subscribe(self.at(), query);
        self.drain();
        id
    }

    /// A relay says this.
    pub(super) fn hear(&mut self, relay: u32, message: Message) {
        self.core.on_messages(self.at(), relay, vec![message]);
        self.drain();
    }

    pub(super) fn id(&mut self) -> MessageId {
        self.ids += 1;
        MessageId::new(&format!("r{:08}", self.ids)).unwrap()
    }

    pub(super) fn ack(&mut self, relay: u32, put: &MessageId) {
        let id = self.id();
        self.hear(relay, Message::stored(id, put.clone()));
    }

    pub(super) fn refuse(&mut self, relay: u32, put: &MessageId, why: &str) {
        let id = self.id();
        self.hear(relay, Message::refused(id, put.clone(), why.into()));
    }

    /// A relay answers a query; with no nodes, that there is nothing.
    pub(super) fn answer(&mut self, relay: u32, get: &MessageId, nodes: Vec<Node>) {
        let id = self.id();
        let answer = if nodes.is_empty() {
            Message::not_found(id, get.clone())
        } else {
            Message::answer(id, get.clone(), nodes)
        };
        self.hear(relay, answer);
    }

    /// A relay tells of a change.
    pub(super) fn push(&mut self, relay: u32, nodes: Vec<Node>) {
        let id = self.id();
        self.hear(relay, Message::put(id, nodes));
    }

    /// The next write that was sent.
    pub(super) fn sent_put(&mut self) -> Option<(u32, MessageId, Vec<Node>)> {
        while let Some((relay, message)) = self.sent.pop_front() {
            if let Body::Put(nodes) = message.body {
                return Some((relay, message.id.unwrap(), nodes));
            }
        }
        None
    }

    /// The next query that was sent.
    pub(super) fn sent_get(&mut self) -> Option<(u32, MessageId, Query)> {
        while let Some((relay, message)) = self.sent.pop_front() {
            if let Body::Get(query) = message.body {
                return Some((relay, message.id.unwrap(), query));
            }
        }
        None
    }

    /// The next output that is no frame and no change of status.
    pub(super) fn output(&mut self) -> Option<Output> {
        self.others.retain(|output| *output != Output::Status);
        self.others.pop_front()
    }
}

pub(super) fn state(ms: f64) -> State {
    State::new(DAY + ms).unwrap()
}

pub(super) fn soul(text: &str) -> Soul {
    Soul::new(text).unwrap()
}

pub(super) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// A node of one field.
pub(super) fn field(name: &str, of: &str, value: &str, ms: f64) -> Node {
    Node::new(soul(name)).with(key(of), Value::text(value), state(ms))
}
