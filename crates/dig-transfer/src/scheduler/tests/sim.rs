//! A simulated world: peers that send chunks at a rate over a round trip, and what may befall them.

use crate::{
    chunk::{CHUNK_LEN, Run},
    scheduler::{Action, LaneKey, LaneTraits, Now, PeerKey, Refusal, Scheduler, SchedulerConfig},
    set::NumberSet,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, VecDeque},
    sync::Arc,
    time::Duration,
};

mod path;

pub(super) const MB: f64 = 1e6;

pub(super) fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// What befalls a lane at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    /// It sends at this rate from now on; 0 is silence.
    Rate(f64),
    /// It is cut.
    Dies,
    /// From now on its chunks are false.
    Lies,
    /// It answers every request with busy until told otherwise.
    Busy(bool),
    /// The peer withdraws the content.
    Withdraws,
    /// Its path passes packets, or drops them silently both ways; what was dropped is sent again when it passes them once more.
    Path(bool),
}

/// One lane of a simulated peer.
#[derive(Debug, Clone)]
pub(super) struct LaneSpec {
    pub(super) peer: u64,
    pub(super) rate: f64,
    pub(super) rtt: f64,
    pub(super) rank: u8,
    pub(super) max_requests: u16,
    /// It is busy with so many, whatever it said.
    pub(super) busy_beyond: usize,
    /// Up from this time on.
    pub(super) from: f64,
    /// Whether it is known when anything comes, not only whole chunks.
    pub(super) tells: bool,
    /// The share of packets that must be sent again; what follows one waits for it.
    pub(super) loss: f64,
    pub(super) fates: Vec<(f64, Fate)>,
}

pub(super) fn lane(peer: u64, rate: f64, rtt: f64) -> LaneSpec {
    LaneSpec {
        peer,
        rate,
        rtt,
        rank: 0,
        max_requests: 64,
        busy_beyond: 64,
        from: 0.0,
        tells: false,
        loss: 0.0,
        fates: Vec::new(),
    }
}

impl LaneSpec {
    pub(super) fn then(mut self, at: f64, fate: Fate) -> Self {
        self.fates.push((at, fate));
        self
    }

    pub(super) fn rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    pub(super) fn from(self, from: f64) -> Self {
        Self { from, ..self }
    }

    pub(super) fn tells(self, tells: bool) -> Self {
        Self { tells, ..self }
    }

    pub(super) fn loses(self, loss: f64) -> Self {
        Self { loss, ..self }
    }
}

#[derive(Debug, Clone)]
enum Event {
    Up(LaneKey),
    Fate(LaneKey, Fate),
    Asked(LaneKey, u32, Run),
    Cancelled(LaneKey, u32),
    Sent(LaneKey, u64),
    Arrives(LaneKey, u32, u64, bool),
    Refused(LaneKey, u32, Refusal),
    Verified(LaneKey, u64),
    Holds(PeerKey, Option<NumberSet>),
    Gains(PeerKey, Vec<u64>),
    Pong(LaneKey),
    Resent(LaneKey),
    Wake,
}

/// The far end of a lane.
#[derive(Debug)]
struct Far {
    spec: LaneSpec,
    rate: f64,
    up: bool,
    lies: bool,
    busy: bool,
    queue: VecDeque<(u32, VecDeque<u64>)>,
    sending: bool,
    turn: u64,
    asked: usize,
    path: bool,
    /// What was dropped, in order.
    dropped: Vec<Event>,
    /// When a packet came last.
    contact: Now,
    last_arrival: Now,
}

/// What came of a simulation.
#[derive(Debug, Default, Clone)]
pub(super) struct Outcome {
    pub(super) took: f64,
    pub(super) received: u64,
    pub(super) size: u64,
    /// When each chunk was verified, by number.
    pub(super) done: Vec<f64>,
    pub(super) longest_gap: f64,
    pub(super) requests: u64,
    pub(super) run_chunks: u64,
    pub(super) switches: Vec<(f64, PeerKey, LaneKey)>,
    pub(super) most_in_flight: u64,
}

impl Outcome {
    pub(super) fn waste(&self) -> f64 {
        (self.received as f64 - self.size as f64) / self.size as f64
    }

    pub(super) fn rate(&self) -> f64 {
        self.size as f64 / self.took
    }

