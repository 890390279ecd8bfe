//! The scheduler itself must not be what takes time.

use crate::{
    chunk::CHUNK_LEN,
    scheduler::{Action, LaneKey, LaneTraits, PeerKey, Scheduler, SchedulerConfig, Strategy},
    set::NumberSet,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Serves every request at once, in virtual time; the real seconds for each chunk.
fn cost(strategy: Strategy, chunks: u64, partial: bool) -> f64 {
    let config = SchedulerConfig {
        strategy,
        ..SchedulerConfig::default()
    };
    let mut scheduler = Scheduler::new(
        config,
        &NumberSet::full(chunks),
        Arc::new(|_| CHUNK_LEN as u32),
    );
    let mut now = Duration::ZERO;
    let traits = LaneTraits {
        max_requests: 64,
        rtt: Some(Duration::from_millis(1)),
        carrier_rank: 0,
    };
    let mut rng = fastrand::Rng::with_seed(7);
    for peer in 0..8 {
        scheduler.lane_up(now, LaneKey(peer), PeerKey(peer), traits);
        let mut groups = NumberSet::empty(chunks.div_ceil(16));
        (0..chunks.div_ceil(16))
            .filter(|_| rng.bool())
            .for_each(|group| {
                groups.insert(group);
            });
        scheduler.peer_holds(now, PeerKey(peer), (partial && peer > 0).then_some(groups));
    }
    let began = Instant::now();
    let mut asked = VecDeque::new();
    while !scheduler.is_done() {
        while let Some(action) = scheduler.poll(now) {
            if let Action::Request { lane, request, run } = action {
                asked.push_back((lane, request, run));
            }
        }
        let (lane, request, run) = asked.pop_front().unwrap();
        for chunk in run.chunks() {
            now += Duration::from_micros(60);
            scheduler.received(now, lane, request, CHUNK_LEN as u32);
            scheduler.chunk_done(now, lane, chunk);
        }
        scheduler.request_ended(now, lane, request);
    }
    began.elapsed().as_secs_f64() / chunks as f64
}

#[test]
fn a_million_chunks_cost_each_as_little_as_few() {
    for (strategy, partial) in [
        (Strategy::FastestAvailable, false),
        (Strategy::Sequential, false),
        (Strategy::RarestFirst, false),
        (Strategy::FastestAvailable, true),
        (Strategy::RarestFirst, true),
    ] {
        let few = cost(strategy, 1 << 14, partial);
        let many = cost(strategy, 1 << 20, partial);
        println!(
            "{strategy:?}, partial {partial}: {:.2} us a chunk of 2^14, {:.2} us of 2^20",
            few * 1e6,
            many * 1e6
        );
        // 20 us a chunk are 3 GB/s; a scan of everything for each chunk would cost thousands.
        assert!(many < 20e-6, "{strategy:?}: {many} s a chunk");
    }
}
