//! Every axis by itself, and what holds for all of them.

use std::collections::HashSet;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

const HOST: &str = "192.168.0.2:4000";
const A: &str = "44.128.9.1:53";
const A_OTHER_PORT: &str = "44.128.9.1:54";
const B: &str = "44.128.9.2:53";
const KINDS: [Behaviour; 3] = [
    Behaviour::Independent,
    Behaviour::AddressDependent,
    Behaviour::AddressAndPortDependent,
];

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn seconds(count: u64) -> Now {
    Duration::from_secs(count)
}

fn nat(config: NatConfig) -> Nat {
    Nat::new(config, vec!["44.128.1.1".parse().unwrap()], 1)
}

fn udp(source: SocketAddr, destination: SocketAddr) -> Packet {
    Packet::udp(source, destination, Bytes::from_static(b"x"))
}

/// Sends out; the outside end.
fn out(nat: &mut Nat, now: Now, source: &str, destination: &str) -> SocketAddr {
    match nat.outbound(now, udp(at(source), at(destination))) {
        Verdict::Forward(packet) => {
            assert_eq!(packet.destination, at(destination));
            packet.source
        }
        other => panic!("{other:?}"),
    }
}

/// Sends in; the inside end, if it is let in.
fn into(nat: &mut Nat, now: Now, source: &str, destination: SocketAddr) -> Option<SocketAddr> {
    match nat.inbound(now, udp(at(source), destination)) {
        Verdict::Forward(packet) => {
            assert_eq!(packet.source, at(source));
            Some(packet.destination)
        }
        Verdict::Drop | Verdict::Reject(_) => None,
        Verdict::Hairpin(packet) => panic!("{packet}"),
    }
}

fn segment(nat: &mut Nat, now: Now, source: &str, destination: &str, flags: TcpFlags) -> Verdict {
    let packet = Packet::tcp(at(source), at(destination), flags);
    if nat.public().contains(&packet.destination.ip()) {
        nat.inbound(now, packet)
    } else {
        nat.outbound(now, packet)
    }
}

#[test]
fn mapping_depends_on_what_it_says() {
    for mapping in KINDS {
        let mut nat = nat(NatConfig {
            mapping,
            allocation: Allocation::Random,
            ..NatConfig::full_cone()
        });
        let ends = [A, A_OTHER_PORT, B].map(|remote| out(&mut nat, seconds(0), HOST, remote));
        let same_port_again = out(&mut nat, seconds(1), HOST, A);
        assert_eq!(same_port_again, ends[0]);
        assert_eq!(
            ends[0] == ends[1],
            mapping != Behaviour::AddressAndPortDependent,
            "{mapping:?}"
        );
        assert_eq!(
            ends[0] == ends[2],
            mapping == Behaviour::Independent,
            "{mapping:?}"
        );
    }
}

#[test]
fn filtering_depends_on_what_it_says() {
    for mapping in KINDS {
        for filtering in KINDS {
            let mut nat = nat(NatConfig {
                mapping,
                filtering,
                ..NatConfig::full_cone()
            });
            let end = out(&mut nat, seconds(0), HOST, A);
            assert_eq!(into(&mut nat, seconds(1), A, end), Some(at(HOST)));
            let same_address = into(&mut nat, seconds(1), A_OTHER_PORT, end).is_some();
            assert_eq!(
                same_address,
                filtering != Behaviour::AddressAndPortDependent,
                "{filtering:?}"
            );
            let other_address = into(&mut nat, seconds(1), B, end).is_some();
            assert_eq!(
                other_address,
                filtering == Behaviour::Independent,
                "{filtering:?}"
            );
        }
    }
}

#[test]
fn whoever_was_let_in_is_answered_from_the_same_end() {
    let mut nat = nat(NatConfig {
        filtering: Behaviour::Independent,
        ..NatConfig::symmetric_random()
    });
    let end = out(&mut nat, seconds(0), HOST, A);
    assert_eq!(into(&mut nat, seconds(1), B, end), Some(at(HOST)));
    assert_eq!(out(&mut nat, seconds(2), HOST, B), end);
}

