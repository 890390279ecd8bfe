//! Machines behind NATs and firewalls, with real routers between them.

use crate::{
    program::{Dignet, Ended},
    sandbox::{Sandbox, noise},
};
use dig_lab::{Coturn, Habit, Lab, Machine, Site, SiteKind};
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};

const SIZE: usize = 300_000;

/// A laboratory with a relay on the public network.
struct World {
    sandbox: Sandbox,
    lab: Lab,
    relay: Option<(Dignet, String)>,
}

impl World {
    /// `None` where there can be no laboratory.
    fn new() -> Option<Self> {
        Some(Self {
            lab: Lab::for_test()?,
            sandbox: Sandbox::new(),
            relay: None,
        })
    }

    fn site(&self, kind: SiteKind, habit: Habit, name: &str) -> (Site, Machine) {
        let site = self.lab.site(kind.with_habit(habit), name).unwrap();
        let machine = site.host(0).unwrap();
        (site, machine)
    }

    fn start(&self, machine: &Machine, home: &str, args: &[&str]) -> Dignet {
        let net = format!("--net={}", machine.namespace().display());
        let prefix = ["nsenter", &net, "--"];
        Dignet::start_in(&prefix, &self.sandbox.path(home), args)
    }

    /// Starts a relay with two addresses; how to name it.
    fn relay(&mut self) -> String {
        let server = self.lab.server(0).unwrap();
        let ips = server.addresses().iter().filter(|ip| ip.is_ipv4());
        let ips: Vec<String> = ips.map(ToString::to_string).collect();
        let stun: Vec<String> = ips.iter().take(2).map(|ip| format!("{ip}:3478")).collect();
        let listen = format!("{}:4433", ips[0]);
        let mut args = vec!["relay", "--listen", &listen];
        for addr in &stun {
            args.extend(["--stun", addr]);
        }
        let mut relay = self.start(&server, "relay", &args);
        let ready = relay.event("ready");
        let via = format!("{}@{listen}", ready["node_id"].as_str().unwrap());
        self.relay = Some((relay, stun[0].clone()));
        via
    }

    fn share(&self, machine: &Machine, args: &[&str]) -> (Dignet, String) {
        let original = self.sandbox.file("thing.bin", SIZE);
        let mut words = vec!["share", "--no-local", original.to_str().unwrap()];
        words.extend(args);
        let mut host = self.start(machine, "host", &words);
        let ticket = host.event("ready")["ticket"].as_str().unwrap().to_owned();
        (host, ticket)
    }

    fn get(&self, machine: &Machine, ticket: &str, args: &[&str]) -> Ended {
        let copy = self.sandbox.text("copy.bin");
        let _ = fs::remove_file(&copy);
        let mut words = vec!["get", ticket, "--no-local", "-o", &copy, "--timeout", "12s"];
        words.extend(args);
        self.start(machine, "getter", &words).end()
    }

    fn assert_got(&self, ended: &Ended) {
        assert_eq!(ended.done()["bytes"], SIZE);
        let copy = fs::read(self.sandbox.path("copy.bin")).unwrap();
        assert_eq!(copy, noise(SIZE));
    }
}

fn connected(ended: &Ended) -> &Value {
    let mut events = ended.events.iter();
    events
        .find(|event| event["event"] == "connected")
        .unwrap_or_else(|| panic!("not connected: {ended:#?}"))
}

/// Waits until something holds.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} in time");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn two_homes_punch_through_and_the_ticket_says_who_introduces() {
    for habit in [Habit::Drop, Habit::Reject] {
        let Some(mut world) = World::new() else {
            return;
        };
        let (_a, host) = world.site(SiteKind::PortRestricted, habit, "a");
        let (_b, getter) = world.site(SiteKind::PortRestricted, habit, "b");
        let via = world.relay();
        let (_share, ticket) = world.share(&host, &["--via", &via]);
        let got = world.get(&getter, &ticket, &[]);
        world.assert_got(&got);
        let connected = connected(&got);
        assert_eq!(connected["method"], "udp-hole-punch", "{habit:?}");
        assert_eq!(connected["path"], "direct");
        assert!(
            connected["after_signaling_ms"].as_u64().unwrap() < 1_000,
            "{connected}"
        );
    }
}

#[test]
fn without_udp_it_goes_by_tcp() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (_a, host) = world.site(SiteKind::PortRestricted, Habit::Drop, "a");
    let (_b, getter) = world.site(SiteKind::UdpBlocked, Habit::Drop, "b");
    let via = world.relay();
    let (_share, ticket) = world.share(&host, &["--via", &via]);
    let got = world.get(&getter, &ticket, &[]);
    world.assert_got(&got);
    assert_eq!(connected(&got)["transport"], "tls-tcp");
    assert_eq!(connected(&got)["method"], "tcp-hole-punch");
}

