//! Connections: dialled, greeted, lost, dialled again.

use super::script::{World, config};
use crate::{
    client::{LinkState, backoff::Backoff, core::Output},
    message::{Body, Dam, Message},
};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn all_relays_are_dialled_at_once_and_each_only_once() {
    let mut world = World::new(config(2));
    let url = |relay: u32| format!("ws://relay{relay}/gun").parse().unwrap();
    assert_eq!(world.output(), Some(Output::Dial(0, url(0))));
    assert_eq!(world.output(), Some(Output::Dial(1, url(1))));
    world.core.add_relay(url(1));
    world.core.add_relay("http://relay2/gun".parse().unwrap());
    world.drain();
    assert_eq!(world.output(), Some(Output::Dial(2, url(2))));
    assert_eq!(world.output(), None);
    assert_eq!(world.core.status(world.now).len(), 3);
}

#[test]
fn hello_comes_first_and_who_asks_is_told_our_name() {
    let mut world = World::new(config(1));
    world.open(0);
    let (_, hello) = world.sent.pop_front().unwrap();
    assert_eq!(hello.body, Body::Dam(Dam::Hi));
    let mut names = Vec::new();
    for _ in 0..2 {
        let asked = world.id();
        let pid = Some("theirs".into());
        world.hear(0, Message::dam(asked.clone(), Dam::AskPid(pid)));
        let (_, told) = world.sent.pop_front().unwrap();
        assert_eq!(told.answers, Some(asked));
        let Body::Dam(Dam::Pid(name)) = told.body else {
            panic!("{told:?}");
        };
        names.push(name);
    }
    assert_eq!(names[0], names[1]);
    assert_eq!(names[0].len(), 9);
}

#[test]
fn a_lost_relay_is_dialled_again_after_growing_waits() {
    let mut world = World::new(config(1));
    world.others.clear();
    let mut bound = Backoff::FIRST;
    for _ in 0..12 {
        world.close(0);
        let status = world.core.status(world.now);
        let LinkState::Down { why, again_in } = &status[0].state else {
            panic!("{status:?}");
        };
        assert_eq!(why, "it fell");
        assert!(*again_in <= bound);
        world.pass(bound);
        assert!(matches!(world.output(), Some(Output::Dial(0, _))));
        assert_eq!(world.core.status(world.now)[0].state, LinkState::Connecting);
        bound = (bound * 2).min(Backoff::LONGEST);
    }
    assert_eq!(bound, Backoff::LONGEST);
    // A connection that lasts makes the waits short again.
    world.open(0);
    assert_eq!(world.core.status(world.now)[0].state, LinkState::Up);
    world.pass(Backoff::GOOD);
    world.close(0);
    world.pass(Backoff::FIRST);
    assert!(matches!(world.output(), Some(Output::Dial(0, _))));
}

#[test]
fn why_it_left_is_what_the_relay_said() {
    for (said, why) in [
        (
            Dam::Error("Message\u{7} too big!".into()),
            "it said: Message too big!",
        ),
        (
            Dam::Mob(vec!["http://elsewhere/gun".into()]),
            "it has too many clients",
        ),
    ] {
        let mut world = World::connected(1);
        let id = world.id();
        world.hear(0, Message::dam(id, said));
        world.close(0);
        let status = world.core.status(world.now);
        assert!(matches!(&status[0].state, LinkState::Down { why: told, .. } if told == why));
        // Where it sends us is not where we go.
        world.pass(SECOND);
        assert!(matches!(world.output(), Some(Output::Dial(0, url)) if url.host() == "relay0"));
        assert_eq!(world.output(), None);
    }
}

#[test]
fn nothing_is_due_while_nothing_happens() {
    let world = World::connected(3);
    assert_eq!(world.core.deadline(), None);
}

#[test]
fn what_a_relay_says_after_its_end_or_about_nothing_is_ignored() {
    let mut world = World::connected(1);
    let unknown = world.id();
    world.ack(0, &unknown);
    world.answer(0, &unknown, Vec::new());
    world.refuse(0, &unknown, "no");
    world.ack(9, &unknown);
    world.close(0);
    world.others.clear();
    world.ack(0, &unknown);
    assert_eq!(world.output(), None);
    assert!(world.sent.is_empty());
}