    /// The least delay before playing in order at `rate` never has to wait.
    pub(super) fn start_up(&self, rate: f64) -> f64 {
        let mut contiguous: f64 = 0.0;
        let mut delay: f64 = 0.0;
        for (at, done) in self.done.iter().enumerate() {
            contiguous = contiguous.max(*done);
            delay = delay.max(contiguous - at as f64 * CHUNK_LEN as f64 / rate);
        }
        delay
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) scheduler: Scheduler,
    pub(super) now: Now,
    chunks: u64,
    fars: BTreeMap<LaneKey, Far>,
    holds: BTreeMap<PeerKey, Option<NumberSet>>,
    events: BinaryHeap<Reverse<(Now, u64)>>,
    bodies: BTreeMap<u64, Event>,
    count: u64,
    /// What all lanes share, bytes a second, and when it is free.
    pub(super) downlink: Option<f64>,
    downlink_free: Now,
    /// How uneven the lanes are: a chunk takes up to so many times its time more, seldom much more.
    pub(super) noise: f64,
    rng: fastrand::Rng,
    /// From arrival to verification.
    pub(super) hashing: f64,
    pub(super) outcome: Outcome,
    last_done: Now,
    outstanding: BTreeMap<(LaneKey, u32), u64>,
}

impl World {
    pub(super) fn new(config: SchedulerConfig, chunks: u64, lanes: Vec<LaneSpec>) -> Self {
        let missing = NumberSet::full(chunks);
        let scheduler = Scheduler::new(config, &missing, Arc::new(|_| CHUNK_LEN as u32));
        let mut world = Self {
            scheduler,
            now: Now::ZERO,
            chunks,
            fars: BTreeMap::new(),
            holds: BTreeMap::new(),
            events: BinaryHeap::new(),
            bodies: BTreeMap::new(),
            count: 0,
            downlink: None,
            downlink_free: Now::ZERO,
            noise: 0.0,
            rng: fastrand::Rng::with_seed(9),
            hashing: 0.002,
            outcome: Outcome {
                size: chunks * CHUNK_LEN as u64,
                done: vec![f64::NAN; chunks as usize],
                ..Outcome::default()
            },
            last_done: Now::ZERO,
            outstanding: BTreeMap::new(),
        };
        for (number, spec) in lanes.into_iter().enumerate() {
            let key = LaneKey(number as u64 + 1);
            world.at(spec.from, Event::Up(key));
            for (at, fate) in &spec.fates {
                world.at(*at, Event::Fate(key, *fate));
            }
            world.holds.entry(PeerKey(spec.peer)).or_insert(None);
            let far = Far {
                rate: spec.rate,
                spec,
                up: false,
                lies: false,
                busy: false,
                queue: VecDeque::new(),
                sending: false,
                turn: 0,
                asked: 0,
                path: true,
                dropped: Vec::new(),
                contact: Now::ZERO,
                last_arrival: Now::ZERO,
            };
            world.fars.insert(key, far);
        }
        world
    }

    /// This peer holds only these groups.
    pub(super) fn partial(mut self, peer: u64, groups: impl IntoIterator<Item = u64>) -> Self {
        let mut set = NumberSet::empty(self.chunks.div_ceil(16));
        groups.into_iter().for_each(|group| {
            set.insert(group);
        });
        self.holds.insert(PeerKey(peer), Some(set));
        self
    }

    /// And gains these at a time.
    pub(super) fn gains(
        mut self,
        at: f64,
        peer: u64,
        groups: impl IntoIterator<Item = u64>,
    ) -> Self {
        self.at(
            at,
            Event::Gains(PeerKey(peer), groups.into_iter().collect()),
        );
        self
    }

    /// Another course of what happens at random.
    pub(super) fn seed(&mut self, seed: u64) {
        self.rng = fastrand::Rng::with_seed(seed);
    }

    fn at(&mut self, at: f64, event: Event) {
        self.push(seconds(at), event);
    }

    fn after(&mut self, delay: f64, event: Event) {
        self.push(self.now + seconds(delay), event);
    }

    fn push(&mut self, at: Now, event: Event) {
        self.count += 1;
        self.events.push(Reverse((at, self.count)));
        self.bodies.insert(self.count, event);
    }

    /// Requests that are asked for and from which something is still expected to come, of one peer.
    pub(super) fn asking(&self, peer: u64) -> usize {
        self.outstanding
            .keys()
            .filter(|(lane, _)| self.fars[lane].spec.peer == peer)
            .count()
    }

    /// Runs until all is verified, or `limit` seconds; whether it is done.
    pub(super) fn run(&mut self, limit: f64) -> bool {
        self.drain();
        while !self.scheduler.is_done() {
            if let Some(wake) = self.scheduler.next_wake() {
                let wake = wake.max(self.now);
                if self.events.peek().is_none_or(|Reverse((at, _))| wake < *at) {
                    self.push(wake, Event::Wake);
                }
            }
            let Some(&Reverse((at, id))) = self.events.peek() else {
                return false;
            };
            if at > seconds(limit) {
                return false;
            }
            self.events.pop();
            self.now = at;
            let event = self.bodies.remove(&id).unwrap();
            self.handle(event);
            self.drain();
        }
        self.outcome.took = self.now.as_secs_f64();
        true
    }

