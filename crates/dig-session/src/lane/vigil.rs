//! Watches whether a lane's peer gets on with what it sends. Sans-IO: told what happens and when.

use super::{CloseReason, pulse::Pulse};
use crate::config::SessionConfig;
use std::time::Duration;
use tokio::time::Instant;

/// What the watch finds when it looks.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// All is well.
    Well,
    /// Nothing has come for a while: memory may be given back.
    Quiet,
    /// The lane must end.
    End(CloseReason),
}

/// The times that matter, all while this side was reading: time in which nobody read counts for nobody.
#[derive(Debug)]
pub(super) struct Vigil {
    quiet_after: Duration,
    slow_after: Duration,
    slow_bytes: usize,
    frame: Option<Progress>,
}

/// An unfinished frame: which, and how much of it was here when the span began.
#[derive(Debug, Clone, Copy)]
struct Progress {
    number: u64,
    since: Instant,
    bytes: usize,
}

impl Vigil {
    pub(super) fn new(config: &SessionConfig) -> Self {
        let slow_bytes = u64::from(config.slow_rate).saturating_mul(config.slow_after.as_secs());
        Self {
            quiet_after: config.ping_interval,
            slow_after: config.slow_after,
            slow_bytes: usize::try_from(slow_bytes).unwrap_or(usize::MAX),
            frame: None,
        }
    }

    /// Reading begins after a `pause`. `partial` bytes of frame `number` are here.
    pub(super) fn reads(&mut self, now: Instant, pause: Duration, number: u64, partial: usize) {
        self.frame = match self.frame {
            _ if partial == 0 => None,
            Some(progress) if progress.number == number => Some(Progress {
                since: progress.since + pause,
                ..progress
            }),
            _ => Some(Progress {
                number,
                since: now,
                bytes: 0,
            }),
        };
    }

    /// This program was away until now, and the unfinished frame could not go on.
    pub(super) fn slept(&mut self, now: Instant) {
        if let Some(progress) = &mut self.frame {
            progress.since = now;
        }
    }

    /// Looks, `partial` bytes of the frame being here.
    pub(super) fn look(&mut self, now: Instant, pulse: &Pulse, partial: usize) -> Finding {
        if pulse.is_dead(now) {
            return Finding::End(CloseReason::Dead);
        }
        if let Some(progress) = &mut self.frame
            && now >= progress.since + self.slow_after
        {
            if partial - progress.bytes.min(partial) < self.slow_bytes {
                return Finding::End(CloseReason::Slow);
            }
            (progress.since, progress.bytes) = (now, partial);
        }
        if pulse.silence(now) >= self.quiet_after {
            Finding::Quiet
        } else {
            Finding::Well
        }
    }

    /// When to look again.
    pub(super) fn next(&self, now: Instant, pulse: &Pulse) -> Instant {
        let dead = pulse.next_look(now);
        let slow = self
            .frame
            .map_or(dead, |progress| progress.since + self.slow_after);
        let quiet = self
            .quiet_after
            .checked_sub(pulse.silence(now))
            .filter(|left| !left.is_zero())
            .map_or(dead, |left| now + left);
        dead.min(slow).min(quiet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lane::Transport, pool::Direction};

    const SECOND: Duration = Duration::from_secs(1);

    /// A lane whose bytes come and whose times pass as told.
    struct Watch {
        vigil: Vigil,
        pulse: Pulse,
    }

    impl Watch {
        fn new(now: Instant) -> Self {
            let config = SessionConfig::default();
            Self {
                vigil: Vigil::new(&config),
                pulse: Pulse::new(&config, Transport::TlsTcp, Direction::Outgoing, now),
            }
        }

        fn reads(&mut self, now: Instant, number: u64, partial: usize) {
            let pause = self.pulse.reads(now);
            self.vigil.reads(now, pause, number, partial);
        }

        fn stops(&mut self, now: Instant, arrived: bool) {
            self.pulse.stops(now, arrived);
        }

        fn look(&mut self, now: Instant, partial: usize) -> Finding {
            self.vigil.look(now, &self.pulse, partial)
        }
    }

    #[test]
    fn silence_is_quiet_then_death() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.reads(start, 0, 0);
        watch.pulse.pings(start);
        assert_eq!(watch.vigil.next(start, &watch.pulse), start + 5 * SECOND);
        assert_eq!(watch.look(start + 4 * SECOND, 0), Finding::Well);
        assert_eq!(watch.look(start + 5 * SECOND, 0), Finding::Quiet);
        let then = start + 16 * SECOND;
        assert_eq!(watch.vigil.next(then, &watch.pulse), start + 20 * SECOND);
        let dead = Finding::End(CloseReason::Dead);
        assert_eq!(watch.look(start + 20 * SECOND, 0), dead);
    }

    #[test]
    fn time_in_which_nobody_reads_does_not_count() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.reads(start, 0, 100);
        watch.pulse.pings(start);
        watch.stops(start + 10 * SECOND, false);
        watch.reads(start + 1_000 * SECOND, 0, 100);
        assert_eq!(watch.look(start + 1_009 * SECOND, 100), Finding::Quiet);
        let dead = Finding::End(CloseReason::Dead);
        assert_eq!(watch.look(start + 1_010 * SECOND, 100), dead);
    }

    #[test]
    fn a_dribble_is_slow_and_a_thin_line_is_not() {
        for (rate, ends) in [(1, true), (1_000, true), (1_100, false)] {
            let start = Instant::now();
            let mut watch = Watch::new(start);
            let mut slow = false;
            for second in 0..60 {
                let now = start + second * SECOND;
                let partial = 1 + second as usize * rate;
                watch.reads(now, 7, partial);
                slow |= watch.look(now, partial) == Finding::End(CloseReason::Slow);
                watch.stops(now, true);
                watch.reads(now, 7, partial + rate);
                watch.stops(now + SECOND, true);
            }
            assert_eq!(slow, ends, "{rate} bytes a second");
        }
    }

    #[test]
    fn a_frame_that_waited_for_a_sleeper_is_not_slow() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        watch.reads(start, 7, 100);
        let woken = start + 300 * SECOND;
        watch.pulse.slept(woken);
        watch.vigil.slept(woken);
        assert_eq!(watch.look(woken + 19 * SECOND, 100), Finding::Quiet);
    }

    #[test]
    fn frames_that_complete_are_never_slow() {
        let start = Instant::now();
        let mut watch = Watch::new(start);
        for number in 0..1_000 {
            let now = start + u32::try_from(number).unwrap() * SECOND;
            watch.reads(now, number, 5);
            assert_ne!(watch.look(now, 5), Finding::End(CloseReason::Slow));
            watch.stops(now + SECOND, true);
        }
    }
}
