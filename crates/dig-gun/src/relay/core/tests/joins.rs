//! Joined relays.

use super::{
    super::{gets::AGAIN, *},
    world::{Relay, get, put, words},
};

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
fn a_relay_that_did_not_tell_is_asked_again_when_somebody_asks_again() {
    let mut relay = Relay::new(Limits::default(), 1);
    let (alice, bob) = (relay.connect(1), relay.connect(2));
    let other = relay.join(0);
    relay.take(other);
    relay.tell(alice, &put("p", "s", "k", "1", 1.0));
    relay.tell(alice, &get("a", "s"));
    assert_eq!(relay.words(other), ["put s.k=1", "get s"]);
    relay.tell(alice, &get("b", "s"));
    relay.tell(bob, &get("c", "s"));
    assert!(relay.words(other).is_empty(), "asked just now");
    relay.pass(AGAIN);
    assert!(relay.words(other).is_empty(), "nobody asks");
    relay.take(alice);
    relay.tell(alice, &get("d", "s"));
    relay.tell(bob, &get("e", "s"));
    let asked = relay.take(other);
    assert_eq!(asked.len(), 1);
    assert!(asked[0].hash.is_some(), "it is silent if it has the same");
    assert_eq!(relay.words(alice), ["put @d s.k=1"], "nobody waits for it");
    relay.tell(other, &put("q", "s", "k", "2", 2.0));
    assert_eq!(relay.words(alice), ["put s.k=2"]);

    // Asked by the other one, it asks others, but not back.
    relay.pass(AGAIN);
    relay.tell(other, &get("f", "s"));
    relay.pass(AGAIN);
    relay.tell(other, &get("g", "s"));
    let heard = relay.words(other);
    assert!(!heard.contains(&"get s".to_owned()), "{heard:?}");
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
