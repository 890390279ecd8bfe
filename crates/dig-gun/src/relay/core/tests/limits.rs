//! What the limits refuse, and whom they make wait.

use super::{
    super::*,
    world::{Relay, get, put},
};
use std::net::{IpAddr, Ipv4Addr};

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
