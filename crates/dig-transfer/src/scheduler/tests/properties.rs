//! Whatever happens: the books balance, bounds are kept, and a download that can end does.

use super::sim::{Fate, LaneSpec, MB, World, lane, seconds};
use crate::{
    chunk::CHUNK_LEN,
    scheduler::{
        Action, LaneKey, LaneTraits, Now, PeerKey, Refusal, Scheduler, SchedulerConfig, Strategy,
    },
    set::NumberSet,
};
use std::{collections::BTreeMap, sync::Arc};

/// Compares everything that is counted with what it counts.
fn audit(scheduler: &Scheduler, chunks: u64) {
    let mut held = 0;
    for chunk in 0..chunks {
        let owners: Vec<u32> = scheduler.flight.owners(chunk).collect();
        let free = scheduler
            .queue
            .run_of(chunk / 16, &(chunk..chunk + 1), 1)
            .is_some();
        let missing = scheduler.queue.is_missing(chunk);
        assert_eq!(
            missing && owners.is_empty(),
            free,
            "chunk {chunk}: missing {missing}, owners {owners:?}"
        );
        assert!(
            missing || owners.is_empty(),
            "chunk {chunk} is here and still expected from {owners:?}"
        );
        for owner in owners {
            let request = scheduler.flight.get(owner).unwrap();
            assert!(
                request.pending_chunks().any(|pending| pending == chunk),
                "{owner} does not know of {chunk}"
            );
            held += (scheduler.chunk_len.0)(chunk) as u64;
        }
    }
    assert_eq!(scheduler.flight.held(), held);
    let free = (0..chunks).filter(|chunk| {
        scheduler
            .queue
            .run_of(chunk / 16, &(*chunk..chunk + 1), 1)
            .is_some()
    });
    let counted: u64 = scheduler
        .queue
        .open_classes()
        .map(|(_, class)| class.free)
        .sum();
    assert_eq!(counted, free.count() as u64);
    audit_lanes(scheduler);
}

fn audit_lanes(scheduler: &Scheduler) {
    for (key, peer) in &scheduler.peers {
        assert_eq!(
            peer.active.is_empty(),
            peer.lanes.is_empty(),
            "{key:?}: {peer:?}"
        );
        assert!(
            peer.active.iter().all(|lane| peer.lanes.contains(lane)),
            "{key:?}: {peer:?}"
        );
    }
    for (key, lane) in &scheduler.lanes {
        let requests: Vec<_> = lane
            .order
            .iter()
            .map(|id| scheduler.flight.get(*id).unwrap())
            .collect();
        assert!(requests.iter().all(|request| request.lane == *key));
        let flowing = requests
            .iter()
            .filter(|request| request.flows())
            .map(|request| request.remaining());
        assert_eq!(lane.in_flight, flowing.sum::<u64>(), "{key:?}");
        assert_eq!(
            usize::from(lane.slots),
            requests
                .iter()
                .filter(|request| request.unanswered())
                .count(),
            "{key:?}"
        );
    }
    let listed: usize = scheduler.lanes.values().map(|lane| lane.order.len()).sum();
    assert_eq!(listed, scheduler.flight.len());
}

fn pick_strategy(rng: &mut fastrand::Rng) -> Strategy {
    *rng.choice(&[
        Strategy::FastestAvailable,
        Strategy::RarestFirst,
        Strategy::Sequential,
    ])
    .unwrap()
}

fn some_fate(rng: &mut fastrand::Rng) -> Fate {
    match rng.u8(0..9) {
        7 | 8 => Fate::Path(rng.bool()),
        0 | 1 => Fate::Rate(0.0),
        2 => Fate::Rate(0.05 * MB * 1000_f64.powf(rng.f64())),
        3 => Fate::Dies,
        4 => Fate::Lies,
        5 => Fate::Busy(rng.bool()),
        _ => Fate::Withdraws,
    }
}

fn some_lane(rng: &mut fastrand::Rng, peer: u64) -> LaneSpec {
    let spec = lane(
        peer,
        0.03 * MB * 2000_f64.powf(rng.f64()),
        0.001 + 0.2 * rng.f64(),
    );
    let spec = spec.rank(rng.u8(0..3)).from(rng.f64() * 2.0);
    let spec = spec.tells(rng.bool()).loses(0.1 * rng.f64());
    let spec = LaneSpec {
        max_requests: rng.u16(4..65),
        ..spec
    };
    (0..rng.usize(0..4)).fold(spec, |spec, _| spec.then(rng.f64() * 6.0, some_fate(rng)))
}

fn some_groups(rng: &mut fastrand::Rng, groups: u64) -> Vec<u64> {
    let share = rng.f64();
    (0..groups).filter(|_| rng.f64() < share).collect()
}

