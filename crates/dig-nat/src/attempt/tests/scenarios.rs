//! Single cases: each method alone, races, neighbours, late candidates, lost signals.

use super::*;

fn port_restricted(habit: Habit) -> Kind {
    Kind::Nat(NatConfig::port_restricted().with_habit(habit))
}

fn full_cone() -> Kind {
    Kind::Nat(NatConfig::full_cone())
}

fn symmetric(habit: Habit) -> Kind {
    Kind::Nat(NatConfig::symmetric_random().with_habit(habit))
}

/// Runs a case that must connect; by which method it did.
fn connects(case: &Case) -> Method {
    let world = case.run();
    let path = path(&world).unwrap_or_else(|| {
        panic!(
            "no path: {}",
            Context {
                case,
                world: &world
            }
        )
    });
    check_path(case, &world, path);
    path.method
}

/// Runs a case that must not connect; how its method ended on the initiator's side.
fn fails(case: &Case) -> Outcome {
    let world = case.run();
    let context = Context {
        case,
        world: &world,
    };
    assert_eq!(path(&world), None, "{context}");
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    let [run] = &trace.methods[..] else {
        panic!("not one method: {context}")
    };
    assert!(run.took <= Duration::from_secs(5), "{context}");
    run.outcome.clone()
}

/// Pairs that the method alone connects, in either order of roles.
fn pairs(method: Method) -> Vec<(Kind, Kind)> {
    let (drop, reject) = (Habit::Drop, Habit::Reject);
    let mapped = |config| Kind::Mapped(config, method);
    let home = NatConfig::port_restricted;
    match method {
        Method::Direct => vec![
            (Kind::Open, Kind::Open),
            (Kind::Open, symmetric(reject)),
            (Kind::Firewall6(drop), Kind::Firewall6(reject)),
        ],
        Method::Pcp | Method::NatPmp | Method::Upnp => vec![
            (mapped(home()), symmetric(reject)),
            (mapped(home().with_habit(reject)), port_restricted(reject)),
            (mapped(NatConfig::symmetric_random()), symmetric(drop)),
        ],
        Method::UdpHolePunch => vec![
            (port_restricted(reject), port_restricted(reject)),
            (Kind::Open, port_restricted(reject)),
            (Kind::Firewall6(reject), Kind::Firewall6(reject)),
            (symmetric(reject), full_cone()),
        ],
        Method::TcpHolePunch => vec![
            (port_restricted(drop), port_restricted(drop)),
            (full_cone(), symmetric(drop)),
            (symmetric(drop), Kind::Nat(NatConfig::address_restricted())),
            (Kind::Open, port_restricted(drop)),
        ],
        Method::TcpSimultaneousOpen => vec![
            (port_restricted(drop), port_restricted(drop)),
            (Kind::NoUdp(home()), port_restricted(drop)),
        ],
        _ => Vec::new(),
    }
}

#[test]
fn each_method_alone_connects_who_can() {
    for seed in 0..20 {
        for method in Method::ALL {
            for (a, b) in pairs(method) {
                for strategy in [Strategy::Race, Strategy::Sequential] {
                    for (a, b) in [(&a, &b), (&b, &a)] {
                        let case = Case::new(seed, a.clone(), b.clone()).alone(method);
                        assert_eq!(connects(&Case { strategy, ..case }), method);
                    }
                }
            }
        }
    }
}

#[test]
fn each_method_alone_says_why_it_cannot() {
    let check = |method, a: &Kind, b: &Kind, expected: fn(&Outcome) -> bool| {
        for strategy in [Strategy::Race, Strategy::Sequential] {
            let case = Case {
                strategy,
                ..Case::new(3, a.clone(), b.clone()).alone(method)
            };
            let outcome = fails(&case);
            assert!(expected(&outcome), "{outcome:?}: {case:?}");
        }
    };
    let skipped = |outcome: &Outcome| matches!(outcome, Outcome::Skipped(_));
    let (home, random) = (port_restricted(Habit::Drop), symmetric(Habit::Drop));
    check(Method::Local, &home, &home, skipped);
    check(Method::Direct, &home, &home, skipped);
    check(Method::Pcp, &home, &home, skipped);
    check(Method::Upnp, &home, &random, skipped);
    check(Method::TcpHolePunch, &random, &random, skipped);
    check(Method::TcpSimultaneousOpen, &home, &random, skipped);
    check(Method::UdpHolePunch, &home, &random, |outcome| {
        *outcome == Outcome::NoAnswer
    });
    let blocked = Kind::NoUdp(NatConfig::port_restricted());
    check(Method::UdpHolePunch, &home, &blocked, |outcome| {
        *outcome == Outcome::NoAnswer
    });
    let closed = symmetric(Habit::Reject);
    check(Method::TcpHolePunch, &home, &closed, |outcome| {
        matches!(outcome, Outcome::Refused(_))
    });
}

