//! Every kind of NAT against every other, judged by an oracle.

use super::*;

const BEHAVIOURS: [Behaviour; 3] = [
    Behaviour::Independent,
    Behaviour::AddressDependent,
    Behaviour::AddressAndPortDependent,
];

/// Whether datagrams can get through by plain punching: one side can be reached at the address that it knows of itself.
/// `None`: it depends. A NAT with a mapping a peer that lets anybody into each of them can be reached at the one that a
/// server saw, but may answer from another.
pub(super) fn punchable(a: &Kind, b: &Kind) -> Option<bool> {
    let either = |strange| reachable(a, b, strange) || reachable(b, a, strange);
    (either(true) == either(false)).then(|| either(true))
}

/// Each layer must let in what comes to the mapping that a server saw, which must also be that towards the peer: from anybody, from a
/// host that it sent to, or from an end that it sent to, which then must be one that could be known.
fn reachable(to: &Kind, from: &Kind, strange: bool) -> bool {
    let mut stable = true;
    to.layers().iter().all(|layer| {
        stable &= is_stable(layer);
        match layer.filtering {
            Behaviour::Independent => stable || strange,
            Behaviour::AddressDependent => stable,
            Behaviour::AddressAndPortDependent => stable && from.stable(),
        }
    })
}

fn any_nat(rng: &mut fastrand::Rng) -> NatConfig {
    let (mapping, filtering) = (BEHAVIOURS[rng.usize(..3)], BEHAVIOURS[rng.usize(..3)]);
    let sequential = Allocation::Sequential {
        delta: [1, 2, -1][rng.usize(..3)],
    };
    let allocation = [Allocation::Preserve, Allocation::Random, sequential][rng.usize(..3)];
    let habit = if rng.bool() {
        Habit::Drop
    } else {
        Habit::Reject
    };
    NatConfig {
        hairpin: rng.bool(),
        ..nat_kind(mapping, filtering, allocation, habit)
    }
}

fn any_kind(rng: &mut fastrand::Rng) -> Kind {
    match rng.u8(..8) {
        0 => Kind::Open,
        1 => Kind::Double(any_nat(rng), any_nat(rng)),
        _ => Kind::Nat(any_nat(rng)),
    }
}

pub(super) fn any_case(seed: u64) -> Case {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (a, b) = (any_kind(&mut rng), any_kind(&mut rng));
    let mut delay = || Duration::from_micros(rng.u64(200..75_000));
    Case {
        delays: [delay(), delay()],
        signal_delay: delay(),
        ..Case::new(seed, a, b)
    }
}

/// Symmetric NATs that happen to keep ports look stable; nothing is claimed for those.
pub(super) fn lucky(kind: &Kind) -> bool {
    !kind.stable()
        && kind
            .layers()
            .iter()
            .all(|nat| is_stable(nat) || nat.allocation == Allocation::Preserve)
}

#[test]
fn datagrams_get_through_exactly_where_they_can() {
    let mut round_trips = Vec::new();
    for seed in 0..3000 {
        let case = any_case(seed).alone(Method::UdpHolePunch);
        if case.kinds.iter().any(lucky) {
            continue;
        }
        let Some(expected) = punchable(&case.kinds[0], &case.kinds[1]) else {
            continue;
        };
        let world = case.run();
        let path = path(&world);
        assert_eq!(
            path.is_some(),
            expected,
            "{}",
            Context {
                case: &case,
                world: &world
            }
        );
        if let Some(path) = path {
            round_trips.push(took(&world).as_secs_f64() / case.rtt().as_secs_f64());
            check_path(&case, &world, path);
            let limit = case.rtt() * 3 + Duration::from_millis(100);
            assert!(
                took(&world) <= limit,
                "took {:?} of {limit:?}: {}",
                took(&world),
                Context {
                    case: &case,
                    world: &world
                }
            );
        }
    }
    round_trips.sort_by(f64::total_cmp);
    let of = |part: usize| round_trips[round_trips.len() * part / 100];
    println!(
        "{} connected, median {:.2} RTT, p95 {:.2} RTT",
        round_trips.len(),
        of(50),
        of(95)
    );
    assert!(round_trips.len() > 500);
}

/// TCP punching asks the same of NATs as datagrams do, but for the time: a router that rejects ends a connection that comes early.
#[test]
fn connections_get_through_where_datagrams_would() {
    let (mut punched, mut possible) = (0, 0);
    for seed in 0..1000 {
        let case = any_case(seed).alone(Method::TcpHolePunch);
        let rejects = case
            .kinds
            .iter()
            .flat_map(Kind::layers)
            .any(|nat| nat.habit == Habit::Reject);
        let Some(expected) = punchable(&case.kinds[0], &case.kinds[1]) else {
            continue;
        };
        if case.kinds.iter().any(lucky) {
            continue;
        }
        let world = case.run();
        let context = Context {
            case: &case,
            world: &world,
        };
        let path = path(&world);
        assert!(expected || path.is_none(), "{context}");
        assert!(path.is_some() || !expected || rejects, "{context}");
        if let Some(path) = path {
            check_path(&case, &world, path);
        }
        possible += u32::from(expected && rejects);
        punched += u32::from(path.is_some() && rejects);
    }
    println!("{punched} of {possible} connected where routers reject");
    assert!(
        punched * 10 >= possible * 9,
        "{punched} of {possible} where routers reject"
    );
}