#[test]
fn ports_are_preserved_while_they_are_free() {
    let mut nat = nat(NatConfig::port_restricted());
    assert_eq!(out(&mut nat, seconds(0), HOST, A).port(), 4000);
    let second = out(&mut nat, seconds(0), "192.168.0.3:4000", A);
    assert_ne!(second.port(), 4000);
    assert_eq!(
        out(&mut nat, seconds(0), "192.168.0.3:4000", B),
        second,
        "moved, but stable"
    );
    assert_ne!(
        out(&mut nat, seconds(0), "192.168.0.2:80", A).port(),
        80,
        "below the range"
    );
}

#[test]
fn sequential_ports_step_and_wrap_and_pass_over_what_is_taken() {
    for delta in [1, 2, -1, -3, 0] {
        let config = NatConfig {
            ports: 2000..=2009,
            ..NatConfig::symmetric_sequential(delta)
        };
        let mut nat = nat(config);
        let ends: Vec<u16> = (0..5)
            .map(|port| {
                out(
                    &mut nat,
                    seconds(0),
                    HOST,
                    &format!("44.128.9.1:{}", 100 + port),
                )
                .port()
            })
            .collect();
        let step = if delta == 0 { 1 } else { i32::from(delta) };
        for pair in ends.windows(2) {
            let expected = 2000 + (i32::from(pair[0]) - 2000 + step).rem_euclid(10);
            assert!(
                i32::from(pair[1]) == expected || ends[..4].contains(&(expected as u16)),
                "{delta}: {ends:?}"
            );
        }
        assert_eq!(
            ends.iter().collect::<HashSet<_>>().len(),
            5,
            "{delta}: {ends:?}"
        );
    }
}

#[test]
fn random_ports_fill_the_range_and_then_there_is_none() {
    let mut nat = nat(NatConfig {
        ports: 2000..=2099,
        ..NatConfig::symmetric_random()
    });
    let ends: HashSet<u16> = (1..=100)
        .map(|port| out(&mut nat, seconds(0), HOST, &format!("44.128.9.1:{port}")).port())
        .collect();
    assert_eq!(ends.len(), 100);
    assert!(ends.iter().all(|port| (2000..=2099).contains(port)));
    assert_eq!(
        nat.outbound(seconds(0), udp(at(HOST), at("44.128.9.1:101"))),
        Verdict::Drop
    );
    assert_eq!(nat.sessions(seconds(0)), 100);
    out(&mut nat, seconds(30), HOST, "44.128.9.1:101");
}

#[test]
fn random_ports_do_not_step() {
    let mut nat = nat(NatConfig::symmetric_random());
    let ports: Vec<i32> = (1..=50)
        .map(|port| {
            out(&mut nat, seconds(0), HOST, &format!("44.128.9.1:{port}"))
                .port()
                .into()
        })
        .collect();
    let steps: HashSet<i32> = ports.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.len() > 45, "{ports:?}");
}

#[test]
fn unanswered_datagrams_are_forgotten_after_half_a_minute() {
    let mut nat = nat(NatConfig::port_restricted());
    let end = out(&mut nat, seconds(0), HOST, A);
    assert_eq!(into(&mut nat, seconds(30), A, end), None);
    let end = out(&mut nat, seconds(100), HOST, A);
    assert_eq!(into(&mut nat, seconds(129), A, end), Some(at(HOST)));
    assert_eq!(
        into(&mut nat, seconds(129 + 119), A, end),
        Some(at(HOST)),
        "answered: two minutes"
    );
    assert_eq!(into(&mut nat, seconds(129 + 119 + 120), A, end), None);
    assert_eq!(nat.sessions(seconds(1000)), 0);
}

#[test]
fn packets_from_outside_refresh_only_where_they_may() {
    for refresh_inbound in [true, false] {
        let mut nat = nat(NatConfig {
            refresh_inbound,
            ..NatConfig::full_cone()
        });
        let end = out(&mut nat, seconds(0), HOST, A);
        into(&mut nat, seconds(1), A, end);
        out(&mut nat, seconds(2), HOST, A);
        for now in (20..=300).step_by(20) {
            into(&mut nat, seconds(now), A, end);
            // A stranger behind an open filter does not keep it alive either.
            into(&mut nat, seconds(now), B, end);
        }
        assert_eq!(
            into(&mut nat, seconds(301), A, end).is_some(),
            refresh_inbound
        );
    }
}

