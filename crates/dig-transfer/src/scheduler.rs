//! Who is asked for which chunks: a pull scheduler over many lanes to many peers.
//!
//! A state machine without clock, sockets or tasks. The caller reports what happens, with the time, and then calls
//! [`Scheduler::poll`] until it returns `None`; it calls it again at [`Scheduler::next_wake`]. The same seed and the same
//! calls give the same actions.
//!
//! The rules:
//! - Every chunk that is missing is either free or expected from one or two requests. A lane with room asks for a free run;
//!   where there is none, for what another lane would deliver much later (a hedge). Whoever is first wins, the loser's
//!   request is cancelled as soon as nothing more is expected from it.
//! - A lane has room while less than its rate × (least round trip + 0.1 s) is on its way. A new lane starts small and
//!   doubles while that raises its goodput.
//! - What all peers hold is asked for in order; what some lack, at random and rather from the end, since they are getting it from
//!   the beginning themselves.
//! - A lane that falls silent loses its work at once to whoever else holds it, and is left one request as a probe. Where its
//!   peer has another lane, a fifth of a second and a round trip are silence enough, unless the path is known for longer pauses;
//!   before that, all lanes of the peer are asked for a sign of life, so that the one that answers steps in.
//! - Relayed lanes are for when there is nothing else: a direct one that comes up, or answers again, leads. One that failed
//!   twice in a row must wait longer and longer before it does.
//! - Free work wakes every lane that could take it: nobody waits for a timer. The timer only finds silence.
//! - A refusal is never held against a peer; only the caller, who saw a false chunk, bans.

mod allowance;
mod choose;
mod config;
mod flight;
mod hedge;
mod holding;
mod lane;
mod life;
mod peer;
mod queue;
mod rate;
mod requests;
mod roster;
mod stall;
mod stats;

pub use config::{Action, LaneKey, LaneTraits, Now, PeerKey, Refusal, SchedulerConfig, Strategy};
pub use stats::PeerStats;

use crate::set::NumberSet;
use allowance::Allowance;
use flight::{Flight, State};
use holding::Holding;
use lane::Lane;
use peer::Peer;
use queue::Queue;
use rate::RateLimit;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    ops::Range,
    sync::Arc,
    time::Duration,
};

/// How long a lane is left alone after a refusal without a time to retry.
const BACKOFF: Duration = Duration::from_millis(100);
/// The longest that a peer can keep a lane waiting with `busy`.
const LONGEST_BUSY: Duration = Duration::from_secs(60);
/// Peers told apart when the rarity of a group is reckoned.
const SLOTS: u8 = 64;

#[derive(Clone)]
struct ChunkLen(Arc<dyn Fn(u64) -> u32 + Send + Sync>);

impl fmt::Debug for ChunkLen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkLen")
    }
}

/// The scheduler of one download.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    chunk_len: ChunkLen,
    queue: Queue,
    flight: Flight,
    lanes: BTreeMap<LaneKey, Lane>,
    peers: BTreeMap<PeerKey, Peer>,
    limit: RateLimit,
    allowance: Allowance,
    /// Chunks wanted before all others.
    window: Option<Range<u64>>,
    /// Lanes that may have something to ask.
    ready: VecDeque<LaneKey>,
    /// What is to be done before anything new is asked.
    out: VecDeque<Action>,
    /// A lane had room and was held back by a bound that all share.
    starved: bool,
    /// The same, by the rate limit.
    limited: bool,
    next_tick: Option<Now>,
    rng: fastrand::Rng,
}

impl Scheduler {
    /// A scheduler for the chunks of `missing`, whose bound is the number of all chunks. `chunk_len` tells the bytes of each.
    pub fn new(
        config: SchedulerConfig,
        missing: &NumberSet,
        chunk_len: Arc<dyn Fn(u64) -> u32 + Send + Sync>,
    ) -> Self {
        Self {
            chunk_len: ChunkLen(chunk_len),
            queue: Queue::new(missing),
            flight: Flight::default(),
            lanes: BTreeMap::new(),
            peers: BTreeMap::new(),
            limit: RateLimit::new(config.rate_limit),
            allowance: Allowance::new(config.max_in_flight),
            window: None,
            ready: VecDeque::new(),
            out: VecDeque::new(),
            starved: false,
            limited: false,
            next_tick: None,
            rng: fastrand::Rng::with_seed(config.seed),
            config,
        }
    }

