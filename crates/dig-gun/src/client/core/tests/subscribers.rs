//! Subscribers: what they hear, and what not.

use super::script::{World, config, field, key, soul, state};
use crate::{
    client::{ClientConfig, core::Output},
    graph::Node,
    lex::{Lex, Query},
    message::{Body, Message},
    text::graph_hash,
    value::Value,
};
use std::{collections::BTreeSet, time::Duration};

impl World {
    fn heard(&mut self) -> Vec<(u64, Node)> {
        let outputs = std::iter::from_fn(|| self.output());
        outputs
            .filter_map(|output| match output {
                Output::Changed(id, node) => Some((id, node)),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn each_change_is_told_once_however_many_relays_tell_of_it() {
    let mut world = World::connected(2);
    let subscriber = world.subscribe(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    let (_, other, _) = world.sent_get().unwrap();
    world.answer(0, &id, vec![field("s", "k", "1", 1.0)]);
    assert_eq!(world.heard(), [(subscriber, field("s", "k", "1", 1.0))]);
    world.answer(1, &other, vec![field("s", "k", "1", 1.0)]);
    world.push(1, vec![field("s", "k", "0", 0.0)]);
    assert_eq!(world.heard(), []);
    for relay in [0, 1, 0] {
        let both = field("s", "k", "2", 2.0).with(key("old"), Value::Null, state(0.0));
        world.push(relay, vec![both.clone(), field("t", "k", "unasked", 1.0)]);
        let told = world.heard();
        if relay == 0 && !told.is_empty() {
            assert_eq!(told, [(subscriber, both)]);
        } else {
            assert_eq!(told, []);
        }
    }
}

#[test]
fn own_writes_are_heard_at_once_and_their_echo_is_not() {
    let mut world = World::connected(1);
    let subscriber = world.subscribe(Query::field(soul("s"), key("k")));
    let node = field("s", "k", "v", 1.0).with(key("unasked"), Value::Null, state(1.0));
    world.put(vec![node.clone()]);
    assert_eq!(world.heard(), [(subscriber, field("s", "k", "v", 1.0))]);
    world.push(0, vec![node]);
    assert_eq!(world.heard(), []);
}

#[test]
fn the_same_question_is_one_to_the_relays_and_asked_again_on_each_connection() {
    let mut world = World::connected(1);
    let first = world.subscribe(Query::node(soul("s")));
    let second = world.subscribe(Query::node(soul("s")));
    let third = world.subscribe(Query::field(soul("s"), key("k")));
    let asked = |world: &mut World| std::iter::from_fn(|| world.sent_get()).count();
    assert_eq!(asked(&mut world), 2);
    world.push(0, vec![field("s", "k", "v", 1.0)]);
    let told: Vec<_> = world.heard().into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, [first, second, third]);
    world.close(0);
    world.open(0);
    assert_eq!(asked(&mut world), 2);
    world.core.unsubscribe(first);
    world.core.unsubscribe(third);
    world.close(0);
    world.open(0);
    assert_eq!(asked(&mut world), 1);
    world.push(0, vec![field("s", "k", "w", 2.0)]);
    let told: Vec<_> = world.heard().into_iter().map(|(id, _)| id).collect();
    assert_eq!(told, [second]);
    world.core.unsubscribe(second);
    world.core.unsubscribe(second);
    world.close(0);
    world.open(0);
    assert_eq!(asked(&mut world), 0);
}

#[test]
fn relays_are_asked_again_for_what_they_have_not_pushed() {
    let mut world = World::connected(2);
    let first = world.subscribe(Query::node(soul("s")));
    world.subscribe(Query::node(soul("s")));
    let field_of = world.subscribe(Query::field(soul("t"), key("k")));
    let known = field("s", "k", "v", 1.0);
    world.push(0, vec![known.clone()]);
    world.heard();
    world.sent.clear();
    world.pass(Duration::from_secs(29));
    assert!(world.sent.is_empty(), "not yet");
    world.pass(Duration::from_secs(40));
    let hash = Some(graph_hash(std::slice::from_ref(&known)));
    let asked: Vec<_> = (world.sent.drain(..))
        .map(|(relay, message)| (relay, message.hash, message.body))
        .collect();
    let of = |hash, query: Query| [0, 1].map(|relay| (relay, hash, Body::Get(query.clone())));
    let node = of(hash, Query::node(soul("s")));
    let one = of(None, Query::field(soul("t"), key("k")));
    assert!(
        asked.starts_with(&[node.clone(), one.clone()].concat()),
        "{asked:?}"
    );
    assert!(
        (8..=12).contains(&asked.len()),
        "each about twice a minute: {asked:?}"
    );

    world.core.unsubscribe(first);
    let gone: Vec<_> = (0..2).map(|_| world.sent_get()).collect();
    assert_eq!(gone, [None, None]);
    world.pass(Duration::from_secs(31));
    let (_, id, _) = std::iter::from_fn(|| world.sent_get())
        .find(|(relay, _, query)| *relay == 1 && *query == Query::field(soul("t"), key("k")))
        .unwrap();
    world.answer(1, &id, vec![field("t", "k", "late", 1.0)]);
    assert_eq!(world.heard(), [(field_of, field("t", "k", "late", 1.0))]);
}

#[test]
fn asking_again_costs_little_however_much_is_followed() {
    let mut world = World::connected(1);
    let subscribers: Vec<_> = (0..5_000)
        .map(|number| world.subscribe(Query::node(soul(&format!("s{number}")))))
        .collect();
    world.sent.clear();
    world.pass(Duration::from_secs(130));
    let asked: Vec<_> = std::iter::from_fn(|| world.sent_get()).collect();
    assert!((4_900..=5_100).contains(&asked.len()), "{}", asked.len());
    let different: BTreeSet<_> = asked
        .iter()
        .map(|(_, _, query)| format!("{query:?}"))
        .collect();
    assert!(different.len() >= 4_900, "{}", different.len());
    for subscriber in subscribers {
        world.core.unsubscribe(subscriber);
    }
    world.pass(Duration::from_secs(1));
    world.sent.clear();
    assert_eq!(world.core.deadline(), None, "nothing is left to ask about");

    world.subscribe(Query::node(soul("long")));
    world.push(0, vec![field("long", "k", &"x".repeat(1 << 20), 1.0)]);
    world.pass(Duration::from_secs(600));
    let asked = std::iter::from_fn(|| world.sent_get()).count();
    assert!(
        (8..=11).contains(&asked),
        "1 MiB about once a minute: {asked}"
    );
}

#[test]
fn a_late_subscriber_is_told_what_is_known_until_nobody_wants_it() {
    let mut world = World::connected(1);
    let first = world.subscribe(Query::node(soul("s")));
    world.push(0, vec![field("s", "k", "v", 1.0)]);
    world.heard();
    let second = world.subscribe(Query::nodes(Lex::prefix("s"), 100));
    assert_eq!(world.heard(), [(second, field("s", "k", "v", 1.0))]);
    world.core.unsubscribe(first);
    let third = world.subscribe(Query::field(soul("s"), key("k")));
    assert_eq!(world.heard(), [(third, field("s", "k", "v", 1.0))]);
    world.core.unsubscribe(second);
    world.core.unsubscribe(third);
    world.subscribe(Query::node(soul("s")));
    assert_eq!(world.heard(), []);
}

#[test]
fn ranges_of_souls_and_keys_are_followed() {
    let mut world = World::connected(1);
    let souls = world.subscribe(Query::nodes(Lex::prefix("chat/"), 100));
    let keys = world.subscribe(Query::fields(soul("chat/a"), Lex::between("b", "d"), 100));
    let node = field("chat/a", "c", "v", 1.0).with(key("z"), Value::Null, state(1.0));
    world.push(0, vec![node.clone(), field("other", "c", "v", 1.0)]);
    let mut told = world.heard();
    told.sort_by_key(|(id, _)| *id);
    assert_eq!(
        told,
        [(souls, node), (keys, field("chat/a", "c", "v", 1.0))]
    );
}

#[test]
fn what_is_of_a_time_to_come_is_told_then() {
    let mut world = World::connected(1);
    let subscriber = world.subscribe(Query::node(soul("s")));
    let now = world.now.as_secs_f64() * 1000.0;
    world.push(0, vec![field("s", "k", "soon", now + 5_000.5)]);
    world.push(
        0,
        vec![field("s", "k", "in two days", now + 2.0 * 86_400_000.0)],
    );
    world.push(0, vec![field("s", "k", "now", now)]);
    assert_eq!(world.heard(), [(subscriber, field("s", "k", "now", now))]);
    world.pass(Duration::from_millis(5_000));
    assert_eq!(world.heard(), []);
    world.pass(Duration::from_millis(2));
    assert_eq!(
        world.heard(),
        [(subscriber, field("s", "k", "soon", now + 5_000.5))]
    );
    world.pass(Duration::from_secs(3 * 86_400));
    assert_eq!(world.heard(), [], "what is too far ahead is not kept");
}

#[test]
fn what_is_known_is_bounded_and_the_latest_of_it() {
    let config = ClientConfig {
        max_bytes: 100_000,
        ..config(1)
    };
    let mut world = World::new(config);
    world.open(0);
    world.subscribe(Query::nodes(Lex::prefix("s"), 100));
    for number in 0..10_000 {
        world.push(0, vec![field(&format!("s{number}"), "k", "v", 1.0)]);
    }
    assert_eq!(world.heard().len(), 10_000);
    world.subscribe(Query::nodes(Lex::prefix("s"), 101));
    let known = world.heard();
    let weight: usize = known.iter().map(|(_, node)| node.weight()).sum();
    assert!((50_000..=100_000).contains(&weight), "{weight}");
    assert!(known.iter().any(|(_, node)| node.soul == soul("s9999")));
    assert!(!known.iter().any(|(_, node)| node.soul == soul("s0")));
    // One node that is rewritten for ever does not push out the others.
    for number in 0..10_000 {
        world.push(
            0,
            vec![field("s1", "k", "v", 2.0 + f64::from(number) / 1e4)],
        );
    }
    world.heard();
    world.subscribe(Query::nodes(Lex::prefix("s"), 102));
    assert!(world.heard().len() >= known.len() / 2);
}

#[test]
fn a_relay_that_has_forgotten_is_told_what_is_known() {
    let mut world = World::connected(2);
    let ask = |world: &mut World, query: Query, hash: Option<i32>| {
        let id = world.id();
        let question = Message {
            hash,
            ..Message::get(id.clone(), query)
        };
        world.sent.clear();
        world.hear(1, question);
        let told = world.sent.drain(..).map(|(relay, message)| {
            assert_eq!((relay, message.answers), (1, Some(id.clone())));
            let Body::Put(nodes) = message.body else {
                panic!("{:?}", message.body);
            };
            (nodes, message.more)
        });
        told.collect::<Vec<_>>()
    };
    world.subscribe(Query::node(soul("s")));
    let node = field("s", "a", "v", 1.0).with(key("b"), Value::Null, state(1.0));
    world.push(0, vec![node.clone()]);
    let whole = Query::node(soul("s"));
    let told = ask(&mut world, whole.clone(), Some(1));
    assert_eq!(told, [(vec![node.clone()], false)]);
    let one = Query::field(soul("s"), key("a"));
    let told = ask(&mut world, one, None);
    assert_eq!(told, [(vec![field("s", "a", "v", 1.0)], false)]);
    // It holds the same, asks for what nobody follows, or wants to know what there is.
    let same = Some(graph_hash(&[node]));
    assert_eq!(ask(&mut world, whole.clone(), same), []);
    assert_eq!(ask(&mut world, Query::node(soul("t")), None), []);
    let all = Query::nodes(Lex::prefix("s"), 1000);
    assert_eq!(ask(&mut world, all, None), []);
    // A long one in pieces, and not for ever.
    let long = "x".repeat(20_000);
    for number in 0..30 {
        world.push(0, vec![field("s", &format!("k{number}"), &long, 1.0)]);
    }
    world.frames.clear();
    let told = ask(&mut world, whole.clone(), None);
    assert_eq!(told.len(), 30);
    assert!(
        told.iter()
            .enumerate()
            .all(|(place, (_, more))| *more == (place < 29))
    );
    assert!(
        world
            .frames
            .iter()
            .all(|len| *len < crate::frame::MAX_CHARS)
    );
    assert_eq!(ask(&mut world, whole.clone(), None).len(), 30);
    assert_eq!(ask(&mut world, whole.clone(), None), []);
    world.pass(Duration::from_secs(1));
    assert_eq!(ask(&mut world, whole, None).len(), 30);
}