/// One honest peer that holds all, however bad the others are.
#[test]
fn a_download_that_can_end_does() {
    for seed in 0..400 {
        println!("seed {seed}");
        let rng = &mut fastrand::Rng::with_seed(seed);
        let chunks = rng.u64(1..600);
        let config = SchedulerConfig {
            strategy: pick_strategy(rng),
            request_chunks: rng.u8(1..17),
            max_in_flight: rng.u64(1..400) * CHUNK_LEN as u64,
            concurrency: rng.bool().then(|| rng.u32(1..12)),
            peer_concurrency: rng.bool().then(|| rng.u32(1..6)),
            max_ahead: rng.bool().then(|| rng.u64(1..200)),
            seed,
            ..SchedulerConfig::default()
        };
        let honest = LaneSpec {
            max_requests: rng.u16(4..65),
            ..lane(1, (0.5 + 20.0 * rng.f64()) * MB, 0.2 * rng.f64())
        };
        let mut lanes = vec![honest];
        let peers = rng.u64(1..6);
        lanes.extend(
            (0..rng.usize(0..8))
                .map(|_| rng.u64(2..2 + peers))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|peer| some_lane(rng, peer)),
        );
        let slowest = lanes[0].rate;
        let mut world = World::new(config.clone(), chunks, lanes);
        for peer in 2..2 + peers {
            if rng.bool() {
                world = world
                    .partial(peer, some_groups(rng, chunks.div_ceil(16)))
                    .gains(rng.f64() * 3.0, peer, some_groups(rng, chunks.div_ceil(16)));
            }
        }
        // Alone, one request of one chunk at a time, the honest peer would need so long; the rest is a stall or two.
        let alone = chunks as f64 * (CHUNK_LEN as f64 / slowest + 0.25) + 10.0;
        let mut until = 0.0;
        while !world.run(until) {
            audit(&world.scheduler, chunks);
            until += alone / 40.0;
            let left = world.scheduler.left();
            assert!(
                until < 2.0 * alone,
                "seed {seed}: {left} of {chunks} left after {until} s\n{config:?}"
            );
        }
        audit(&world.scheduler, chunks);
        assert!(world.scheduler.flight.held() == 0 && world.scheduler.stuck().is_none());
        let cap = config.max_in_flight as f64;
        let flying = world.outcome.most_in_flight as f64;
        assert!(
            flying <= cap.max(16.0 * CHUNK_LEN as f64) * 1.5 + 16.0 * CHUNK_LEN as f64,
            "seed {seed}: {flying} in flight of {cap}"
        );
    }
}

/// A caller that makes mistakes.
struct Fool {
    rng: fastrand::Rng,
    scheduler: Scheduler,
    now: Now,
    chunks: u64,
    asked: BTreeMap<u32, LaneKey>,
}

impl Fool {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let chunks = rng.u64(1..100);
        let config = SchedulerConfig {
            strategy: pick_strategy(&mut rng),
            seed,
            ..SchedulerConfig::default()
        };
        let short = rng.u64(0..chunks);
        let chunk_len = move |chunk: u64| if chunk == short { 77 } else { CHUNK_LEN as u32 };
        let scheduler = Scheduler::new(config, &NumberSet::full(chunks), Arc::new(chunk_len));
        Self {
            rng,
            scheduler,
            now: Now::ZERO,
            chunks,
            asked: BTreeMap::new(),
        }
    }

    /// A request that was made, or not, and the lane it was made on, or not.
    fn some_request(&mut self) -> (LaneKey, u32) {
        let known: Vec<u32> = self.asked.keys().copied().chain([0, 9999]).collect();
        let request = *self.rng.choice(&known).unwrap();
        let lane = LaneKey(self.rng.u64(0..6));
        (
            self.asked
                .get(&request)
                .copied()
                .filter(|_| self.rng.u8(0..10) > 0)
                .unwrap_or(lane),
            request,
        )
    }

    fn come_or_go(&mut self) {
        let (rng, now) = (&mut self.rng, self.now);
        let lane = LaneKey(rng.u64(0..6));
        let peer = PeerKey(lane.0 / 2);
        let groups = self.chunks.div_ceil(16);
        match rng.u8(0..8) {
            0 | 1 => {
                let rtt = rng.bool().then(|| seconds(0.1));
                let traits = LaneTraits {
                    max_requests: rng.u16(0..20),
                    rtt,
                    carrier_rank: rng.u8(0..3),
                };
                self.scheduler.lane_up(now, lane, peer, traits);
            }
            2 => self.scheduler.lane_down(now, lane),
            3 | 4 => self.scheduler.peer_holds(now, peer, None),
            5 => {
                let mut held = NumberSet::empty(rng.u64(0..groups + 2));
                for group in some_groups(rng, groups + 2) {
                    held.insert(group);
                }
                self.scheduler.peer_holds(now, peer, Some(held));
            }
            6 => self
                .scheduler
                .peer_gains(now, peer, some_groups(rng, groups + 3)),
            _ if rng.u8(0..20) == 0 => self.scheduler.ban(now, peer),
            _ => self
                .scheduler
                .set_rate_limit(now, rng.bool().then(|| rng.u64(0..10_000_000))),
        }
    }

    fn answer(&mut self) {
        let (lane, request) = self.some_request();
        let (rng, now, chunks) = (&mut self.rng, self.now, self.chunks);
        match rng.u8(0..8) {
            0..=2 => self
                .scheduler
                .received(now, lane, request, rng.u32(0..200_000)),
            3 | 4 => self
                .scheduler
                .chunk_done(now, lane, rng.u64(0..chunks + 20)),
            5 => {
                let busy = Refusal::Busy(seconds(rng.f64() * 1e6));
                let refusal = *rng
                    .choice(&[Refusal::NotHere, busy, Refusal::Cancelled, Refusal::Gone])
                    .unwrap();
                self.scheduler.refused(now, lane, request, refusal);
            }
            6 => self.scheduler.request_ended(now, lane, request),
            _ if rng.bool() => {
                let (at, rtt) = (seconds(rng.f64() * 100.0), rng.bool().then(|| seconds(0.1)));
                self.scheduler.alive(now, lane, at, rtt);
            }
            _ if rng.bool() => self.scheduler.chunk_lost(now, rng.u64(0..chunks + 20)),
            _ => self.scheduler.want_window(
                now,
                rng.bool()
                    .then(|| rng.u64(0..chunks)..rng.u64(0..chunks + 9)),
            ),
        }
    }

    fn drain(&mut self) {
        for _ in 0..10_000 {
            match self.scheduler.poll(self.now) {
                None => return,
                Some(Action::Request { lane, request, .. }) => {
                    self.asked.insert(request, lane);
                }
                Some(_) => {}
            }
        }
        panic!("poll never ends");
    }
}

