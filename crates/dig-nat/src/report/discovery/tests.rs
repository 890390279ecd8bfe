//! The tests against servers and NATs in virtual time.

mod world;

use super::*;
use crate::{
    report::{Behaviour, CarrierSign, Lifetime, NatKind},
    stun::Layout,
};
use dig_lab::nat::{self, Allocation, Habit, NatConfig};
use std::collections::BTreeMap;
use world::World;

const PRIMARY: &str = "44.128.0.1:3478";
const ALTERNATE: &str = "44.128.0.3:3479";
const PUBLIC: &str = "44.128.9.9";
const HOST: &str = "192.168.77.10";

fn double() -> Layout {
    Layout::Double {
        primary: PRIMARY.parse().unwrap(),
        alternate: ALTERNATE.parse().unwrap(),
    }
}

fn single(addr: &str) -> Layout {
    Layout::Single(addr.parse().unwrap())
}

const BEHAVIOURS: [(nat::Behaviour, Behaviour); 3] = [
    (nat::Behaviour::Independent, Behaviour::EndpointIndependent),
    (
        nat::Behaviour::AddressDependent,
        Behaviour::AddressDependent,
    ),
    (
        nat::Behaviour::AddressAndPortDependent,
        Behaviour::AddressAndPortDependent,
    ),
];

/// Every mapping × filtering × allocation × hairpin × habit.
fn every_nat(mut check: impl FnMut(&NatConfig, Behaviour, Behaviour)) {
    let allocations = [
        Allocation::Preserve,
        Allocation::Random,
        Allocation::Sequential { delta: 1 },
        Allocation::Sequential { delta: -2 },
    ];
    for (mapping, expected_mapping) in BEHAVIOURS {
        for (filtering, expected_filtering) in BEHAVIOURS {
            for allocation in allocations {
                for hairpin in [false, true] {
                    for habit in [Habit::Drop, Habit::Reject] {
                        let config = NatConfig {
                            mapping,
                            filtering,
                            allocation,
                            ..NatConfig::full_cone()
                                .with_habit(habit)
                                .with_hairpin(hairpin)
                        };
                        check(&config, expected_mapping, expected_filtering);
                    }
                }
            }
        }
    }
}

#[test]
fn names_every_kind_of_nat() {
    let mut seed = 1;
    every_nat(|config, mapping, filtering| {
        seed += 1;
        let report = World::behind(seed, config.clone()).run(false);
        let told = format!("seed {seed}: {config:?}: {report:?}");
        assert_eq!(report.public, Some(PUBLIC.parse().unwrap()), "{told}");
        assert_eq!(report.translated, Some(true), "{told}");
        assert_eq!(report.mapping, Some(mapping), "{told}");
        assert_eq!(
            report.mapping_varies,
            Some(mapping != Behaviour::EndpointIndependent),
            "{told}"
        );
        assert_eq!(report.filtering, Some(filtering), "{told}");
        let preserves = config.allocation == Allocation::Preserve;
        assert_eq!(report.port_preservation, Some(preserves), "{told}");
        let delta = match config.allocation {
            Allocation::Sequential { delta } => Some(i32::from(delta)),
            Allocation::Preserve | Allocation::Random => None,
        };
        assert_eq!(report.port_delta, delta, "{told}");
        // A mapping that is another for each peer is of no use to a neighbour who was told of it, unless it is open.
        let reachable = mapping == Behaviour::EndpointIndependent
            || filtering == Behaviour::EndpointIndependent;
        if !config.hairpin || reachable {
            assert_eq!(report.hairpin, Some(config.hairpin), "{told}");
        }
        assert_eq!(report.hops_to_nat, Some(1), "{told}");
        assert!(report.carrier_nat.is_empty(), "{told}");
    });
}

