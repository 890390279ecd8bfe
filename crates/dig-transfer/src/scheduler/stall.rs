//! The timer: finds lanes that fell silent, and lets peers judge their lanes.

use super::{
    Action, LaneKey, Now, PeerKey, Scheduler,
    flight::State,
    lane::{Lane, Stall},
};
use crate::chunk::{GROUP_CHUNKS, Run};
use std::time::Duration;

/// The caller was away (a suspended machine, a blocked thread) when a tick is late by so much; its silence is not the lanes'.
const AWAY: Duration = Duration::from_millis(10);
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
            let reserve = self.has_reserve(key);
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            if away > AWAY {
                lane.life.excuse(now, away);
            }
            lane.busy_until = lane.busy_until.filter(|until| *until > now);
            waiting |= lane.slots > 0 || lane.busy_until.is_some() || lane.stall.is_some();
            waiting |= lane.awaits;
            let peer = lane.peer;
            match lane.stall {
                None if lane.is_silent(now, reserve) => self.fell_silent(now, key),
                None if lane.is_quiet(now) => self.ask_after(now, peer),
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
            self.pardon(now, peer);
            self.of_peer(now, peer, |peer, lanes| peer.judge(now, lanes, most));
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

    /// Whether another lane of the same peer works, so far as known.
    fn has_reserve(&self, key: LaneKey) -> bool {
        let peer = self
            .lanes
            .get(&key)
            .and_then(|lane| self.peers.get(&lane.peer));
        let works = |other: &LaneKey| {
            *other != key
                && self
                    .lanes
                    .get(other)
                    .is_some_and(|lane| lane.stall.is_none())
        };
        peer.is_some_and(|peer| peer.lanes.iter().any(works))
    }

    /// Asks all lanes of a peer for a sign of life: one is quiet, and what ails it may have befallen the others too.
    fn ask_after(&mut self, now: Now, peer: PeerKey) {
        let lanes = self.peers.get(&peer).map(|peer| peer.lanes.clone());
        for key in lanes.unwrap_or_default() {
            self.ping(now, key);
        }
    }

    fn ping(&mut self, now: Now, key: LaneKey) {
        let lane = self.lanes.get_mut(&key);
        if let Some(lane) = lane.filter(|lane| lane.life.is_to_ask_again(now)) {
            lane.life.ask(now);
            self.out.push_back(Action::Ping { lane: key });
        }
    }

    fn fell_silent(&mut self, now: Now, key: LaneKey) {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.life.fail(now);
        lane.suspect(now);
        let (peer, last) = (lane.peer, lane.life.last());
        self.out.push_back(Action::Stalled { lane: key });
        self.of_peer(now, peer, |peer, lanes| peer.set_aside(now, key, lanes));
        self.suspect_others(now, peer, last);
        self.rob(now, key);
    }

    /// Of the other lanes of a peer, those that were asked for a sign of life and gave none since `last` are as silent.
    fn suspect_others(&mut self, now: Now, peer: PeerKey, last: Now) {
        let Some(peer) = self.peers.get(&peer) else {
            return;
        };
        for key in peer.lanes.iter().filter(|key| !peer.active.contains(key)) {
            let lane = self.lanes.get_mut(key);
            let mute = |lane: &Lane| lane.life.answered_since(last) == Some(false);
            if let Some(lane) = lane.filter(|lane| lane.stall.is_none() && mute(lane)) {
                lane.suspect(now);
            }
        }
    }

    /// A lane that answered again, but failed too often to lead at once, has waited long enough: it leads if it answers now.
    fn pardon(&mut self, now: Now, peer: PeerKey) {
        let record = self.peers.get(&peer);
        let Some(key) = record.and_then(|peer| peer.pardoned(now, &self.lanes)) else {
            return;
        };
        let Some(lane) = self.lanes.get_mut(&key) else {
            return;
        };
        lane.suspect(now);
        if lane.life.tells() {
            self.ping(now, key);
        } else {
            self.probe(now, key);
        }
    }

    /// Gives a silent lane's work to whoever else holds it. Where only content tells whether it answers, its first request
    /// stays, as a probe.
    fn rob(&mut self, now: Now, key: LaneKey) {
        let Some(lane) = self.lanes.get(&key) else {
            return;
        };
        let mut probed = lane.life.tells();
        let mut robbed = false;
        for id in lane.order.clone() {
            let Some(request) = self.flight.get(id).filter(|request| request.flows()) else {
                continue;
            };
            if !self.another_holds(key, request.run.group()) {
                continue;
            }
            robbed = true;
            if std::mem::replace(&mut probed, true) {
                self.cancel(now, id);
                continue;
            }
            self.release(id);
            let rest = self.flight.get_mut(id).map_or(0, |request| {
                request.state = State::Probe;
                request.remaining()
            });
            self.limit.refund(rest);
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.settle(now, rest);
            }
        }
        if let Some(lane) = self.lanes.get_mut(&key).filter(|_| robbed) {
            if let Some(stall) = lane.stall.as_mut()
                && !std::mem::replace(&mut stall.robbed, true)
            {
                lane.restart();
            }
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
        let tells = self.lanes.get(&key).is_some_and(|lane| lane.life.tells());
        if tells {
            self.ping(now, key);
        }
        if now.saturating_sub(stall.probed) < PROBE {
            return;
        }
        let reserve = self.has_reserve(key);
        if !reserve {
            self.out.push_back(Action::Redial { lane: key });
        }
        if let Some(stall) = self
            .lanes
            .get_mut(&key)
            .and_then(|lane| lane.stall.as_mut())
        {
            stall.probed = now;
        }
        if !(tells && reserve) {
            self.probe(now, key);
        }
    }

    /// Asks a lane for a chunk to see whether it answers; nothing is expected from it.
    fn probe(&mut self, now: Now, key: LaneKey) {
        let room = (self.lanes.get(&key)).is_some_and(|lane| lane.slots < lane.slot_limit);
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
        let mut waits = false;
        self.of_peer(now, peer, |peer, lanes| {
            waits = peer.recovered(now, key, lanes)
        });
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.awaits = waits;
        }
        self.arm(now);
        self.mark(key);
    }
}
