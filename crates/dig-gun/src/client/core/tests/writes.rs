//! Writes: held, sent, acknowledged, refused, sent again, given up.

use super::script::{World, config, field, key, soul, state};
use crate::{
    client::{ClientConfig, PutError, Refusal, Stored, core::Output},
    frame::MAX_CHARS,
    graph::Node,
    lex::Query,
    message::MessageId,
    value::Value,
};
use std::{collections::BTreeSet, time::Duration};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_first_acknowledgement_is_enough_and_the_other_relays_get_it_too() {
    let mut world = World::new(config(3));
    world.open(0);
    world.open(1);
    world.others.clear();
    let put = world.put(vec![field("s", "k", "v", 0.0)]);
    let (first, id, nodes) = world.sent_put().unwrap();
    assert_eq!((first, nodes), (0, vec![field("s", "k", "v", 0.0)]));
    let (second, other_id, _) = world.sent_put().unwrap();
    assert_eq!(second, 1);
    assert_ne!(
        id, other_id,
        "relays that know each other drop what they know"
    );
    assert_eq!(world.output(), None);
    world.ack(0, &id);
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Ok(Stored { by: 1 })))
    );
    world.ack(1, &other_id);
    assert_eq!(world.output(), None, "told once");
    // A minute later the third one is there.
    world.pass(60 * SECOND);
    world.open(2);
    world.others.clear();
    let (third, id, _) = world.sent_put().unwrap();
    assert_eq!(third, 2);
    world.ack(2, &id);
    assert_eq!(world.core.deadline(), None, "nothing is left to do");
}

#[test]
fn what_nobody_could_take_is_sent_when_somebody_can_in_its_order() {
    let mut world = World::new(config(1));
    for number in 0..3 {
        world.put_soon(vec![field("s", "k", &number.to_string(), number.into())]);
    }
    assert!(world.sent.is_empty());
    world.open(0);
    let mut ids = Vec::new();
    for number in 0..3 {
        let (_, id, nodes) = world.sent_put().unwrap();
        assert_eq!(nodes, [field("s", "k", &number.to_string(), number.into())]);
        ids.push(id);
    }
    world.ack(0, &ids[1]);
    // Lost before it acknowledged the others.
    world.close(0);
    world.pass(SECOND);
    world.open(0);
    for number in [0, 2] {
        let (_, id, nodes) = world.sent_put().unwrap();
        assert_eq!(nodes, [field("s", "k", &number.to_string(), number.into())]);
        assert!(!ids.contains(&id), "a new message has a new name");
        // An answer to the old message says nothing: that connection is gone.
        world.ack(0, &ids[number as usize]);
        world.ack(0, &id);
    }
    world.close(0);
    world.pass(SECOND);
    world.open(0);
    assert_eq!(world.sent_put(), None);
}

#[test]
fn a_large_write_is_cut_and_stored_only_as_a_whole() {
    let mut world = World::connected(1);
    let mut node = Node::new(soul("large"));
    for number in 0..5000 {
        let text = Value::text(&format!("value \"{number}\" of many"));
        node = node.with(key(&format!("key{number}")), text, state(0.0));
    }
    world.frames.clear();
    let put = world.put(vec![node.clone()]);
    assert!(
        world.frames.iter().all(|len| *len < MAX_CHARS),
        "{:?}",
        world.frames
    );
    let mut whole = Node::new(soul("large"));
    let mut ids = Vec::new();
    while let Some((_, id, nodes)) = world.sent_put() {
        ids.push(id);
        for part in nodes {
            whole.fields.extend(part.fields);
        }
    }
    assert_eq!(whole, node);
    assert!(ids.len() > 5);
    let last = ids.pop().unwrap();
    for id in ids {
        world.ack(0, &id);
    }
    assert_eq!(world.output(), None);
    world.ack(0, &last);
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Ok(Stored { by: 1 })))
    );
}

/// A relay that stays silent about this write, until it is asked what it holds.
fn asked_about(world: &mut World, node: &Node) -> MessageId {
    assert!(world.sent_put().is_some());
    assert_eq!(world.sent_get(), None);
    world.pass(2 * SECOND);
    let (_, id, query) = world.sent_get().unwrap();
    assert_eq!(query, Query::field(node.soul.clone(), key("k")));
    id
}

