//! Two managers behind real NATs, introduced by a carrier in memory: each pair connects by the methods that it can.
//!
//! Needs root, as every laboratory does; says so and passes without testing anything where it cannot, except under `CI`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where it stands"
)]

mod node;

use dig_lab::{Habit, Lab, Machine, Site, SiteKind, SiteSpec, link::Link};
use dig_nat::{attempt::Strategy, candidate::Transport, trace::Outcome};
use dig_types::Method;
use node::{Found, Rendezvous, Wish, meet};
use std::time::Duration;

/// One way through the link of a site: two of them make a round trip of 40 ms.
const DELAY: Duration = Duration::from_millis(10);

/// Two sites, a machine in each, and a STUN server on the public segment.
struct Pair {
    rendezvous: Vec<Rendezvous>,
    machines: [Machine; 2],
    _sites: [Site; 2],
    _lab: Lab,
}

impl Pair {
    fn build(one: impl Into<SiteSpec>, other: impl Into<SiteSpec>) -> Option<Self> {
        let lab = Lab::for_test()?;
        let servers = [0, 1].map(|number| lab.server(number).unwrap());
        let rendezvous = servers.iter().map(Rendezvous::start).collect();
        let link = Link::delay(DELAY);
        let sites = [
            lab.site(one.into().with_link(link), "one").unwrap(),
            lab.site(other.into().with_link(link), "other").unwrap(),
        ];
        let machines = sites.each_ref().map(|site| site.host(0).unwrap());
        Some(Self {
            rendezvous,
            machines,
            _sites: sites,
            _lab: lab,
        })
    }

    /// The first machine connects to the second one.
    fn try_by(&self, wish: Wish) -> Result<Found, dig_nat::trace::Trace> {
        meet(&self.rendezvous, &self.machines, wish)
    }

    #[track_caller]
    fn connects_by(&self, methods: &[Method], transport: Transport) -> Found {
        let found = self
            .try_by(Wish::methods(methods))
            .unwrap_or_else(|trace| panic!("{trace:#?}"));
        assert_eq!(found.transport, transport);
        assert!(methods.contains(&found.method), "{}", found.method);
        found
    }
}

const HABITS: [Habit; 2] = [Habit::Drop, Habit::Reject];

#[test]
fn datagrams_pass_two_port_restricted_nats_of_either_habit() {
    for (one, other) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let kind = |habit: usize| SiteKind::PortRestricted.with_habit(HABITS[habit]);
        let Some(pair) = Pair::build(kind(one), kind(other)) else {
            return;
        };
        let found = pair.connects_by(&[Method::UdpHolePunch], Transport::Udp);
        // Three round trips, and what a busy machine adds.
        assert!(
            found.after_signaling < Duration::from_millis(500),
            "{found:?}"
        );
    }
}

#[test]
fn streams_pass_two_port_restricted_nats_that_drop() {
    let Some(pair) = Pair::build(SiteKind::PortRestricted, SiteKind::PortRestricted) else {
        return;
    };
    pair.connects_by(&[Method::TcpHolePunch], Transport::Tcp);
}

#[test]
fn streams_pass_two_port_restricted_nats_that_reject() {
    let kind = SiteKind::PortRestricted.with_habit(Habit::Reject);
    let Some(pair) = Pair::build(kind.clone(), kind) else {
        return;
    };
    pair.connects_by(
        &[Method::TcpHolePunch, Method::TcpSimultaneousOpen],
        Transport::Tcp,
    );
}

#[test]
fn fresh_ports_open_simultaneously() {
    let Some(pair) = Pair::build(SiteKind::PortRestricted, SiteKind::PortRestricted) else {
        return;
    };
    pair.connects_by(&[Method::TcpSimultaneousOpen], Transport::Tcp);
}

#[test]
fn a_symmetric_nat_is_answered_where_it_is_seen() {
    for (one, other) in [
        (SiteKind::AddressRestricted, SiteKind::SymmetricRandom),
        (SiteKind::SymmetricRandom, SiteKind::AddressRestricted),
    ] {
        let Some(pair) = Pair::build(one, other) else {
            return;
        };
        pair.connects_by(&[Method::UdpHolePunch], Transport::Udp);
    }
}

#[test]
fn a_port_is_guessed_where_one_side_gives_each_destination_another() {
    let (hard, counting, easy) = (
        SiteKind::SymmetricRandom,
        SiteKind::SymmetricSequential,
        SiteKind::PortRestricted,
    );
    for (one, other) in [
        (hard, easy),
        (easy, hard),
        (counting, easy),
        (easy, counting),
    ] {
        let Some(pair) = Pair::build(one, other) else {
            return;
        };
        let wish = || Wish::methods(&[Method::UdpHolePunch]);
        // One birthday in 400 misses.
        let found = pair.try_by(wish()).or_else(|_| pair.try_by(wish()));
        let found = found.unwrap_or_else(|trace| panic!("{one:?} to {other:?}: {trace:#?}"));
        println!("{one:?} to {other:?}: {found:?}");
        assert_eq!(found.transport, Transport::Udp);
    }
}

#[test]
fn streams_pass_where_datagrams_are_blocked() {
    let Some(pair) = Pair::build(SiteKind::UdpBlocked, SiteKind::PortRestricted) else {
        return;
    };
    pair.connects_by(&Method::ALL, Transport::Tcp);
}

#[test]
fn whoever_is_open_is_dialled_directly_from_either_side() {
    let Some(pair) = Pair::build(SiteKind::Open, SiteKind::PortRestricted) else {
        return;
    };
    for strategy in [Strategy::Race, Strategy::Sequential] {
        let wish = Wish {
            strategy,
            ..Wish::methods(&Method::ALL)
        };
        let found = pair
            .try_by(wish)
            .unwrap_or_else(|trace| panic!("{trace:#?}"));
        let direct = [Method::Direct, Method::UdpHolePunch];
        assert!(direct.contains(&found.method), "{strategy}: {found:?}");
    }
}

#[test]
fn what_cannot_work_fails_with_its_reason_in_its_time() {
    let Some(pair) = Pair::build(SiteKind::SymmetricRandom, SiteKind::SymmetricRandom) else {
        return;
    };
    let wish = Wish::methods(&[Method::Local, Method::UdpHolePunch, Method::TcpHolePunch]);
    let trace = pair
        .try_by(wish)
        .expect_err("both give every connection another port");
    let outcome = |method| {
        let of = trace.methods.iter().find(|run| run.method == method);
        of.map(|run| run.outcome.clone()).unwrap()
    };
    assert!(
        matches!(outcome(Method::Local), Outcome::Skipped(_)),
        "{trace:#?}"
    );
    assert_eq!(
        outcome(Method::UdpHolePunch),
        Outcome::NoAnswer,
        "{trace:#?}"
    );
    assert!(
        trace
            .methods
            .iter()
            .all(|run| run.took < Duration::from_millis(5500)),
        "{trace:#?}"
    );
}

#[test]
fn what_worked_last_time_is_tried_first() {
    let Some(pair) = Pair::build(SiteKind::PortRestricted, SiteKind::PortRestricted) else {
        return;
    };
    for (worked, expected) in [
        (None, Method::TcpHolePunch),
        (Some(Method::UdpHolePunch), Method::UdpHolePunch),
    ] {
        let wish = Wish {
            strategy: Strategy::Sequential,
            worked,
            ..Wish::methods(&Method::ALL)
        };
        let found = pair.try_by(wish);
        let found = found.unwrap_or_else(|trace| panic!("{trace:#?}"));
        assert_eq!(found.method, expected);
    }
}
