//! What a path does to what is sent over it: it delays, loses, and may pass nothing for a while.

use super::{Event, World, seconds};
use crate::scheduler::LaneKey;

/// Packets of a chunk.
const PACKETS: i32 = 46;

impl Event {
    /// The lane whose path it takes.
    fn path(&self) -> Option<LaneKey> {
        match self {
            Self::Asked(lane, ..)
            | Self::Cancelled(lane, _)
            | Self::Arrives(lane, ..)
            | Self::Refused(lane, ..) => Some(*lane),
            _ => None,
        }
    }
}

impl World {
    /// What takes a path that passes nothing is sent again later.
    pub(super) fn cross(&mut self, event: Event) -> Option<Event> {
        let Some(key) = event.path() else {
            return Some(event);
        };
        let far = self.fars.get_mut(&key).unwrap();
        if !far.path {
            far.dropped.push(event);
            return None;
        }
        if matches!(event, Event::Arrives(..) | Event::Refused(..)) {
            far.contact = self.now;
        }
        Some(event)
    }

    /// The path passes packets from now on, or drops them.
    pub(super) fn pass(&mut self, key: LaneKey, passes: bool) {
        let far = self.fars.get_mut(&key).unwrap();
        far.path = passes;
        let rtt = far.spec.rtt;
        if passes {
            self.after(1.5 * rtt, Event::Resent(key));
        }
    }

    /// What was dropped is sent again.
    pub(super) fn resume(&mut self, key: LaneKey) {
        let far = self.fars.get_mut(&key).unwrap();
        if !far.path {
            return;
        }
        for event in std::mem::take(&mut far.dropped) {
            self.after(0.0, event);
        }
        self.send(key);
    }

    /// The answer to a PING.
    pub(super) fn pong(&mut self, key: LaneKey) {
        let far = self.fars.get_mut(&key).unwrap();
        if far.path {
            far.contact = self.now;
        }
    }

    /// Tells when packets came last: some milliseconds ago while chunks are on their way.
    pub(super) fn report_life(&mut self) {
        if self
            .scheduler
            .next_wake()
            .is_none_or(|wake| wake > self.now)
        {
            return;
        }
        for (key, far) in self
            .fars
            .iter_mut()
            .filter(|(_, far)| far.up && far.spec.tells)
        {
            if far.sending && far.path {
                let ago = seconds(0.01 * self.rng.f64());
                far.contact = far.contact.max(self.now.saturating_sub(ago));
            }
            let rtt = Some(seconds(far.spec.rtt));
            self.scheduler.alive(self.now, *key, far.contact, rtt);
        }
    }

    pub(super) fn ping(&mut self, key: LaneKey) {
        let far = &self.fars[&key];
        assert!(far.up, "a lane that is down is asked for a sign of life");
        let (rtt, loss) = (far.spec.rtt, far.spec.loss);
        let lost = !far.path || self.rng.f64() < 2.0 * loss;
        if !lost {
            self.after(rtt, Event::Pong(key));
        }
    }

    /// How often what a chunk consists of must be sent again before all of it is there.
    pub(super) fn resent(&mut self, key: LaneKey) -> f64 {
        let loss = self.fars[&key].spec.loss;
        let luck = self.rng.f64();
        let all_within = |times: i32| (1.0 - loss.powi(times + 1)).powi(PACKETS);
        f64::from((0..9).find(|times| luck < all_within(*times)).unwrap_or(9))
    }
}
