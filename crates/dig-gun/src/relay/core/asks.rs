//! Answers that wait for relays which were asked.

use super::{ConnId, Core, Now, gets::Asker};
use crate::message::MessageId;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// Answers that wait, within bounds of number and time.
#[derive(Debug)]
pub(super) struct Asks {
    limit: usize,
    patience: Duration,
    /// Our questions: whom they went to, and which answer waits for theirs.
    asked: HashMap<MessageId, (ConnId, u64)>,
    held: HashMap<u64, Held>,
    /// When the patience with each is over; those answered already are skipped.
    over: VecDeque<(Duration, u64)>,
    serial: u64,
}

#[derive(Debug)]
struct Held {
    asker: Asker,
    asked: Vec<MessageId>,
    left: usize,
}

impl Asks {
    pub(super) fn new(limit: usize, patience: Duration) -> Self {
        Self {
            limit,
            patience,
            asked: HashMap::new(),
            held: HashMap::new(),
            over: VecDeque::new(),
            serial: 0,
        }
    }

    /// Lets somebody wait for those who were asked; or gives them back if too many wait.
    pub(super) fn hold(
        &mut self,
        now: Duration,
        asker: Asker,
        asked: Vec<(MessageId, ConnId)>,
    ) -> Option<Asker> {
        if self.over.len() >= self.limit {
            return Some(asker);
        }
        self.serial += 1;
        let left = asked.len();
        let mut ids = Vec::with_capacity(left);
        for (id, conn) in asked {
            self.asked.insert(id.clone(), (conn, self.serial));
            ids.push(id);
        }
        let held = Held {
            asker,
            asked: ids,
            left,
        };
        self.held.insert(self.serial, held);
        self.over.push_back((now + self.patience, self.serial));
        None
    }

    /// Whoever was asked answered: the number of the answer that waits for it, and whether it waits for nobody else.
    fn answered(&mut self, conn: ConnId, id: &MessageId) -> Option<(u64, bool)> {
        let (asked, serial) = *self.asked.get(id)?;
        if asked != conn {
            return None;
        }
        self.asked.remove(id);
        let held = self.held.get_mut(&serial)?;
        held.left -= 1;
        Some((serial, held.left == 0))
    }

    fn release(&mut self, serial: u64) -> Option<Asker> {
        let held = self.held.remove(&serial)?;
        for id in &held.asked {
            self.asked.remove(id);
        }
        Some(held.asker)
    }

    /// Whether nobody waits.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.held.is_empty() && self.over.is_empty()
    }

    /// When somebody's patience is over.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.over.front().map(|(over, _)| *over)
    }
}

impl Core {
    /// Somebody answered a question; what they sent is merged, or waits to be.
    pub(super) fn on_answer(&mut self, now: Now, conn: ConnId, id: &MessageId) {
        let Some((serial, last)) = self.asks.answered(conn, id) else {
            return;
        };
        let soul = self
            .asks
            .held
            .get(&serial)
            .and_then(|held| held.asker.query.one_soul().cloned());
        let Some(soul) = soul else {
            return;
        };
        // What has to be read before it can be merged comes first in the queue.
        let has_data = !self.is_here(&soul)
            || self
                .cache
                .get(&soul)
                .is_some_and(|node| !node.fields.is_empty());
        if (last || has_data)
            && let Some(asker) = self.asks.release(serial)
        {
            self.reply_or_wait(now, soul, asker);
        }
    }

    /// Answers those whose patience is over with what there is.
    pub(super) fn on_patience_over(&mut self, now: Now) {
        while let Some((over, serial)) = self.asks.over.front().copied()
            && over <= now.since
        {
            self.asks.over.pop_front();
            if let Some(asker) = self.asks.release(serial)
                && let Some(soul) = asker.query.one_soul().cloned()
            {
                self.reply_or_wait(now, soul, asker);
            }
        }
    }
}
