use super::*;
use crate::message::WireLimits;
use crate::{
    graph::DeferredConfig,
    lex::{KeyQuery, Lex},
    relay::{reading, writing},
    store::{MemoryStorage, Storage, StoreConfig},
    value::{Key, Value},
};
use dig_types::Timestamp;
use std::net::{IpAddr, Ipv4Addr};

/// Where the clock on the wall begins.
const EPOCH: f64 = 1.7e12;

/// A core with a store, and texts in and out.
struct Relay {
    core: Core,
    storage: MemoryStorage,
    time: Duration,
    heard: BTreeMap<ConnId, Vec<Message>>,
    closed: Vec<ConnId>,
    /// Commits that are not durable yet, if they are to wait.
    commits: Option<VecDeque<Vec<Node>>>,
    loads: usize,
}

impl Relay {
    fn new(limits: Limits, joins: usize) -> Self {
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

    fn now(&self) -> Now {
        Now {
            since: self.time,
            clock: State::new(EPOCH + self.time.as_secs_f64() * 1000.0).unwrap(),
        }
    }

    fn connect(&mut self, last: u8) -> ConnId {
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

    fn join(&mut self, number: usize) -> ConnId {
        let conn = self
            .core
            .connected(self.now(), From::Joined(number))
            .unwrap();
        self.work();
        conn
    }

    fn gone(&mut self, conn: ConnId) {
        let now = self.now();
        self.core.gone(now, conn);
        self.work();
    }

    fn tell(&mut self, conn: ConnId, text: &str) {
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
    fn pass(&mut self, time: Duration) {
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

    fn work(&mut self) {
        while let Some(output) = self.core.pop_output() {
            self.carry_out(output);
        }
    }

    fn carry_out(&mut self, output: Output) {
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

    fn commit(&mut self, changes: &[Node]) {
        let forgotten = self
            .storage
            .commit(changes, Timestamp::from_millis(1))
            .unwrap();
        assert!(forgotten.is_empty());
        self.core.committed(Ok(()));
    }

    /// The oldest commit that waits becomes durable, or fails.
    fn finish_commit(&mut self, works: bool) {
        let changes = self.commits.as_mut().and_then(VecDeque::pop_front).unwrap();
        if works {
            self.commit(&changes);
        } else {
            self.core.committed(Err("no space".into()));
        }
        self.work();
    }

    /// What a connection heard since.
    fn take(&mut self, conn: ConnId) -> Vec<Message> {
        self.heard.remove(&conn).unwrap_or_default()
    }

    /// What a connection heard since, in few words; names of messages that are not its own are left out.
    fn words(&mut self, conn: ConnId) -> Vec<String> {
        self.take(conn).iter().map(words).collect()
    }
}

fn fields(nodes: &[Node]) -> String {
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

fn words(message: &Message) -> String {
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

fn put(id: &str, soul: &str, key: &str, value: &str, state: f64) -> String {
    format!(
        r##"{{"#":"{id}","put":{{"{soul}":{{"_":{{"#":"{soul}",">":{{"{key}":{state}}}}},"{key}":{value}}}}}}}"##
    )
}

fn get(id: &str, soul: &str) -> String {
    format!(r##"{{"#":"{id}","get":{{"#":"{soul}"}}}}"##)
}

#[test]
fn a_write_is_acknowledged_when_it_is_durable_and_not_before() {
    let mut relay = Relay::new(Limits::default(), 0);
    relay.commits = Some(VecDeque::new());
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    relay.tell(alice, &put("p1", "s", "k", "1", 1.0));
    relay.tell(bob, &put("p2", "s", "k", "1", 1.0));
    assert!(relay.take(alice).is_empty());
    assert!(
        relay.take(bob).is_empty(),
        "what bob writes is there, but not durable"
    );
    relay.finish_commit(true);
    assert_eq!(relay.words(alice), ["ok @p1"]);
    assert_eq!(relay.words(bob), ["ok @p2"]);
    relay.tell(bob, &put("p3", "s", "k", "0", 0.5));
    assert_eq!(relay.words(bob), ["ok @p3"], "older, so nothing to be done");
    assert_eq!(relay.core.counters().unchanged, 2);
}

#[test]
fn what_could_not_be_written_is_refused_and_read_again() {
    let mut relay = Relay::new(Limits::default(), 0);
    relay.commits = Some(VecDeque::new());
    let alice = relay.connect(1);
    relay.tell(alice, &put("p1", "s", "k", "1", 1.0));
    relay.tell(alice, &put("p2", "s", "k", "1", 1.0));
    relay.finish_commit(false);
    assert_eq!(relay.words(alice), ["err @p1 no space", "err @p2 no space"]);
    relay.tell(alice, &put("p3", "s", "k", "1", 1.0));
    relay.finish_commit(true);
    assert_eq!(relay.words(alice), ["ok @p3"]);
    assert_eq!(relay.storage.usage().souls, 1);
}

#[test]
fn of_a_batch_with_a_bad_message_the_others_are_done() {
    let mut relay = Relay::new(Limits::default(), 0);
    let alice = relay.connect(1);
    let batch = [
        put("p1", "s", "k", "1", 1.0),
        put("p2", "s", "k", "[1]", 2.0),
        "17".to_owned(),
        r##"{"#":"p3","put":{"toString":{"_":{"#":"toString",">":{"__proto__":1}},"__proto__":true}}}"##.to_owned(),
        get("g1", "toString"),
    ];
    relay.tell(alice, &format!("[{}]", batch.join(",")));
    let words = relay.words(alice);
    let expected = [
        "err @p2 Error: Invalid graph! 'k' on 's' bad array.",
        "ok @p1",
        "ok @p3",
        "put @g1 toString.__proto__=true",
        "get toString",
    ];
    for word in expected {
        assert!(words.iter().any(|heard| heard == word), "{word}: {words:?}");
    }
    assert_eq!(words.len(), expected.len());
}

#[test]
fn whoever_asked_is_told_of_changes_and_the_writer_is_not() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (alice, bob, carol, dave) = (
        relay.connect(1),
        relay.connect(2),
        relay.connect(3),
        relay.connect(4),
    );
    relay.tell(alice, &get("a", "s"));
    relay.tell(bob, r##"{"#":"b","get":{"#":"s",".":"x"}}"##);
    relay.tell(carol, r##"{"#":"c","get":{"#":{"*":"s"},"%":1000}}"##);
    assert_eq!(relay.words(alice), ["nothing @a", "get s"]);
    assert_eq!(relay.words(bob), ["nothing @b", "get s.x"]);
    assert_eq!(relay.words(carol), ["nothing @c"]);
    let both = r##"{"#":"p","put":{"s":{"_":{"#":"s",">":{"x":1,"y":1}},"x":1,"y":2}}}"##;
    relay.tell(alice, both);
    assert_eq!(relay.words(alice), ["ok @p"]);
    assert_eq!(relay.words(bob), ["put s.x=1"]);
    assert_eq!(relay.words(carol), ["put s.x=1 s.y=2"]);
    assert!(relay.take(dave).is_empty(), "dave asked for nothing");
    relay.tell(dave, both);
    relay.tell(dave, &put("q", "s", "y", "3", 2.0));
    assert_eq!(relay.words(alice), ["put s.y=3"], "only what changed");
    assert!(relay.words(bob).is_empty(), "bob asked for another field");
    assert_eq!(relay.words(carol), ["put s.y=3"]);
    for conn in [alice, bob, carol, dave] {
        relay.gone(conn);
    }
    let counters = relay.core.counters();
    assert_eq!(
        (
            counters.subscriptions,
            counters.patterns,
            counters.connections
        ),
        (0, 0, 0)
    );
}

#[test]
fn what_was_written_offline_is_asked_for() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    relay.tell(bob, &get("b", "s"));
    relay.take(bob);
    relay.tell(alice, &get("a", "s"));
    let asked = relay.take(alice).pop().unwrap();
    assert_eq!(words(&asked), "get s");
    let answer = put("x", "s", "k", "\"offline\"", 5.0);
    let answer = answer.replacen('{', &format!(r##"{{"@":"{}","##, asked.id.unwrap()), 1);
    relay.tell(alice, &answer);
    assert_eq!(relay.words(bob), ["put s.k=\"offline\""]);
    assert!(
        relay.words(alice).is_empty(),
        "answers are not acknowledged"
    );
    relay.tell(alice, &get("a2", "s"));
    assert_eq!(
        relay.words(alice),
        ["put @a2 s.k=\"offline\""],
        "asked back once"
    );
}

#[test]
fn an_answer_that_would_say_what_is_known_is_silence() {
    let mut relay = Relay::new(Limits::default(), 0);
    let alice = relay.connect(1);
    relay.tell(alice, &put("p", "s", "k", "1", 1.0));
    relay.tell(alice, &get("a", "s"));
    let heard = relay.take(alice);
    let hash = heard
        .iter()
        .find_map(|message| message.hash.filter(|_| message.answers.is_some()))
        .unwrap();
    let asked = heard
        .iter()
        .find(|message| matches!(message.body, Body::Get(_)))
        .unwrap();
    assert_eq!(asked.hash, Some(hash), "our question says what we have");
    relay.tell(
        alice,
        &format!(r###"{{"#":"b","##":{hash},"get":{{"#":"s"}}}}"###),
    );
    assert!(relay.take(alice).is_empty());
    relay.tell(
        alice,
        &format!(
            r###"{{"#":"c","##":{},"get":{{"#":"s"}}}}"###,
            hash.wrapping_add(1)
        ),
    );
    assert_eq!(relay.words(alice), ["put @c s.k=1"]);
}

#[test]
fn a_write_for_a_time_to_come_shows_and_is_acknowledged_then() {
    let limits = Limits {
        deferred: DeferredConfig {
            horizon: Duration::from_secs(60),
            ..DeferredConfig::default()
        },
        ..Limits::default()
    };
    let mut relay = Relay::new(limits, 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    relay.tell(bob, &get("b", "s"));
    relay.take(bob);
    relay.tell(alice, &put("p1", "s", "k", "1", EPOCH + 30_000.0));
    relay.tell(alice, &put("p2", "s", "k", "2", EPOCH + 61_000.0));
    let refused = relay.words(alice);
    assert!(
        matches!(&refused[..], [word] if word.starts_with("err @p2 written 61 s in the future")),
        "{refused:?}"
    );
    relay.pass(Duration::from_secs(29));
    relay.tell(alice, &get("g", "s"));
    assert_eq!(relay.words(alice), ["nothing @g", "get s"]);
    assert!(relay.take(bob).is_empty());
    relay.pass(Duration::from_secs(2));
    assert_eq!(relay.words(alice), ["put s.k=1", "ok @p1"]);
    assert_eq!(relay.words(bob), ["put s.k=1"]);
    assert_eq!(relay.core.counters().deferred, 0);
    assert_eq!(relay.core.deadline(relay.now()), None);
}

#[test]
fn a_pattern_sees_what_was_written_just_before() {
    let mut relay = Relay::new(Limits::default(), 0);
    relay.commits = Some(VecDeque::new());
    let alice = relay.connect(1);
    let find = r##"{"#":"f","get":{"#":{"*":"chat/"},"%":1000}}"##;
    relay.tell(
        alice,
        &format!(
            "[{},{},{find}]",
            put("p", "chat/a", "k", "1", 1.0),
            put("q", "other", "k", "1", 1.0)
        ),
    );
    assert!(relay.take(alice).is_empty());
    relay.finish_commit(true);
    assert_eq!(relay.words(alice), ["ok @p"]);
    relay.finish_commit(true);
    assert_eq!(relay.words(alice), ["ok @q", "put @f chat/a.k=1"]);
    let keys = r##"{"#":"l","get":{"#":"chat/a",".":{"*":"z"},"%":10}}"##;
    relay.tell(alice, keys);
    assert_eq!(relay.words(alice), ["nothing @l", "get chat/a"]);
}

#[test]
fn a_long_node_is_answered_in_parts_below_the_bound_of_gun_js() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    let mut node = Node::new(Soul::new("wide").unwrap());
    for number in 0..3_000 {
        let key = Key::new(&format!("key {number}")).unwrap();
        node = node.with(key, Value::text(&"x".repeat(40)), State::new(1.0).unwrap());
    }
    relay.tell(bob, &get("b", "wide"));
    relay.take(bob);
    relay.tell(
        alice,
        &Message::put(MessageId::new("p").unwrap(), vec![node.clone()]).to_text(),
    );
    relay.tell(alice, &get("a", "wide"));
    for (conn, asked) in [(alice, true), (bob, false)] {
        let mut all = Node::new(node.soul.clone());
        let heard = relay.take(conn);
        let parts = heard.iter().filter(|message| {
            message.answers.is_some() == asked && matches!(message.body, Body::Put(_))
        });
        let parts: Vec<_> = parts.collect();
        assert!(parts.len() > 5);
        for (number, part) in parts.iter().enumerate() {
            assert!(part.to_text().len() < crate::frame::MAX_CHARS);
            assert_eq!(part.more, asked && number + 1 < parts.len());
            let Body::Put(nodes) = &part.body else {
                unreachable!()
            };
            all.fields.extend(nodes[0].fields.clone());
        }
        assert_eq!(all, node);
    }
}

#[test]
fn a_long_put_is_merged_in_parts_and_acknowledged_once() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    let mut node = Node::new(Soul::new("wide").unwrap());
    for number in 0..(3 * AT_ONCE + 1) {
        let key = Key::new(&format!("{number}")).unwrap();
        node = node.with(key, Value::Bool(true), State::new(1.0).unwrap());
    }
    relay.commits = Some(VecDeque::new());
    let id = MessageId::new("long").unwrap();
    let now = relay.now();
    let read = reading::read(
        &Message::put(id, vec![node]).to_text(),
        &WireLimits::default(),
        now.clock,
        &mut 0,
    );
    assert!(
        relay.core.on_messages(now, alice, read),
        "there is more to do"
    );
    relay.work();
    relay.tell(bob, &put("p", "other", "k", "1", 1.0));
    relay.finish_commit(true);
    assert_eq!(relay.words(bob), ["ok @p"], "others need not wait for it");
    while relay.core.go_on_with_puts(now) {
        relay.work();
    }
    relay.work();
    let parts = relay.commits.as_ref().unwrap().len();
    assert!(parts >= 4, "{parts}");
    for part in 0..parts {
        assert!(relay.take(alice).is_empty(), "{part}");
        relay.finish_commit(true);
    }
    assert_eq!(relay.words(alice), ["ok @long"]);
    assert_eq!(
        relay
            .storage
            .load(&Soul::new("wide").unwrap())
            .unwrap()
            .unwrap()
            .fields
            .len(),
        3 * AT_ONCE + 1
    );
}

#[test]
fn who_leaves_amid_a_long_put_holds_nobody_up() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    let mut node = Node::new(Soul::new("chat/wide").unwrap());
    for number in 0..(2 * AT_ONCE) {
        let key = Key::new(&format!("{number}")).unwrap();
        node = node.with(key, Value::Null, State::new(1.0).unwrap());
    }
    let now = relay.now();
    let text = Message::put(MessageId::new("long").unwrap(), vec![node]).to_text();
    let read = reading::read(&text, &WireLimits::default(), now.clock, &mut 0);
    assert!(relay.core.on_messages(now, alice, read));
    relay.tell(bob, r##"{"#":"f","get":{"#":{"*":"chat/"},"%":1000}}"##);
    assert!(relay.take(bob).is_empty(), "it waits for what came before");
    relay.gone(alice);
    assert_eq!(relay.words(bob), ["nothing @f"]);
    assert!(relay.core.rest.is_empty() && relay.core.puts.is_empty());
}

#[test]
fn limits_of_nodes_and_origins_refuse_and_harm_nobody_else() {
    let limits = Limits {
        fields: 2,
        node: 4_000,
        souls_per_day: 3,
        connections_per_origin: 1,
        subscriptions: 2,
        ..Limits::default()
    };
    let mut relay = Relay::new(limits, 0);
    let alice = relay.connect(1);
    assert_eq!(
        relay.core.connected(
            relay.now(),
            From::Dialled(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
        ),
        Err(Turned::TooMany)
    );
    let refused = |relay: &mut Relay, conn| {
        let words = relay.words(conn);
        words.len() == 1 && words[0].starts_with("err")
    };
    for key in ["a", "b"] {
        relay.tell(alice, &put("p", "s", key, "1", 1.0));
        assert_eq!(relay.words(alice), ["ok @p"]);
    }
    relay.tell(alice, &put("p", "s", "c", "1", 1.0));
    assert!(refused(&mut relay, alice), "too many fields");
    let long = format!("\"{}\"", "x".repeat(2_000));
    relay.tell(alice, &put("p", "s", "a", &long, 2.0));
    relay.tell(alice, &put("p", "s", "a", &long, 3.0));
    assert_eq!(
        relay.words(alice),
        ["ok @p", "ok @p"],
        "what is replaced does not count"
    );
    relay.tell(alice, &put("p", "s", "b", &long, 2.0));
    assert!(refused(&mut relay, alice), "too many bytes");
    for soul in ["t", "u"] {
        relay.tell(alice, &put("p", soul, "a", "1", 1.0));
        assert_eq!(relay.words(alice), ["ok @p"]);
    }
    relay.tell(alice, &put("p", "v", "a", "1", 1.0));
    assert!(refused(&mut relay, alice), "too many souls");
    let bob = relay.connect(2);
    relay.tell(bob, &put("p", "v", "a", "1", 1.0));
    assert_eq!(relay.words(bob), ["ok @p"]);
    for soul in ["s", "t", "u"] {
        relay.tell(bob, &get("g", soul));
    }
    relay.take(bob);
    relay.tell(alice, &put("p", "s", "a", "2", 4.0));
    assert!(relay.words(bob).is_empty(), "the oldest gave way");
    for soul in ["t", "u"] {
        relay.tell(alice, &put("p", soul, "a", "2", 2.0));
    }
    assert_eq!(relay.words(bob), ["put t.a=2", "put u.a=2"]);
    assert_eq!(relay.core.counters().unfollowed, 1);
}

#[test]
fn what_is_not_in_memory_is_read_once_for_all_who_wait() {
    let limits = Limits {
        cache: 0,
        ..Limits::default()
    };
    let mut relay = Relay::new(limits, 0);
    let alice = relay.connect(1);
    let writes: Vec<_> = (1..=5)
        .map(|state| {
            put(
                &format!("p{state}"),
                "s",
                "k",
                &state.to_string(),
                f64::from(state),
            )
        })
        .collect();
    relay.tell(alice, &format!("[{},{}]", writes.join(","), get("g", "s")));
    assert_eq!(relay.loads, 1);
    let heard = relay.words(alice);
    assert!(
        heard.contains(&"put @g s.k=5".to_owned()),
        "in their order: {heard:?}"
    );
    assert_eq!(relay.core.counters().cached_nodes, 0);
    relay.tell(alice, &get("h", "s"));
    assert_eq!(
        (relay.words(alice), relay.loads),
        (vec!["put @h s.k=5".to_owned()], 2)
    );
    assert_eq!(
        (
            relay.core.unread,
            relay.core.waiting.len(),
            relay.core.puts.len()
        ),
        (0, 0, 0)
    );
}

#[test]
fn nothing_found_waits_for_the_relay_that_was_joined() {
    let mut relay = Relay::new(Limits::default(), 1);
    let alice = relay.connect(1);
    let other = relay.join(0);
    relay.take(other);
    relay.tell(alice, &get("a", "far"));
    let asked = relay.take(other).pop().unwrap();
    assert_eq!(words(&asked), "get far");
    assert_eq!(relay.words(alice), ["get far"], "no answer yet");
    let asked = asked.id.unwrap();
    relay.tell(alice, &format!(r##"{{"#":"x","@":"{asked}"}}"##));
    assert!(relay.take(alice).is_empty(), "only who was asked answers");
    let answer = put("x", "far", "k", "1", 1.0).replacen('{', &format!(r##"{{"@":"{asked}","##), 1);
    relay.tell(other, &answer);
    let heard = relay.words(alice);
    assert!(heard.contains(&"put @a far.k=1".to_owned()), "{heard:?}");
    relay.tell(alice, &get("b", "farther"));
    relay.take(alice);
    let asked = relay.take(other).pop().unwrap().id.unwrap();
    relay.tell(other, &format!(r##"{{"#":"y","@":"{asked}"}}"##));
    assert_eq!(relay.words(alice), ["nothing @b"]);
    relay.tell(alice, &get("c", "farthest"));
    relay.pass(relay.core.limits.patience);
    assert_eq!(relay.words(alice), ["get farthest", "nothing @c"]);
    relay.pass(Duration::from_secs(1));
    assert!(relay.core.asks.is_empty());
}

#[test]
fn a_joined_relay_hears_of_every_change_and_of_what_it_missed() {
    let mut relay = Relay::new(Limits::default(), 1);
    let alice = relay.connect(1);
    relay.tell(alice, &get("g", "followed"));
    relay.tell(alice, &put("p", "before", "k", "1", 1.0));
    let other = relay.join(0);
    relay.pass(Duration::from_secs(1));
    let heard = relay.words(other);
    assert!(
        heard.contains(&"put before.k=1".to_owned()) && heard.contains(&"get followed".to_owned()),
        "{heard:?}"
    );
    relay.tell(alice, &put("q", "during", "k", "1", 1.0));
    assert_eq!(relay.words(other), ["put during.k=1"]);
    relay.tell(other, &put("r", "followed", "k", "1", 1.0));
    assert_eq!(relay.words(other), ["ok @r"], "and not of its own");
    assert!(relay.words(alice).contains(&"put followed.k=1".to_owned()));
    relay.pass(Duration::from_secs(100));
    relay.gone(other);
    relay.tell(alice, &put("s", "after", "k", "1", 1.0));
    relay.pass(Duration::from_secs(3600));
    let other = relay.join(0);
    relay.pass(Duration::from_secs(1));
    let heard = relay.words(other);
    assert!(heard.contains(&"put after.k=1".to_owned()), "{heard:?}");
    assert!(
        !heard.contains(&"put before.k=1".to_owned()),
        "that it had long before: {heard:?}"
    );
    assert!(relay.core.joins.deadline().is_none());
}

#[test]
fn relays_that_come_are_asked_and_clients_are_not() {
    let mut relay = Relay::new(Limits::default(), 0);
    let (client, peer, alice) = (relay.connect(1), relay.connect(2), relay.connect(3));
    relay.tell(
        client,
        r##"[{"dam":"hi","#":"1"},{"dam":"?","pid":"client","@":"x","#":"2"}]"##,
    );
    relay.tell(peer, r##"{"dam":"?","pid":"peer","@":"x","#":"2"}"##);
    relay.tell(alice, &get("g", "s"));
    assert!(relay.take(client).is_empty());
    assert_eq!(relay.words(peer), ["get s"]);
    relay.pass(Duration::from_secs(1));
    assert_eq!(relay.words(alice), ["get s", "nothing @g"]);
    relay.gone(peer);
    relay.tell(alice, &get("h", "t"));
    assert_eq!(relay.words(alice), ["nothing @h", "get t"]);
}

#[test]
fn names_are_told_and_a_connection_to_oneself_ends() {
    let mut relay = Relay::new(Limits::default(), 1);
    let alice = relay.connect(1);
    relay.tell(alice, r##"{"dam":"?","#":"q"}"##);
    let reply = relay.take(alice).pop().unwrap();
    assert_eq!(reply.answers.unwrap().as_str(), "q");
    let Body::Dam(Dam::Pid(pid)) = reply.body else {
        panic!()
    };
    for text in [
        r##"{"dam":"opt","opt":{"peers":"ws://192.0.2.9/gun"},"#":"o"}"##,
        r##"{"dam":"toString"}"##,
        r##"{"dam":"one"}"##,
    ] {
        relay.tell(alice, text);
        assert!(relay.take(alice).is_empty(), "{text}");
    }
    relay.tell(alice, &format!(r##"{{"dam":"?","pid":"{pid}","#":"me"}}"##));
    assert_eq!(relay.closed, [alice]);
}

#[test]
fn whoever_sends_much_takes_turns_and_then_waits() {
    let limits = Limits {
        messages_per_second: 10,
        messages_per_second_at_most: 100,
        ..Limits::default()
    };
    let mut relay = Relay::new(limits, 0);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    let now = relay.now();
    assert_eq!(relay.core.pace(now, alice, 10, 100), Pace::Now);
    assert_eq!(relay.core.pace(now, alice, 10, 100), Pace::InTurn);
    assert_eq!(
        relay.core.pace(now, alice, 180, 100),
        Pace::After(Duration::from_secs(1))
    );
    assert_eq!(relay.core.pace(now, bob, 10, 100), Pace::Now);
    relay.time += Duration::from_secs(2);
    let now = relay.now();
    assert_eq!(relay.core.pace(now, alice, 10, 100), Pace::Now);
    assert_eq!(
        relay.core.pace(now, alice, 1, 2 << 20),
        Pace::InTurn,
        "bytes count too"
    );
}

#[test]
fn patterns_are_followed_once_and_within_their_bound() {
    let mut relay = Relay::new(Limits::default(), 0);
    let alice = relay.connect(1);
    for _ in 0..100 {
        relay.tell(alice, r##"{"#":"c","get":{"#":{"*":"s"},"%":1000}}"##);
    }
    assert_eq!(
        relay.core.subscriptions.patterns_of(alice),
        [Lex::prefix("s")]
    );
    for number in 0..100 {
        relay.tell(
            alice,
            &format!(r##"{{"#":"c","get":{{"#":{{"*":"{number}"}},"%":1000}}}}"##),
        );
    }
    assert_eq!(
        relay.core.subscriptions.patterns(),
        relay.core.limits.patterns
    );
}
