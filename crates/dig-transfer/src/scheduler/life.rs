//! Signs of life of one lane: which silence is jitter, which is failure, and how soon a lane that failed is trusted again.

use super::Now;
use std::time::Duration;

/// Silence that is never a failure where another lane of the peer could step in, beyond a round trip, in seconds: twice what a
/// busy machine keeps a packet waiting, and with the round trip of the other lane still well below half a second.
const QUICK: f64 = 0.2;
/// The share of that silence after which a sign of life is asked for: a round trip before the end of it.
const ASK: f64 = 0.4;
/// By how much a silence must exceed the longest that lately ended by itself.
const BEYOND: f64 = 1.5;
/// The longest of these is half forgotten after so many seconds.
const GAP_MEMORY: f64 = 10.0;
/// Longer waits for content are failures, not how the path is, in seconds.
const LONGEST_WAIT: f64 = 0.4;
/// A lane that fails so soon after it took the lead is not trusted with it again at once.
const RELAPSE: Duration = Duration::from_secs(10);
/// For how long not: after the second failure in a row, and at most.
const HOLD: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(30));
/// How long after a sign of life was asked for it is asked for again, at first and at most.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// When a lane was heard of.
#[derive(Debug, Clone)]
pub(super) struct Life {
    /// The last content, or when the lane became busy.
    data: Now,
    /// The last arrival of anything, where the caller can tell.
    contact: Option<Now>,
    /// The round trip that the session sees now: with full queues it is longer than the least.
    rtt: Duration,
    /// The longest silence that ended by itself.
    gap: Longest,
    /// The longest wait for content while the path went on delivering: where what is lost must be sent again, all that
    /// follows waits for it. A peer that takes its time is no such wait, and more on its way would only queue up there.
    wait: Longest,
    /// When a sign of life was last asked for, and how long until that is done again.
    asked: Option<(Now, Duration)>,
    /// Failures in a row.
    failures: u32,
    failed: Now,
    /// When it last took the lead.
    led: Now,
}

impl Life {
    pub(super) fn new(now: Now) -> Self {
        Self {
            data: now,
            contact: None,
            rtt: Duration::ZERO,
            gap: Longest::default(),
            wait: Longest::default(),
            asked: None,
            failures: 0,
            failed: Now::ZERO,
            led: now,
        }
    }

    /// It is asked for something after it was not.
    pub(super) fn busy(&mut self, now: Now) {
        self.data = self.data.max(now);
    }

    /// Content came; whether it was `waited` for.
    pub(super) fn data(&mut self, now: Now, waited: bool) {
        if waited {
            self.gap.note(now, now.saturating_sub(self.last()));
            self.note_wait(now);
        }
        self.data = now;
        self.asked = None;
    }

    /// Content came after a wait: so much of it is the path's as packets came in, and a round trip to send again what the
    /// last of them showed to be missing.
    fn note_wait(&mut self, now: Now) {
        let Some(contact) = self.contact.filter(|contact| *contact > self.data) else {
            return;
        };
        let held_up = now.min(contact + self.rtt).saturating_sub(self.data);
        if held_up.as_secs_f64() <= LONGEST_WAIT {
            self.wait.note(now, held_up);
        }
    }

    /// Something came at `at`; whether anything was `waited` for.
    pub(super) fn contact(&mut self, now: Now, at: Now, rtt: Option<Duration>, waited: bool) {
        self.rtt = rtt.unwrap_or(self.rtt);
        if at <= self.contact.unwrap_or_default() {
            return;
        }
        if waited {
            self.gap.note(now, at.saturating_sub(self.last()));
        }
        self.contact = Some(at);
        if self.asked.is_some_and(|(asked, _)| at >= asked) {
            self.asked = None;
        }
    }

    /// Whether the caller can tell when anything comes, whole frames or not.
    pub(super) const fn tells(&self) -> bool {
        self.contact.is_some()
    }

    /// Whether anything came after `since`; unknown where only content tells.
    pub(super) fn answered_since(&self, since: Now) -> Option<bool> {
        self.contact.map(|contact| contact.max(self.data) > since)
    }

    /// The last sign of life.
    pub(super) fn last(&self) -> Now {
        self.contact
            .map_or(self.data, |contact| contact.max(self.data))
    }

    /// Seconds without content while it was asked for.
    pub(super) fn idle(&self, now: Now) -> f64 {
        now.saturating_sub(self.data).as_secs_f64()
    }

    /// Seconds without any sign of life.
    pub(super) fn silence(&self, now: Now) -> f64 {
        now.saturating_sub(self.last()).as_secs_f64()
    }

    /// Seconds of silence after which another lane steps in: a fifth of a second and a round trip, more where silences
    /// come and go.
    pub(super) fn quick_limit(&self, now: Now, least_rtt: f64) -> f64 {
        let rtt = least_rtt.max(self.rtt.as_secs_f64());
        (QUICK + rtt).max(BEYOND * self.gap.at(now))
    }

    /// Whether to ask for a sign of life, `limit` being the longest silence that is borne.
    pub(super) fn is_to_ask(&self, now: Now, limit: f64) -> bool {
        self.tells() && self.asked.is_none() && self.silence(now) > ASK * limit
    }

    /// Whether it is time to ask once more.
    pub(super) fn is_to_ask_again(&self, now: Now) -> bool {
        let due = |(asked, pause)| now >= asked + pause;
        self.tells() && self.asked.is_none_or(due)
    }