/// Calls in any order, with arguments that make no sense.
#[test]
fn no_call_breaks_the_books() {
    for seed in 0..400 {
        println!("seed {seed}");
        let mut fool = Fool::new(seed);
        for _ in 0..400 {
            fool.now += seconds(fool.rng.f64() * fool.rng.f64() * 0.3);
            if fool.rng.u8(0..3) == 0 {
                fool.come_or_go();
            } else {
                fool.answer();
            }
            fool.drain();
            audit(&fool.scheduler, fool.chunks);
            let stats: Vec<_> = fool.scheduler.peers().collect();
            assert!(
                stats.iter().all(|(_, stats)| stats.rate.is_finite()),
                "{stats:?}"
            );
        }
    }
}

/// The same seed and events, the same actions.
#[test]
fn it_is_deterministic() {
    for strategy in [
        Strategy::FastestAvailable,
        Strategy::RarestFirst,
        Strategy::Sequential,
    ] {
        let took = || {
            let lanes = vec![
                lane(1, 10.0 * MB, 0.02),
                lane(2, 3.0 * MB, 0.08).then(0.4, Fate::Rate(0.0)),
                lane(3, MB, 0.1),
            ];
            let config = SchedulerConfig {
                strategy,
                seed: 5,
                ..SchedulerConfig::default()
            };
            let mut world = World::new(config, 300, lanes).partial(2, (0..15).collect::<Vec<_>>());
            assert!(world.run(60.0));
            (
                world.outcome.took,
                world.outcome.requests,
                world.outcome.done,
            )
        };
        assert_eq!(took(), took());
    }
}

#[test]
fn only_what_is_missing_is_asked_for() {
    let mut missing = NumberSet::empty(64);
    for chunk in [3, 4, 40] {
        missing.insert(chunk);
    }
    let mut scheduler = Scheduler::new(
        SchedulerConfig::default(),
        &missing,
        Arc::new(|_| CHUNK_LEN as u32),
    );
    scheduler.lane_up(
        Now::ZERO,
        LaneKey(1),
        PeerKey(1),
        LaneTraits {
            max_requests: 64,
            rtt: None,
            carrier_rank: 0,
        },
    );
    scheduler.peer_holds(Now::ZERO, PeerKey(1), None);
    let mut asked = Vec::new();
    while let Some(action) = scheduler.poll(Now::ZERO) {
        if let Action::Request { run, .. } = action {
            asked.extend(run.chunks());
        }
    }
    assert_eq!(asked, [3, 4, 40]);
    [3, 4, 40]
        .into_iter()
        .for_each(|chunk| scheduler.chunk_done(Now::ZERO, LaneKey(1), chunk));
    assert!(scheduler.is_done());
    scheduler.want(Now::ZERO, 9..10);
    assert!(
        !scheduler.is_done()
            && matches!(
                scheduler.poll(Now::ZERO),
                Some(Action::Cancel { .. } | Action::Request { .. })
            )
    );
}
