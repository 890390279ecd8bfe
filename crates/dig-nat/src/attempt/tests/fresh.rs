//! Fresh ports: what they cure, what they cost, and whom they cannot be turned against.

use super::*;
use crate::attempt::{Port, Tactic};
use bytes::Bytes;
use dig_lab::packet::Packet;

/// The pair of ends that both sides know is spoiled in these routers.
#[derive(Debug, Clone, Copy)]
struct Spoiled([bool; 2]);

const SPOILED: [Spoiled; 3] = [
    Spoiled([true, false]),
    Spoiled([false, true]),
    Spoiled([true, true]),
];

/// Where they are not spoiled, routers drop or reject.
fn kinds(spoiled: Spoiled, other: Habit) -> [Kind; 2] {
    spoiled.0.map(|spoiled| {
        let habit = if spoiled { Habit::Reject } else { other };
        Kind::Nat(NatConfig::port_restricted().with_habit(habit))
    })
}

/// At distances as they are: round trips of 5 to 200 ms between the peers, signals by way of a third one.
fn case(seed: u64, spoiled: Spoiled, other: Habit) -> Case {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut delay = |most| Duration::from_micros(rng.u64(1_000..most));
    let delays = [delay(50_000), delay(50_000)];
    let signal_delay = delay(30_000);
    let [a, b] = kinds(spoiled, other);
    Case {
        delays,
        signal_delay,
        hints: rng.bool(),
        ..Case::new(seed, a, b).alone(Method::UdpHolePunch)
    }
}

/// A packet of an old session came to a router that knew nothing of it.
fn spoil(world: &mut World, at: usize) {
    let end = |at: usize| SocketAddr::new(world.sites[at].owns[0], PORT);
    let stray = Packet::udp(end(1 - at), end(at), Bytes::new());
    let Some(Layer::Nat(nat)) = world.sites[at].layers.last_mut() else {
        panic!("no NAT at {at}");
    };
    nat.inbound(Duration::ZERO, stray);
}

fn run(case: &Case, spoiled: Spoiled, change: impl FnOnce(&mut World)) -> World {
    let mut world = case.world();
    for at in (0..2).filter(|at| spoiled.0[*at]) {
        spoil(&mut world, at);
    }
    change(&mut world);
    world.start(|world, at| case.gather(world, at));
    world.run(Duration::from_secs(90));
    assert!(
        world.peers.iter().all(|peer| peer.ended.is_some()),
        "it never ends: {}",
        context(case, &world)
    );
    world
}

fn context<'a>(case: &'a Case, world: &'a World) -> Context<'a> {
    Context { case, world }
}

fn direct(world: &World) -> Option<(Duration, Path)> {
    let found = &world.peers[0].found;
    let answered = world.answered?;
    found
        .iter()
        .find(|(_, path)| !path.is_relayed())
        .map(|(when, path)| (*when - answered, *path))
}

/// How many of a series connected directly, and how fast.
fn check(what: &str, percent: usize, limit: Duration, mut times: Vec<Option<Duration>>) {
    times.sort_by_key(|time| time.unwrap_or(Duration::MAX));
    let of = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    let good = times
        .iter()
        .flatten()
        .filter(|time| **time <= limit)
        .count();
    println!(
        "{what}: {good} of {} within {limit:?}, median {:?}, p95 {:?}, most {:?}",
        times.len(),
        of(50),
        of(95),
        of(100)
    );
    assert!(
        good * 100 >= times.len() * percent,
        "{what}: {good} of {}",
        times.len()
    );
}

#[test]
fn a_spoiled_pair_of_ends_is_left_behind_whosever_router_it_is() {
    for spoiled in SPOILED {
        let mut times = Vec::new();
        for other in [Habit::Drop, Habit::Reject] {
            for seed in 0..100 {
                let case = case(seed, spoiled, other);
                let world = run(&case, spoiled, |_| {});
                let found = direct(&world);
                if let Some((_, path)) = found {
                    check_path(&case, &world, path);
                    assert_eq!(path.from, Port::Extra(0), "{}", context(&case, &world));
                }
                for peer in &world.peers {
                    let trace = peer.attempt.as_ref().unwrap().trace();
                    assert_eq!(
                        trace.methods[0].tactic,
                        Some(Tactic::FreshPorts),
                        "seed {seed}"
                    );
                }
                times.push(found.map(|(took, _)| took));
            }
        }
        check(&format!("{spoiled:?}"), 98, Duration::from_secs(2), times);
    }
}

#[test]
fn without_them_it_stays_spoiled() {
    for spoiled in SPOILED {
        for seed in 0..20 {
            let case = case(seed, spoiled, Habit::Reject);
            let world = run(&case, spoiled, |world| {
                for peer in &mut world.peers {
                    peer.sockets = 0;
                }
            });
            assert_eq!(path(&world), None, "{}", context(&case, &world));
        }
    }
}

#[test]
fn lost_packets_and_servers_that_do_not_answer_cost_time_only() {
    for (loss, measurable) in [(0.03, true), (0.0, false)] {
        let mut times = Vec::new();
        for spoiled in SPOILED {
            for seed in 0..40 {
                let case = case(seed, spoiled, Habit::Reject);
                let case = Case { loss, ..case };
                let world = run(&case, spoiled, |world| world.measurable = measurable);
                times.push(direct(&world).map(|(took, _)| took));
            }
        }
        let what = format!("loss {loss}, servers answer: {measurable}");
        check(&what, 97, Duration::from_secs(3), times);
    }
}

/// ICE asks over the spoiled pair of ends all the while, and each of its packets spoils it for longer.
#[test]
fn a_relayed_path_gives_way_to_a_direct_one_from_fresh_ports() {
    let mut times = Vec::new();
    for spoiled in SPOILED {
        for seed in 0..40 {
            let case = Case {
                methods: vec![Method::UdpHolePunch, Method::Ice, Method::Turn],
                relays: [Some(Duration::ZERO), None],
                ..case(seed, spoiled, Habit::Reject)
            };
            let world = run(&case, spoiled, |_| {});
            assert!(world.peers[0].found[0].1.is_relayed(), "seed {seed}");
            let found = direct(&world);
            if let Some((_, path)) = found {
                check_path(&case, &world, path);
            }
            times.push(found.map(|(took, _)| took));
        }
    }
    check("beside a relay", 98, Duration::from_secs(2), times);
}

#[test]
fn no_port_is_opened_where_none_is_needed() {
    let spoiled = Spoiled([false, false]);
    for habit in [Habit::Drop, Habit::Reject] {
        for seed in 0..40 {
            let case = case(seed, spoiled, habit);
            let world = run(&case, spoiled, |_| {});
            assert_eq!(path(&world).unwrap().from, Port::Shared, "seed {seed}");
            assert!(
                world.peers.iter().all(|peer| peer.unused.is_empty()),
                "seed {seed}"
            );
        }
    }
}

/// Whoever has no port left, on either side.
#[test]
fn one_side_without_a_port_ends_it_for_both_and_leaves_nothing_open() {
    for without in 0..2 {
        let spoiled = Spoiled([true, false]);
        let case = case(1, spoiled, Habit::Reject);
        let world = run(&case, spoiled, |world| world.peers[without].sockets = 0);
        assert_eq!(path(&world), None);
        assert!(world.peers.iter().all(|peer| peer.extra.is_empty()));
        assert!(world.sent.len() <= 100, "{}", world.sent.len());
    }
}
