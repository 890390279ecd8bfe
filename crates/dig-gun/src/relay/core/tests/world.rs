//! A core with a store, and those who talk with it.

use super::super::*;
use crate::{
    lex::KeyQuery,
    message::WireLimits,
    relay::{reading, writing},
    store::{MemoryStorage, Storage, StoreConfig},
};
use dig_types::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// Where the clock on the wall begins.
pub(super) const EPOCH: f64 = 1.7e12;

/// A core with a store, and texts in and out.
pub(super) struct Relay {
    pub(super) core: Core,
    pub(super) storage: MemoryStorage,
    pub(super) time: Duration,
    pub(super) heard: BTreeMap<ConnId, Vec<Message>>,
    pub(super) closed: Vec<ConnId>,
    /// Commits that are not durable yet, if they are to wait.
    pub(super) commits: Option<VecDeque<Vec<Node>>>,
    pub(super) loads: usize,
}

impl Relay {
    pub(super) fn new(limits: Limits, joins: usize) -> Self {
        Self {
            core: Core::new(limits, 7, joins),
            storage: MemoryStorage::new(StoreConfig::default()),
            time: Duration::ZERO,
            heard: BTreeMap::new(),
            closed: Vec::new(),
            commits: None,
            loads: 0,
        }
    }

    pub(super) fn now(&self) -> Now {
        Now {
            since: self.time,
            clock: State::new(EPOCH + self.time.as_secs_f64() * 1000.0).unwrap(),
        }
    }

    pub(super) fn connect(&mut self, last: u8) -> ConnId {
        let conn = self.core.connected(
            self.now(),
            From::Dialled(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))),
        );
        let conn = conn.unwrap();
        self.work();
        assert!(matches!(
            self.take(conn)[..],
            [Message {
                body: Body::Dam(Dam::AskPid(Some(_))),
                ..
            }]
        ));
        conn
    }

    pub(super) fn join(&mut self, number: usize) -> ConnId {
        let conn = self
            .core
            .connected(self.now(), From::Joined(number))
            .unwrap();
        self.work();
        conn
    }

    pub(super) fn gone(&mut self, conn: ConnId) {
        let now = self.now();
        self.core.gone(now, conn);
        self.work();
    }

    pub(super) fn tell(&mut self, conn: ConnId, text: &str) {
        let now = self.now();
        let messages = reading::read(text, &WireLimits::default(), now.clock, &mut 0);
        let mut more = self.core.on_messages(now, conn, messages);
        self.work();
        while more {
            let now = self.now();
            more = self.core.go_on_with_puts(now);
            self.work();
        }
    }

    /// Lets time pass, timer by timer.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.time + time;
        while let Some(due) = self.core.deadline(self.now()).filter(|due| *due <= end) {
            self.time = self.time.max(due);
            let now = self.now();
            self.core.on_timeout(now);
            self.work();
            let next = self.core.deadline(self.now());
            assert!(
                next.is_none_or(|next| next > self.time || next > due),
                "a timer stands still"
            );
        }
        self.time = end;
    }

    pub(super) fn work(&mut self) {
        while let Some(output) = self.core.pop_output() {
            self.carry_out(output);
        }
    }

    pub(super) fn carry_out(&mut self, output: Output) {
        let mut ids = Ids::new(self.time.as_nanos() as u64 ^ 99);
        let mut texts = Vec::new();
        let to = match output {
            Output::Send(conn, message) => {
                writing::message(message, &mut || ids.next(), &mut |text| texts.push(text));
                vec![conn]
            }
            Output::Push(to, message) => {
                assert!(to.is_sorted_by(|a, b| a < b), "each once: {to:?}");
                writing::message(message, &mut || ids.next(), &mut |text| texts.push(text));
                to
            }
            Output::Answer(conn, answer) => {
                writing::answer(answer, &mut || ids.next(), &mut |text| texts.push(text));
                vec![conn]
            }
            Output::Ask(conn, ask) => {
                texts.push(writing::ask(ask));
                vec![conn]
            }
            Output::Load(soul) => {
                self.loads += 1;
                let node = self
                    .storage
                    .load(&soul)
                    .map_err(|error| error.to_string().into());
                let now = self.now();
                self.core.loaded(now, vec![(soul, node)]);
                return;
            }
            Output::Find(find, query) => {
                let found = self.storage.find(&query, 1 << 20).unwrap();
                self.core.found(find, found.nodes);
                return;
            }
            Output::Commit { changes, .. } => {
                match &mut self.commits {
                    Some(waiting) => waiting.push_back(changes),
                    None => self.commit(&changes),
                }
                return;
            }
            Output::Close(conn, _) => {
                self.closed.push(conn);
                return;
            }
        };
        for text in texts {
            let message = Message::parse(&text, &WireLimits::default()).unwrap();
            for conn in &to {
                self.heard.entry(*conn).or_default().push(message.clone());
            }
        }
    }

    pub(super) fn commit(&mut self, changes: &[Node]) {
        let forgotten = self
            .storage
            .commit(changes, Timestamp::from_millis(1))
            .unwrap();
        assert!(forgotten.is_empty());
        self.core.committed(Ok(()));
    }

    /// The oldest commit that waits becomes durable, or fails.
    pub(super) fn finish_commit(&mut self, works: bool) {
        let changes = self.commits.as_mut().and_then(VecDeque::pop_front).unwrap();
        if works {
            self.commit(&changes);
        } else {
            self.core.committed(Err("no space".into()));
        }
        self.work();
    }

    /// What a connection heard since.
    pub(super) fn take(&mut self, conn: ConnId) -> Vec<Message> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// What a connection heard since, in few words; names of messages that are not its own are left out.
    pub(super) fn words(&mut self, conn: ConnId) -> Vec<String> {
        self.take(conn).iter().map(words).collect()
    }
}

pub(super) fn fields(nodes: &[Node]) -> String {
    let mut words = Vec::new();
    for node in nodes {
        for (key, field) in &node.fields {
            let mut value = String::new();
            crate::text::write_value(&mut value, &field.value);
            words.push(format!("{}.{key}={value}", node.soul));
        }
    }
    words.join(" ")
}

pub(super) fn words(message: &Message) -> String {
    let to = message
        .answers
        .as_ref()
        .map(|id| format!(" @{id}"))
        .unwrap_or_default();
    let more = if message.more { " more" } else { "" };
    match &message.body {
        Body::Put(nodes) => format!("put{to}{more} {}", fields(nodes)),
        Body::Get(query) => {
            let key = match &query.key {
                Some(KeyQuery::One(key)) => format!(".{key}"),
                _ => String::new(),
            };
            format!("get {}{key}", query.one_soul().unwrap())
        }
        Body::Ack { ok: true, .. } => format!("ok{to}"),
        Body::Ack { error, .. } => format!("err{to} {}", error.as_deref().unwrap_or("")),
        Body::NotFound => format!("nothing{to}"),
        other => format!("{other:?}"),
    }
}

pub(super) fn put(id: &str, soul: &str, key: &str, value: &str, state: f64) -> String {
    format!(
        r##"{{"#":"{id}","put":{{"{soul}":{{"_":{{"#":"{soul}",">":{{"{key}":{state}}}}},"{key}":{value}}}}}}}"##
    )
}

pub(super) fn get(id: &str, soul: &str) -> String {
    format!(r##"{{"#":"{id}","get":{{"#":"{soul}"}}}}"##)
}