#[test]
fn neighbours_use_their_network_with_or_without_hairpin() {
    for hairpin in [false, true] {
        for strategy in [Strategy::Race, Strategy::Sequential] {
            let kind = Kind::Nat(NatConfig::port_restricted().with_hairpin(hairpin));
            let case = Case {
                together: true,
                strategy,
                ..Case::new(5, kind.clone(), kind)
            };
            assert_eq!(connects(&case), Method::Local);
        }
    }
}

#[test]
fn the_best_path_wins_the_race_and_the_others_say_that_they_were_cancelled() {
    let mapped = Kind::Mapped(NatConfig::port_restricted(), Method::Pcp);
    let case = Case::new(5, mapped, port_restricted(Habit::Drop));
    let world = case.run();
    assert_eq!(
        path(&world).map(|path| path.method),
        Some(Method::Pcp),
        "{}",
        Context {
            case: &case,
            world: &world
        }
    );
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    let outcome = |method| {
        trace
            .methods
            .iter()
            .find(|run| run.method == method)
            .map(|run| run.outcome.clone())
    };
    assert_eq!(outcome(Method::UdpHolePunch), Some(Outcome::Cancelled));
    assert_eq!(outcome(Method::TcpHolePunch), Some(Outcome::Cancelled));
    assert!(matches!(outcome(Method::Local), Some(Outcome::Skipped(_))));
    assert!(trace.signaling.is_some());
}

#[test]
fn sequential_follows_the_order_of_the_whitepaper() {
    let (home, other) = (port_restricted(Habit::Drop), port_restricted(Habit::Drop));
    let case = Case {
        strategy: Strategy::Sequential,
        ..Case::new(5, home, other)
    };
    assert_eq!(connects(&case), Method::TcpHolePunch);
    let case = Case {
        methods: vec![
            Method::TcpSimultaneousOpen,
            Method::UdpHolePunch,
            Method::Direct,
        ],
        ..case
    };
    assert_eq!(connects(&case), Method::UdpHolePunch);
}

#[test]
fn without_datagrams_it_is_tcp() {
    for (habit, at_least) in [(Habit::Drop, 50), (Habit::Reject, 45)] {
        let mut connected = 0;
        for seed in 0..50 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut delay = || Duration::from_micros(rng.u64(1_000..75_000));
            let nat = NatConfig::port_restricted().with_habit(habit);
            let case = Case::new(seed, Kind::NoUdp(nat.clone()), Kind::Nat(nat));
            let signal_jitter = Duration::from_millis(10);
            let case = Case {
                delays: [delay(), delay()],
                signal_delay: delay(),
                signal_jitter,
                ..case
            };
            let world = case.run();
            if let Some(path) = path(&world) {
                check_path(&case, &world, path);
                assert_eq!(path.transport, Transport::Tcp);
                connected += 1;
            }
        }
        println!("{connected} of 50 where routers {habit:?}");
        assert!(
            connected >= at_least,
            "{connected} of 50 where routers {habit:?}"
        );
    }
}

#[test]
fn loss_and_distance_are_overcome() {
    for strategy in [Strategy::Race, Strategy::Sequential] {
        for habit in [Habit::Drop, Habit::Reject] {
            for seed in 0..100 {
                let ms = Duration::from_millis;
                let case = Case::new(seed, port_restricted(habit), port_restricted(habit));
                let case = Case {
                    loss: 0.05,
                    delays: [ms(50), ms(50)],
                    signal_delay: ms(5),
                    strategy,
                    ..case
                };
                connects(&case);
            }
        }
    }
}

