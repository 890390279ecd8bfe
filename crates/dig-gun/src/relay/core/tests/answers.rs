//! What is told to whom.

use super::{
    super::*,
    world::{Relay, get, put, words},
};
use crate::{
    lex::Lex,
    value::{Key, Value},
};

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
