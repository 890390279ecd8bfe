//! Whether a lane lives, and when it must say so. Sans-IO: told what happens and when.

use super::Transport;
use crate::{config::SessionConfig, pool::Direction};
use std::time::Duration;
use tokio::time::Instant;

/// Lateness of a timer from which on this program, not the peer, is held to have been away: asleep with its machine, or stopped.
pub(super) const ASLEEP: Duration = Duration::from_secs(2);

/// How much later the accepting side asks: more than half a round trip, so that of two idle sides one asks.
const COURTESY: Duration = Duration::from_secs(1);

/// Frames of the layer above that are no further apart belong to one spell of work.
const SPELL_GAP: Duration = Duration::from_millis(250);
/// A spell of work that lasted so long may be a pause in a transfer when it ends.
const SPELL: Duration = Duration::from_millis(500);
/// When after such a spell the first PING goes out; each later one after twice the time.
const AFTER_SPELL: Duration = Duration::from_millis(100);

/// The times that matter.
///
/// A lane in use is asked every few seconds, whatever else it carries: that measures the path, and a side that falls silent
/// is noticed. After a spell of work it is asked at once, and then ever more seldom: a NAT that forgets its bindings just then
/// lets nothing more in, so the side that waits to be asked would wait for the other side's next request in vain. An idle lane is asked as seldom as NATs allow: when for that long nothing has left or nothing has come, so
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
    /// Since when frames of the layer above have come and gone without a pause.
    spell: Instant,
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
    pub(super) fn new(
        config: &SessionConfig,
        transport: Transport,
        direction: Direction,
        now: Instant,
    ) -> Self {
        let interval = match transport {
            Transport::Quic => config.idle_ping_quic,
            Transport::TlsTcp => config.idle_ping_stream,
        };
        let courtesy = match direction {
            Direction::Outgoing => Duration::ZERO,
            Direction::Inbound => COURTESY,
        };
        Self {
            active_interval: config.ping_interval,
            idle_interval: interval.max(config.ping_interval) + courtesy,
            idle_after: config.idle_after,
            dead_after: config.dead_after,
            arrived: now,
            sent: now,
            used: now,
            spell: now,
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
        if now > self.used + SPELL_GAP {
            self.spell = now;
        }
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
            return self.after_spell(pinged).map_or(soon, |at| at.min(soon));
        }
        let idle = self.arrived.min(self.sent) + self.idle_interval;
        match self.unread {
            // Whoever does not read does not answer either, and must be heard otherwise.
            Some(since) => soon.max(since + self.active_interval).min(idle.max(soon)),
            None => idle.max(soon),
        }
    }

    /// When to ask after a spell of work.
    fn after_spell(&self, pinged: Instant) -> Option<Instant> {
        let lasted = self.used.saturating_duration_since(self.spell);
        let asked = pinged.saturating_duration_since(self.used);
        (lasted >= SPELL).then(|| self.used + (asked * 2).max(AFTER_SPELL))
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
        let unheard = self.arrived + self.idle_interval + COURTESY + self.dead_after;
        self.asked
            .map_or(unheard, |asked| unheard.min(asked + self.dead_after))
    }

    fn is_idle(&self, now: Instant) -> bool {
        now >= self.used + self.idle_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A lane whose first PING was answered at once, read all the time.
    fn opened(transport: Transport, direction: Direction, now: Instant) -> Pulse {
        let mut pulse = Pulse::new(&SessionConfig::default(), transport, direction, now);
        assert_eq!(pulse.next_ping(now), now, "the first PING measures");
        ask_and_hear(&mut pulse, now);
        pulse
    }

    fn ask_and_hear(pulse: &mut Pulse, now: Instant) {
        pulse.pings(now);
        pulse.sends(now);
        pulse.stops(now, true);
        pulse.reads(now);
    }

    #[test]
    fn a_lane_in_use_is_asked_often_and_an_idle_one_seldom() {
        for (transport, direction, idle) in [
            (Transport::Quic, Direction::Outgoing, 15),
            (Transport::Quic, Direction::Inbound, 16),
            (Transport::TlsTcp, Direction::Outgoing, 55),
            (Transport::TlsTcp, Direction::Inbound, 56),
        ] {
            let start = Instant::now();
            let mut pulse = opened(transport, direction, start);
            let mut asked = Vec::new();
            for second in 1..=200 {
                let now = start + second * SECOND;
                if second == 100 {
                    assert!(pulse.is_used(now), "it was idle");
                }
                if now >= pulse.next_ping(now) {
                    ask_and_hear(&mut pulse, now);
                    asked.push(second);
                }
            }
            let mut expected = vec![5, 10];
            expected.extend((1..).map(|n| 10 + n * idle).take_while(|at| *at < 100));
            let before = *expected.last().unwrap();
            let first = (before + 5).max(100);
            expected.extend((0..).map(|n| first + n * 5).take_while(|at| *at < 115));
            let last = *expected.last().unwrap();
            expected.extend((1..).map(|n| last + n * idle).take_while(|at| *at <= 200));
            assert_eq!(asked, expected, "{transport} {direction:?}");
        }
    }

    #[test]
    fn after_a_spell_of_work_it_is_asked_at_once_and_then_ever_more_seldom() {
        let asked = |spell: u32| {
            let start = Instant::now();
            let at = |millis| start + Duration::from_millis(1) * millis;
            let mut pulse = opened(Transport::Quic, Direction::Inbound, start);
            let mut asked = Vec::new();
            for millis in 0..20_000 {
                if millis < spell && millis % 50 == 0 {
                    pulse.is_used(at(millis));
                }
                if at(millis) >= pulse.next_ping(at(millis)) {
                    ask_and_hear(&mut pulse, at(millis));
                    asked.push(millis);
                }
            }
            asked
        };
        // The last frame came at 950 ms.
        let after = [1_050, 1_150, 1_350, 1_750, 2_550, 4_150, 7_350];
        assert_eq!(asked(1_000)[..7], after);
        assert_eq!(asked(300)[..2], [5_000, 10_000], "that was no transfer");
    }

    #[test]
    fn either_direction_alone_keeps_no_binding() {
        let start = Instant::now();
        let idle = start + 40 * SECOND;
        let mut hears = opened(Transport::Quic, Direction::Outgoing, start);
        let mut speaks = opened(Transport::Quic, Direction::Outgoing, start);
        for second in 0..40 {
            hears.stops(start + second * SECOND, true);
            hears.reads(start + second * SECOND);
            speaks.sends(start + second * SECOND);
        }
        assert!(hears.next_ping(idle) <= idle, "nothing has left for 40 s");
        assert!(speaks.next_ping(idle) <= idle, "nothing has come for 40 s");
    }

    #[test]
    fn whoever_does_not_read_is_heard_all_the_same() {
        let start = Instant::now();
        let mut pulse = opened(Transport::TlsTcp, Direction::Outgoing, start);
        let idle = start + 20 * SECOND;
        assert_eq!(pulse.next_ping(idle), start + 55 * SECOND);
        assert!(pulse.stops(idle, false), "the writer must look again");
        assert_eq!(pulse.next_ping(idle), idle + 5 * SECOND);
        pulse.pings(idle + 5 * SECOND);
        assert_eq!(pulse.next_ping(idle + 5 * SECOND), idle + 10 * SECOND);
        assert_eq!(pulse.silence(idle + 30 * SECOND), 20 * SECOND);
    }

    #[test]
    fn death_follows_a_question_not_mere_silence() {
        let start = Instant::now();
        let mut pulse = opened(Transport::TlsTcp, Direction::Outgoing, start);
        let later = start + 50 * SECOND;
        assert!(!pulse.is_dead(later));
        assert_eq!(pulse.next_look(later), later + 20 * SECOND);
        pulse.pings(later);
        assert!(!pulse.is_dead(later + 19 * SECOND));
        // A second question gives no second grace.
        pulse.pings(later + 10 * SECOND);
        assert!(pulse.is_dead(later + 20 * SECOND));
    }

    #[test]
    fn a_full_connection_that_takes_no_question_dies_too() {
        let start = Instant::now();
        let pulse = opened(Transport::Quic, Direction::Outgoing, start);
        assert!(!pulse.is_dead(start + 35 * SECOND));
        assert!(pulse.is_dead(start + 36 * SECOND));
    }

    #[test]
    fn a_sleeper_asks_and_then_waits_in_full() {
        let start = Instant::now();
        let mut pulse = opened(Transport::Quic, Direction::Outgoing, start);
        pulse.pings(start + 5 * SECOND);
        let woken = start + 500 * SECOND;
        assert!(pulse.is_dead(woken));
        pulse.slept(woken);
        assert_eq!(pulse.next_ping(woken), woken);
        pulse.pings(woken);
        assert_eq!(pulse.silence(woken), Duration::ZERO);
        assert!(!pulse.is_dead(woken + 19 * SECOND));
        assert!(pulse.is_dead(woken + 20 * SECOND));
    }
}
