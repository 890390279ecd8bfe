//! Several lanes of one peer.

use super::sim::{Fate, LaneSpec, MB, World, lane};
use crate::scheduler::{LaneKey, PeerKey, SchedulerConfig};

/// 128 MiB.
const CHUNKS: u64 = 2048;

fn world(lanes: Vec<LaneSpec>) -> World {
    World::new(SchedulerConfig::default(), CHUNKS, lanes)
}

/// Runs, and tells when which lane took the lead.
fn leads(lanes: Vec<LaneSpec>, within: f64) -> Vec<(f64, u64)> {
    let mut world = world(lanes);
    assert!(world.run(within), "{} chunks left", world.scheduler.left());
    println!(
        "{:.2} s, waste {:.2} %, {:?}",
        world.outcome.took,
        world.outcome.waste() * 100.0,
        world.outcome.switches
    );
    assert!(world.outcome.waste() < 0.03, "{}", world.outcome.waste());
    world
        .outcome
        .switches
        .iter()
        .map(|(at, _, lane)| (*at, lane.0))
        .collect()
}

#[test]
fn a_cheaper_carrier_takes_over_at_once() {
    let lanes = vec![
        lane(1, 40.0 * MB, 0.02).rank(1),
        lane(1, 100.0 * MB, 0.02).from(0.5),
    ];
    assert_eq!(leads(lanes, 2.0), [(0.0, 1), (0.5, 2)]);
}

#[test]
fn a_dearer_carrier_waits() {
    let lanes = vec![
        lane(1, 40.0 * MB, 0.02),
        lane(1, 20.0 * MB, 0.02).rank(2).from(0.5),
    ];
    assert_eq!(leads(lanes, 3.6), [(0.0, 1)]);
}

#[test]
fn a_cheaper_carrier_that_measures_worse_hands_back() {
    let lanes = vec![
        lane(1, 40.0 * MB, 0.02).rank(1),
        lane(1, 2.0 * MB, 0.02).from(0.5),
    ];
    let leads = leads(lanes, 12.0);
    assert_eq!(leads[..2], [(0.0, 1), (0.5, 2)]);
    assert_eq!(leads[2].1, 1);
    assert!(leads.len() == 3 && leads[2].0 < 6.0, "{leads:?}");
}

#[test]
fn the_reserve_steps_in_when_the_lead_stalls_or_dies() {
    for fate in [Fate::Rate(0.0), Fate::Dies] {
        let lanes = vec![
            lane(1, 40.0 * MB, 0.02).then(1.0, fate),
            lane(1, 30.0 * MB, 0.03).rank(1),
        ];
        let leads = leads(lanes, 6.0);
        assert!(
            leads.len() == 2 && leads[1].1 == 2 && leads[1].0 < 1.8,
            "{leads:?}"
        );
    }
}

#[test]
fn a_second_lane_stays_where_the_total_rises() {
    let mut one = world(vec![lane(1, 8.0 * MB, 0.05)]);
    assert!(one.run(60.0));
    let mut two = world(vec![lane(1, 8.0 * MB, 0.05), lane(1, 8.0 * MB, 0.05)]);
    assert!(two.run(60.0));
    println!(
        "one lane {:.1} s, two {:.1} s",
        one.outcome.took, two.outcome.took
    );
    assert!(two.outcome.took < 0.75 * one.outcome.took);
}

#[test]
fn the_old_lane_is_drained() {
    let lanes = vec![
        lane(1, 40.0 * MB, 0.02).rank(1),
        lane(1, 40.0 * MB, 0.02).from(0.5),
    ];
    let mut world = world(lanes);
    assert!(world.run(6.0));
    assert_eq!(
        world.outcome.received, world.outcome.size,
        "something was fetched twice"
    );
    assert_eq!(world.scheduler.active_lane(PeerKey(1)), Some(LaneKey(2)));
}

#[test]
fn a_second_lane_goes_where_the_total_does_not_rise() {
    for rate in [20.0, 60.0] {
        let mut world = World::new(
            SchedulerConfig::default(),
            4 * CHUNKS,
            vec![lane(1, rate * MB, 0.05), lane(1, rate * MB, 0.05)],
        );
        world.downlink = Some(20.0 * MB);
        assert!(world.run(60.0));
        let (share, waste) = (world.outcome.rate() / (20.0 * MB), world.outcome.waste());
        println!(
            "{:.1} %, waste {:.2} %, {:?}",
            share * 100.0,
            waste * 100.0,
            world.outcome.switches
        );
        assert!(share > 0.97 && waste < 0.02, "{share}, waste {waste}");
        assert_eq!(
            world.outcome.switches.len(),
            1,
            "the lead moved for nothing"
        );
    }
}

/// A trial that fails after the lead has stalled must not leave the peer without a lane.
#[test]
fn a_peer_with_lanes_always_has_an_active_one() {
    for seed in 0..40 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut fated = |rate: f64| {
            let spec = lane(1, rate * MB, 0.05).rank(rng.u8(0..2));
            (0..6).fold(spec, |spec, turn| {
                let at = f64::from(turn) * 2.0 + 2.0 * rng.f64();
                spec.then(at, Fate::Rate(if rng.bool() { 0.0 } else { rate * MB }))
            })
        };
        let lanes = vec![fated(10.0), fated(10.0), lane(1, 5.0 * MB, 0.1).rank(2)];
        let mut world = World::new(SchedulerConfig::default(), 2 * CHUNKS, lanes);
        world.downlink = Some(12.0 * MB);
        let mut until = 0.0;
        while !world.run(until) {
            until += 0.1;
            assert!(
                until == 0.1 || world.scheduler.active_lane(PeerKey(1)).is_some(),
                "seed {seed} at {until}"
            );
            assert!(
                until < 120.0,
                "seed {seed}: {} left",
                world.scheduler.left()
            );
        }
    }
}
