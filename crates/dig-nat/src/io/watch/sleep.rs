//! Notices that the machine slept: the clock that programs wait by stands still meanwhile, others go on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A shorter absence no NAT and no peer has noticed. Clocks that are set by less mean nothing either.
const SHORTEST: Duration = Duration::from_secs(5);

/// What the clocks of this machine show, each since a start of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// The clock that timers go by; on Linux and macOS it stands still in sleep.
    pub(super) awake: Instant,
    /// The time since the machine started, sleep included, where the system tells it.
    pub(super) booted: Option<Duration>,
    /// The time of day, which people and time servers set.
    pub(super) day: Duration,
}

/// What they show now.
pub(super) fn clocks() -> Clocks {
    Clocks {
        awake: Instant::now(),
        booted: booted(),
        day: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn booted() -> Option<Duration> {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
    Some(time.into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn booted() -> Option<Duration> {
    None
}

/// Compares clocks from one look to the next.
#[derive(Debug)]
pub(super) struct SleepDetector(Clocks);

impl SleepDetector {
    pub(super) fn new(clocks: Clocks) -> Self {
        Self(clocks)
    }

    /// Whether the machine slept since the last look. A virtual machine that was stopped has slept too, which only the time of
    /// day shows; so a clock that somebody set forward passes for sleep, and one that was set back does not.
    pub(super) fn observe(&mut self, clocks: Clocks) -> bool {
        let before = std::mem::replace(&mut self.0, clocks);
        let awake = clocks.awake.saturating_duration_since(before.awake);
        let missed = |now: Duration, then: Duration| {
            now.saturating_sub(then).saturating_sub(awake) > SHORTEST
        };
        let booted = clocks.booted.zip(before.booted);
        booted.is_some_and(|(now, then)| missed(now, then)) || missed(clocks.day, before.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: u64 = 1_700_000_000;

    /// Looks once a second as told: by how much each clock moves on.
    fn slept(steps: &[(u64, Option<u64>, i64)]) -> Vec<bool> {
        let mut clocks = Clocks {
            awake: Instant::now(),
            booted: Some(Duration::from_secs(100)),
            day: Duration::from_secs(YEAR),
        };
        let mut detector = SleepDetector::new(clocks);
        let step = |(awake, booted, day): &(u64, Option<u64>, i64)| {
            clocks.awake += Duration::from_secs(*awake);
            clocks.booted = booted
                .zip(clocks.booted)
                .map(|(step, since)| since + Duration::from_secs(step));
            let seconds = clocks.day.as_secs().checked_add_signed(*day).unwrap();
            clocks.day = Duration::from_secs(seconds);
            detector.observe(clocks)
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn a_clock_that_went_on_while_timers_stood_still_tells_of_sleep() {
        assert_eq!(
            slept(&[(1, Some(1), 1), (1, Some(3600), 3600), (1, Some(1), 1)]),
            [false, true, false]
        );
    }

    #[test]
    fn either_clock_is_enough() {
        assert_eq!(slept(&[(1, Some(1), 60)]), [true], "a stopped machine");
        assert_eq!(slept(&[(1, Some(60), 1)]), [true], "the day was set back");
        assert_eq!(slept(&[(1, None, 60)]), [true], "no time since the start");
    }

    #[test]
    fn a_busy_machine_and_clocks_that_are_set_a_little_are_no_sleep() {
        assert_eq!(
            slept(&[(30, Some(30), 30), (1, Some(1), 5), (1, Some(6), 6)]),
            [false, false, false]
        );
        assert_eq!(slept(&[(1, Some(1), -3600)]), [false], "set back");
    }

    #[test]
    fn the_clocks_of_this_machine_run_alike() {
        let mut detector = SleepDetector::new(clocks());
        std::thread::sleep(Duration::from_millis(20));
        assert!(!detector.observe(clocks()));
    }
}
