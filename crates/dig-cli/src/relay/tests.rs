//! Which services the command line selects.

use super::*;
use crate::args::{Cli, Command};
use clap::Parser as _;

fn services(words: &[&str]) -> Services {
    let words = ["dignet", "relay"].iter().chain(words);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Relay(args) => Services::of(&args),
        command => panic!("{command:?}"),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn nothing_named_is_all() {
    let all = services(&[]);
    assert!(all.rendezvous && all.apart.is_empty() && all.shared.is_empty());
    assert_eq!(all.turn, [addr("[::]:3478")]);
    assert_eq!(all.gun, [addr("[::]:8765")]);
    let joined = services(&["--join", "wss://relay.example/gun"]);
    assert_eq!(joined, all, "that is no service");
    assert_eq!(
        services(&["--allow-peer", "10.0.0.0/8"]),
        all,
        "that is no service"
    );
}

#[test]
fn what_is_named_runs_and_nothing_else() {
    let rendezvous = services(&["--listen", "192.0.2.1:4433"]);
    assert!(rendezvous.rendezvous && rendezvous.turn.is_empty() && rendezvous.apart.is_empty());
    let stun = services(&["--stun", "192.0.2.1"]);
    assert!(!stun.rendezvous && stun.turn.is_empty());
    assert_eq!(stun.apart, [Layout::Single(addr("192.0.2.1:3478"))]);
    let turn = services(&["--turn", "192.0.2.1"]);
    assert_eq!(
        (turn.rendezvous, turn.turn),
        (false, vec![addr("192.0.2.1:3478")])
    );
    assert_eq!(services(&["--turn-user", "a:b"]).turn, [addr("[::]:3478")]);
    assert!(turn.gun.is_empty() && stun.gun.is_empty() && rendezvous.gun.is_empty());
    let gun = services(&["--gun", "192.0.2.1"]);
    assert!(!gun.rendezvous && gun.turn.is_empty() && gun.apart.is_empty());
    assert_eq!(gun.gun, [addr("192.0.2.1:8765")]);
    let joined = services(&["--stun", "192.0.2.1", "--join", "wss://relay.example/gun"]);
    assert_eq!(joined.gun, [addr("[::]:8765")]);
}

#[test]
fn stun_and_turn_share_an_address() {
    let both = services(&[
        "--stun",
        "192.0.2.1",
        "--stun",
        "192.0.2.2",
        "--turn",
        "192.0.2.1",
    ]);
    let double = Layout::Double {
        primary: addr("192.0.2.1:3478"),
        alternate: addr("192.0.2.2:3479"),
    };
    assert_eq!(both.shared, [double]);
    assert!(both.apart.is_empty());
    let apart = services(&["--stun", "192.0.2.1", "--turn", "192.0.2.1:3480"]);
    assert!(apart.shared.is_empty() && apart.apart.len() == 1);
}

#[test]
fn ranges_of_ports() {
    assert_eq!(parse_ports("49152-65535"), Ok(49_152..=65_535));
    assert_eq!(parse_ports("5000"), Ok(5000..=5000));
    for text in ["", "-", "1-2", "6000-5000", "5000-", "5000-70000"] {
        assert!(parse_ports(text).is_err(), "{text:?}");
    }
}
