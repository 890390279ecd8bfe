//! Peers that lie, die, refuse; and bounds that the user sets.

use super::sim::{Fate, LaneSpec, MB, World, lane, seconds};
use crate::{
    chunk::CHUNK_LEN,
    scheduler::{Action, LaneKey, LaneTraits, Now, PeerKey, Scheduler, SchedulerConfig, Strategy},
    set::NumberSet,
};
use std::sync::Arc;

/// 64 MiB.
const CHUNKS: u64 = 1024;

fn ended(config: SchedulerConfig, lanes: Vec<LaneSpec>, within: f64) -> World {
    let mut world = World::new(config, CHUNKS, lanes);
    let done = world.run(within);
    println!(
        "{:.2} s, waste {:.2} %, longest gap {:.2} s",
        world.outcome.took,
        world.outcome.waste() * 100.0,
        world.outcome.longest_gap
    );
    assert!(
        done,
        "{} chunks left at {:?}",
        world.scheduler.left(),
        world.now
    );
    world
}

#[test]
fn a_liar_costs_little() {
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02).then(0.5, Fate::Lies),
        lane(2, 20.0 * MB, 0.02),
    ];
    let world = ended(SchedulerConfig::default(), lanes, 3.2);
    assert_eq!(world.scheduler.active_lane(PeerKey(1)), None);
    assert!(world.outcome.waste() < 0.01);
}

#[test]
fn the_only_peer_pauses() {
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02)
            .then(1.0, Fate::Rate(0.0))
            .then(25.0, Fate::Rate(20.0 * MB)),
    ];
    let world = ended(SchedulerConfig::default(), lanes, 28.0);
    assert_eq!(
        world.outcome.received,
        world.outcome.size + 2 * 65_536,
        "beyond two probes, nothing is asked twice"
    );
}

#[test]
fn peers_die_one_after_another() {
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02).then(0.3, Fate::Dies),
        lane(2, 20.0 * MB, 0.02).then(0.6, Fate::Dies),
        lane(3, 5.0 * MB, 0.1).from(0.9),
    ];
    let world = ended(SchedulerConfig::default(), lanes, 12.0);
    assert!(world.outcome.longest_gap < 0.6);
}

#[test]
fn a_busy_peer_is_left_alone_and_asked_again() {
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02)
            .then(0.5, Fate::Busy(true))
            .then(2.0, Fate::Busy(false)),
    ];
    let world = ended(SchedulerConfig::default(), lanes, 6.0);
    assert!(
        world.outcome.requests < 250,
        "{} requests",
        world.outcome.requests
    );
}

#[test]
fn a_withdrawn_content_is_asked_of_others() {
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02).then(0.5, Fate::Withdraws),
        lane(2, 20.0 * MB, 0.02),
    ];
    ended(SchedulerConfig::default(), lanes, 3.2);
    let mut alone = World::new(
        SchedulerConfig::default(),
        CHUNKS,
        vec![lane(1, 20.0 * MB, 0.02).then(0.5, Fate::Withdraws)],
    );
    assert!(!alone.run(5.0));
    assert!(alone.scheduler.stuck().is_some());
}

#[test]
fn a_rate_limit_is_kept_and_used() {
    for limit in [5.0 * MB, 0.3 * MB] {
        let config = SchedulerConfig {
            rate_limit: Some(limit as u64),
            ..SchedulerConfig::default()
        };
        let lanes = vec![lane(1, 50.0 * MB, 0.02), lane(2, 50.0 * MB, 0.02)];
        let world = ended(config, lanes, 300.0);
        let share = world.outcome.rate() / limit;
        assert!((0.97..1.03).contains(&share), "{share}");
    }
}

#[test]
fn one_request_at_a_time_if_the_user_says_so() {
    let lanes = || vec![lane(1, 20.0 * MB, 0.02), lane(2, 20.0 * MB, 0.02)];
    for (concurrency, peer_concurrency) in [(Some(1), None), (None, Some(1)), (Some(3), Some(2))] {
        let config = SchedulerConfig {
            concurrency,
            peer_concurrency,
            ..SchedulerConfig::default()
        };
        let mut world = World::new(config, CHUNKS, lanes());
        let mut until = 0.0;
        while !world.run(until) {
            until += 0.01;
            let (one, two) = (world.asking(1), world.asking(2));
            assert!(
                one + two <= concurrency.unwrap_or(99) as usize,
                "{one} + {two}"
            );
            assert!(
                one.max(two) <= peer_concurrency.unwrap_or(99) as usize,
                "{one}, {two}"
            );
            assert!(until < 20.0, "too slow");
        }
    }
}

