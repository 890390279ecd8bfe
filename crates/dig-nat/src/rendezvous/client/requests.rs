//! Requests that carriers have not answered yet.

use crate::{rendezvous::LaneId, signaling::SignalError};
use dig_types::NodeId;
use std::{collections::BTreeMap, time::Duration};

/// The requests of a client, by number. A request ends by its first good answer, or fails when no carrier is left that
/// could give one.
#[derive(Debug)]
pub(super) struct Requests {
    pending: BTreeMap<u32, Pending>,
    last: u32,
}

#[derive(Debug)]
struct Pending {
    node: NodeId,
    waiting: Vec<LaneId>,
    deadline: Duration,
    /// What is said if no carrier has a better answer.
    error: SignalError,
}

impl Requests {
    pub(super) const MAX: usize = 256;

    pub(super) const fn new() -> Self {
        Self {
            pending: BTreeMap::new(),
            last: 0,
        }
    }

    /// Waits for answers about a node on some lanes; `None`: too many wait.
    pub(super) fn begin(
        &mut self,
        node: NodeId,
        waiting: Vec<LaneId>,
        deadline: Duration,
    ) -> Option<u32> {
        if self.pending.len() >= Self::MAX {
            return None;
        }
        // Fewer than MAX are taken, so a free one is near; 0 belongs to REGISTER.
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.pending.contains_key(&self.last) {
                break;
            }
        }
        let pending = Pending {
            node,
            waiting,
            deadline,
            error: SignalError::NoCarrier,
        };
        self.pending.insert(self.last, pending);
        Some(self.last)
    }

    /// Which node a request is about, if an answer is due on this lane.
    pub(super) fn node(&self, request: u32, lane: LaneId) -> Option<NodeId> {
        let pending = self.pending.get(&request)?;
        pending.waiting.contains(&lane).then_some(pending.node)
    }

    /// A request has its answer.
    pub(super) fn end(&mut self, request: u32) {
        self.pending.remove(&request);
    }

    /// A lane has no good answer; if it was the last, the request has failed, for the most telling reason of all.
    pub(super) fn give_up(
        &mut self,
        request: u32,
        lane: LaneId,
        error: SignalError,
    ) -> Option<SignalError> {
        let pending = self.pending.get_mut(&request)?;
        pending.waiting.retain(|&waiting| waiting != lane);
        if weight(&error) > weight(&pending.error) {
            pending.error = error;
        }
        if !pending.waiting.is_empty() {
            return None;
        }
        self.pending.remove(&request).map(|pending| pending.error)
    }

    /// A lane is gone: what has failed by that.
    pub(super) fn lane_down(&mut self, lane: LaneId) -> Vec<(u32, SignalError)> {
        for pending in self.pending.values_mut() {
            pending.waiting.retain(|&waiting| waiting != lane);
        }
        self.take(|pending| pending.waiting.is_empty())
    }

    /// What was not answered in time.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<(u32, SignalError)> {
        self.take(|pending| pending.deadline <= now)
    }

    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.pending.values().map(|pending| pending.deadline).min()
    }

    fn take(&mut self, failed: impl Fn(&Pending) -> bool) -> Vec<(u32, SignalError)> {
        let taken = self.pending.iter().filter(|(_, pending)| failed(pending));
        let taken: Vec<_> = taken
            .map(|(&request, pending)| (request, pending.error.clone()))
            .collect();
        self.pending
            .retain(|request, _| taken.iter().all(|(gone, _)| gone != request));
        taken
    }
}

/// Which of several answers says most about why it failed.
const fn weight(error: &SignalError) -> u8 {
    match error {
        SignalError::NoCarrier => 0,
        SignalError::NotFound(_) => 1,
        SignalError::Busy => 2,
        SignalError::TooLarge => 3,
    }
}