#[test]
fn the_race_is_no_slower_than_the_best_method_alone() {
    let mapped = Kind::Mapped(NatConfig::port_restricted(), Method::Upnp);
    let kinds = [
        Kind::Open,
        full_cone(),
        port_restricted(Habit::Reject),
        symmetric(Habit::Drop),
        mapped,
    ];
    let blocked = Kind::NoUdp(NatConfig::port_restricted());
    for (seed, a) in kinds.iter().chain([&blocked]).enumerate() {
        for b in &kinds {
            let case = Case::new(seed as u64, a.clone(), b.clone());
            let alone = |method| {
                let world = case.clone().alone(method).run();
                path(&world).map(|_| took(&world))
            };
            let best = Method::ALL.into_iter().filter_map(alone).min();
            let world = case.run();
            let race = path(&world).map(|_| took(&world));
            let context = Context {
                case: &case,
                world: &world,
            };
            assert_eq!(race.is_some(), best.is_some(), "{context}");
            if let (Some(race), Some(best)) = (race, best) {
                assert!(
                    race <= best + Duration::from_millis(100),
                    "{race:?}, alone {best:?}: {context}"
                );
            }
        }
    }
}

/// Whatever is offered, packets go only to where the carrier sees the offerer, and at most 100.
/// Over a Gun relay, say: who answers knows only what who asks says of itself.
#[test]
fn holes_are_punched_though_the_carrier_sees_nobody() {
    let (drop, reject) = (Habit::Drop, Habit::Reject);
    for (one, other) in [
        (drop, drop),
        (reject, drop),
        (drop, reject),
        (reject, reject),
    ] {
        for strategy in [Strategy::Race, Strategy::Sequential] {
            for seed in 0..10 {
                let (one, other) = (port_restricted(one), port_restricted(other));
                let mut case = Case::new(seed, one, other);
                case.blind = true;
                case.strategy = strategy;
                assert_eq!(connects(&case), Method::UdpHolePunch, "seed {seed}");
            }
        }
    }
    let mut case = Case::new(0, Kind::Open, port_restricted(reject));
    case.blind = true;
    connects(&case);
    case.kinds.swap(0, 1);
    connects(&case);
}

#[test]
fn an_offer_cannot_aim_at_others() {
    for seed in 0..50 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut case = Case::new(
            seed,
            port_restricted(Habit::Drop),
            port_restricted(Habit::Drop),
        );
        case.methods = Method::ALL.to_vec();
        let mut world = case.world();
        world.start(|world, at| {
            case.gather(world, at);
            if at == 0 {
                let own: IpAddr = "44.128.1.1".parse().unwrap();
                let victim: IpAddr = "44.9.9.9".parse().unwrap();
                world.peers[0].local.candidates = (0..16)
                    .map(|_| Candidate {
                        kind: [
                            CandidateKind::Host,
                            CandidateKind::ServerReflexive,
                            CandidateKind::Mapped(Method::Pcp),
                        ][rng.usize(..3)],
                        transport: if rng.bool() {
                            Transport::Udp
                        } else {
                            Transport::Tcp
                        },
                        addr: SocketAddr::new(if rng.bool() { own } else { victim }, rng.u16(1..)),
                    })
                    .collect();
                world.peers[0].local.fresh[0].external = Some(SocketAddr::new(victim, 80));
            }
        });
        // The offer is all that the responder ever hears.
        let quiet = |world: &mut World| world.peers[0].attempt = None;
        quiet(&mut world);
        world.run(Duration::from_secs(60));
        let sent: Vec<_> = world.sent.iter().filter(|(peer, _)| *peer == 1).collect();
        assert!(!sent.is_empty() && sent.len() <= 100, "{}", sent.len());
        assert!(
            sent.iter()
                .all(|(_, to)| to.ip() == "44.128.1.1".parse::<IpAddr>().unwrap()),
            "{sent:?}"
        );
        let attempt = world.peers[1].attempt.as_ref().unwrap();
        let trace = attempt.trace();
        let remotes = trace.methods.iter().flat_map(|run| &run.remotes);
        assert!(
            remotes.clone().count() > 0
                && remotes
                    .clone()
                    .all(|to| to.port() != 80 || to.ip() != "44.9.9.9".parse::<IpAddr>().unwrap())
        );
        assert!(matches!(world.peers[1].ended, Some((_, Ended::Failed(_)))));
    }
}
