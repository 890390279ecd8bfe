//! The writes on their way to one relay.
//!
//! A part of a write waits in the queue; is sent, as part of a window; and is done when the relay acknowledges or refuses it. gun.js's
//! relays stay silent about what changes nothing (what was sent before the connection broke, say), so after a while the relay is
//! asked for what it holds. If that is not what was written, the part gives way to others and is sent again later.

use super::writes::{Part, Writes};
use crate::{
    graph::Node,
    message::MessageId,
    value::{Key, Soul},
};
use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Duration,
};

/// A part of a write: the write's number, and the part's.
pub(super) type Slot = (u64, u32);

/// Most parts under way at a time; gun.js's relay is fastest with many.
const WINDOW: usize = 1024;
/// Most bytes of memory of the parts under way; the first one goes whatever its size.
const WINDOW_BYTES: usize = 4 << 20;
/// How long an acknowledgement is waited for: gun.js's takes a quarter of a second, and more under load. Asking too early costs no more than a
/// query.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for what was sent before, which gun.js acknowledges only if it was lost.
const PATIENCE_AGAIN: Duration = Duration::from_secs(1);
/// How long the answer to what the relay holds is waited for.
const PROOF_PATIENCE: Duration = Duration::from_secs(3);
/// Wait before what the relay does not hold is sent again; doubles each time.
const REST: Duration = Duration::from_millis(500);
/// Longest such wait.
const LONGEST_REST: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    queue: VecDeque<Slot>,
    flights: HashMap<Slot, Flight>,
    due: BTreeSet<(Duration, Slot)>,
    window: usize,
    bytes: usize,
}

/// A part that was sent.
#[derive(Debug)]
struct Flight {
    /// The messages whose answers tell of it.
    ids: Vec<MessageId>,
    weight: usize,
    tries: u32,
    due: Duration,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// An acknowledgement is waited for.
    Sent,
    /// The relay was asked what it holds; these fields have not been shown.
    Asked(BTreeSet<(Soul, Key)>),
    /// It waits to be sent again, outside of the window.
    Resting,
}

/// What is to be done about a part.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask the relay what it holds of it.
    Ask(Slot),
    /// Nothing but going on.
    Nothing,
}

impl Outgoing {
    /// More parts to be sent.
    pub(super) fn fill(&mut self, slots: impl IntoIterator<Item = Slot>) {
        self.queue.extend(slots);
    }

    /// The next part to send, if the window has room.
    pub(super) fn next(&mut self) -> Option<Slot> {
        let room = self.window < WINDOW && (self.window == 0 || self.bytes < WINDOW_BYTES);
        room.then(|| self.queue.pop_front()).flatten()
    }

    /// A part was sent; `again` if the relay may have it already.
    pub(super) fn sent(
        &mut self,
        now: Duration,
        slot: Slot,
        id: MessageId,
        weight: usize,
        again: bool,
    ) {
        let patience = if again { PATIENCE_AGAIN } else { PATIENCE };
        let due = now + patience;
        self.due.insert((due, slot));
        self.window += 1;
        self.bytes += weight;
        let flight = self.flights.entry(slot).or_insert(Flight {
            ids: Vec::new(),
            weight,
            tries: 0,
            due,
            step: Step::Sent,
        });
        flight.ids.push(id);
        flight.tries += 1;
        flight.due = due;
        flight.step = Step::Sent;
    }

    /// The relay was asked, in these messages, what it holds of a part.
    pub(super) fn asked(&mut self, now: Duration, slot: Slot, part: &Part, ids: Vec<MessageId>) {
        let Some(flight) = self.flights.get_mut(&slot) else {
            return;
        };
        flight.ids.extend(ids);
        flight.step = Step::Asked(part.names().collect());
        flight.due = now + PROOF_PATIENCE;
        self.due.insert((flight.due, slot));
    }

    /// The relay shows what it holds. `Some(true)` if now all of the part was shown.
    pub(super) fn on_proof(
        &mut self,
        now: Duration,
        slot: Slot,
        nodes: &[Node],
        writes: &Writes,
    ) -> Option<bool> {
        let part = writes.part(slot)?;
        let flight = self.flights.get_mut(&slot)?;
        let Step::Asked(open) = &mut flight.step else {
            return None;
        };
        for (soul, key) in part.shown_by(nodes) {
            open.remove(&(soul.clone(), key.clone()));
        }
        if open.is_empty() {
            return Some(true);
        }
        if nodes.is_empty() {
            // It says that it has nothing: no need to wait for more.
            self.due.remove(&(flight.due, slot));
            self.rest(now, slot);
        }
        Some(false)
    }

    /// Takes a part that is due, and says what is to be done about it.
    pub(super) fn pop_due(&mut self, now: Duration) -> Option<Due> {
        let &(due, slot) = self.due.first().filter(|(due, _)| *due <= now)?;
        self.due.remove(&(due, slot));
        let Some(flight) = self.flights.get(&slot) else {
            return Some(Due::Nothing);
        };
        match flight.step {
            Step::Sent => return Some(Due::Ask(slot)),
            Step::Asked(_) => self.rest(now, slot),
            Step::Resting => self.queue.push_back(slot),
        }
        Some(Due::Nothing)
    }

    fn rest(&mut self, now: Duration, slot: Slot) {
        let Some(flight) = self.flights.get_mut(&slot) else {
            return;
        };
        self.window -= 1;
        self.bytes -= flight.weight;
        let rest = REST.saturating_mul(1 << (flight.tries - 1).min(16));
        flight.step = Step::Resting;
        flight.due = now + rest.min(LONGEST_REST);
        self.due.insert((flight.due, slot));
    }

    /// Nothing is to be done about this part any more. Its messages.
    pub(super) fn forget(&mut self, slot: Slot) -> Vec<MessageId> {
        let Some(flight) = self.flights.remove(&slot) else {
            return Vec::new();
        };
        self.due.remove(&(flight.due, slot));
        if !matches!(flight.step, Step::Resting) {
            self.window -= 1;
            self.bytes -= flight.weight;
        }
        flight.ids
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }
}
