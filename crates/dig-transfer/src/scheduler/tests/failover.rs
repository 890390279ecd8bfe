//! Relayed and direct lanes of one peer, and paths that drop packets without a word.

use super::sim::{Fate, LaneSpec, MB, World, lane};
use crate::{
    chunk::CHUNK_LEN,
    scheduler::{LaneKey, PeerKey, SchedulerConfig},
};

/// 256 MiB.
const CHUNKS: u64 = 4096;
/// Seconds that a reader of the bytes may have to wait.
const PAUSE: f64 = 0.5;
/// Where both lanes work to the end, so much of the last chunks may be asked of both.
const HEDGED: u64 = 1 << 20;
/// Round-trip times of direct paths.
const RTTS: [f64; 5] = [0.001, 0.01, 0.03, 0.06, 0.1];

fn relayed(rtt: f64) -> LaneSpec {
    lane(1, 12.0 * MB, rtt + 0.01).rank(2).tells(true)
}

fn quic(rtt: f64) -> LaneSpec {
    lane(1, 25.0 * MB, rtt).rank(1).tells(true)
}

fn tcp(rtt: f64) -> LaneSpec {
    lane(1, 30.0 * MB, rtt).tells(true)
}

/// A path that fails and passes packets again at these times, in turn.
fn cut(spec: LaneSpec, times: impl IntoIterator<Item = f64>) -> LaneSpec {
    let turns = times.into_iter().enumerate();
    turns.fold(spec, |spec, (turn, at)| {
        spec.then(at, Fate::Path(turn % 2 == 1))
    })
}

struct Told {
    /// When which lane took the lead.
    leads: Vec<(f64, u64)>,
    twice: u64,
    gap: f64,
    took: f64,
}

fn told(name: &str, mut world: World, within: f64) -> Told {
    let done = world.run(within);
    let outcome = &world.outcome;
    let told = Told {
        leads: (outcome.switches.iter())
            .map(|(at, _, lane)| ((at * 1e3).round() / 1e3, lane.0))
            .collect(),
        twice: outcome.received.saturating_sub(outcome.size),
        gap: outcome.longest_gap,
        took: outcome.took,
    };
    println!(
        "{name}: {:.2} s, longest gap {:.3} s, {} KiB twice, {:?}",
        outcome.took,
        told.gap,
        told.twice / 1024,
        told.leads
    );
    assert!(done, "{name}: {} chunks left", world.scheduler.left());
    told
}

fn run(name: &str, lanes: Vec<LaneSpec>) -> Told {
    let world = World::new(SchedulerConfig::default(), CHUNKS, lanes);
    told(name, world, 120.0)
}

#[test]
fn a_direct_lane_takes_over_from_a_relayed_one_and_nothing_comes_twice() {
    for rtt in RTTS {
        for tells in [true, false] {
            let lanes = vec![
                relayed(rtt).tells(tells),
                quic(rtt).tells(tells).from(2.0),
                tcp(rtt).tells(tells).from(2.1),
            ];
            let told = run(&format!("{rtt} s, {tells}"), lanes);
            assert_eq!(told.leads, [(0.0, 1), (2.0, 2), (2.1, 3)]);
            assert!(told.twice == 0 && told.gap < PAUSE);
        }
    }
}

#[test]
fn a_relayed_lane_goes_on_when_the_direct_path_dies() {
    for rtt in RTTS {
        for tells in [true, false] {
            let lanes = vec![
                relayed(rtt).tells(tells),
                cut(quic(rtt).tells(tells).from(1.0), [3.0]),
            ];
            let told = run(&format!("{rtt} s, {tells}"), lanes);
            assert_eq!(told.leads[..2], [(0.0, 1), (1.0, 2)]);
            assert!(told.leads.len() == 3 && told.leads[2].1 == 1);
            assert!(told.gap < PAUSE, "{}", told.gap);
            assert_eq!(told.twice, 0);
        }
    }
}

/// The relay was never used before: it starts with the smallest window.
#[test]
fn a_fresh_relayed_lane_steps_in_as_well() {
    for rtt in RTTS {
        let lanes = vec![cut(tcp(rtt), [2.0]), relayed(rtt).from(0.5)];
        let told = run(&format!("{rtt} s"), lanes);
        assert!(told.leads.len() == 2 && told.gap < PAUSE, "{}", told.gap);
        assert_eq!(told.twice, 0);
    }
}

/// QUIC and TCP take one path and die together: whoever answers steps in, not whoever was faster.
#[test]
fn of_several_lanes_the_one_that_lives_steps_in() {
    for rtt in RTTS {
        let lanes = vec![
            cut(quic(rtt), [2.0]),
            cut(tcp(rtt).from(0.1), [2.0]),
            relayed(rtt).from(0.5),
        ];
        let told = run(&format!("all, {rtt} s"), lanes);
        assert_eq!(told.leads[..2], [(0.0, 1), (0.1, 2)]);
        assert!(told.leads.len() == 3 && told.leads[2].1 == 3 && told.gap < PAUSE);
        let lanes = vec![quic(rtt), cut(tcp(rtt).from(0.1), [2.0]), relayed(rtt)];
        let told = run(&format!("only TCP, {rtt} s"), lanes);
        assert!(told.leads.len() == 3 && told.leads[2].1 == 1 && told.gap < PAUSE);
    }
}

#[test]
fn a_direct_path_that_comes_back_leads_again() {
    for rtt in RTTS {
        for tells in [true, false] {
            let lanes = vec![
                relayed(rtt).tells(tells),
                cut(quic(rtt).tells(tells), [2.0, 6.0]),
            ];
            let told = run(&format!("{rtt} s, {tells}"), lanes);
            let back = *told.leads.last().unwrap();
            assert!(told.leads.len() == 4 && back.1 == 2, "{:?}", told.leads);
            // The next packet that asks for a sign of life, and a round trip.
            assert!((6.0..8.2).contains(&back.0) && told.gap < PAUSE);
            // What had left the peer before it died, and one request that stayed as a probe.
            assert!(told.twice < 4 << 20, "{} KiB twice", told.twice / 1024);
        }
    }
}

