//! Lanes and peers as they come and go, and whose turn it is.

use super::{Action, LaneKey, Now, PeerKey, Scheduler, lane::Lane, peer::Peer};
use std::collections::BTreeMap;

impl Scheduler {
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
        now: Now,
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
            if let Some(lane) = self.lanes.get_mut(&lane) {
                lane.awaits = false;
                lane.life.lead(now);
            }
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
            Action::Stalled { lane } | Action::Redial { lane } | Action::Ping { lane } => {
                self.lanes.contains_key(lane)
            }
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
}
