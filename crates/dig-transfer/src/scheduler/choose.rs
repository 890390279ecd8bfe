//! Which run a lane asks for next, and the bookkeeping of requests.

use super::{
    Action, LaneKey, Now, PeerKey, Scheduler, Strategy,
    flight::{Request, State},
    holding::Holding,
    lane::Lane,
    peer::Peer,
};
use crate::chunk::{CHUNK_LEN, GROUP_CHUNKS, Run};
use std::{collections::BTreeMap, ops::Range, time::Duration};

/// How often silence and the order of lanes are looked at while anything is on its way.
pub(super) const TICK: Duration = Duration::from_millis(50);

impl Scheduler {
    /// Asks for something on a lane, if it has room and there is something to ask.
    pub(super) fn next_request(&mut self, now: Now, key: LaneKey) -> Option<Action> {
        let longest = self.room(now, key)?;
        let run = self.next_run(now, key, longest)?;
        Some(self.issue(now, key, run, State::Live))
    }

    /// How many chunks a lane may ask for now.
    fn room(&mut self, now: Now, key: LaneKey) -> Option<u8> {
        let lane = self.lanes.get_mut(&key)?;
        let peer = self.peers.get(&lane.peer)?;
        let idle = lane.stall.is_none() && lane.busy_until.is_none() && peer.active.contains(&key);
        if self.queue.left() == 0 || !idle || lane.slots >= lane.slot_limit {
            return None;
        }
        let cap = self.config.max_in_flight;
        let longest = lane.run_length(cap, self.config.longest_run());
        let steps = self
            .limit
            .step()
            .map_or(longest, |step| (step / CHUNK_LEN as f64) as u8);
        let longest = longest.min(steps.max(1));
        let bytes = u64::from(longest) * CHUNK_LEN as u64;
        if lane.in_flight > 0 && lane.in_flight + bytes > lane.window(cap) {
            lane.filled = Some(now);
            return None;
        }
        let lanes = peer.lanes.clone();
        let of_peer = self
            .config
            .peer_concurrency
            .is_some_and(|most| self.asking(&lanes) >= most.max(1));
        let of_all = self
            .config
            .concurrency
            .is_some_and(|most| self.asking(self.lanes.keys()) >= most.max(1));
        let held = self.flight.held();
        if of_peer || of_all || (held > 0 && held + bytes > cap) {
            self.starved = true;
            return None;
        }
        if !self.limit.allows(now) {
            self.limited = true;
            return None;
        }
        Some(longest)
    }