#[test]
fn habits_differ_in_what_strangers_hear() {
    let (stranger, end) = (at(B), at("44.128.1.1:4000"));
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let packet = || match protocol {
            Protocol::Udp => udp(stranger, end),
            _ => Packet::tcp(stranger, end, TcpFlags::SYN),
        };
        assert_eq!(
            nat(NatConfig::port_restricted()).inbound(seconds(0), packet()),
            Verdict::Drop
        );
        let mut rejecting = nat(NatConfig::port_restricted().with_habit(Habit::Reject));
        let Verdict::Reject(answer) = rejecting.inbound(seconds(0), packet()) else {
            panic!("{protocol:?}")
        };
        assert_eq!(
            (answer.source.ip(), answer.destination.ip()),
            (end.ip(), stranger.ip())
        );
        match (protocol, answer.content) {
            (Protocol::Udp, Content::Error(IcmpError::PortUnreachable, about)) => {
                assert_eq!((about.source, about.destination), (stranger, end));
            }
            (_, Content::Tcp(flags)) => assert!(flags.rst),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_early_punch_moves_the_mapping_where_the_router_rejects() {
    for (poisoning, moves) in [(Some(Poisoning::LINUX), true), (None, false)] {
        let config = NatConfig {
            poisoning,
            ..NatConfig::port_restricted().with_habit(Habit::Reject)
        };
        let mut nat = nat(config);
        let before = out(&mut nat, seconds(0), HOST, B);
        assert_eq!(into(&mut nat, seconds(1), A, before), None, "too early");
        let end = out(&mut nat, seconds(2), HOST, A);
        assert_eq!(end != before, moves);
        // The peer keeps on punching at the end that it was told, and never gets through.
        assert_eq!(into(&mut nat, seconds(3), A, before).is_none(), moves);
        // Whoever answers to the observed source does.
        assert_eq!(into(&mut nat, seconds(3), A, end), Some(at(HOST)));
        // The sessions that were there stay where they are; new ones go with the newest mapping.
        assert_eq!(out(&mut nat, seconds(25), HOST, B), before);
        assert_eq!(out(&mut nat, seconds(25), HOST, A_OTHER_PORT), end);
        // It stays moved as long as it is used, however long ago the early packet was.
        assert_eq!(out(&mut nat, seconds(60), HOST, A), end);
    }
}

#[test]
fn once_what_had_moved_is_over_the_old_mapping_serves_again() {
    let mut nat = nat(NatConfig::port_restricted().with_habit(Habit::Reject));
    let before = out(&mut nat, seconds(0), HOST, B);
    assert_eq!(into(&mut nat, seconds(0), A, before), None);
    assert_ne!(out(&mut nat, seconds(1), HOST, A), before);
    out(&mut nat, seconds(20), HOST, B);
    assert_eq!(out(&mut nat, seconds(40), HOST, A), before);
}

#[test]
fn a_drop_router_is_not_poisoned() {
    let mut nat = nat(NatConfig::port_restricted());
    assert_eq!(into(&mut nat, seconds(0), A, at("44.128.1.1:4000")), None);
    assert_eq!(out(&mut nat, seconds(1), HOST, A).port(), 4000);
}

#[test]
fn poison_runs_out_and_is_renewed_by_every_packet() {
    let end = at("44.128.1.1:4000");
    for (quiet_from, now, kept) in [
        (0, 29, false),
        (0, 30, true),
        (20, 30, false),
        (20, 50, true),
    ] {
        let mut nat = nat(NatConfig::port_restricted().with_habit(Habit::Reject));
        for early in (0..=quiet_from).step_by(10) {
            assert_eq!(into(&mut nat, seconds(early), A, end), None);
        }
        assert_eq!(
            out(&mut nat, seconds(now), HOST, A) == end,
            kept,
            "last at {quiet_from}, then {now}"
        );
    }
}

#[test]
fn refused_connections_are_remembered_by_those_that_are_not_linux() {
    let end = at("44.128.1.1:4000");
    let other = Poisoning {
        tcp: seconds(10),
        ..Poisoning::LINUX
    };
    for (poisoning, now, kept) in [
        (Poisoning::LINUX, 0, true),
        (other, 9, false),
        (other, 10, true),
    ] {
        let config = NatConfig {
            poisoning: Some(poisoning),
            ..NatConfig::port_restricted()
        };
        let mut nat = nat(config.with_habit(Habit::Reject));
        segment(&mut nat, seconds(0), A, "44.128.1.1:4000", TcpFlags::SYN);
        let Verdict::Forward(packet) = segment(&mut nat, seconds(now), HOST, A, TcpFlags::SYN)
        else {
            panic!("{poisoning:?}")
        };
        assert_eq!(packet.source == end, kept, "{poisoning:?} at {now}");
    }
}

#[test]
fn low_hop_limits_keep_a_rejecting_pair_clean() {
    // Openers that die before the other router leave it clean, so both ends stay where they were told to be.
    let config = || NatConfig::port_restricted().with_habit(Habit::Reject);
    let mut left = Nat::new(config(), vec!["44.128.1.1".parse().unwrap()], 1);
    let mut right = Nat::new(config(), vec!["44.128.2.1".parse().unwrap()], 2);
    let opened_left = out(&mut left, seconds(0), HOST, "44.128.2.1:5000");
    let opened_right = out(&mut right, seconds(0), "10.0.0.2:5000", "44.128.1.1:4000");
    assert_eq!((opened_left.port(), opened_right.port()), (4000, 5000));
    assert!(into(&mut right, seconds(1), "44.128.1.1:4000", opened_right).is_some());
    assert!(into(&mut left, seconds(1), "44.128.2.1:5000", opened_left).is_some());
}

#[test]
fn hairpinning_translates_both_ends_and_obeys_the_filter() {
    let neighbour = "192.168.0.3:5000";
    for (hairpin, filtering) in [(true, KINDS[0]), (true, KINDS[2]), (false, KINDS[0])] {
        let mut nat = nat(NatConfig {
            filtering,
            hairpin,
            ..NatConfig::full_cone()
        });
        let end = out(&mut nat, seconds(0), HOST, A);
        let verdict = nat.outbound(seconds(1), udp(at(neighbour), end));
        if !hairpin || filtering != Behaviour::Independent {
            assert_eq!(verdict, Verdict::Drop);
            continue;
        }
        let Verdict::Hairpin(packet) = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(
            (packet.source, packet.destination),
            (at("44.128.1.1:5000"), at(HOST))
        );
        // The answer takes the same way back.
        let Verdict::Hairpin(packet) = nat.outbound(seconds(2), udp(at(HOST), packet.source))
        else {
            panic!()
        };
        assert_eq!((packet.source, packet.destination), (end, at(neighbour)));
    }
}

#[test]
fn neighbours_can_punch_through_a_hairpin() {
    let mut nat = nat(NatConfig::port_restricted()
        .with_hairpin(true)
        .with_habit(Habit::Reject));
    let (one, two) = (at("192.168.0.2:4000"), at("192.168.0.3:5000"));
    let (outside_one, outside_two) = (at("44.128.1.1:4000"), at("44.128.1.1:5000"));
    let Verdict::Reject(answer) = nat.outbound(seconds(0), udp(one, outside_two)) else {
        panic!()
    };
    let Content::Error(_, about) = answer.content else {
        panic!("{answer}")
    };
    assert_eq!((answer.destination.ip(), about.source), (one.ip(), one));
    assert!(matches!(
        nat.outbound(seconds(0), udp(two, outside_one)),
        Verdict::Hairpin(_)
    ));
    assert!(matches!(
        nat.outbound(seconds(0), udp(one, outside_two)),
        Verdict::Hairpin(_)
    ));
}

#[test]
fn connections_begin_with_an_opening_segment() {
    let mut nat = nat(NatConfig::full_cone());
    let end = "44.128.1.1:4000";
    assert_eq!(
        segment(&mut nat, seconds(0), HOST, A, TcpFlags::ACK),
        Verdict::Drop
    );
    assert!(matches!(
        segment(&mut nat, seconds(0), HOST, A, TcpFlags::SYN),
        Verdict::Forward(_)
    ));
    assert_eq!(
        segment(&mut nat, seconds(0), B, end, TcpFlags::ACK),
        Verdict::Drop,
        "not the beginning"
    );
    assert!(matches!(
        segment(&mut nat, seconds(0), B, end, TcpFlags::SYN),
        Verdict::Forward(_)
    ));
    assert!(matches!(
        segment(&mut nat, seconds(0), HOST, B, TcpFlags::SYN_ACK),
        Verdict::Forward(_)
    ));
}

#[test]
fn both_sides_may_open_at_once() {
    let mut nat = nat(NatConfig::port_restricted());
    segment(&mut nat, seconds(0), HOST, A, TcpFlags::SYN);
    let end = "44.128.1.1:4000";
    assert!(matches!(
        segment(&mut nat, seconds(1), A, end, TcpFlags::SYN),
        Verdict::Forward(_)
    ));
    assert!(matches!(
        segment(&mut nat, seconds(1), HOST, A, TcpFlags::SYN_ACK),
        Verdict::Forward(_)
    ));
}

#[test]
fn connections_live_as_long_as_their_state() {
    let end = "44.128.1.1:4000";
    let establish = |nat: &mut Nat| {
        segment(nat, seconds(0), HOST, A, TcpFlags::SYN);
        segment(nat, seconds(0), A, end, TcpFlags::SYN_ACK);
        segment(nat, seconds(0), HOST, A, TcpFlags::ACK);
    };
    let lives = |nat: &mut Nat, now| {
        matches!(
            segment(nat, seconds(now), A, end, TcpFlags::ACK),
            Verdict::Forward(_)
        )
    };
    let mut half_open = nat(NatConfig::port_restricted());
    segment(&mut half_open, seconds(0), HOST, A, TcpFlags::SYN);
    assert!(!lives(&mut half_open, 240));
    for (last, alive, dead) in [
        (TcpFlags::ACK, 7439, 7440),
        (TcpFlags::FIN, 239, 240),
        (TcpFlags::RST, 9, 10),
    ] {
        for (now, expected) in [(alive, true), (dead, false)] {
            let mut nat = nat(NatConfig::port_restricted());
            establish(&mut nat);
            segment(&mut nat, seconds(0), A, end, last);
            assert_eq!(lives(&mut nat, now), expected, "{last:?} at {now}");
        }
    }
}

#[test]
fn errors_about_what_went_out_come_in() {
    let mut nat = nat(NatConfig::symmetric_random());
    let end = out(&mut nat, seconds(0), HOST, A);
    let about = Flow {
        protocol: Protocol::Udp,
        source: end,
        destination: at(A),
    };
    let router = "44.128.77.1".parse().unwrap();
    let Verdict::Forward(packet) = nat.inbound(
        seconds(1),
        Packet::error(router, IcmpError::TimeExceeded, about),
    ) else {
        panic!()
    };
    assert_eq!(
        (packet.source.ip(), packet.destination.ip()),
        (router, at(HOST).ip())
    );
    let Content::Error(IcmpError::TimeExceeded, inner) = packet.content else {
        panic!("{packet}")
    };
    assert_eq!((inner.source, inner.destination), (at(HOST), at(A)));
    // About a packet that never left: a stranger's invention.
    let about = Flow {
        destination: at(B),
        ..about
    };
    assert_eq!(
        nat.inbound(
            seconds(1),
            Packet::error(router, IcmpError::PortUnreachable, about)
        ),
        Verdict::Drop
    );
    // And it ended nothing.
    assert_eq!(into(&mut nat, seconds(2), A, end), Some(at(HOST)));
}

#[test]
fn errors_about_what_came_in_go_out() {
    let mut nat = nat(NatConfig::full_cone());
    let end = out(&mut nat, seconds(0), HOST, A);
    into(&mut nat, seconds(0), A, end);
    let about = Flow {
        protocol: Protocol::Udp,
        source: at(A),
        destination: at(HOST),
    };
    let error = Packet::error(at(HOST).ip(), IcmpError::PortUnreachable, about);
    let Verdict::Forward(packet) = nat.outbound(seconds(1), error) else {
        panic!()
    };
    let Content::Error(_, inner) = packet.content else {
        panic!("{packet}")
    };
    assert_eq!((packet.source.ip(), inner.destination), (end.ip(), end));
}

#[test]
fn pinned_mappings_are_open_to_all_and_stay() {
    let mut nat = nat(NatConfig::port_restricted());
    let end = at("44.128.1.1:7000");
    assert!(nat.pin(Protocol::Udp, end, at(HOST)));
    assert!(!nat.pin(Protocol::Udp, end, at("192.168.0.3:1")), "taken");
    assert!(
        !nat.pin(Protocol::Udp, at("44.128.1.2:7000"), at(HOST)),
        "not an address of this router"
    );
    assert_eq!(into(&mut nat, seconds(100_000), B, end), Some(at(HOST)));
    assert_eq!(out(&mut nat, seconds(100_001), HOST, A), end);
    nat.flush();
    assert_eq!(into(&mut nat, seconds(100_002), A, end), Some(at(HOST)));
    assert!(nat.unpin(Protocol::Udp, end));
    assert!(!nat.unpin(Protocol::Udp, end));
    assert_eq!(into(&mut nat, seconds(100_003), A, end), None);
}

#[test]
fn several_addresses_are_paired_with_hosts_or_not() {
    let public: Vec<IpAddr> = vec!["44.128.1.1".parse().unwrap(), "44.128.1.2".parse().unwrap()];
    for pooling in [Pooling::Paired, Pooling::Arbitrary] {
        let config = NatConfig {
            pooling,
            ..NatConfig::symmetric_random()
        };
        let mut nat = Nat::new(config, public.clone(), 1);
        let first = out(&mut nat, seconds(0), HOST, A).ip();
        let again = out(&mut nat, seconds(0), HOST, B).ip();
        assert_eq!(first == again, pooling == Pooling::Paired);
        let neighbour = out(&mut nat, seconds(0), "192.168.0.3:4000", A).ip();
        assert_eq!(neighbour != first, pooling == Pooling::Paired);
    }
}

#[test]
fn a_full_table_takes_no_more() {
    let mut nat = nat(NatConfig {
        capacity: 2,
        ..NatConfig::full_cone().with_habit(Habit::Reject)
    });
    let end = out(&mut nat, seconds(0), HOST, A);
    out(&mut nat, seconds(0), HOST, B);
    assert_eq!(
        nat.outbound(seconds(1), udp(at(HOST), at(A_OTHER_PORT))),
        Verdict::Drop
    );
    assert_eq!(into(&mut nat, seconds(1), A_OTHER_PORT, end), None);
    assert_eq!(
        into(&mut nat, seconds(1), A, end),
        Some(at(HOST)),
        "those inside are served"
    );
    for port in 1..100 {
        into(
            &mut nat,
            seconds(1),
            &format!("44.128.9.9:{port}"),
            at("44.128.1.1:9999"),
        );
    }
    assert!(nat.table.poisons() <= 2);
}

#[test]
fn families_without_an_outside_address_are_dropped() {
    let mut nat = nat(NatConfig::full_cone());
    let packet = udp(at("[fd00::2]:1"), at("[2a0d::1]:2"));
    assert_eq!(nat.outbound(seconds(0), packet), Verdict::Drop);
}

/// Any kind of translator.
fn configs() -> impl Strategy<Value = NatConfig> {
    let kind = || prop::sample::select(KINDS.to_vec());
    let allocation = prop_oneof![
        Just(Allocation::Preserve),
        Just(Allocation::Random),
        (-5..5_i16).prop_map(|delta| Allocation::Sequential { delta }),
    ];
    (kind(), kind(), allocation, any::<[bool; 3]>()).prop_map(
        |(mapping, filtering, allocation, flags)| NatConfig {
            mapping,
            filtering,
            allocation,
            hairpin: flags[0],
            habit: if flags[1] { Habit::Reject } else { Habit::Drop },
            refresh_inbound: flags[2],
            ports: 1024..=1087,
            capacity: 100,
            ..NatConfig::full_cone()
        },
    )
}

/// One packet in either direction, some time after the last one, among few ends so that they meet.
fn events() -> impl Strategy<Value = Vec<(u64, bool, bool, u8, u16, u8, u16)>> {
    prop::collection::vec(
        (
            0..40_u64,
            any::<bool>(),
            any::<bool>(),
            0..3_u8,
            0..4_u16,
            0..3_u8,
            0..70_u16,
        ),
        1..120,
    )
}

proptest! {
    /// Whatever happens: what goes out comes from a public address and a port of the range, what comes in goes to an
    /// inside host that has spoken, an answer to what just went out gets in, and the same seed gives the same verdicts.
    #[test]
    fn promises_hold_for_every_kind(config in configs(), events in events(), seed: u64) {
        let mut first = Nat::new(config.clone(), vec!["44.128.1.1".parse().unwrap()], seed);
        let mut second = Nat::new(config.clone(), vec!["44.128.1.1".parse().unwrap()], seed);
        let (mut now, mut spoken) = (Duration::ZERO, HashSet::new());
        for (pause, outward, stream, host, port, remote, end) in events {
            now += seconds(pause);
            let inside = SocketAddr::from(([192, 168, 0, 2 + host], 1024 + port));
            let outside = SocketAddr::from(([44, 128, 9, remote], 50 + end % 3));
            let public = SocketAddr::from(([44, 128, 1, 1], 1024 + end));
            let make = |source, destination| if stream {
                Packet::tcp(source, destination, TcpFlags::SYN)
            } else {
                udp(source, destination)
            };
            let (packet, verdict, again) = if outward {
                let packet = make(inside, outside);
                (packet.clone(), first.outbound(now, packet.clone()), second.outbound(now, packet))
            } else {
                let packet = make(outside, public);
                (packet.clone(), first.inbound(now, packet.clone()), second.inbound(now, packet))
            };
            prop_assert_eq!(&verdict, &again);
            match verdict {
                Verdict::Forward(translated) if outward => {
                    prop_assert_eq!(translated.destination, outside);
                    prop_assert_eq!(translated.source.ip(), public.ip());
                    prop_assert!(config.ports.contains(&translated.source.port()));
                    let protocol = packet.protocol();
                    prop_assert_eq!(first.external(now, protocol, inside, outside), Some(translated.source));
                    spoken.insert(inside);
                    let answer = make(outside, translated.source);
                    let Verdict::Forward(answer) = first.inbound(now, answer.clone()) else {
                        return Err(TestCaseError::fail("an answer was not let in"));
                    };
                    prop_assert_eq!(answer.destination, inside);
                    second.inbound(now, make(outside, translated.source));
                }
                Verdict::Forward(translated) => {
                    prop_assert_eq!(translated.source, outside);
                    prop_assert!(spoken.contains(&translated.destination));
                }
                Verdict::Reject(answer) => {
                    prop_assert_eq!(config.habit, Habit::Reject);
                    prop_assert_eq!(answer.destination.ip(), packet.source.ip());
                }
                Verdict::Hairpin(_) => prop_assert!(false, "nobody asked for it"),
                Verdict::Drop => {}
            }
            prop_assert!(first.sessions(now) <= config.capacity);
        }
        prop_assert_eq!(first.sessions(now + seconds(100_000)), 0);
    }

    /// No two inside ends, and no two mappings, share an outside end.
    #[test]
    fn outside_ends_are_never_shared(config in configs(), flows in prop::collection::vec((0..4_u8, 0..8_u16, 0..4_u8), 1..60), seed: u64) {
        let mut nat = Nat::new(config, vec!["44.128.1.1".parse().unwrap()], seed);
        let mut owners = std::collections::HashMap::new();
        for (host, port, remote) in flows {
            let inside = SocketAddr::from(([192, 168, 0, 2 + host], 1024 + port));
            let packet = udp(inside, SocketAddr::from(([44, 128, 9, remote], 53)));
            if let Verdict::Forward(packet) = nat.outbound(seconds(0), packet) {
                prop_assert_eq!(*owners.entry(packet.source).or_insert(inside), inside);
            }
        }
    }
}