    /// A sign of life is asked for.
    pub(super) fn ask(&mut self, now: Now) {
        let pause = self.asked.map_or(ASK_AGAIN.0, |(_, pause)| pause * 2);
        self.asked = Some((now, pause.min(ASK_AGAIN.1)));
    }

    /// The caller itself was away for so long: not the lane's silence.
    pub(super) fn excuse(&mut self, now: Now, away: Duration) {
        self.data = (self.data + away).min(now);
        self.contact = self.contact.map(|contact| (contact + away).min(now));
    }

    /// Its silence is a failure.
    pub(super) fn fail(&mut self, now: Now) {
        let relapse = now.saturating_sub(self.led) < RELAPSE;
        self.failures = if relapse { self.failures + 1 } else { 1 };
        self.failed = now;
    }

    /// It takes the lead.
    pub(super) fn lead(&mut self, now: Now) {
        self.led = now;
    }

    /// Failures in a row.
    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether it may lead, should it answer: after one failure at once, after more of them in a row later and later.
    pub(super) fn is_trusted(&self, now: Now) -> bool {
        let Some(doublings) = self.failures.checked_sub(2) else {
            return true;
        };
        let hold = HOLD.0.saturating_mul(1 << doublings.min(8)).min(HOLD.1);
        now >= self.failed + hold
    }

    /// Seconds for which lost packets have held content up at most, lately.
    pub(super) const fn longest_wait(&self) -> f64 {
        self.wait.seconds
    }
}

/// The longest of some spans; older ones count for less.
#[derive(Debug, Clone, Copy, Default)]
struct Longest {
    seconds: f64,
    noted: Now,
}

impl Longest {
    fn note(&mut self, now: Now, span: Duration) {
        self.seconds = self.at(now).max(span.as_secs_f64());
        self.noted = now;
    }

    fn at(&self, now: Now) -> f64 {
        self.seconds * (-now.saturating_sub(self.noted).as_secs_f64() / GAP_MEMORY).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Now {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn patience_follows_the_round_trip_and_what_the_path_is_like() {
        let mut life = Life::new(at(0));
        assert!((life.quick_limit(at(0), 0.001) - 0.201).abs() < 1e-9);
        assert!((life.quick_limit(at(0), 0.1) - 0.3).abs() < 1e-9);
        life.contact(at(10), at(10), Some(at(250)), true);
        assert!((life.quick_limit(at(10), 0.1) - 0.45).abs() < 1e-9);
        // A path that was silent for 400 ms and went on may be so again, for a while.
        life.contact(at(410), at(410), Some(at(100)), true);
        assert!((life.quick_limit(at(410), 0.1) - 0.6).abs() < 1e-9);
        assert!((life.quick_limit(at(10_410), 0.1) - 0.3).abs() < 1e-9);
    }

    #[test]
    fn silence_while_nothing_was_asked_for_says_nothing_of_the_path() {
        let mut life = Life::new(at(0));
        life.data(at(5_000), false);
        life.contact(at(9_000), at(9_000), None, false);
        assert!((life.quick_limit(at(9_000), 0.0) - 0.2).abs() < 1e-9);
    }

    #[test]
    fn only_what_the_path_holds_up_counts_as_its_wait() {
        // A peer that sends a chunk every 200 ms: its acknowledgement of the next request comes after a round trip.
        let mut slow = Life::new(at(0));
        for round in 1..9 {
            slow.data(at(200 * round), true);
            slow.contact(
                at(200 * round + 20),
                at(200 * round + 10),
                Some(at(10)),
                true,
            );
        }
        assert!(slow.longest_wait() <= 0.02, "{}", slow.longest_wait());
        // A packet is lost, those after it come in, and a round trip later what was sent again.
        let mut lossy = Life::new(at(0));
        lossy.data(at(200), true);
        lossy.contact(at(300), at(290), Some(at(100)), true);
        lossy.data(at(380), true);
        assert!((lossy.longest_wait() - 0.18).abs() < 1e-9);
        // Half a second is no longer how the path is.
        lossy.contact(at(900), at(890), None, true);
        lossy.data(at(910), true);
        assert!(lossy.longest_wait() < 0.181);
    }

    #[test]
    fn a_sign_of_life_is_asked_for_ever_more_seldom() {
        let mut life = Life::new(at(0));
        assert!(!life.is_to_ask(at(900), 0.2), "it cannot tell");
        life.contact(at(1_000), at(1_000), None, true);
        assert!(!life.is_to_ask(at(1_080), 0.2) && life.is_to_ask(at(1_081), 0.2));
        let mut asked = Vec::new();
        for now in 1_081..12_000 {
            if life.is_to_ask_again(at(now)) {
                life.ask(at(now));
                asked.push(now - 1_081);
            }
        }
        assert_eq!(asked[..5], [0, 250, 750, 1_750, 3_750]);
        life.contact(at(12_100), at(12_100), None, true);
        assert!(life.is_to_ask_again(at(12_100)), "it begins anew");
    }

    #[test]
    fn who_fails_again_and_again_waits_longer() {
        let mut life = Life::new(at(0));
        let mut now = 20_000;
        let mut holds = Vec::new();
        for _ in 0..7 {
            life.fail(at(now));
            let trusted = (0..).find(|wait| life.is_trusted(at(now + wait))).unwrap();
            holds.push(trusted);
            now += trusted;
            life.lead(at(now));
            now += 1_000;
        }
        assert_eq!(holds, [0, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        life.fail(at(now + 60_000));
        assert!(life.is_trusted(at(now + 60_000)), "that is long ago");
    }
}