    fn drain(&mut self) {
        self.report_life();
        let mut most = 100_000;
        while let Some(action) = self.scheduler.poll(self.now) {
            most -= 1;
            assert!(most > 0, "poll never ends at {:?}", self.now);
            match action {
                Action::Request { lane, request, run } => {
                    assert!(
                        run.count >= 1
                            && run.first / 16 == (run.first + u64::from(run.count) - 1) / 16,
                        "{run:?}"
                    );
                    assert!(run.first + u64::from(run.count) <= self.chunks && request != 0);
                    let far = self.fars.get_mut(&lane).unwrap();
                    assert!(far.up, "asked on a lane that is down");
                    far.asked += 1;
                    assert!(
                        far.asked <= usize::from(far.spec.max_requests),
                        "more requests than the lane takes"
                    );
                    let rtt = far.spec.rtt;
                    for chunk in run.chunks() {
                        let done = self.outcome.done[chunk as usize];
                        assert!(done.is_nan(), "{chunk} is verified and asked for again");
                    }
                    self.outcome.requests += 1;
                    self.outcome.run_chunks += u64::from(run.count);
                    let bytes = u64::from(run.count) * CHUNK_LEN as u64;
                    assert!(
                        self.outstanding.insert((lane, request), bytes).is_none(),
                        "request number reused"
                    );
                    let flying: u64 = self.outstanding.values().sum();
                    self.outcome.most_in_flight = self.outcome.most_in_flight.max(flying);
                    self.after(rtt / 2.0, Event::Asked(lane, request, run));
                }
                Action::Cancel { lane, request } => {
                    let rtt = self.fars[&lane].spec.rtt;
                    self.outstanding.remove(&(lane, request));
                    self.after(rtt / 2.0, Event::Cancelled(lane, request));
                }
                Action::Active { peer, lane } => {
                    self.outcome
                        .switches
                        .push((self.now.as_secs_f64(), peer, lane))
                }
                Action::Ping { lane } => self.ping(lane),
                Action::Stalled { .. } | Action::Redial { .. } => {}
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let Some(event) = self.cross(event) else {
            return;
        };
        match event {
            Event::Wake => {}
            Event::Pong(key) => self.pong(key),
            Event::Resent(key) => self.resume(key),
            Event::Up(key) => {
                let far = self.fars.get_mut(&key).unwrap();
                far.up = true;
                let (peer, rtt) = (PeerKey(far.spec.peer), far.spec.rtt);
                let traits = LaneTraits {
                    max_requests: far.spec.max_requests,
                    rtt: Some(seconds(rtt)),
                    carrier_rank: far.spec.rank,
                };
                self.scheduler.lane_up(self.now, key, peer, traits);
                let holds = self.holds[&peer].clone();
                self.after(0.0, Event::Holds(peer, holds));
            }
            Event::Holds(peer, groups) => self.scheduler.peer_holds(self.now, peer, groups),
            Event::Gains(peer, groups) => {
                if let Some(Some(held)) = self.holds.get_mut(&peer) {
                    groups.iter().for_each(|group| {
                        held.insert(*group);
                    });
                }
                self.scheduler.peer_gains(self.now, peer, groups);
            }
            Event::Fate(key, fate) => self.befall(key, fate),
            Event::Asked(key, request, run) => self.asked(key, request, run),
            Event::Cancelled(key, request) => self.cancelled(key, request),
            Event::Sent(key, turn) => {
                let far = self.fars.get_mut(&key).unwrap();
                if far.turn == turn {
                    far.sending = false;
                    self.send(key);
                }
            }
            Event::Arrives(key, request, chunk, last) => self.arrives(key, request, chunk, last),
            Event::Refused(key, request, refusal) => self.refused(key, request, refusal),
            Event::Verified(key, chunk) => self.verified(key, chunk),
        }
    }

    fn befall(&mut self, key: LaneKey, fate: Fate) {
        let far = self.fars.get_mut(&key).unwrap();
        match fate {
            Fate::Rate(rate) => {
                far.rate = rate;
                self.send(key);
            }
            Fate::Path(passes) => self.pass(key, passes),
            Fate::Lies => far.lies = true,
            Fate::Busy(busy) => far.busy = busy,
            Fate::Dies => self.cut(key),
            Fate::Withdraws => {
                let peer = PeerKey(far.spec.peer);
                let queue = std::mem::take(&mut far.queue);
                for (request, _) in queue {
                    self.after(0.0, Event::Refused(key, request, Refusal::Gone));
                }
                self.holds
                    .insert(peer, Some(NumberSet::empty(self.chunks.div_ceil(16))));
            }
        }
    }

    fn cut(&mut self, key: LaneKey) {
        let far = self.fars.get_mut(&key).unwrap();
        if std::mem::take(&mut far.up) {
            far.queue.clear();
            self.outstanding.retain(|(lane, _), _| *lane != key);
            self.scheduler.lane_down(self.now, key);
        }
    }

    fn asked(&mut self, key: LaneKey, request: u32, run: Run) {
        let far = self.fars.get_mut(&key).unwrap();
        if !far.up {
            return;
        }
        let (rtt, busy) = (
            far.spec.rtt,
            far.busy || far.queue.len() >= far.spec.busy_beyond,
        );
        let holds = self.holds[&PeerKey(far.spec.peer)]
            .as_ref()
            .is_none_or(|held| held.contains(run.group()));
        if busy || !holds {
            let refusal = if busy {
                Refusal::Busy(seconds(0.3))
            } else {
                Refusal::NotHere
            };
            self.after(rtt / 2.0, Event::Refused(key, request, refusal));
            return;
        }
        far.queue.push_back((request, run.chunks().collect()));
        self.send(key);
    }

    fn cancelled(&mut self, key: LaneKey, request: u32) {
        let far = self.fars.get_mut(&key).unwrap();
        let before = far.queue.len();
        far.queue.retain(|(id, _)| *id != request);
        let (dropped, rtt) = (far.queue.len() < before, far.spec.rtt);
        if dropped {
            let refused = Event::Refused(key, request, Refusal::Cancelled);
            self.after(rtt / 2.0 + 1e-6, refused);
        }
    }

    fn refused(&mut self, key: LaneKey, request: u32, refusal: Refusal) {
        let far = self.fars.get_mut(&key).unwrap();
        if far.up {
            far.asked -= 1;
            self.outstanding.remove(&(key, request));
            self.scheduler.refused(self.now, key, request, refusal);
        }
    }

    /// Sends the next chunk. Lanes of one peer have rates of their own.
    fn send(&mut self, key: LaneKey) {
        let far = self.fars.get_mut(&key).unwrap();
        if far.sending || !far.up || !far.path || far.rate <= 0.0 {
            return;
        }
        let Some((request, chunks)) = far.queue.front_mut() else {
            return;
        };
        let request = *request;
        let chunk = chunks.pop_front().unwrap();
        let last = chunks.is_empty();
        if last {
            far.queue.pop_front();
        }
        far.sending = true;
        far.turn += 1;
        let (turn, takes, rtt) = (far.turn, CHUNK_LEN as f64 / far.rate, far.spec.rtt);
        // Mean 1 + noise; exponential, so that pauses of several times the mean occur.
        let takes = takes * (1.0 - self.noise * self.rng.f64().max(1e-9).ln());
        self.after(takes, Event::Sent(key, turn));
        let mut arrives = self.now + seconds(takes + rtt / 2.0);
        if let Some(rate) = self.downlink {
            arrives = arrives.max(self.downlink_free) + seconds(CHUNK_LEN as f64 / rate);
            self.downlink_free = arrives;
        }
        arrives += seconds(1.1 * rtt * self.resent(key));
        let far = self.fars.get_mut(&key).unwrap();
        far.last_arrival = far.last_arrival.max(arrives);
        let arrives = far.last_arrival;
        self.push(arrives, Event::Arrives(key, request, chunk, last));
    }

    fn arrives(&mut self, key: LaneKey, request: u32, chunk: u64, last: bool) {
        let far = self.fars.get_mut(&key).unwrap();
        if !far.up {
            return;
        }
        let (lies, peer) = (far.lies, PeerKey(far.spec.peer));
        self.outcome.received += CHUNK_LEN as u64;
        self.scheduler
            .received(self.now, key, request, CHUNK_LEN as u32);
        if let Some(left) = self.outstanding.get_mut(&(key, request)) {
            *left = left.saturating_sub(CHUNK_LEN as u64);
        }
        if lies {
            self.scheduler.ban(self.now, peer);
            let lanes: Vec<_> = self
                .fars
                .iter()
                .filter(|(_, far)| far.spec.peer == peer.0)
                .map(|(key, _)| *key)
                .collect();
            lanes.into_iter().for_each(|lane| self.cut(lane));
            return;
        }
        self.after(self.hashing, Event::Verified(key, chunk));
        if last {
            self.fars.get_mut(&key).unwrap().asked -= 1;
            self.outstanding.remove(&(key, request));
            self.scheduler.request_ended(self.now, key, request);
        }
    }

    fn verified(&mut self, key: LaneKey, chunk: u64) {
        let done = &mut self.outcome.done[chunk as usize];
        if done.is_nan() {
            *done = self.now.as_secs_f64();
            let gap = self.now.saturating_sub(self.last_done).as_secs_f64();
            self.outcome.longest_gap = self.outcome.longest_gap.max(gap);
            self.last_done = self.now;
        }
        self.scheduler.chunk_done(self.now, key, chunk);
    }
}
