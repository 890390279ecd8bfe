//! Queries: asked, answered in pieces, by several, by nobody.

use super::script::{World, config, field, key, soul, state};
use crate::{
    client::{ClientConfig, GetError, core::Output},
    lex::{Lex, Query},
    message::Message,
    value::Value,
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_millis(100);

#[test]
fn answers_of_several_relays_are_merged() {
    let mut world = World::connected(2);
    let once = world.once(Query::node(soul("s")));
    let (first, id, query) = world.sent_get().unwrap();
    assert_eq!((first, query), (0, Query::node(soul("s"))));
    let (second, other, _) = world.sent_get().unwrap();
    assert_eq!(second, 1);
    world.answer(
        0,
        &id,
        vec![field("s", "a", "old", 1.0).with(key("b"), Value::Null, state(1.0))],
    );
    world.answer(1, &other, Vec::new());
    world.answer(1, &other, vec![field("s", "a", "new", 2.0)]);
    assert_eq!(world.output(), None);
    world.pass(GRACE);
    let whole = field("s", "a", "new", 2.0).with(key("b"), Value::Null, state(1.0));
    assert_eq!(world.output(), Some(Output::Found(once, Ok(vec![whole]))));
    // What comes later is for nobody.
    world.answer(0, &id, vec![field("s", "a", "newer", 3.0)]);
    assert_eq!(world.output(), None);
    assert_eq!(world.core.deadline(), None);
}

#[test]
fn one_field_is_told_at_once_when_all_have_answered() {
    let mut world = World::connected(2);
    let once = world.once(Query::field(soul("s"), key("k")));
    let (_, id, _) = world.sent_get().unwrap();
    let (_, other, _) = world.sent_get().unwrap();
    world.answer(0, &id, vec![field("s", "k", "v", 1.0)]);
    assert_eq!(world.output(), None);
    world.answer(1, &other, Vec::new());
    let found = Output::Found(once, Ok(vec![field("s", "k", "v", 1.0)]));
    assert_eq!(world.output(), Some(found));
}

#[test]
fn a_silent_relay_holds_nobody_up_who_has_an_answer() {
    let mut world = World::connected(2);
    let once = world.once(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    world.answer(0, &id, vec![field("s", "k", "v", 1.0)]);
    world.pass(GRACE);
    assert!(matches!(world.output(), Some(Output::Found(id, Ok(_))) if id == once));
}

#[test]
fn nothing_is_found_only_if_a_relay_says_so() {
    let mut world = World::connected(2);
    let once = world.once(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    let (_, other, _) = world.sent_get().unwrap();
    world.answer(0, &id, Vec::new());
    world.pass(SECOND);
    assert_eq!(world.output(), None, "the other one may know");
    world.answer(1, &other, Vec::new());
    // gun.js says so before it has asked its peers.
    world.pass(GRACE);
    assert_eq!(world.output(), Some(Output::Found(once, Ok(Vec::new()))));

    let once = world.once(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    world.answer(0, &id, Vec::new());
    world.pass(2 * SECOND);
    assert_eq!(world.output(), Some(Output::Found(once, Ok(Vec::new()))));

    let once = world.once(Query::node(soul("s")));
    world.pass(2 * SECOND);
    assert_eq!(
        world.output(),
        Some(Output::Found(once, Err(GetError::Unanswered)))
    );
}

#[test]
fn without_relays_it_is_an_error_and_one_that_comes_in_time_is_asked() {
    let mut world = World::new(config(0));
    let refused = world.core.once(world.at(), Query::node(soul("s")));
    assert!(matches!(refused, Err(GetError::NoRelay { why: Some(_) })));

    let mut world = World::new(config(1));
    world.others.clear();
    let once = world.once(Query::node(soul("s")));
    world.pass(2 * SECOND);
    let why = None;
    assert_eq!(
        world.output(),
        Some(Output::Found(once, Err(GetError::NoRelay { why })))
    );

    let once = world.once(Query::node(soul("s")));
    world.pass(SECOND);
    world.open(0);
    let (_, id, _) = world.sent_get().unwrap();
    world.answer(0, &id, vec![field("s", "k", "v", 1.0)]);
    world.pass(GRACE);
    assert!(
        matches!(world.output(), Some(Output::Found(id, Ok(found))) if id == once && found.len() == 1)
    );
}

#[test]
fn a_relay_that_is_lost_is_not_waited_for() {
    let mut world = World::connected(2);
    let once = world.once(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    world.answer(0, &id, Vec::new());
    world.close(1);
    world.pass(GRACE);
    world
        .others
        .retain(|output| matches!(output, Output::Found(..)));
    assert_eq!(world.output(), Some(Output::Found(once, Ok(Vec::new()))));
}

#[test]
fn more_is_waited_for_where_more_is_promised() {
    let mut world = World::connected(1);
    let once = world.once(Query::node(soul("s")));
    let (_, id, _) = world.sent_get().unwrap();
    for number in 0..5 {
        let part = vec![field("s", &format!("k{number}"), "v", 1.0)];
        let own = world.id();
        let more = number < 4;
        world.hear(
            0,
            Message {
                more,
                ..Message::answer(own, id.clone(), part)
            },
        );
        if more {
            world.pass(3 * GRACE);
            assert_eq!(world.output(), None);
        }
    }
    world.pass(GRACE);
    let Some(Output::Found(id, Ok(found))) = world.output() else {
        panic!("nothing found");
    };
    assert_eq!((id, found[0].fields.len()), (once, 5));
}

#[test]
fn a_range_that_gets_no_answer_is_asked_for_as_a_whole() {
    let mut world = World::connected(1);
    let range = Query::fields(soul("s"), Lex::prefix("a"), 1000);
    let once = world.once(range.clone());
    let (_, _, query) = world.sent_get().unwrap();
    assert_eq!(query, range);
    world.pass(SECOND);
    let (_, id, query) = world.sent_get().unwrap();
    assert_eq!(query, Query::node(soul("s")));
    let whole = field("s", "a1", "v", 1.0).with(key("b"), Value::Null, state(1.0));
    world.answer(0, &id, vec![whole]);
    world.pass(GRACE);
    let found = Output::Found(once, Ok(vec![field("s", "a1", "v", 1.0)]));
    assert_eq!(world.output(), Some(found));
}

#[test]
fn only_what_was_asked_for_is_found_and_only_so_much() {
    let config = ClientConfig {
        max_bytes: 2000,
        ..config(1)
    };
    let mut world = World::new(config);
    world.open(0);
    world.others.clear();
    let once = world.once(Query::field(soul("s"), key("k")));
    let (_, id, _) = world.sent_get().unwrap();
    let sent = vec![
        field("t", "k", "other node", 1.0),
        field("s", "k", &"too long".repeat(1000), 9.0),
        field("s", "k", "of a time to come", 1e9),
        field("s", "k", "v", 1.0).with(key("other"), Value::Null, state(1.0)),
    ];
    // In messages of their own: no node stands twice in one.
    for node in sent {
        world.answer(0, &id, vec![node]);
    }
    let found = Output::Found(once, Ok(vec![field("s", "k", "v", 1.0)]));
    assert_eq!(world.output(), Some(found));
}

#[test]
fn queries_are_bounded() {
    let mut world = World::connected(1);
    let ask = |world: &mut World| world.core.once(world.at(), Query::node(soul("s")));
    let asked = (0..10_000).take_while(|_| ask(&mut world).is_ok()).count();
    assert_eq!(asked, 4096);
    assert_eq!(ask(&mut world), Err(GetError::TooMany));
    world.drain();
    world.pass(2 * SECOND);
    assert!(ask(&mut world).is_ok());
}
