//! When a write is acknowledged, and when refused.

use super::{
    super::*,
    world::{EPOCH, Relay, get, put},
};
use crate::{
    graph::DeferredConfig,
    message::WireLimits,
    relay::reading,
    store::Storage,
    value::{Key, Value},
};

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
