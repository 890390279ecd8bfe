//! Writes, until all relays have stored or refused them.

use super::{Core, Moment, Output, outgoing::Slot, relay::Relay};
use crate::{
    client::{PutError, Stored},
    graph::Node,
};

impl Core {
    /// Writes nodes. If `awaited`, [`Output::Stored`] tells how it ends.
    pub(in crate::client) fn put(
        &mut self,
        at: Moment,
        nodes: Vec<Node>,
        awaited: bool,
    ) -> Result<u64, PutError> {
        if awaited && self.relays.is_empty() {
            return Err(PutError::NoRelay {
                why: Some("none is named".to_owned()),
            });
        }
        self.last_id += 1;
        let id = self.last_id;
        let patience = if awaited {
            self.config.put_timeout
        } else {
            self.config.hold_for
        };
        for gone in self.writes.make_room(&nodes)? {
            self.forget(gone);
        }
        for node in &nodes {
            if self.interests.wants_soul(&node.soul) {
                self.take(at, node.clone());
            }
        }
        let parts = self.writes.add(id, nodes, awaited, at.now + patience);
        for (&relay_id, relay) in self.relays.iter_mut().filter(|(_, relay)| relay.is_up()) {
            relay.outgoing.fill((0..parts).map(|part| (id, part)));
            relay.pump(at.now, &mut self.writes, relay_id, &mut self.chance);
        }
        Ok(id)
    }

    /// A relay has stored or refused a part of a write.
    pub(super) fn settle(
        &mut self,
        at: Moment,
        relay_id: u32,
        slot: Slot,
        refused: Option<String>,
    ) {
        let Some(relay) = self.relays.get_mut(&relay_id) else {
            return;
        };
        relay.forget(slot);
        relay.pump(at.now, &mut self.writes, relay_id, &mut self.chance);
        let whole = self.writes.settle(relay_id, slot, refused);
        if whole {
            self.conclude(at, slot.0);
        }
    }

    /// A relay has stored or refused the whole of a write.
    fn conclude(&mut self, at: Moment, id: u64) {
        let Some(write) = self.writes.get(id) else {
            return;
        };
        let by = write.stored_by();
        if by > 0 {
            if write.awaited {
                self.out.push_back(Output::Stored(id, Ok(Stored { by })));
            }
            if self.relays.keys().all(|relay| write.is_settled(*relay)) {
                self.forget(id);
            } else {
                self.writes.acknowledged(id, at.now + self.config.hold_for);
            }
            return;
        }
        let mut up = self.relays.iter().filter(|(_, relay)| relay.is_up());
        if up.all(|(relay, _)| write.is_settled(*relay)) {
            self.give_up(id);
        }
    }

    /// Ends a write that no relay has stored.
    pub(super) fn give_up(&mut self, id: u64) {
        let Some(write) = self.writes.get(id) else {
            return;
        };
        let refusals: Vec<_> =
            write.refusals(|relay| self.relays.get(&relay).map(|relay| relay.url.clone()));
        let error = if !refusals.is_empty() {
            PutError::Refused(refusals)
        } else if self.relays.values().any(Relay::is_up) {
            PutError::Unanswered
        } else {
            PutError::NoRelay {
                why: self.why_down(),
            }
        };
        if write.awaited {
            self.out.push_back(Output::Stored(id, Err(error)));
        } else if !write.is_acknowledged() {
            tracing::debug!("a write is given up: {error}");
        }
        self.forget(id);
    }

    fn forget(&mut self, id: u64) {
        let Some(write) = self.writes.remove(id) else {
            return;
        };
        for relay in self.relays.values_mut() {
            for part in 0..write.parts() {
                relay.forget((id, part));
            }
        }
    }
}
