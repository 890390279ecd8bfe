//! Our ICE and an independent one, aioice (Python), agree on a nominated pair, and data passes over it.
//!
//! Needs root, as every laboratory does, and aioice; says so and passes without testing anything where one is missing, except under `CI`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where it stands"
)]

mod aioice;
mod own;

use aioice::{Aioice, Nominated};
use dig_lab::{Coturn, Lab, Machine, Site, SiteKind};
use own::Own;
use std::net::SocketAddr;

/// Two machines, and a STUN and TURN server.
struct World {
    own: Machine,
    other: Machine,
    coturn: Coturn,
    _sites: [Site; 2],
    _lab: Lab,
}

impl World {
    fn build(own: SiteKind, other: SiteKind) -> Option<Self> {
        if !aioice::is_here() {
            return None;
        }
        let lab = Lab::for_test()?;
        let coturn = lab.coturn(&lab.server(0).unwrap()).unwrap();
        let sites =
            [(own, "own"), (other, "other")].map(|(kind, name)| lab.site(kind, name).unwrap());
        let [own, other] = sites.each_ref().map(|site| site.host(0).unwrap());
        Some(Self {
            own,
            other,
            coturn,
            _sites: sites,
            _lab: lab,
        })
    }

    fn server(&self) -> SocketAddr {
        self.coturn.addresses().find(SocketAddr::is_ipv4).unwrap()
    }

    /// Runs both, and returns what each nominated last.
    fn meet(&self, own_controls: bool, with_relay: bool) -> (own::Nominated, Nominated) {
        let own_machine = &self.own;
        let mut other = Aioice::start(&self.other, !own_controls, self.server(), with_relay);
        let theirs = other.introduction();
        let server = self.server();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let ours = scope.spawn(move || {
                let run = || {
                    let mut own = Own::start(server, own_controls, &theirs);
                    send.send(own.introduction()).unwrap();
                    own.run()
                };
                own_machine.enter(run).unwrap()
            });
            other.introduce(&receive.recv().unwrap());
            let theirs = other.nominated();
            let ours = ours.join().unwrap();
            other.end();
            (ours, theirs)
        })
    }
}

const ROLES: [bool; 2] = [true, false];

#[test]
fn on_the_public_network_the_host_addresses_are_nominated() {
    for own_controls in ROLES {
        let Some(world) = World::build(SiteKind::Open, SiteKind::Open) else {
            return;
        };
        let (ours, theirs) = world.meet(own_controls, false);
        assert_eq!(ours.own, theirs.remote, "{ours:?} {theirs:?}");
        assert_eq!(ours.remote, theirs.local, "{ours:?} {theirs:?}");
        assert_eq!(theirs.kind, "host");
        assert_ne!(ours.controlling, theirs.controlling);
        assert_eq!(ours.controlling, own_controls);
    }
}

#[test]
fn through_two_nats_the_reflexive_addresses_are_nominated() {
    for own_controls in ROLES {
        let kind = SiteKind::PortRestricted;
        let Some(world) = World::build(kind, kind) else {
            return;
        };
        let (ours, theirs) = world.meet(own_controls, false);
        assert_eq!(ours.reflexive, theirs.remote, "{ours:?} {theirs:?}");
        let candidates = &theirs.candidates;
        let known = |kind: &str| {
            let of = |(name, addr): &&(String, SocketAddr)| name == kind && *addr == ours.remote;
            candidates.iter().any(|candidate| of(&candidate))
        };
        assert!(known("srflx"), "{ours:?} {theirs:?}");
    }
}

#[test]
fn between_symmetric_nats_the_relayed_address_is_nominated() {
    for own_controls in ROLES {
        let kind = SiteKind::SymmetricRandom;
        let Some(world) = World::build(kind, kind) else {
            return;
        };
        let (ours, theirs) = world.meet(own_controls, true);
        assert_eq!(theirs.kind, "relay", "{ours:?} {theirs:?}");
        assert_eq!(ours.remote, theirs.local, "{ours:?} {theirs:?}");
    }
}
