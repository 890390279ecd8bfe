//! The timer: finds lanes that fell silent, and lets peers judge their lanes.

use super::{Action, LaneKey, Now, Scheduler, flight::State, lane::Stall};
use crate::chunk::{GROUP_CHUNKS, Run};
use std::time::Duration;

/// The caller was away (a suspended machine, a blocked thread) when a tick is late by so much.
const AWAY: Duration = Duration::from_millis(250);
/// A silent lane is asked for a sign of life, and reported, so often.
const PROBE: Duration = Duration::from_secs(10);
/// Chunks that are here and neither verified nor refused for so long are asked for again: no disk is that slow, so the
/// caller has lost them.
const UNVERIFIED: Duration = Duration::from_secs(60);
/// Missing chunks looked at for a probe.
const PROBE_SEARCH: usize = 4096;

impl Scheduler {
    /// Looks after everything that only time changes.
    pub(super) fn tick(&mut self, now: Now) {
        let due = self.next_tick.take().unwrap_or(now);
        let away = now.saturating_sub(due);
        let keys: Vec<LaneKey> = self.lanes.keys().copied().collect();
        let mut waiting = false;
        for key in keys {
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            if away > AWAY {
                lane.excuse(away);
            }
            lane.busy_until = lane.busy_until.filter(|until| *until > now);
            waiting |= lane.slots > 0 || lane.busy_until.is_some() || lane.stall.is_some();
            match lane.stall {
                None if lane.is_silent(now) => self.fell_silent(now, key),
                None => {}
                Some(stall) => self.still_silent(now, key, stall),
            }
            self.mark(key);
        }
        let most = self.config.max_active_lanes.max(1);
        let several = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.lanes.len() > 1)
            .map(|(key, _)| *key);
        for peer in several.collect::<Vec<_>>() {
            self.of_peer(peer, |peer, lanes| peer.judge(now, lanes, most));
        }
        let active = self.peers.values().flat_map(|peer| &peer.active);
        self.allowance
            .share(active.filter_map(|key| self.lanes.get(key)));
        for id in self.flight.arrived_before(now.saturating_sub(UNVERIFIED)) {
            self.drop_request(now, id);
            self.wake_all();
        }
        waiting |= self.flight.held() > 0;
        if waiting && !self.is_done() {
            self.arm(now);
        }
    }

    fn fell_silent(&mut self, now: Now, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.stall = Some(Stall {
            probed: now,
            robbed: false,
        });
        lane.stalls += 1;
        let peer = lane.peer;
        self.out.push_back(Action::Stalled { lane: key });
        self.of_peer(peer, |peer, lanes| peer.set_aside(now, key, lanes));
        self.rob(now, key);
    }

    /// Gives a silent lane's work to whoever else holds it. Its first request stays, as a probe.
    fn rob(&mut self, now: Now, key: LaneKey) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let mut robbed = false;
        for id in lane.order.clone() {
            let Some(request) = self.flight.get(id).filter(|request| request.flows()) else {
                continue;
            };
            if !self.another_holds(key, request.run.group()) {
                continue;
            }
            if robbed {
                self.cancel(now, id);
                continue;
            }
            robbed = true;
            self.release(id);
            let rest = self.flight.get_mut(id).map_or(0, |request| {
                request.state = State::Probe;
                request.remaining()
            });
            self.limit.refund(rest);
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.settle(now, rest);
                lane.restart();
            }
        }
        if let Some(stall) = self
            .lanes
            .get_mut(&key)
            .and_then(|lane| lane.stall.as_mut())
            .filter(|_| robbed)
        {
            stall.robbed = true;
            self.wake_all();
        }
    }

    /// Whether a lane that works could supply this group instead.
    fn another_holds(&self, silent: LaneKey, group: u64) -> bool {
        self.peers.values().any(|peer| {
            let works = |key: &LaneKey| {
                *key != silent && self.lanes.get(key).is_some_and(|lane| lane.stall.is_none())
            };
            peer.holding.has(group) && peer.active.iter().any(works)
        })
    }

    fn still_silent(&mut self, now: Now, key: LaneKey, stall: Stall) {
        self.rob(now, key);
        if now.saturating_sub(stall.probed) < PROBE {
            return;
        }
        self.out.push_back(Action::Redial { lane: key });
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if let Some(stall) = &mut lane.stall {
            stall.probed = now;
        }
        let room = lane.slots < lane.slot_limit;
        let Some(holding) = self.holding(key).filter(|_| room) else {
            return;
        };
        let held = |chunk: &u64| holding.has(chunk / GROUP_CHUNKS);
        let Some(first) = self.queue.missing_from(0).take(PROBE_SEARCH).find(held) else {
            return;
        };
        let probe = self.issue(now, key, Run { first, count: 1 }, State::Probe);
        self.out.push_back(probe);
    }

    /// A sign of life from a lane.
    pub(super) fn woke(&mut self, now: Now, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        if lane.stall.take().is_none() {
            return;
        }
        let peer = lane.peer;
        self.of_peer(peer, |peer, lanes| peer.recovered(now, key, lanes));
        self.mark(key);
    }
}
