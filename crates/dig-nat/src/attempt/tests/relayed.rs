//! Relays: when they are used, how soon, what follows them, and what can be done with them.

use super::*;
use crate::attempt::{Attempt, Failure, Message, NatHint, Offer, Output, Port, Terms};
use dig_types::NodeId;

const MS: fn(u64) -> Duration = Duration::from_millis;

fn symmetric() -> Kind {
    Kind::Nat(nat_kind(
        Behaviour::AddressAndPortDependent,
        Behaviour::AddressAndPortDependent,
        Allocation::Random,
        Habit::Drop,
    ))
}

fn restricted() -> Kind {
    Kind::Nat(NatConfig::port_restricted())
}

fn no_udp() -> Kind {
    Kind::NoUdp(NatConfig::port_restricted())
}

/// Datagram methods alone: TCP would often be faster than what is looked at here.
fn over_udp(seed: u64, a: Kind, b: Kind, relays: [Option<Duration>; 2]) -> Case {
    Case {
        methods: vec![
            Method::Local,
            Method::Direct,
            Method::UdpHolePunch,
            Method::Ice,
            Method::Turn,
        ],
        relays,
        ..Case::new(seed, a, b)
    }
}

#[test]
fn two_symmetric_nats_meet_over_one_relay_of_either_side() {
    let up = Some(Duration::ZERO);
    for seed in 0..60 {
        let relays = [[up, None], [None, up], [up, up]][(seed % 3) as usize];
        let case = over_udp(seed, symmetric(), symmetric(), relays);
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("{context}"));
        assert_eq!((path.method, path.relays), (Method::Turn, 1), "{context}");
        check_path(&case, &world, path);
        let limit = case.rtt() * 3 + MS(100);
        assert!(
            took(&world) <= limit,
            "took {:?} of {limit:?}: {context}",
            took(&world)
        );
    }
}

#[test]
fn two_relays_are_passed_only_where_one_is_not_enough() {
    let up = Some(Duration::ZERO);
    for (a, b, relays, expected) in [
        (no_udp(), no_udp(), [up, up], Some(2)),
        (no_udp(), no_udp(), [up, None], None),
        (no_udp(), symmetric(), [up, None], Some(1)),
        (symmetric(), no_udp(), [None, up], Some(1)),
        (symmetric(), no_udp(), [up, None], None),
        (no_udp(), restricted(), [up, up], Some(1)),
    ] {
        let case = over_udp(7, a, b, relays);
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world);
        assert_eq!(path.map(|path| path.relays), expected, "{context}");
        if let Some(path) = path {
            check_path(&case, &world, path);
        }
    }
}

/// With a relay on each side everything connects, and in the end directly where the oracle sees a direct path.
#[test]
fn a_relay_is_the_last_word_only_where_there_is_no_direct_path() {
    let (mut direct, mut relayed, mut improved) = (0, 0, 0);
    for seed in 0..500 {
        let any = matrix::any_case(seed);
        if any.kinds.iter().any(matrix::lucky) {
            continue;
        }
        let Some(expected) = matrix::punchable(&any.kinds[0], &any.kinds[1]) else {
            continue;
        };
        let [a, b] = any.kinds.clone();
        let case = Case {
            delays: any.delays,
            signal_delay: any.signal_delay,
            ..over_udp(seed, a, b, [Some(MS(seed % 50)); 2])
        };
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("{context}"));
        assert_eq!(path.is_relayed(), !expected, "{context}");
        check_path(&case, &world, path);
        let found = &world.peers[0].found;
        assert!(
            found
                .windows(2)
                .all(|two| two[1].1.relays < two[0].1.relays),
            "{context}"
        );
        direct += u32::from(expected);
        relayed += u32::from(!expected);
        improved += u32::from(expected && found.len() > 1);
    }
    println!("{direct} direct, {improved} of them over a relay first, {relayed} relayed");
    assert!(direct > 100 && relayed > 50);
}