#[test]
fn a_rebinding_is_sat_out_or_bridged() {
    for rtt in RTTS {
        let short = vec![relayed(rtt), cut(quic(rtt), [2.0, 2.1])];
        let told = run(&format!("short, {rtt} s"), short);
        assert_eq!(told.leads.last().unwrap().1, 2);
        assert!(told.leads.len() <= 2 && told.gap < PAUSE && told.twice <= HEDGED);
        let long = vec![relayed(rtt), cut(quic(rtt), [2.0, 3.0])];
        let told = run(&format!("long, {rtt} s"), long);
        let leads: Vec<_> = told.leads.iter().map(|(_, lane)| *lane).collect();
        assert_eq!(leads, [1, 2, 1, 2]);
        assert!(told.leads[3].0 < 4.0 && told.gap < PAUSE && told.twice < 4 << 20);
    }
}

#[test]
fn a_path_that_fails_again_and_again_is_trusted_ever_later() {
    for rtt in RTTS {
        let times = (0..80).map(|turn| 1.0 + f64::from(turn));
        let lanes = vec![relayed(rtt), cut(quic(rtt), times)];
        let told = run(&format!("{rtt} s"), lanes);
        let returns = told
            .leads
            .iter()
            .filter(|(at, lane)| *lane == 2 && *at > 0.0)
            .count();
        assert!(returns <= 4, "{returns} returns: {:?}", told.leads);
        assert!(told.gap < PAUSE, "{}", told.gap);
        assert!(told.twice < CHUNKS * CHUNK_LEN as u64 / 20);
    }
}

#[test]
fn neither_loss_nor_jitter_moves_the_lead() {
    for rtt in RTTS {
        for seed in 0..4 {
            let lanes = vec![relayed(rtt).loses(0.05), quic(rtt).loses(0.05)];
            let mut world = World::new(SchedulerConfig::default(), CHUNKS, lanes);
            world.noise = 1.0;
            world.seed(seed);
            let told = told(&format!("{rtt} s, seed {seed}"), world, 120.0);
            assert!(told.leads.len() <= 2 && told.twice <= HEDGED, "seed {seed}");
            // The windows hold what waits for packets that were lost: they do not shrink until nothing moves.
            assert!(told.took < 25.0, "seed {seed}");
        }
    }
}

/// Where only whole chunks tell that a lane lives, the first long pause may be taken for the end; it is learned from.
#[test]
fn pauses_that_are_usual_for_a_path_are_learned() {
    for seed in 0..10 {
        let direct = lane(1, 2.0 * MB, 0.1).rank(1).loses(0.05);
        let lanes = vec![relayed(0.1).tells(false), direct];
        let mut world = World::new(SchedulerConfig::default(), CHUNKS / 4, lanes);
        world.noise = 1.0;
        world.seed(seed);
        let told = told(&format!("seed {seed}"), world, 120.0);
        assert!(told.leads.len() <= 6, "seed {seed}: {:?}", told.leads);
    }
}

/// A disk that takes its time is no dead path, and another path to it would not help.
#[test]
fn a_peer_that_pauses_keeps_its_lane() {
    for rtt in RTTS {
        let pausing = quic(rtt)
            .then(2.0, Fate::Rate(0.0))
            .then(2.7, Fate::Rate(25.0 * MB));
        let told = run(&format!("{rtt} s"), vec![relayed(rtt), pausing]);
        assert!(
            told.leads.len() <= 2 && told.twice <= HEDGED,
            "{:?}",
            told.leads
        );
    }
}

/// A relay that is faster than the direct path adds to it, but does not lead.
#[test]
fn a_relay_helps_a_slow_direct_path() {
    let slow = || lane(1, 4.0 * MB, 0.03).rank(1).tells(true);
    let mut alone = World::new(SchedulerConfig::default(), CHUNKS / 4, vec![slow()]);
    assert!(alone.run(60.0));
    let lanes = vec![relayed(0.03), slow().from(1.0)];
    let mut both = World::new(SchedulerConfig::default(), CHUNKS / 4, lanes);
    assert!(both.run(60.0));
    println!(
        "alone {:.1} s, both {:.1} s",
        alone.outcome.took, both.outcome.took
    );
    assert_eq!(both.scheduler.active_lane(PeerKey(1)), Some(LaneKey(2)));
    assert!(both.outcome.took < 0.6 * alone.outcome.took);
}

/// Whatever the paths do: as long as one of them works there is no long pause, and it ends.
#[test]
fn one_path_that_works_is_enough() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let rtt = 0.001 * 100_f64.powf(rng.f64());
        // The paths take turns; both work for a second in between.
        let (mut direct, mut relay) = (quic(rtt), relayed(rtt));
        let mut at = 1.0;
        while at < 60.0 {
            let long = 0.05 * 100_f64.powf(rng.f64());
            let faulty = if rng.bool() { &mut direct } else { &mut relay };
            faulty
                .fates
                .extend([(at, Fate::Path(false)), (at + long, Fate::Path(true))]);
            at += long + 1.0 + rng.f64();
        }
        let mut world = World::new(SchedulerConfig::default(), CHUNKS, vec![relay, direct]);
        world.seed(seed);
        let told = told(&format!("seed {seed}"), world, 200.0);
        assert!(told.gap < PAUSE, "seed {seed}: {}", told.gap);
    }
}