#[test]
fn names_every_kind_of_nat_in_spite_of_loss() {
    for seed in 0..100 {
        for config in [
            NatConfig::full_cone(),
            NatConfig::address_restricted(),
            NatConfig::port_restricted(),
            NatConfig::symmetric_random(),
        ] {
            let mut world = World::behind(seed, config.clone());
            (world.loss, world.delay) = (0.05, Duration::from_millis(100));
            let report = world.run(false);
            let expected = match (config.mapping, config.filtering) {
                (nat::Behaviour::AddressAndPortDependent, _) => NatKind::Symmetric,
                (_, nat::Behaviour::Independent) => NatKind::FullCone,
                (_, nat::Behaviour::AddressDependent) => NatKind::AddressRestricted,
                (_, nat::Behaviour::AddressAndPortDependent) => NatKind::PortRestricted,
            };
            assert_eq!(report.kind(), Some(expected), "seed {seed}: {report:?}");
        }
    }
}

#[test]
fn an_open_host_is_open() {
    let report = World::new(3, vec![], &[double()]).run(false);
    assert_eq!(report.kind(), Some(NatKind::Open), "{report:?}");
    assert_eq!(report.translated, Some(false));
    assert_eq!(report.hairpin, None);
    assert_eq!(report.hops_to_nat, None);
}

#[test]
fn two_nats_behind_each_other_show_the_worse_of_each_and_their_hops() {
    let home = (NatConfig::full_cone(), "192.168.77.1", "100.64.0.10");
    let carrier = (NatConfig::symmetric_random(), "100.64.0.1", PUBLIC);
    let report = World::new(5, vec![home, carrier], &[double()]).run(false);
    assert_eq!(report.kind(), Some(NatKind::Symmetric), "{report:?}");
    assert_eq!(report.hops_to_nat, Some(2), "{report:?}");
    assert_eq!(
        report.carrier_nat,
        [CarrierSign::SharedRouter("100.64.0.1".parse().unwrap())]
    );
    let home = (NatConfig::port_restricted(), "192.168.77.1", "10.7.0.10");
    let second = (NatConfig::address_restricted(), "10.7.0.1", PUBLIC);
    let report = World::new(5, vec![home, second], &[double()]).run(false);
    assert_eq!(report.kind(), Some(NatKind::PortRestricted), "{report:?}");
    assert_eq!(
        report.carrier_nat,
        [CarrierSign::SecondPrivateRouter(
            "10.7.0.1".parse().unwrap()
        )]
    );
}

#[test]
fn one_plain_server_tells_what_it_can() {
    let nat = |config| vec![(config, "192.168.77.1", PUBLIC)];
    let report = World::new(
        6,
        nat(NatConfig::symmetric_sequential(2)),
        &[single(PRIMARY)],
    )
    .run(false);
    assert_eq!(
        (report.mapping, report.mapping_varies, report.filtering),
        (None, None, None),
        "{report:?}"
    );
    assert_eq!(report.kind(), Some(NatKind::Unknown));
    assert_eq!(report.public, Some(PUBLIC.parse().unwrap()));
    assert_eq!(
        (report.port_preservation, report.port_delta),
        (Some(false), Some(2)),
        "{report:?}"
    );
    assert_eq!(report.hops_to_nat, Some(1));
    let report = World::new(
        6,
        nat(NatConfig::full_cone().with_hairpin(true)),
        &[single(PRIMARY)],
    )
    .run(false);
    assert_eq!(
        (report.port_preservation, report.port_delta, report.hairpin),
        (Some(true), None, Some(true)),
        "{report:?}"
    );
}

#[test]
fn two_plain_servers_tell_whether_mappings_vary() {
    let layouts = [single(PRIMARY), single("44.128.0.3:3478")];
    let nat = |config| vec![(config, "192.168.77.1", PUBLIC)];
    let report = World::new(7, nat(NatConfig::port_restricted()), &layouts).run(false);
    assert_eq!(
        report.mapping,
        Some(Behaviour::EndpointIndependent),
        "{report:?}"
    );
    assert_eq!(report.filtering, None);
    let report = World::new(7, nat(NatConfig::symmetric_random()), &layouts).run(false);
    assert_eq!(
        (report.mapping, report.mapping_varies),
        (None, Some(true)),
        "{report:?}"
    );
    assert_eq!(report.kind(), Some(NatKind::Symmetric));
}