#[test]
fn a_relayed_path_is_given_at_once_and_a_direct_one_when_it_becomes_possible() {
    for seed in 0..20 {
        let up = Some(Duration::ZERO);
        let case = over_udp(seed, restricted(), restricted(), [up, up]);
        let mut world = case.world();
        // Its addresses are known from before; the firewall opens while the attempt goes on.
        world.start(|world, at| case.gather(world, at));
        world.sites[1].layers.push(Layer::NoUdp);
        world.at(
            MS(1500),
            Event::Change(|world| {
                world.sites[1]
                    .layers
                    .retain(|layer| !matches!(layer, Layer::NoUdp))
            }),
        );
        world.run(Duration::from_secs(90));
        let context = Context {
            case: &case,
            world: &world,
        };
        let found = &world.peers[0].found;
        let [(first, relayed), (second, direct)] = found[..] else {
            panic!("{context}")
        };
        assert!(relayed.is_relayed() && !direct.is_relayed(), "{context}");
        assert!(first < MS(500), "{first:?}");
        // A check is repeated every half second.
        assert!(second < MS(1500 + 500) + case.rtt() * 3, "{second:?}");
        check_path(&case, &world, direct);
        assert!(
            world.peers[1]
                .found
                .iter()
                .any(|(_, path)| path.is_relayed()),
            "{context}"
        );
    }
}

#[test]
fn a_relayed_path_that_stays_the_best_is_confirmed_in_the_end() {
    let up = Some(Duration::ZERO);
    let case = over_udp(1, symmetric(), symmetric(), [up, None]);
    let world = case.run();
    for peer in &world.peers {
        let (when, ended) = peer.ended.clone().unwrap();
        assert_eq!(ended, Ended::Connected(Method::Turn));
        // The methods are tried as long as without a relay, and a session was made meanwhile.
        assert!((MS(5000)..MS(6500)).contains(&when), "{when:?}");
    }
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    let outcome = |method| {
        let run = trace.methods.iter().find(|run| run.method == method);
        run.unwrap().outcome.clone()
    };
    assert_eq!(outcome(Method::Turn), Outcome::Connected);
    assert_eq!(outcome(Method::UdpHolePunch), Outcome::NoAnswer);
}

#[test]
fn a_direct_path_that_carries_no_session_leaves_the_relayed_one() {
    let up = Some(Duration::ZERO);
    let case = over_udp(1, restricted(), restricted(), [up, up]);
    let mut world = case.world();
    world.confirm = false;
    world.start(|world, at| case.gather(world, at));
    world.sites[1].layers.push(Layer::NoUdp);
    world.run(MS(1000));
    let (_, relayed) = world.peers[0].found[0];
    world.at(MS(1000), Event::Confirm(relayed));
    world.at(
        MS(1001),
        Event::Change(|world| {
            world.sites[1]
                .layers
                .retain(|layer| !matches!(layer, Layer::NoUdp))
        }),
    );
    world.run(MS(2500));
    let (_, direct) = world.peers[0].found[1];
    assert!(!direct.is_relayed());
    let now = world.now;
    let attempt = world.peers[0].attempt.as_mut().unwrap();
    attempt.reject_path(now, &direct);
    world.flush(0);
    world.run(Duration::from_secs(90));
    // The relayed path is not given again: there is a session over it.
    let again = world.peers[0].found[2..]
        .iter()
        .any(|(_, path)| *path == relayed);
    assert!(!again, "{:?}", world.peers[0].found);
    assert!(
        world.peers[0].ended.is_none() || {
            let (_, ended) = world.peers[0].ended.clone().unwrap();
            ended == Ended::Connected(Method::Turn)
        }
    );
}

/// Nobody says what became of the paths, or says it of a worse one too late: it ends all the same.
#[test]
fn an_attempt_ends_whatever_is_said_of_its_paths() {
    let up = Some(Duration::ZERO);
    for late in [false, true] {
        let case = over_udp(1, symmetric(), symmetric(), [up, up]);
        let mut world = case.world();
        world.confirm = false;
        world.start(|world, at| case.gather(world, at));
        world.run(MS(3000));
        let (_, path) = *world.peers[0].found.last().unwrap();
        if late {
            let worse = Path { relays: 2, ..path };
            world.at(MS(3000), Event::Confirm(path));
            world.at(MS(3001), Event::Confirm(worse));
        }
        world.run(Duration::from_secs(90));
        let (when, ended) = world.peers[0].ended.clone().unwrap();
        assert_eq!(ended, Ended::Connected(Method::Turn));
        let limit = if late { MS(6500) } else { MS(12_000) };
        assert!(when < limit, "{when:?}");
    }
}

