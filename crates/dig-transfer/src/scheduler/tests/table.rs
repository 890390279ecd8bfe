//! The rows of the published comparison: what share of the sum of rates is reached, what is wasted, how soon a reader may start.

use super::sim::{Fate, LaneSpec, MB, Outcome, World, lane};
use crate::scheduler::{SchedulerConfig, Strategy};

/// 512 MB.
const CHUNKS: u64 = 8192;

fn config(strategy: Strategy) -> SchedulerConfig {
    SchedulerConfig {
        strategy,
        ..SchedulerConfig::default()
    }
}

fn simulate(name: &str, strategy: Strategy, chunks: u64, lanes: Vec<LaneSpec>) -> Outcome {
    let mut world = World::new(config(strategy), chunks, lanes);
    assert!(
        world.run(600.0),
        "{name}: not done, {} chunks left",
        world.scheduler.left()
    );
    let outcome = world.outcome;
    println!(
        "{name} {strategy:?}: {:.3} s, {:.2} MB/s, waste {:.2} %, longest gap {:.2} s, mean run {:.1}, in flight {:.1} MiB",
        outcome.took,
        outcome.rate() / MB,
        outcome.waste() * 100.0,
        outcome.longest_gap,
        outcome.run_chunks as f64 / outcome.requests as f64,
        outcome.most_in_flight as f64 / 1_048_576.0,
    );
    outcome
}

fn mixed() -> Vec<LaneSpec> {
    vec![
        lane(1, 50.0 * MB, 0.01),
        lane(2, 25.0 * MB, 0.04),
        lane(3, 12.5 * MB, 0.08),
        lane(4, MB, 0.15),
    ]
}

fn snail() -> Vec<LaneSpec> {
    vec![
        lane(1, 100.0 * MB, 0.02),
        lane(2, 100.0 * MB, 0.03),
        lane(3, 100.0 * MB, 0.05),
        lane(4, 0.05 * MB, 0.1),
    ]
}

/// Seconds until `size` bytes have come at the sum of `steps` of (from, rate).
fn optimum(size: f64, steps: &[(f64, f64)]) -> f64 {
    let mut left = size;
    for (at, (from, rate)) in steps.iter().enumerate() {
        let until = steps.get(at + 1).map_or(f64::INFINITY, |next| next.0);
        if left <= rate * (until - from) {
            return from + left / rate;
        }
        left -= rate * (until - from);
    }
    f64::INFINITY
}

fn check(name: &str, lanes: &[LaneSpec], steps: &[(f64, f64)], least: f64, start_up: f64) {
    for strategy in [
        Strategy::FastestAvailable,
        Strategy::RarestFirst,
        Strategy::Sequential,
    ] {
        let outcome = simulate(name, strategy, CHUNKS, lanes.to_vec());
        let share = optimum(outcome.size as f64, steps) / outcome.took;
        let delay = outcome.start_up(0.8 * steps.last().unwrap().1);
        println!(
            "    {:.1} % of what is possible, start-up {delay:.2} s",
            share * 100.0
        );
        assert!(share >= least, "{name} {strategy:?}: {share}");
        assert!(
            outcome.waste() <= 0.025,
            "{name} {strategy:?}: waste {}",
            outcome.waste()
        );
        assert!(
            outcome.longest_gap < 1.0,
            "{name} {strategy:?}: nothing for {} s",
            outcome.longest_gap
        );
        if strategy == Strategy::Sequential {
            assert!(delay <= start_up, "{name}: start-up {delay}");
        }
    }
}

#[test]
fn mixed_rates() {
    check("50/25/12.5/1", &mixed(), &[(0.0, 88.5 * MB)], 0.97, 0.3);
}

#[test]
fn three_fast_and_a_snail() {
    check("3x100 + 0.05", &snail(), &[(0.0, 300.0 * MB)], 0.92, 0.4);
    let without = simulate(
        "3x100",
        Strategy::FastestAvailable,
        CHUNKS,
        snail()[..3].to_vec(),
    );
    let with = simulate("3x100 + 0.05", Strategy::FastestAvailable, CHUNKS, snail());
    assert!(
        with.took <= without.took * 1.05,
        "the snail costs {} s of {}",
        with.took - without.took,
        without.took
    );
}

#[test]
fn the_fastest_falls_silent() {
    let mut lanes = mixed();
    lanes[0] = lanes[0].clone().then(2.0, Fate::Rate(0.0));
    check(
        "silent",
        &lanes,
        &[(0.0, 88.5 * MB), (2.0, 38.5 * MB)],
        0.95,
        2.0,
    );
}

#[test]
fn the_fastest_slows_a_hundredfold() {
    let mut lanes = mixed();
    lanes[0] = lanes[0].clone().then(2.0, Fate::Rate(0.5 * MB));
    check(
        "slows 100x",
        &lanes,
        &[(0.0, 88.5 * MB), (2.0, 39.0 * MB)],
        0.95,
        2.0,
    );
}

#[test]
fn one_downlink_for_all() {
    let lanes = vec![
        lane(1, 100.0 * MB, 0.01),
        lane(2, 100.0 * MB, 0.03),
        lane(3, 50.0 * MB, 0.08),
        lane(4, 20.0 * MB, 0.15),
    ];
    for strategy in [Strategy::FastestAvailable, Strategy::Sequential] {
        let mut world = World::new(config(strategy), CHUNKS, lanes.clone());
        world.downlink = Some(60.0 * MB);
        assert!(world.run(60.0));
        let (share, waste) = (world.outcome.rate() / (60.0 * MB), world.outcome.waste());
        println!(
            "one downlink {strategy:?}: {:.1} %, waste {:.2} %",
            share * 100.0,
            waste * 100.0
        );
        assert!(
            share > 0.95 && waste < 0.02,
            "{strategy:?}: {share}, waste {waste}"
        );
    }
}

#[test]
fn uneven_lanes() {
    for strategy in [
        Strategy::FastestAvailable,
        Strategy::RarestFirst,
        Strategy::Sequential,
    ] {
        let mut world = World::new(config(strategy), CHUNKS, mixed());
        world.noise = 1.0;
        assert!(world.run(60.0));
        // A chunk takes twice its time on average.
        let (share, waste) = (
            world.outcome.rate() / (88.5 / 2.0 * MB),
            world.outcome.waste(),
        );
        println!(
            "uneven {strategy:?}: {:.1} %, waste {:.2} %",
            share * 100.0,
            waste * 100.0
        );
        assert!(
            share > 0.95 && waste < 0.02,
            "{strategy:?}: {share}, waste {waste}"
        );
    }
}
