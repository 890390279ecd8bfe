//! When relays are asked again for what subscribers follow.
//!
//! A relay pushes what changes. gun.js's does not push everything (equal states within milliseconds, nested puts), and a relay lets
//! go of the oldest subscriptions of whoever has too many. Who asks again hears of it, and follows it again.

use std::time::Duration;

/// At least so long between two questions, however many subscriptions there are.
const STEP: Duration = Duration::from_millis(20);
/// Bytes of nodes a second that are asked about again: gun.js's relay answers about long ones in full, known or not.
const BYTES_A_SECOND: u32 = 16 << 10;

/// Goes round all subscriptions, one at a time.
#[derive(Debug, Default)]
pub(super) struct Refresh {
    /// When the next one is asked about. `None` without subscriptions.
    due: Option<Duration>,
    /// Whose subscription was asked about last.
    last: u64,
}

impl Refresh {
    /// There is something to go round, in as long as that.
    pub(super) fn begin(&mut self, now: Duration, round: Duration) {
        self.due.get_or_insert(now + round);
    }

    pub(super) const fn deadline(&self) -> Option<Duration> {
        self.due
    }

    /// After whose subscription the next one is to be asked about, if it is time.
    pub(super) fn poll(&self, now: Duration) -> Option<u64> {
        self.due.filter(|due| *due <= now).map(|_| self.last)
    }

    /// Relays were asked for what this subscriber follows, and will be for the next one's; with none, for nothing more.
    pub(super) fn asked(&mut self, subscriber: Option<u64>, next: Duration) {
        self.due = subscriber.map(|_| next);
        self.last = subscriber.unwrap_or_default();
    }
}

/// How long nothing else is asked after a question about so many bytes, so that all subscribers' have their turn in a round.
pub(super) fn pause(round: Duration, subscribers: usize, bytes: usize) -> Duration {
    let share = round / u32::try_from(subscribers).unwrap_or(u32::MAX).max(1);
    let weight = u32::try_from(bytes).unwrap_or(u32::MAX);
    let long = Duration::from_secs(weight.into()) / BYTES_A_SECOND;
    share.max(STEP).max(long)
}