    /// A lane to a peer is open. Ignored for a banned peer, and for a lane that is known.
    pub fn lane_up(&mut self, now: Now, lane: LaneKey, peer: PeerKey, traits: LaneTraits) {
        if self.lanes.contains_key(&lane) || self.peers.get(&peer).is_some_and(|peer| peer.banned) {
            return;
        }
        self.lanes.insert(lane, Lane::new(now, peer, traits));
        let taken: Vec<u8> = self.peers.values().filter_map(|peer| peer.slot).collect();
        let record = self.peers.entry(peer).or_default();
        if record.slot.is_none() {
            record.slot = (0..SLOTS).find(|slot| !taken.contains(slot));
            self.rank_groups();
        }
        self.of_peer(now, peer, |peer, lanes| peer.lane_up(now, lane, lanes));
    }

    /// A lane has ended. What was expected from it is free again.
    pub fn lane_down(&mut self, now: Now, lane: LaneKey) {
        let Some(peer) = self.discard(now, lane) else {
            return;
        };
        self.of_peer(now, peer, |peer, lanes| peer.lane_down(now, lane, lanes));
        self.leave_if_alone(peer);
        self.wake_all();
    }

    /// What a peer holds: these groups, or all of them. Replaces what was known.
    pub fn peer_holds(&mut self, _now: Now, peer: PeerKey, groups: Option<NumberSet>) {
        let record = self.peers.entry(peer).or_default();
        if !record.banned {
            record.holding = groups.map_or(Holding::All, Holding::Some);
            self.rank_groups();
            self.wake_peer(peer);
        }
    }

    /// A partial holder now holds these groups too.
    pub fn peer_gains(&mut self, _now: Now, peer: PeerKey, groups: impl IntoIterator<Item = u64>) {
        let count = self.queue.groups();
        let record = self.peers.entry(peer).or_default();
        if record.banned {
            return;
        }
        let news = groups
            .into_iter()
            .filter(|group| *group < count && record.holding.gain(*group, count));
        for group in news.collect::<Vec<_>>() {
            self.rank_group(group);
        }
        self.wake_peer(peer);
    }

    /// Content bytes of an answer came (the payload of DATA frames, nothing else). Call it before
    /// [`chunk_done`](Self::chunk_done) for the same bytes.
    pub fn received(&mut self, now: Now, lane: LaneKey, request: u32, bytes: u32) {
        let Some(record) = self.lanes.get_mut(&lane) else {
            return;
        };
        let waited = record.in_flight > 0;
        let mut latency = None;
        let mut arrived = false;
        if let Some(asked) = self
            .flight
            .get_mut(request)
            .filter(|asked| asked.lane == lane)
        {
            let counted = u64::from(bytes).min(asked.remaining());
            latency = (asked.alone && asked.received == 0).then(|| now.saturating_sub(asked.since));
            asked.received += u64::from(bytes);
            arrived = asked.remaining() == 0;
            if asked.flows() {
                record.settle(now, counted);
            }
        }
        record.heard(now, bytes, latency, waited);
        self.woke(now, lane);
        if arrived {
            self.arrived(now, request);
        }
        self.mark(lane);
    }

    /// Something, be it no more than part of a frame, came over a lane at `at`; `rtt` as the session sees it now. Call it for
    /// every lane of which that is known, before the [`poll`](Self::poll) that [`next_wake`](Self::next_wake) is for.
    pub fn alive(&mut self, now: Now, lane: LaneKey, at: Now, rtt: Option<Duration>) {
        let Some(record) = self.lanes.get_mut(&lane) else {
            return;
        };
        let (at, waited) = (at.min(now), record.in_flight > 0);
        record.life.contact(now, at, rtt, waited);
        if record.stall.is_some_and(|stall| at > stall.since) {
            self.woke(now, lane);
        }
    }