#[test]
fn a_symmetric_nat_reaches_a_restricted_one_both_ways() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (_a, one) = world.site(SiteKind::AddressRestricted, Habit::Drop, "a");
    let (_b, other) = world.site(SiteKind::SymmetricRandom, Habit::Drop, "b");
    let via = world.relay();
    for (host, getter) in [(&one, &other), (&other, &one)] {
        let (_share, ticket) = world.share(host, &["--via", &via]);
        // By either transport the race may win; this is about one of them.
        let udp = ["--via", &via, "--methods", "udp-hole-punch"];
        let got = world.get(getter, &ticket, &udp);
        world.assert_got(&got);
        assert_eq!(connected(&got)["method"], "udp-hole-punch");
    }
}

#[test]
fn a_mapped_port_is_in_the_ticket_and_gone_at_the_end() {
    let Some(world) = World::new() else { return };
    let (router, host) = world.site(SiteKind::UpnpRouter, Habit::Drop, "a");
    let (_b, getter) = world.site(SiteKind::PortRestricted, Habit::Drop, "b");
    let mapped = || router.miniupnpd().unwrap().open_ports().unwrap();
    let (share, _) = world.share(&host, &[]);
    eventually("a port is mapped", || mapped().len() >= 2);
    share.signal("INT");
    assert_eq!(share.end().code, Some(0));
    assert_eq!(mapped(), [], "Ctrl-C removes the mappings");

    let (share, ticket) = world.share(&host, &[]);
    let got = world.get(&getter, &ticket, &["--no-upnp"]);
    world.assert_got(&got);
    let method = connected(&got)["method"].as_str().unwrap().to_owned();
    assert!(
        ["pcp", "nat-pmp", "upnp"].contains(&method.as_str()),
        "{method}"
    );
    share.kill();
    assert!(
        mapped().len() >= 2,
        "nobody was left to remove them; the lease ends them"
    );
}

#[test]
fn what_failed_is_said_method_by_method() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (_a, host) = world.site(SiteKind::PortRestricted, Habit::Drop, "a");
    let (_b, getter) = world.site(SiteKind::PortRestricted, Habit::Drop, "b");
    let via = world.relay();
    let (_share, ticket) = world.share(&host, &["--via", &via]);
    let got = world.get(&getter, &ticket, &["--methods", "direct,upnp"]);
    let said = got.failure(4, "connect");
    assert!(said.contains("direct") && said.contains("upnp"), "{said}");
}

#[test]
fn silence_on_every_way_is_told_and_ends() {
    let Some(world) = World::new() else { return };
    let (_a, getter) = world.site(SiteKind::Open, Habit::Drop, "a");
    let (silent, _machine) = world.site(SiteKind::PortRestricted, Habit::Drop, "b");
    let silent = silent.public_ipv4().unwrap();
    let node = "ab".repeat(32);
    // The rendezvous peer is given up first, the peer's own address later.
    let (via, peer) = (format!("{silent}:1"), format!("{node}@{silent}:2"));
    let hash = "cd".repeat(32);
    let got = world.get(&getter, &hash, &["--via", &via, "--peer", &peer]);
    let said = got.failure(4, "connect");
    assert!(said.contains("no rendezvous peer can be reached"), "{said}");
    assert!(!got.stderr.contains("panicked"), "{}", got.stderr);
}

#[test]
fn doctor_names_the_nat_and_what_would_help() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (_a, machine) = world.site(SiteKind::SymmetricRandom, Habit::Drop, "a");
    let _via = world.relay();
    let stun = world.relay.as_ref().unwrap().1.clone();
    let report = world
        .start(&machine, "doctor", &["doctor", "--stun", &stun])
        .end();
    assert_eq!(report.code, Some(0), "{report:#?}");
    let report = report.event("report");
    assert_eq!(
        report["report"]["ipv4"]["mapping"], "address-and-port-dependent",
        "{report}"
    );
    assert!(report["remedy"].is_string(), "{report}");
}

#[test]
fn two_random_nats_meet_at_a_relay_and_both_sides_say_so() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (_a, host) = world.site(SiteKind::SymmetricRandom, Habit::Drop, "a");
    let (_b, getter) = world.site(SiteKind::SymmetricRandom, Habit::Drop, "b");
    let via = world.relay();
    let server = world.lab.server(1).unwrap();
    let coturn = world.lab.coturn(&server).unwrap();
    let at = coturn.addresses().next().unwrap();
    let turn = format!("turn:{}:{}@{at}", Coturn::USER, Coturn::PASSWORD);
    for (host_args, getter_args) in [
        (&["--turn", &turn][..], &[][..]),
        (&[], &["--turn", &turn]),
        (&["--turn", &turn], &["--turn", &turn, "--relay-only"]),
    ] {
        let args = [&["--via", &via][..], host_args].concat();
        let (mut share, ticket) = world.share(&host, &args);
        let got = world.get(&getter, &ticket, getter_args);
        world.assert_got(&got);
        let connected = connected(&got);
        eprintln!("{connected}");
        assert_eq!(connected["path"], "relayed");
        share.event_where("serving", |event| event["path"] == "relayed");
    }
}
