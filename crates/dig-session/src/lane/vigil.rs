//! Watches whether a lane's peer is alive and gets on. Sans-IO: told what happens and when.

use super::CloseReason;
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
    dead_after: Duration,
    slow_after: Duration,
    slow_bytes: usize,
    last_arrival: Instant,
    /// When this side last stopped reading.
    paused: Instant,
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
    pub(super) fn new(config: &SessionConfig, now: Instant) -> Self {
        let slow_bytes = u64::from(config.slow_rate).saturating_mul(config.slow_after.as_secs());
        Self {
            quiet_after: config.ping_interval,
            dead_after: config.dead_after,
            slow_after: config.slow_after,
            slow_bytes: usize::try_from(slow_bytes).unwrap_or(usize::MAX),
            last_arrival: now,
            paused: now,
            frame: None,
        }
    }

    /// Reading begins. `partial` bytes of frame `number` are here.
    pub(super) fn reads(&mut self, now: Instant, number: u64, partial: usize) {
        let pause = now.saturating_duration_since(self.paused);
        self.last_arrival += pause;
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

    /// Reading has stopped; whether something `arrived`.
    pub(super) fn stops(&mut self, now: Instant, arrived: bool) {
        self.paused = now;
        if arrived {
            self.last_arrival = now;
        }
    }

    /// Looks, `partial` bytes of the frame being here.
    pub(super) fn look(&mut self, now: Instant, partial: usize) -> Finding {
        if now >= self.last_arrival + self.dead_after {
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
        if now >= self.last_arrival + self.quiet_after {
            Finding::Quiet
        } else {
            Finding::Well
        }
    }

    /// When to look again.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let dead = self.last_arrival + self.dead_after;
        let slow = self
            .frame
            .map_or(dead, |progress| progress.since + self.slow_after);
        dead.min(slow).min(now + self.quiet_after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn vigil(now: Instant) -> Vigil {
        Vigil::new(&SessionConfig::default(), now)
    }

    #[test]
    fn silence_is_quiet_then_death() {
        let start = Instant::now();
        let mut vigil = vigil(start);
        vigil.reads(start, 0, 0);
        assert_eq!(vigil.look(start + 4 * SECOND, 0), Finding::Well);
        assert_eq!(vigil.look(start + 5 * SECOND, 0), Finding::Quiet);
        assert_eq!(vigil.next(start + 16 * SECOND), start + 20 * SECOND);
        assert_eq!(
            vigil.look(start + 20 * SECOND, 0),
            Finding::End(CloseReason::Dead)
        );
    }

    #[test]
    fn time_in_which_nobody_reads_does_not_count() {
        let start = Instant::now();
        let mut vigil = vigil(start);
        vigil.reads(start, 0, 100);
        vigil.stops(start + 10 * SECOND, false);
        vigil.reads(start + 1_000 * SECOND, 0, 100);
        assert_eq!(vigil.look(start + 1_009 * SECOND, 100), Finding::Quiet);
        assert_eq!(
            vigil.look(start + 1_010 * SECOND, 100),
            Finding::End(CloseReason::Dead)
        );
    }

    #[test]
    fn a_dribble_is_slow_and_a_thin_line_is_not() {
        for (rate, ends) in [(1, true), (1_000, true), (1_100, false)] {
            let start = Instant::now();
            let mut vigil = vigil(start);
            let mut slow = false;
            for second in 0..60 {
                let now = start + second * SECOND;
                let partial = 1 + second as usize * rate;
                vigil.reads(now, 7, partial);
                slow |= vigil.look(now, partial) == Finding::End(CloseReason::Slow);
                vigil.stops(now, true);
                vigil.reads(now, 7, partial + rate);
                vigil.stops(now + SECOND, true);
            }
            assert_eq!(slow, ends, "{rate} bytes a second");
        }
    }

    #[test]
    fn frames_that_complete_are_never_slow() {
        let start = Instant::now();
        let mut vigil = vigil(start);
        for number in 0..1_000 {
            let now = start + u32::try_from(number).unwrap() * SECOND;
            vigil.reads(now, number, 5);
            assert_ne!(vigil.look(now, 5), Finding::End(CloseReason::Slow));
            vigil.stops(now + SECOND, true);
        }
    }
}