    /// A chunk is verified, wherever it came from; `lane` is credited. May be reported more than once.
    pub fn chunk_done(&mut self, now: Now, lane: LaneKey, chunk: u64) {
        if !self.queue.done(chunk) {
            return;
        }
        let len = u64::from((self.chunk_len.0)(chunk));
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.verified += len;
        }
        for request in self.flight.owners(chunk) {
            self.flight.disown(request, chunk, &*self.chunk_len.0);
            self.end_if_idle(now, request);
        }
        if std::mem::take(&mut self.starved) {
            self.wake_all();
        }
    }

    /// A chunk that was received could not be used, and nobody is to blame (it could not be written, say): it is asked
    /// for again.
    pub fn chunk_lost(&mut self, now: Now, chunk: u64) {
        for request in self.flight.owners(chunk) {
            self.flight.disown(request, chunk, &*self.chunk_len.0);
            self.end_if_idle(now, request);
        }
        self.queue.release(chunk);
        self.wake_all();
    }

    /// A request was refused.
    pub fn refused(&mut self, now: Now, lane: LaneKey, request: u32, refusal: Refusal) {
        let Some(asked) = self.flight.get(request).filter(|asked| asked.lane == lane) else {
            return;
        };
        let (group, ours) = (asked.run.group(), asked.state == State::Cancelled);
        self.drop_request(now, request);
        let Some(record) = self.lanes.get_mut(&lane) else {
            return;
        };
        let peer = record.peer;
        match refusal {
            Refusal::Cancelled if ours => {}
            Refusal::Cancelled => record.hush(now + BACKOFF),
            Refusal::Busy(wait) => record.too_much(now + wait.clamp(BACKOFF, LONGEST_BUSY)),
            Refusal::NotHere => {
                let groups = self.queue.groups();
                self.peers
                    .entry(peer)
                    .or_default()
                    .holding
                    .lose(group, groups);
                self.rank_group(group);
            }
            Refusal::Gone => {
                self.peers.entry(peer).or_default().holding = Holding::Nothing;
                self.rank_groups();
            }
        }
        // The answer to a cancellation shows that the peer is there, not that it has data to give.
        if !ours {
            self.woke(now, lane);
        }
        self.arm(now);
        self.wake_all();
    }

    /// The answer to a request has ended. What it did not bring is free again.
    pub fn request_ended(&mut self, now: Now, lane: LaneKey, request: u32) {
        let Some(asked) = self.flight.get(request).filter(|asked| asked.lane == lane) else {
            return;
        };
        if !asked.unanswered() {
            return;
        }
        let short = asked.pending != 0;
        self.drop_request(now, request);
        if let Some(lane) = self.lanes.get_mut(&lane).filter(|_| short) {
            lane.hush(now + BACKOFF);
            self.arm(now);
        }
        self.wake_all();
    }

    /// Nothing more is asked of this peer, and nothing of what is on its way from it is expected.
    pub fn ban(&mut self, now: Now, peer: PeerKey) {
        let record = self.peers.entry(peer).or_default();
        record.banned = true;
        record.holding = Holding::Nothing;
        record.active.clear();
        for lane in std::mem::take(&mut record.lanes) {
            self.discard(now, lane);
        }
        self.leave_if_alone(peer);
        self.wake_all();
    }

    /// Adds chunks to what is wanted.
    pub fn want(&mut self, _now: Now, chunks: Range<u64>) {
        for chunk in chunks {
            self.queue.want(chunk);
        }
        self.wake_all();
    }

    /// Chunks that somebody waits for: asked for before all others, in order, and hedged. `None`: nobody waits.
    pub fn want_window(&mut self, _now: Now, window: Option<Range<u64>>) {
        self.window = window;
        self.wake_all();
    }

    /// How many bytes a second may be asked for from now on; `None`: as many as come.
    pub fn set_rate_limit(&mut self, now: Now, rate: Option<u64>) {
        self.limit.set(now, rate);
        self.wake_all();
    }

    /// The next thing to do; call until `None`.
    pub fn poll(&mut self, now: Now) -> Option<Action> {
        if self.next_tick.is_some_and(|tick| tick <= now) {
            self.tick(now);
        }
        if self.limited && self.limit.allows(now) {
            self.limited = false;
            self.wake_all();
        }
        while let Some(action) = self.out.pop_front() {
            if self.still_holds(&action) {
                return Some(action);
            }
        }
        while let Some(&key) = self.ready.front() {
            let action = self.next_request(now, key);
            self.ready.rotate_left(1);
            if action.is_some() {
                return action;
            }
            self.ready.pop_back();
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.ready = false;
            }
        }
        None
    }

    /// When to call [`poll`](Self::poll) again if nothing happens before.
    pub fn next_wake(&self) -> Option<Now> {
        let limit = self.limited.then(|| self.limit.wake()).flatten();
        [self.next_tick, limit].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests;