#[test]
fn silence_about_what_changes_nothing_is_understood() {
    for (shown, stored) in [
        (field("s", "k", "v", 5.0), true),
        // Somebody has written something else since, or at the same time.
        (field("s", "k", "a", 6.0), true),
        (field("s", "k", "w", 5.0), true),
        // These would have lost against ours.
        (field("s", "k", "z", 4.0), false),
        (field("s", "k", "a", 5.0), false),
        (field("s", "other", "v", 9.0), false),
        (field("t", "k", "v", 5.0), false),
    ] {
        let mut world = World::connected(1);
        let ours = field("s", "k", "v", 5.0);
        let put = world.put(vec![ours.clone()]);
        let asked = asked_about(&mut world, &ours);
        world.answer(0, &asked, vec![shown.clone()]);
        let told = world.output();
        if stored {
            assert_eq!(
                told,
                Some(Output::Stored(put, Ok(Stored { by: 1 }))),
                "{shown:?}"
            );
            continue;
        }
        assert_eq!(told, None, "{shown:?}");
        // It is sent again, and the first message may still be acknowledged.
        world.pass(4 * SECOND);
        let (_, again, nodes) = world.sent_put().unwrap();
        assert_eq!(nodes, [ours]);
        world.ack(0, &again);
        assert_eq!(
            world.output(),
            Some(Output::Stored(put, Ok(Stored { by: 1 })))
        );
    }
}

#[test]
fn what_the_relay_says_it_lacks_is_sent_again_soon() {
    let mut world = World::connected(1);
    let ours = field("s", "k", "v", 5.0);
    let put = world.put(vec![ours.clone()]);
    let asked = asked_about(&mut world, &ours);
    world.answer(0, &asked, Vec::new());
    world.pass(SECOND / 2);
    let (_, again, _) = world.sent_put().unwrap();
    world.ack(0, &again);
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Ok(Stored { by: 1 })))
    );
}

#[test]
fn whole_nodes_are_shown_in_pieces() {
    let mut world = World::connected(1);
    let node = field("s", "a", "1", 0.0).with(key("b"), Value::Null, state(0.0));
    let put = world.put(vec![node]);
    world.pass(2 * SECOND);
    let (_, id, query) = world.sent_get().unwrap();
    assert_eq!(query, Query::node(soul("s")));
    world.answer(0, &id, vec![field("s", "a", "1", 0.0)]);
    assert_eq!(world.output(), None);
    world.answer(
        0,
        &id,
        vec![Node::new(soul("s")).with(key("b"), Value::Null, state(0.0))],
    );
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Ok(Stored { by: 1 })))
    );
}

#[test]
fn refused_by_all_that_are_there_is_refused() {
    let mut world = World::new(config(3));
    world.open(0);
    world.open(1);
    world.others.clear();
    let put = world.put(vec![field("s", "k", "v", 0.0)]);
    let (_, first, _) = world.sent_put().unwrap();
    let (_, second, _) = world.sent_put().unwrap();
    world.refuse(
        0,
        &first,
        &format!("Unverified\n data.{}", "!".repeat(1000)),
    );
    assert_eq!(world.output(), None);
    world.refuse(1, &second, "no");
    let Some(Output::Stored(id, Err(error))) = world.output() else {
        panic!("no end");
    };
    assert_eq!(id, put);
    let PutError::Refused(refusals) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(refusals[0].text.len(), 200);
    assert!(refusals[0].text.starts_with("Unverified data.!"));
    let second = Refusal {
        relay: "ws://relay1/gun".parse().unwrap(),
        text: "no".to_owned(),
    };
    assert_eq!(refusals[1], second);
    // Not offered to the third one.
    world.open(2);
    assert_eq!(world.sent_put(), None);
}

#[test]
fn refused_by_one_and_stored_by_another_is_stored() {
    let mut world = World::connected(2);
    let put = world.put(vec![field("s", "k", "v", 0.0)]);
    let (_, first, _) = world.sent_put().unwrap();
    let (_, second, _) = world.sent_put().unwrap();
    world.refuse(0, &first, "no");
    world.ack(1, &second);
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Ok(Stored { by: 1 })))
    );
    assert_eq!(world.core.deadline(), None);
}

