//! Which run a lane asks for next.

use super::{
    Action, LaneKey, Now, Scheduler, Strategy,
    flight::{Request, State},
    holding::Holding,
    queue::Class,
};
use crate::chunk::{CHUNK_LEN, GROUP_CHUNKS, Run};
use std::ops::Range;

/// A sequential download gives a lane that is slower than the others by more than this what is needed later, in seconds.
const PROMPT: f64 = 0.05;
/// Of so many places drawn the highest with something above it is taken.
const DRAWS: u32 = 2;

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
        let longest = lane.run_length(&self.allowance, self.config.longest_run());
        let steps = self
            .limit
            .step()
            .map_or(longest, |step| (step / CHUNK_LEN as f64) as u8);
        let longest = longest.min(steps.max(1));
        let bytes = u64::from(longest) * CHUNK_LEN as u64;
        if lane.in_flight > 0 && lane.in_flight + bytes > lane.window(&self.allowance) {
            lane.filled = Some(now);
            return None;
        }
        let of_peer = self
            .config
            .peer_concurrency
            .is_some_and(|most| self.asking(&peer.lanes) >= most.max(1));
        let of_all = self
            .config
            .concurrency
            .is_some_and(|most| self.asking(self.lanes.keys()) >= most.max(1));
        let held = self.flight.held();
        if of_peer || of_all || (held > 0 && held + bytes > self.config.max_in_flight) {
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
        let head = self.head(first, &bounds);
        if let Some(run) = head
            .as_ref()
            .and_then(|head| self.hedge_head(now, key, head, longest))
        {
            return Some(run);
        }
        let urgent = head.and_then(|head| self.in_time(now, key, &head, longest));
        let free = urgent.or_else(|| match self.config.strategy {
            Strategy::Sequential => self.lowest_free(key, &bounds, longest),
            Strategy::FastestAvailable => self.most_pressing(key, &bounds, longest),
            Strategy::RarestFirst => self.rarest(key, &bounds, longest),
        });
        // Held back by the bound alone, a lane waits for the head of the line instead of asking twice for the rest.
        if free.is_none() && self.queue.has_free_from(bounds.end) {
            self.starved = true;
            return None;
        }
        free.or_else(|| self.hedge(now, key, longest))
    }

    /// The chunks that somebody waits for.
    fn head(&self, first: u64, bounds: &Range<u64>) -> Option<Range<u64>> {
        let waited = self.window.as_ref().filter(|window| window.end > first);
        let waited = waited.map(|window| window.start.max(first)..window.end.min(bounds.end));
        let sequential = self.config.strategy == Strategy::Sequential;
        waited.or_else(|| sequential.then_some(first..bounds.end))
    }

    /// The lowest free run that will not be needed before this lane can deliver it: a slow lane works further ahead, where
    /// it holds nobody up.
    fn in_time(&self, now: Now, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let lane = self.lanes.get(&key)?;
        let lowest = self.lowest_free(key, within, longest)?;
        let bytes = u64::from(lowest.count) * CHUNK_LEN as u64;
        let late = lane.eta(now, lane.in_flight + bytes) - self.quickest();
        if late <= PROMPT {
            return Some(lowest);
        }
        let ahead = (late * self.rate() / CHUNK_LEN as f64) as u64;
        let start = lowest
            .first
            .saturating_add(ahead)
            .min(within.end.saturating_sub(u64::from(longest)));
        self.lowest_free(key, &(start.max(lowest.first)..within.end), longest)
            .or(Some(lowest))
    }

    /// Seconds in which the promptest active lane answers, its window full.
    fn quickest(&self) -> f64 {
        let active = self
            .peers
            .values()
            .flat_map(|peer| &peer.active)
            .filter_map(|key| self.lanes.get(key));
        active
            .filter_map(|lane| lane.turnaround(&self.allowance))
            .fold(f64::INFINITY, f64::min)
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
    fn most_pressing(&mut self, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let several = self.queue.open_classes().nth(1).is_some();
        let rates = if several { self.rates() } else { Vec::new() };
        let need = |class, groups: &Class| {
            let supply: f64 = rates
                .iter()
                .filter(|(slot, _)| groups.holders >> slot & 1 == 1)
                .map(|(_, rate)| rate)
                .sum();
            if class == 0 {
                0.0
            } else {
                groups.free as f64 / supply.max(1.0)
            }
        };
        let mut open: Vec<_> = self
            .queue
            .open_classes()
            .map(|(class, groups)| (need(class, groups), class, groups.holders))
            .collect();
        open.sort_by(|a, b| b.0.total_cmp(&a.0));
        let slots = self.peers.values().filter_map(|peer| peer.slot);
        let all = slots.fold(0, |all, slot| all | 1 << slot);
        open.into_iter().find_map(|(_, class, holders)| {
            if holders & all == all {
                self.queue
                    .run_in(class, self.holding(key)?, within, longest)
            } else {
                self.scattered(key, class, within, longest)
            }
        })
    }

    /// From a class that some do not hold, at random, but a group that was begun is continued. Those who lack it are most
    /// likely getting it themselves, from its beginning: what they will soon give need not be asked of others.
    fn scattered(
        &mut self,
        key: LaneKey,
        class: usize,
        within: &Range<u64>,
        longest: u8,
    ) -> Option<Run> {
        let last = self.lanes.get(&key)?.last_group;
        let mut rng = self.rng.fork();
        let holding = self.holding(key)?;
        let begun = last
            .filter(|group| holding.has(*group) && self.queue.is_in(*group, class))
            .and_then(|group| self.queue.run_of(group, within, longest));
        if begun.is_some() {
            return begun;
        }
        let lowest = self.queue.run_in(class, holding, within, longest)?;
        let groups = lowest.group()..within.end.div_ceil(GROUP_CHUNKS);
        let drawn = (0..DRAWS).filter_map(|_| {
            let from = rng.u64(groups.clone()) * GROUP_CHUNKS;
            let upper = from.max(within.start)..within.end;
            self.queue.run_in(class, holding, &upper, longest)
        });
        drawn.max_by_key(|run| run.first).or(Some(lowest))
    }

    /// Goodput of the peers by slot; the average where it is not known.
    fn rates(&self) -> Vec<(u8, f64)> {
        let slotted = self
            .peers
            .values()
            .filter_map(|peer| Some((peer.slot?, peer.total(&self.lanes))));
        let mut rates: Vec<_> = slotted.collect();
        let known = rates.iter().filter(|(_, rate)| *rate > 0.0).count();
        let average = rates.iter().map(|(_, rate)| rate).sum::<f64>() / known.max(1) as f64;
        for (_, rate) in rates.iter_mut().filter(|(_, rate)| *rate <= 0.0) {
            *rate = average.max(1.0);
        }
        rates
    }

    /// From what the fewest hold. Ties at random, but a group that was begun is continued.
    fn rarest(&mut self, key: LaneKey, within: &Range<u64>, longest: u8) -> Option<Run> {
        let last = self.lanes.get(&key)?.last_group;
        let holding = self.holding(key)?;
        let begun = last
            .filter(|group| holding.has(*group))
            .and_then(|group| self.queue.run_of(group, within, longest));
        if begun.is_some() {
            return begun;
        }
        let mut open: Vec<_> = self
            .queue
            .open_classes()
            .map(|(class, groups)| (groups.holders.count_ones(), class))
            .collect();
        open.sort_unstable();
        open.into_iter()
            .find_map(|(_, class)| self.scattered(key, class, within, longest))
    }
}
