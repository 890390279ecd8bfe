//! Peers that hold only parts.

use super::sim::{LaneSpec, MB, World, lane, seconds};
use crate::{
    chunk::CHUNK_LEN,
    scheduler::{Action, LaneKey, LaneTraits, Now, PeerKey, Scheduler, SchedulerConfig, Strategy},
    set::NumberSet,
};
use std::sync::Arc;

/// 128 MiB, 128 groups.
const CHUNKS: u64 = 2048;
const GROUPS: u64 = 128;

fn hosts() -> Vec<LaneSpec> {
    vec![
        lane(1, 40.0 * MB, 0.02),
        lane(2, 20.0 * MB, 0.03),
        lane(3, 10.0 * MB, 0.04),
        lane(4, 10.0 * MB, 0.05),
    ]
}

fn check(name: &str, strategy: Strategy, parts: [Vec<u64>; 4], worst: f64) {
    let config = SchedulerConfig {
        strategy,
        ..SchedulerConfig::default()
    };
    let world = World::new(config, CHUNKS, hosts());
    let mut world = (1..)
        .zip(parts)
        .fold(world, |world, (peer, part)| world.partial(peer, part));
    assert!(
        world.run(60.0),
        "{name} {strategy:?}: not done, stuck at {:?}",
        world.scheduler.stuck()
    );
    let ideal = world.outcome.size as f64 / (80.0 * MB);
    let ratio = world.outcome.took / ideal;
    println!(
        "{name} {strategy:?}: {:.2} s = {ratio:.3} of the ideal, waste {:.2} %",
        world.outcome.took,
        world.outcome.waste() * 100.0
    );
    assert!(ratio <= worst, "{name} {strategy:?}: {ratio}");
    assert!(
        world.outcome.waste() <= 0.03,
        "{name} {strategy:?}: waste {}",
        world.outcome.waste()
    );
}

fn quarters(which: [bool; 4]) -> Vec<u64> {
    (0..GROUPS)
        .filter(|group| which[(group * 4 / GROUPS) as usize])
        .collect()
}

#[test]
fn overlapping_parts_end_together() {
    let parts = || {
        [
            quarters([true, true, true, false]),
            quarters([false, true, true, false]),
            quarters([false, false, true, true]),
            quarters([true, false, false, true]),
        ]
    };
    check("overlapping", Strategy::FastestAvailable, parts(), 1.1);
    check("overlapping", Strategy::RarestFirst, parts(), 1.35);
}

#[test]
fn scattered_parts_end_together() {
    let scattered = |seed: u64, share: f64| {
        let mut rng = fastrand::Rng::with_seed(seed);
        (0..GROUPS)
            .filter(|_| rng.f64() < share)
            .collect::<Vec<_>>()
    };
    for seed in 0..8 {
        println!("seed {seed}");
        let parts = [
            scattered(seed, 0.75),
            scattered(seed + 100, 0.6),
            scattered(seed + 200, 0.6),
            (0..GROUPS).collect(),
        ];
        check("scattered", Strategy::FastestAvailable, parts, 1.1);
    }
}

/// A peer that is getting the same from the same host, from its beginning: what it gains is worth having.
#[test]
fn a_peer_that_is_getting_it_too_halves_what_the_host_must_give() {
    let (mut slowest, mut most): (f64, f64) = (0.0, 0.0);
    for seed in 0..20 {
        let config = SchedulerConfig {
            seed,
            ..SchedulerConfig::default()
        };
        // A third is here at once; the rest is there at 2 MB/s from the host, at as much from the peer.
        let lanes = vec![lane(1, 40.0 * MB, 0.001), lane(2, 2.0 * MB, 0.001)];
        let mut world = World::new(config, 18 * 16, lanes).partial(1, 0..6);
        for group in 6..18 {
            let at = 0.525 * (group - 5) as f64;
            world = world.gains(at, 1, [group]);
        }
        assert!(world.run(20.0));
        let host = world.scheduler.peer_stats(PeerKey(2)).unwrap().received as f64 / MB;
        println!(
            "seed {seed}: {:.2} s, {host:.1} MB of the host",
            world.outcome.took
        );
        (slowest, most) = (slowest.max(world.outcome.took), most.max(host));
    }
    // Were both after the same all the time, it would take 6.3 s and 12.6 MB; were they never, 3.2 s and 6.3 MB.
    assert!(slowest < 4.5 && most < 9.0, "{slowest:.2} s, {most:.1} MB");
}

#[test]
fn a_gain_wakes_an_idle_peer_at_once() {
    let mut scheduler = Scheduler::new(
        SchedulerConfig::default(),
        &NumberSet::full(64),
        Arc::new(|_| CHUNK_LEN as u32),
    );
    let traits = LaneTraits {
        max_requests: 64,
        rtt: None,
        carrier_rank: 0,
    };
    scheduler.lane_up(Now::ZERO, LaneKey(1), PeerKey(1), traits);
    scheduler.peer_holds(Now::ZERO, PeerKey(1), Some(NumberSet::empty(4)));
    while scheduler.poll(Now::ZERO).is_some() {}
    assert_eq!(scheduler.stuck(), Some(0));
    scheduler.peer_gains(seconds(1.0), PeerKey(1), [2, 900]);
    let Some(Action::Request { run, .. }) = scheduler.poll(seconds(1.0)) else {
        panic!("asked for nothing")
    };
    assert_eq!(run.group(), 2);
    assert_eq!(scheduler.stuck(), Some(0));
}

#[test]
fn what_comes_later_is_fetched_later() {
    let lanes = vec![lane(1, 10.0 * MB, 0.02)];
    let mut world = World::new(SchedulerConfig::default(), 64, lanes)
        .partial(1, [0, 1, 3])
        .gains(3.0, 1, [2]);
    assert!(world.run(4.0));
    assert!(
        world.outcome.took > 3.0 && world.outcome.took < 3.3,
        "{}",
        world.outcome.took
    );
}