#[test]
fn who_waits_is_told_in_time_why_nothing_is_stored() {
    let nodes = || vec![field("s", "k", "v", 0.0)];
    let mut world = World::new(config(0));
    let refused = world.core.put(world.at(), nodes(), true);
    assert!(matches!(refused, Err(PutError::NoRelay { why: Some(_) })));

    let mut world = World::new(config(1));
    world.close(0);
    world.others.clear();
    let put = world.put(nodes());
    world.pass(Duration::from_millis(9_999));
    world
        .others
        .retain(|output| matches!(output, Output::Stored(..)));
    assert_eq!(world.output(), None);
    world.close(0);
    world.pass(Duration::from_millis(1));
    world
        .others
        .retain(|output| matches!(output, Output::Stored(..)));
    let why = Some("ws://relay0/gun: it fell".to_owned());
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Err(PutError::NoRelay { why })))
    );

    let mut world = World::connected(1);
    let put = world.put(nodes());
    world.pass(10 * SECOND);
    assert_eq!(
        world.output(),
        Some(Output::Stored(put, Err(PutError::Unanswered)))
    );
    // It is not sent any more.
    world.sent.clear();
    world.pass(600 * SECOND);
    assert!(world.sent.is_empty());
}

#[test]
fn what_nobody_waits_for_is_given_up_after_its_time() {
    let mut world = World::new(config(1));
    world.put_soon(vec![field("s", "k", "v", 0.0)]);
    world.pass(599 * SECOND);
    world.open(0);
    assert!(world.sent_put().is_some());
    world.close(0);
    world.pass(2 * SECOND);
    world.open(0);
    assert_eq!(world.sent_put(), None);
}

#[test]
fn room_is_made_by_forgetting_what_some_relay_has() {
    let room = 10 * field("s", "k", "v", 0.0).weight();
    let config = ClientConfig {
        max_held: room,
        ..config(2)
    };
    let mut world = World::new(config);
    world.open(0);
    for number in 0..10 {
        world.put_soon(vec![field("s", "k", "v", number.into())]);
    }
    let full = world
        .core
        .put(world.at(), vec![field("s", "k", "v", 10.0)], false);
    assert_eq!(full, Err(PutError::Full { held: room }));
    // One relay has the first two, so they are not kept for the other.
    for _ in 0..2 {
        let (_, id, _) = world.sent_put().unwrap();
        world.ack(0, &id);
    }
    world.put_soon(vec![field("s", "k", "v", 11.0)]);
    world.put_soon(vec![field("s", "k", "v", 12.0)]);
    let full = world
        .core
        .put(world.at(), vec![field("s", "k", "v", 13.0)], false);
    assert!(matches!(full, Err(PutError::Full { .. })));
    world.sent.clear();
    world.open(1);
    let (_, _, first) = world.sent_put().unwrap();
    assert_eq!(first, [field("s", "k", "v", 2.0)]);
}

#[test]
fn no_more_are_under_way_than_the_window_holds_and_the_unanswered_give_way() {
    let mut world = World::connected(1);
    for number in 0..3000 {
        world.put_soon(vec![field(&format!("s{number}"), "k", "v", 0.0)]);
    }
    let mut seen = BTreeSet::new();
    while let Some((_, _, nodes)) = world.sent_put() {
        seen.insert(nodes[0].soul.to_string());
    }
    assert_eq!(seen.len(), 1024);
    // The relay stays silent about all of them, also when asked; the others get their turn.
    for _ in 0..60 {
        world.pass(SECOND);
        while let Some((_, _, nodes)) = world.sent_put() {
            seen.insert(nodes[0].soul.to_string());
        }
    }
    assert_eq!(seen.len(), 3000);
    // An acknowledgement makes room for one at a time.
    let mut world = World::connected(1);
    for number in 0..3000 {
        world.put_soon(vec![field(&format!("s{number}"), "k", "v", 0.0)]);
    }
    let mut answered = 0;
    while let Some((_, id, _)) = world.sent_put() {
        world.ack(0, &id);
        answered += 1;
    }
    assert_eq!(answered, 3000);
    assert_eq!(world.core.deadline(), None);
}