#[test]
fn a_server_with_two_addresses_is_preferred_to_a_faster_plain_one() {
    let layouts = [single("44.128.5.5:3478"), double()];
    let report = World::new(
        8,
        vec![(NatConfig::address_restricted(), "192.168.77.1", PUBLIC)],
        &layouts,
    )
    .run(false);
    assert_eq!(
        report.kind(),
        Some(NatKind::AddressRestricted),
        "{report:?}"
    );
}

#[test]
fn measures_how_long_an_idle_mapping_stays() {
    for (lifetime, at_least, less_than) in [
        (30, 25, Some(35)),
        (60, 55, Some(65)),
        (120, 115, Some(125)),
        (400, 305, None),
    ] {
        let mut config = NatConfig::port_restricted();
        config.lifetimes.udp_replied = Duration::from_secs(lifetime);
        config.lifetimes.udp_unreplied = Duration::from_secs(lifetime);
        let mut world = World::behind(9, config);
        let report = world.run(true);
        let expected = Lifetime {
            at_least: Duration::from_secs(at_least),
            less_than: less_than.map(Duration::from_secs),
        };
        assert_eq!(report.lifetime, Some(expected), "{lifetime} s: {report:?}");
        assert_eq!(report.kind(), Some(NatKind::PortRestricted));
    }
}

#[test]
fn nobody_answers_where_udp_is_blocked() {
    let mut world = World::behind(10, NatConfig::full_cone());
    world.loss = 1.0;
    let start = world.now;
    let report = world.run(true);
    assert_eq!(report, FamilyReport::new(HOST.parse().unwrap()));
    assert_eq!(report.kind(), None);
    assert!(world.now - start <= Duration::from_secs(3));
}

#[test]
fn nothing_to_ask_is_done_at_once() {
    let world = World::behind(11, NatConfig::full_cone());
    let nobody = DiscoveryConfig {
        servers: vec![],
        ..world.config(false)
    };
    assert_eq!(Discovery::new(world.now, nobody).timeout(), None);
    let few = DiscoveryConfig {
        sockets: vec![],
        ..world.config(false)
    };
    assert_eq!(Discovery::new(world.now, few).timeout(), None);
}

/// A server that lies about its other address must not aim tests inside the network of whoever asks.
#[test]
fn refuses_alternates_that_strangers_cannot_reach() {
    let answer = |other: &str| Answer {
        mapped: "9.9.9.9:9".parse().unwrap(),
        other: Some(other.parse().unwrap()),
        rtt: Duration::ZERO,
        sent: 1,
    };
    let server = PRIMARY.parse().unwrap();
    let accepted = |other| stages::alternate(server, &answer(other)).is_some();
    assert!(accepted(ALTERNATE));
    for other in [
        "192.168.1.1:80",
        "127.0.0.1:53",
        "100.64.0.1:3479",
        "255.255.255.255:9",
        "224.0.0.1:9",
        "0.0.0.0:7",
    ] {
        assert!(!accepted(other), "{other}");
    }
    for other in [
        "44.128.0.1:3479",
        "44.128.0.3:3478",
        "44.128.0.3:0",
        "[2a0d::1]:3479",
    ] {
        assert!(!accepted(other), "{other}");
    }
}