#[test]
fn where_only_a_direct_path_is_wanted_no_relay_is_used() {
    let up = Some(Duration::ZERO);
    let case = Case {
        relay: RelayUse::No,
        ..over_udp(1, symmetric(), symmetric(), [up, up])
    };
    let world = case.run();
    assert_eq!(
        world.peers[0].ended.as_ref().unwrap().1,
        Ended::Failed(Failure::NoPath)
    );
    assert!(
        world
            .sent
            .iter()
            .all(|(_, to)| ![relayed(0), relayed(1)].contains(to))
    );
}

#[test]
fn behind_relays_alone_nothing_else_is_shown_or_used() {
    let up = Some(Duration::ZERO);
    for methods in [vec![Method::Turn], vec![Method::Ice], Method::ALL.to_vec()] {
        let case = Case {
            relay: RelayUse::Only,
            methods,
            ..Case::new(1, Kind::Open, restricted())
        };
        let case = Case {
            relays: [up, up],
            ..case
        };
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world).unwrap_or_else(|| panic!("{context}"));
        assert_eq!(
            (path.relays, path.from),
            (2, Port::Relay(relayed(0))),
            "{context}"
        );
        assert_eq!(world.shared, [0, 0], "{context}");
        check_path(&case, &world, path);
    }
}

#[test]
fn one_after_the_other_a_relay_comes_last_and_suffices() {
    let up = Some(Duration::ZERO);
    let case = Case {
        strategy: Strategy::Sequential,
        ..over_udp(1, symmetric(), symmetric(), [up, None])
    };
    let world = case.run();
    let path = path(&world).unwrap();
    assert!(path.is_relayed());
    check_path(&case, &world, path);
    let case = Case {
        methods: vec![Method::UdpHolePunch, Method::Turn],
        ..case
    };
    let world = case.run();
    assert_eq!(super::path(&world).unwrap().method, Method::Turn);
}

/// Somebody answers nothing and says that its relays are everywhere: the responder sends to two of them, and not much.
#[test]
fn an_offer_cannot_aim_relayed_checks_at_many() {
    for methods in [vec![Method::Turn], vec![Method::Ice], Method::ALL.to_vec()] {
        let victims: Vec<Candidate> = (1..=16)
            .map(|n| Candidate {
                kind: CandidateKind::Relayed,
                transport: Transport::Udp,
                addr: SocketAddr::new([44, 6, 6, n].into(), 53),
            })
            .collect();
        let offer = Offer {
            terms: Terms {
                share: [1; 32],
                revision: 0,
                methods: methods.clone(),
                candidates: victims,
                fresh: Vec::new(),
                nat: NatHint::Unknown,
            },
            stamp: 0,
            strategy: Strategy::Race,
        };
        let mut config = AttemptConfig::new([3; 32]);
        config.methods = methods;
        let host = Candidate {
            kind: CandidateKind::Host,
            transport: Transport::Udp,
            addr: "192.168.2.5:4000".parse().unwrap(),
        };
        let local = super::super::Local {
            candidates: vec![host],
            ..Default::default()
        };
        let party = (
            NodeId::from_bytes([1; 32]),
            crate::trace::AttemptId([9; 16]),
        );
        let mut attempt =
            Attempt::respond(Duration::ZERO, config, local, party, offer, &[]).unwrap();
        let mut sent = std::collections::BTreeMap::<SocketAddr, u32>::new();
        for ms in 0..130_000 {
            attempt.on_timeout(MS(ms));
            if ms % 50 == 0 {
                for method in [Method::Ice, Method::Turn] {
                    let step = crate::attempt::Step { round: 0, method };
                    attempt.on_signal(MS(ms), &Message::Go(step).encode(), &[]);
                }
                attempt.on_signal(MS(ms), &Message::Opened(0).encode(), &[]);
            }
            while let Some(output) = attempt.poll() {
                if let Output::Datagram { to, .. } = output {
                    *sent.entry(to).or_default() += 1;
                }
            }
        }
        let all: u32 = sent.values().sum();
        assert!(sent.len() <= 2 && all <= 100, "{sent:?}");
        assert!(all > 0, "the test would prove nothing");
    }
}
