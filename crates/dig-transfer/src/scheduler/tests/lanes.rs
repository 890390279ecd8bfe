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