#[test]
fn answers_of_others_and_garbage_change_nothing() {
    let mut world = World::behind(12, NatConfig::port_restricted());
    let mut discovery = Discovery::new(world.now, world.config(false));
    let probe = discovery.poll(world.now).unwrap();
    let Ok(Message::Request { request, .. }) = Message::parse(&probe.bytes) else {
        panic!()
    };
    let forged = |transaction| {
        let success = crate::stun::Success {
            transaction,
            mapped: "6.6.6.6:666".parse().unwrap(),
            origin: None,
            other: Some("6.6.6.6:667".parse().unwrap()),
        };
        success.to_bytes()
    };
    let elsewhere = "44.128.0.1:3479".parse().unwrap();
    discovery.on_datagram(world.now, MAIN, elsewhere, &forged(request.transaction));
    discovery.on_datagram(world.now, FILTER, probe.to, &forged(request.transaction));
    discovery.on_datagram(world.now, MAIN, probe.to, &forged(TransactionId([1; 12])));
    for length in 0..200 {
        let garbage: Vec<u8> = (0..length).map(|_| world.random.u8(..)).collect();
        for socket in [0, 1, 2, 3, 4, 99] {
            discovery.on_datagram(world.now, socket, probe.to, &garbage);
            discovery.on_time_exceeded(world.now, socket, probe.to.ip(), &garbage);
        }
    }
    assert_eq!(discovery.report, FamilyReport::new(HOST.parse().unwrap()));
    discovery.on_datagram(world.now, MAIN, probe.to, &forged(request.transaction));
    assert_eq!(
        discovery.report.public,
        Some("6.6.6.6".parse().unwrap()),
        "the same bytes, from the server"
    );
}

/// Answers anything to anything, from anywhere.
struct Liar(fastrand::Rng);

impl Liar {
    fn address(&mut self) -> SocketAddr {
        let addresses = [
            PRIMARY,
            ALTERNATE,
            "44.128.0.3:3478",
            "44.128.0.1:3479",
            "44.128.5.5:3478",
            "9.9.9.9:9",
            "192.168.1.1:1",
        ];
        addresses[self.0.usize(..addresses.len())].parse().unwrap()
    }

    fn answer(&mut self, now: Duration, discovery: &mut Discovery, probe: &Probe) {
        let Ok(Message::Request { request, .. }) = Message::parse(&probe.bytes) else {
            panic!("{probe:?}")
        };
        let success = crate::stun::Success {
            transaction: request.transaction,
            mapped: self.address(),
            origin: Some(self.address()),
            other: Some(self.address()),
        };
        let source = if self.0.bool() {
            self.address()
        } else {
            probe.to
        };
        let socket = if self.0.bool() {
            probe.socket
        } else {
            self.0.usize(..20)
        };
        match self.0.u8(..6) {
            0 => discovery.on_datagram(now, socket, source, &probe.bytes),
            1 => discovery.on_time_exceeded(now, socket, source.ip(), &probe.bytes),
            2 => {}
            _ => discovery.on_datagram(now, socket, source, &success.to_bytes()),
        }
    }
}

#[test]
fn lying_servers_cannot_keep_it_busy() {
    for seed in 0..300 {
        let mut liar = Liar(fastrand::Rng::with_seed(seed));
        let layouts = [
            double(),
            single("44.128.5.5:3478"),
            single("44.128.6.6:3478"),
        ];
        let lifetime = liar.0.bool();
        let config = World::new(seed, vec![], &layouts).config(lifetime);
        let named = config.servers.clone();
        let mut discovery = Discovery::new(Duration::ZERO, config);
        let (mut now, mut sent) = (Duration::ZERO, BTreeMap::<SocketAddr, usize>::new());
        while let Some(due) = discovery.timeout() {
            now = now.max(due);
            while let Some(probe) = discovery.poll(now) {
                *sent.entry(probe.to).or_default() += 1;
                liar.answer(now, &mut discovery, &probe);
            }
        }
        let (time, datagrams) = if lifetime { (400, 200) } else { (13, 80) };
        assert!(now < Duration::from_secs(time), "seed {seed}: {now:?}");
        let total: usize = sent.values().sum();
        assert!(total < datagrams, "seed {seed}: {total} datagrams");
        for (to, count) in sent {
            let few = named.contains(&to) || count <= 16;
            assert!(
                few,
                "seed {seed}: {count} datagrams to {to}, whom only a server named"
            );
        }
    }
}