    /// Requests on these lanes from which something is expected to come.
    fn asking<'a>(&self, lanes: impl IntoIterator<Item = &'a LaneKey>) -> u32 {
        let orders = lanes
            .into_iter()
            .filter_map(|key| self.lanes.get(key))
            .flat_map(|lane| &lane.order);
        orders
            .filter(|id| self.flight.get(**id).is_some_and(Request::flows))
            .count() as u32
    }

    fn next_run(&mut self, now: Now, key: LaneKey, longest: u8) -> Option<Run> {
        let first = self.queue.first_missing()?;
        let end = self
            .config
            .max_ahead
            .map_or(u64::MAX, |ahead| first.saturating_add(ahead.max(1)));
        let bounds = 0..end.min(self.queue.groups() * GROUP_CHUNKS);
        if let Some(head) = self.head(first, &bounds) {
            if let Some(run) = self.hedge_head(now, key, &head, longest) {
                return Some(run);
            }
            if let Some(run) = self.lowest_free(key, &head, longest) {
                return Some(run);
            }
        }
        let free = match self.config.strategy {
            Strategy::Sequential => self.lowest_free(key, &bounds, longest),
            Strategy::FastestAvailable => self.most_pressing(key, &bounds, longest),
            Strategy::RarestFirst => self.rarest(key, &bounds, longest),
        };
        if free.is_none() && self.config.max_ahead.is_some() {
            self.starved = true;
        }
        free.or_else(|| self.hedge(now, key, longest))
    }

    /// The chunks that somebody waits for.
    fn head(&self, first: u64, bounds: &Range<u64>) -> Option<Range<u64>> {
        let waited = self.window.as_ref().filter(|window| window.end > first);
        let waited = waited.map(|window| window.start.max(first)..window.end.min(bounds.end));
        let sequential = self.config.strategy == Strategy::Sequential;
        waited.or_else(|| {
            sequential.then(|| {
                first
                    ..first
                        .saturating_add(self.config.head_chunks)
                        .min(bounds.end)
            })
        })
    }

    pub(super) fn holding(&self, key: LaneKey) -> Option<&Holding> {
        Some(&self.peers.get(&self.lanes.get(&key)?.peer)?.holding)
    }

    fn lowest_free(&self, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let holding = self.holding(key)?;
        let runs = self
            .queue
            .open_classes()
            .filter_map(|(class, _)| self.queue.run_in(class, holding, within, longest));
        runs.min_by_key(|run| run.first)
    }

    /// From what its holders would need longest for: so all of it ends at one time, and nobody is left with nothing to give
    /// while others still have much.
    fn most_pressing(&self, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let holding = self.holding(key)?;
        let mut open: Vec<_> = self
            .queue
            .open_classes()
            .map(|(class, groups)| (class, groups.holders, groups.free))
            .collect();
        if open.len() > 1 {
            let rates = self.rates();
            let need = |(class, holders, free): &(usize, u64, u64)| {
                let supply: f64 = rates
                    .iter()
                    .enumerate()
                    .filter(|(slot, _)| holders >> slot & 1 == 1)
                    .map(|(_, rate)| rate)
                    .sum();
                if *class == 0 {
                    0.0
                } else {
                    *free as f64 / supply.max(1.0)
                }
            };
            open.sort_by(|a, b| need(b).total_cmp(&need(a)));
        }
        open.into_iter()
            .find_map(|(class, ..)| self.queue.run_in(class, holding, within, longest))
    }

    /// Goodput of the peers by slot; the average where it is not known.
    fn rates(&self) -> Vec<f64> {
        let known: Vec<f64> = self
            .peers
            .values()
            .map(|peer| peer.total(&self.lanes))
            .filter(|rate| *rate > 0.0)
            .collect();
        let average = if known.is_empty() {
            1.0
        } else {
            known.iter().sum::<f64>() / known.len() as f64
        };
        let mut rates = vec![0.0; usize::from(super::SLOTS)];
        for peer in self.peers.values() {
            if let Some(slot) = peer.slot {
                let rate = peer.total(&self.lanes);
                rates[usize::from(slot)] = if rate > 0.0 { rate } else { average };
            }
        }
        rates
    }

    /// From what the fewest hold. Ties at random, but a group that was begun is continued.
    fn rarest(&mut self, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let last = self.lanes.get(&key)?.last_group;
        let mut open: Vec<_> = self
            .queue
            .open_classes()
            .map(|(class, groups)| (groups.holders.count_ones(), class))
            .collect();
        open.sort_unstable();
        let from = self.rng.u64(0..self.queue.groups().max(1)) * GROUP_CHUNKS;
        let holding = self.holding(key)?;
        let begun = last
            .filter(|group| holding.has(*group))
            .and_then(|group| self.queue.run_of(group, within, longest));
        let upper = from.max(within.start)..within.end;
        begun.or_else(|| {
            let in_class = |class| {
                let run = self.queue.run_in(class, holding, &upper, longest);
                run.or_else(|| self.queue.run_in(class, holding, within, longest))
            };
            open.into_iter().find_map(|(_, class)| in_class(class))
        })
    }

    /// Makes a request.
    pub(super) fn issue(&mut self, now: Now, key: LaneKey, run: Run, state: State) -> Action {
        let expected = run
            .chunks()
            .map(|chunk| u64::from((self.chunk_len.0)(chunk)))
            .sum();
        let alone = self.lanes.get(&key).is_some_and(|lane| lane.in_flight == 0);
        let request = Request {
            lane: key,
            run,
            state,
            pending: 0,
            expected,
            received: 0,
            issued: now,
            alone,
        };
        let id = self.flight.add(request, &*self.chunk_len.0);
        if state == State::Live {
            self.queue.take(run);
            self.limit.spend(expected);
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.order.push(id);
            lane.slots += 1;
            lane.last_group = Some(run.group());
            if state == State::Live {
                lane.asked(now, expected);
            }
        }
        self.arm(now);
        Action::Request {
            lane: key,
            request: id,
            run,
        }
    }

    /// All bytes of a request are here.
    pub(super) fn arrived(&mut self, id: u32) {
        let Some(request) = self
            .flight
            .get_mut(id)
            .filter(|request| request.unanswered())
        else {
            return;
        };
        let (key, done) = (request.lane, request.pending == 0);
        request.state = State::Arrived;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.slots = lane.slots.saturating_sub(1);
            lane.slot_limit = (lane.slot_limit + 1).min(lane.slot_ceiling());
        }
        if done {
            self.forget(id);
        }
        if self.config.concurrency.is_some() || self.config.peer_concurrency.is_some() {
            self.wake_all();
        }
    }

    /// Ends a request from which nothing is expected any more.
    pub(super) fn end_if_idle(&mut self, now: Now, id: u32) {
        let Some(request) = self.flight.get(id).filter(|request| request.pending == 0) else {
            return;
        };
        match request.state {
            State::Arrived => self.forget(id),
            State::Live => self.cancel(now, id),
            State::Probe | State::Cancelled => {}
        }
    }

    pub(super) fn cancel(&mut self, now: Now, id: u32) {
        self.release(id);
        let Some(request) = self.flight.get_mut(id) else {
            return;
        };
        let (key, rest, flowed) = (request.lane, request.remaining(), request.flows());
        request.state = State::Cancelled;
        self.out.push_back(Action::Cancel {
            lane: key,
            request: id,
        });
        if let Some(lane) = self.lanes.get_mut(&key).filter(|_| flowed) {
            lane.settle(now, rest);
            self.limit.refund(rest);
        }
        self.mark(key);
    }

    /// Nothing is expected from this request any more; what nobody else supplies is free.
    pub(super) fn release(&mut self, id: u32) {
        let Some(request) = self.flight.get(id) else {
            return;
        };
        for chunk in request.pending_chunks() {
            if self.flight.disown(id, chunk, &*self.chunk_len.0) {
                self.queue.release(chunk);
            }
        }
    }

    /// The answer to a request has ended.
    pub(super) fn drop_request(&mut self, now: Now, id: u32) {
        self.release(id);
        let Some(request) = self.flight.get(id) else {
            return;
        };
        let (rest, flowed, unanswered) =
            (request.remaining(), request.flows(), request.unanswered());
        if let Some(lane) = self.lanes.get_mut(&request.lane) {
            lane.slots -= u16::from(unanswered && lane.slots > 0);
            if flowed {
                lane.settle(now, rest);
                self.limit.refund(rest);
            }
        }
        self.forget(id);
    }

    fn forget(&mut self, id: u32) {
        let Some(request) = self.flight.remove(id) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&request.lane) {
            lane.order.retain(|other| *other != id);
        }
    }

    /// Takes a lane out; its peer, if it was known.
    pub(super) fn discard(&mut self, now: Now, key: LaneKey) -> Option<PeerKey> {
        for id in self.lanes.get(&key)?.order.clone() {
            self.drop_request(now, id);
        }
        let lane = self.lanes.remove(&key)?;
        let peer = self.peers.entry(lane.peer).or_default();
        peer.received += lane.received;
        peer.verified += lane.verified;
        Some(lane.peer)
    }

    /// Changes a peer, and tells the caller if another lane leads now.
    pub(super) fn of_peer(
        &mut self,
        key: PeerKey,
        change: impl FnOnce(&mut Peer, &BTreeMap<LaneKey, Lane>),
    ) {
        let Some(peer) = self.peers.get_mut(&key) else {
            return;
        };
        let before = peer.active.clone();
        change(peer, &self.lanes);
        let after = peer.active.clone();
        if let Some(&lane) = after.first().filter(|lane| before.first() != Some(lane)) {
            self.out.push_back(Action::Active { peer: key, lane });
        }
        after
            .into_iter()
            .filter(|lane| !before.contains(lane))
            .for_each(|lane| self.mark(lane));
    }

    /// A peer without lanes no longer counts as a holder.
    pub(super) fn leave_if_alone(&mut self, key: PeerKey) {
        let alone = self
            .peers
            .get_mut(&key)
            .filter(|peer| peer.lanes.is_empty());
        if alone.is_some_and(|peer| peer.slot.take().is_some()) {
            self.rank_groups();
        }
    }

    /// States anew who holds each group.
    pub(super) fn rank_groups(&mut self) {
        for group in 0..self.queue.groups() {
            self.rank_group(group);
        }
    }

    pub(super) fn rank_group(&mut self, group: u64) {
        let holders = self
            .peers
            .values()
            .filter(|peer| peer.holding.has(group))
            .filter_map(|peer| peer.slot);
        let holders = holders.fold(0, |all, slot| all | 1 << slot);
        self.queue.set_holders(group, holders);
    }

    /// Whether a queued action still makes sense.
    pub(super) fn still_holds(&self, action: &Action) -> bool {
        match action {
            Action::Request { request, .. } | Action::Cancel { request, .. } => {
                self.flight.get(*request).is_some()
            }
            Action::Active { peer, lane } => self.active_lane(*peer) == Some(*lane),
            Action::Stalled { lane } | Action::Redial { lane } => self.lanes.contains_key(lane),
        }
    }

    /// Puts a lane in line.
    pub(super) fn mark(&mut self, key: LaneKey) {
        if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| !lane.ready) {
            lane.ready = true;
            self.ready.push_back(key);
        }
    }

    pub(super) fn wake_peer(&mut self, key: PeerKey) {
        let lanes = self
            .peers
            .get(&key)
            .map(|peer| peer.active.clone())
            .unwrap_or_default();
        lanes.into_iter().for_each(|lane| self.mark(lane));
    }

    pub(super) fn wake_all(&mut self) {
        for (key, lane) in self.lanes.iter_mut().filter(|(_, lane)| !lane.ready) {
            lane.ready = true;
            self.ready.push_back(*key);
        }
    }

    pub(super) fn arm(&mut self, now: Now) {
        self.next_tick.get_or_insert(now + TICK);
    }
}
