//! Signals that are said again until they are known to have arrived: any of them may be lost.

use super::message::Message;
use std::time::Duration;

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repeat {
    /// The offer or the answer, with the stamps of then.
    Terms,
    /// The same once more, if that is still their revision: nothing tells that a later one has arrived.
    Revision(u8),
    /// Anything else.
    Message(Message),
}

/// What is to be said, and when.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pending: Vec<(Duration, Repeat)>,
}

impl Signals {
    pub(super) fn at(&mut self, when: Duration, what: Repeat) {
        self.pending.push((when, what));
    }

    /// It has arrived, or matters no more.
    pub(super) fn settle(&mut self, which: impl Fn(&Repeat) -> bool) {
        self.pending.retain(|(_, what)| !which(what));
    }

    pub(super) fn due(&mut self, now: Duration) -> Option<Repeat> {
        let at = self.pending.iter().position(|(when, _)| *when <= now)?;
        Some(self.pending.remove(at).1)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        self.pending.iter().map(|(when, _)| *when).min()
    }
}
