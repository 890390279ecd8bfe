//! Whether a lane lives, and when it must say so. Sans-IO: told what happens and when.

use crate::{config::SessionConfig, lane::Transport};
use std::time::Duration;
use tokio::time::Instant;

/// Lateness of a timer from which on this program, not the peer, is held to have been away: asleep with its machine, or stopped.
pub(super) const ASLEEP: Duration = Duration::from_secs(2);

/// How much later the side that was asked last asks itself: more than half a round trip, so that two idle sides do not both ask.
const FOLLOWER: Duration = Duration::from_secs(1);

/// The times that matter.
///
/// A lane in use is asked every few seconds, whatever else it carries: that measures the path, and a side that falls silent
/// is noticed. An idle lane is asked as seldom as NATs allow: when for that long nothing has left or nothing has come, so
/// that of two idle sides one asks and the other answers.
///
/// A lane is dead when a PING stays unanswered for long. Time in which this side did not read, or its machine slept, does not count.
#[derive(Debug)]
pub(super) struct Pulse {
    active_interval: Duration,
    idle_interval: Duration,
    idle_after: Duration,
    dead_after: Duration,
    /// When something last arrived; moves on with time that does not count.
    arrived: Instant,
    /// When something was last given to the network.
    sent: Instant,
    /// When a frame of the layer above was last sent or received.
    used: Instant,
    /// When the last PING was made.
    pinged: Option<Instant>,
    /// When the first PING since the last arrival was made; moves on with time that does not count.
    asked: Option<Instant>,
    /// Since when nobody reads.
    unread: Option<Instant>,
    /// Somebody wants a PING at once.
    wanted: bool,
}

impl Pulse {
    pub(super) fn new(config: &SessionConfig, transport: Transport, now: Instant) -> Self {
        let idle_interval = match transport {
            Transport::Quic => config.idle_ping_quic,
            Transport::TlsTcp => config.idle_ping_stream,
        };
        Self {
            active_interval: config.ping_interval,
            idle_interval: idle_interval.max(config.ping_interval),
            idle_after: config.idle_after,
            dead_after: config.dead_after,
            arrived: now,
            sent: now,
            used: now,
            pinged: None,
            asked: None,
            unread: Some(now),
            // The first PING measures the path.
            wanted: true,
        }
    }

    /// Something is given to the network.
    pub(super) fn sends(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A frame of the layer above comes or goes; whether the lane was idle until now.
    pub(super) fn is_used(&mut self, now: Instant) -> bool {
        let was_idle = self.is_idle(now);
        self.used = now;
        was_idle
    }

    /// Reading begins; for how long nobody has read.
    pub(super) fn reads(&mut self, now: Instant) -> Duration {
        let pause = self
            .unread
            .take()
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.arrived = (self.arrived + pause).min(now);
        self.asked = self.asked.map(|asked| (asked + pause).min(now));
        pause
    }

    /// Reading has stopped; whether something `arrived`. Whether the next PING may have become due earlier.
    pub(super) fn stops(&mut self, now: Instant, arrived: bool) -> bool {
        self.unread = Some(now);
        if arrived {
            (self.arrived, self.asked) = (now, None);
        }
        !arrived && self.is_idle(now)
    }

    /// This program was away until now: nothing could come, so silence begins anew, with a PING.
    pub(super) fn slept(&mut self, now: Instant) {
        (self.arrived, self.asked) = (now, None);
        self.wanted = true;
    }

    /// A PING is to be sent as soon as possible.
    pub(super) fn want_ping(&mut self) {
        self.wanted = true;
    }

    /// A PING is made.
    pub(super) fn pings(&mut self, now: Instant) {
        (self.pinged, self.wanted) = (Some(now), false);
        self.asked.get_or_insert(now);
    }

    /// When the next PING is due, as things are.
    pub(super) fn next_ping(&self, now: Instant) -> Instant {
        let Some(pinged) = self.pinged.filter(|_| !self.wanted) else {
            return now;
        };
        let soon = pinged + self.active_interval;
        if !self.is_idle(now) {
            return soon;
        }
        let follows = if self.arrived < self.sent {
            FOLLOWER
        } else {
            Duration::ZERO
        };
        let idle = self.arrived.min(self.sent) + self.idle_interval + follows;
        match self.unread {
            // Whoever does not read does not answer either, and must be heard otherwise.
            Some(since) => soon.max(since + self.active_interval).min(idle.max(soon)),
            None => idle.max(soon),
        }
    }

    /// Whether the lane is dead.
    pub(super) fn is_dead(&self, now: Instant) -> bool {
        now >= self.death()
    }

    /// When to look for death again: a PING that has not been made yet cannot stay unanswered before that.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        self.death().min(now + self.dead_after)
    }

    /// For how long nothing has arrived.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.unread
            .unwrap_or(now)
            .saturating_duration_since(self.arrived)
    }

    /// When the lane dies if nothing arrives.
    fn death(&self) -> Instant {
        // An idle peer asks as often as this side does; also holds while a full connection lets no PING out.
        let unheard = self.arrived + self.idle_interval + FOLLOWER + self.dead_after;
        self.asked
            .map_or(unheard, |asked| unheard.min(asked + self.dead_after))
    }

    fn is_idle(&self, now: Instant) -> bool {
        now >= self.used + self.idle_after
    }
}