#[test]
fn an_ordered_writer_is_not_run_away_from() {
    let config = SchedulerConfig {
        strategy: Strategy::Sequential,
        max_ahead: Some(64),
        ..SchedulerConfig::default()
    };
    let lanes = vec![
        lane(1, 20.0 * MB, 0.02),
        lane(2, 0.1 * MB, 0.02),
        lane(3, 10.0 * MB, 0.1),
    ];
    let world = ended(config, lanes, 5.0);
    let done = &world.outcome.done;
    for (chunk, at) in done.iter().enumerate() {
        let first = done.iter().position(|other| other >= at).unwrap();
        assert!(
            chunk - first.min(chunk) <= 64,
            "chunk {chunk} came while {first} was missing"
        );
    }
}

#[test]
fn a_snail_alone_is_enough() {
    let mut world = World::new(
        SchedulerConfig::default(),
        16,
        vec![lane(1, 0.05 * MB, 0.1)],
    );
    assert!(world.run(30.0));
    assert!(world.outcome.took < 22.0, "{}", world.outcome.took);
    assert!(world.outcome.waste() <= 0.0, "{}", world.outcome.waste());
}

#[test]
fn a_small_file_comes_fast() {
    let mut world = World::new(
        SchedulerConfig::default(),
        64,
        vec![lane(1, 50.0 * MB, 0.02), lane(2, 50.0 * MB, 0.05)],
    );
    assert!(world.run(1.0));
    println!(
        "4 MiB from two: {:.3} s, {:.0} %",
        world.outcome.took,
        world.outcome.rate() / MB
    );
    assert!(world.outcome.took < 0.13, "{}", world.outcome.took);
}

#[test]
fn what_somebody_waits_for_comes_first() {
    let lanes = vec![
        lane(1, 10.0 * MB, 0.02),
        lane(2, 5.0 * MB, 0.05),
        lane(3, 0.1 * MB, 0.1),
    ];
    for strategy in [Strategy::FastestAvailable, Strategy::RarestFirst] {
        let config = SchedulerConfig {
            strategy,
            ..SchedulerConfig::default()
        };
        let mut world = World::new(config, CHUNKS, lanes.clone());
        assert!(!world.run(1.0));
        world.scheduler.want_window(world.now, Some(700..764));
        assert!(world.run(20.0));
        let window = &world.outcome.done[700..764];
        let last = window.iter().copied().fold(0.0, f64::max);
        println!("{strategy:?}: the window is here at {last:.2} s");
        // 4 MiB at 15 MB/s, behind what was already asked for.
        assert!(last < 2.0, "{last}");
    }
}

#[test]
fn a_peer_that_takes_few_requests_is_kept_busy() {
    let few = LaneSpec {
        busy_beyond: 3,
        ..lane(1, 20.0 * MB, 0.05)
    };
    let world = ended(SchedulerConfig::default(), vec![few], 4.2);
    assert!(world.outcome.waste() <= 0.0);
}

#[test]
fn the_loser_is_cancelled_at_once() {
    let mut scheduler = Scheduler::new(
        SchedulerConfig::default(),
        &NumberSet::full(1),
        Arc::new(|_| CHUNK_LEN as u32),
    );
    let traits = LaneTraits {
        max_requests: 64,
        rtt: None,
        carrier_rank: 0,
    };
    let mut asked = Vec::new();
    for peer in [1, 2] {
        scheduler.lane_up(Now::ZERO, LaneKey(peer), PeerKey(peer), traits);
        scheduler.peer_holds(Now::ZERO, PeerKey(peer), None);
    }
    let mut now = Now::ZERO;
    while asked.len() < 2 {
        while let Some(action) = scheduler.poll(now) {
            if let Action::Request { lane, request, run } = action {
                assert_eq!((run.first, run.count), (0, 1));
                asked.push((lane, request));
            }
        }
        now = scheduler.next_wake().unwrap();
        assert!(now < seconds(1.0), "nobody took over");
    }
    let (loser, winner) = (asked[0], asked[1]);
    assert_ne!(loser.0, winner.0);
    scheduler.received(now, winner.0, winner.1, CHUNK_LEN as u32);
    scheduler.chunk_done(now, winner.0, 0);
    assert_eq!(
        scheduler.poll(now),
        Some(Action::Cancel {
            lane: loser.0,
            request: loser.1
        })
    );
    assert!(scheduler.is_done());
    // What comes all the same is counted as waste.
    scheduler.received(now, loser.0, loser.1, CHUNK_LEN as u32);
    scheduler.chunk_done(now, loser.0, 0);
    let wasted = |lane: LaneKey| scheduler.peer_stats(PeerKey(lane.0)).unwrap().wasted;
    assert_eq!((wasted(winner.0), wasted(loser.0)), (0, CHUNK_LEN as u64));
}
