//! Figures of several downloads of one pair, and whether they are as expected.

use super::{
    oracle::Expected,
    pair::{Download, Pair, Turn},
};
use std::{collections::BTreeMap, time::Duration};

/// On top of round trips: two busy cores that compute keys and check signatures.
const GRACE: Duration = Duration::from_millis(100);
/// On top of that for a path over a relay.
const DETOUR: Duration = Duration::from_millis(250);
/// For a port that has to be guessed.
const GUESSED: Duration = Duration::from_secs(2);

/// Every download of one pair.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) pair: Pair,
    pub(super) expected: Expected,
    /// Whether times count.
    pub(super) punctual: bool,
    /// Between the sites.
    pub(super) round_trip: Duration,
    /// What came of each, in their order.
    pub(super) runs: Vec<Result<Download, String>>,
}

/// Whether it is as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is.
    Met,
    /// Nothing was expected of this pair.
    Unasked,
    /// It is not; why.
    Missed(String),
}

/// Median and 95th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) median: Duration,
    pub(super) p95: Duration,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        // The nearest rank: of few values the 95th percentile is the greatest.
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied()
        };
        Some(Self {
            median: rank(50)?,
            p95: rank(95)?,
        })
    }

    /// Both in milliseconds.
    pub(super) fn words(spread: Option<Self>) -> String {
        spread.map_or_else(
            || "-".to_owned(),
            |Self { median, p95 }| format!("{} / {}", median.as_millis(), p95.as_millis()),
        )
    }
}

impl Tally {
    fn downloads(&self) -> impl Iterator<Item = &Download> {
        self.runs.iter().flatten()
    }

    fn direct(&self) -> impl Iterator<Item = &Download> {
        self.downloads().filter(|download| download.last.direct)
    }

    /// Downloads that ended well, whatever their path.
    pub(super) fn connected(&self) -> usize {
        self.downloads().count()
    }

    /// Downloads that ended on a direct path.
    pub(super) fn successes(&self) -> usize {
        self.direct().count()
    }

    /// From the moment both knew of each other to a direct path.
    pub(super) fn after_signaling(&self) -> Option<Spread> {
        Spread::of(self.direct().map(|one| one.last.after_signaling).collect())
    }

    /// From the moment both knew of each other to the first path, whichever it was.
    pub(super) fn first_path(&self) -> Option<Spread> {
        let first = self.downloads().map(|one| one.first.after_signaling);
        Spread::of(first.collect())
    }

    /// By how much the 95th percentile of first paths is later than it may be.
    fn first_path_late(&self) -> Option<Duration> {
        let late = self.downloads().map(|one| {
            let limit = self.first_limit(one.first.direct);
            one.first.after_signaling.saturating_sub(limit)
        });
        Spread::of(late.collect())
            .map(|late| late.p95)
            .filter(|late| !late.is_zero())
    }

    /// From command to file.
    pub(super) fn to_file(&self) -> Option<Spread> {
        Spread::of(self.downloads().map(|one| one.to_file).collect())
    }

    /// The methods that led to the path at the end, with what carried it, and how often.
    pub(super) fn methods(&self) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        for way in self.downloads().map(|one| &one.last) {
            let relayed = if way.direct { "" } else { " relayed" };
            let name = format!("{}{relayed} ({})", way.method, way.transport);
            *counts.entry(name).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let words = counts.into_iter().map(|(name, count)| match count {
            count if count == self.runs.len() => name,
            count => format!("{name} ×{count}"),
        });
        words.collect::<Vec<_>>().join(", ")
    }

    /// Why the first download failed that did.
    pub(super) fn reason(&self) -> &str {
        let failed = self.runs.iter().find_map(|run| run.as_ref().err());
        failed.map_or("", String::as_str)
    }

    /// The longest time after signaling that is fine for a direct path.
    pub(super) fn limit(&self) -> Duration {
        match self.expected {
            Expected::Guessed { .. } => GUESSED,
            _ => self.round_trip * 3 + GRACE,
        }
    }

    /// The longest time after signaling that is fine for the first path where somebody relays.
    pub(super) fn first_limit(&self, direct: bool) -> Duration {
        let detour = if direct { Duration::ZERO } else { DETOUR };
        self.round_trip * 6 + GRACE + detour
    }

    /// Whether nothing but time is amiss: more downloads tell whether that is the rule.
    pub(super) fn is_late(&self) -> bool {
        let untimed = Self {
            punctual: false,
            ..self.clone()
        };
        untimed.verdict() == Verdict::Met && self.verdict() != Verdict::Met
    }

    /// Judges it.
    pub(super) fn verdict(&self) -> Verdict {
        let runs = self.runs.len();
        // Rounded down, so that few runs have room for the one failure that many would have.
        let of_hundred = |percent: usize| (runs * percent / 100).max(1);
        let (needed, timed) = match self.expected {
            Expected::Nothing => return Verdict::Unasked,
            Expected::Direct { timed } => (runs, timed),
            Expected::Tcp { percent } => (of_hundred(percent), false),
            Expected::Guessed { percent } => (of_hundred(percent), true),
            Expected::Relayed => (0, false),
        };
        let relay = self.pair.turn != Turn::None;
        let (connected, successes) = (self.connected(), self.successes());
        if relay && connected < runs {
            let why = self.reason();
            return Verdict::Missed(format!("{connected} of {runs} connected: {why}"));
        }
        if successes < needed {
            let why = self.reason();
            return Verdict::Missed(format!("{successes} of {runs} direct, not {needed}: {why}"));
        }
        if self.expected == Expected::Relayed && successes > 0 {
            return Verdict::Missed("direct where that cannot be; is the oracle wrong?".to_owned());
        }
        match self.late(relay, timed) {
            Some(late) if self.punctual => Verdict::Missed(late),
            _ => Verdict::Met,
        }
    }

    /// What comes too late, if anything does.
    fn late(&self, relay: bool, timed: bool) -> Option<String> {
        if relay {
            // Whoever has a path has time to find a better one.
            let late = self.first_path_late()?.as_millis();
            return Some(format!("the first path {late} ms late (p95)"));
        }
        let (p95, limit) = (self.after_signaling()?.p95, self.limit());
        (timed && p95 > limit).then(|| {
            let (p95, limit) = (p95.as_millis(), limit.as_millis());
            format!("a path after {p95} ms (p95), not {limit} ms")
        })
    }
}

impl Verdict {
    /// A word for tables.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Met => "yes",
            Self::Unasked => "not asked",
            Self::Missed(_) => "**no**",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::pair::Way, *};
    use dig_lab::{Habit, SiteKind};

    fn tally(expected: Expected, times: &[Option<u64>]) -> Tally {
        let download = |ms: u64| {
            let way = Way {
                method: "udp-hole-punch".to_owned(),
                direct: true,
                transport: "quic".to_owned(),
                after_signaling: Duration::from_millis(ms),
            };
            Download {
                first: way.clone(),
                last: way,
                to_file: Duration::from_millis(ms * 2),
            }
        };
        let run = |time: &Option<u64>| time.map(download).ok_or_else(|| "no answer".to_owned());
        Tally {
            pair: Pair {
                host: SiteKind::Open,
                getter: SiteKind::Open,
                habit: Habit::Drop,
                together: false,
                turn: Turn::None,
            },
            expected,
            punctual: true,
            round_trip: Duration::from_millis(20),
            runs: times.iter().map(run).collect(),
        }
    }

    #[test]
    fn every_run_counts_where_every_run_is_expected() {
        let direct = Expected::Direct { timed: false };
        assert_eq!(tally(direct, &[Some(9), Some(900)]).verdict(), Verdict::Met);
        let missed = tally(direct, &[Some(9), None]);
        let Verdict::Missed(why) = missed.verdict() else {
            panic!("{missed:?}")
        };
        assert!(why.contains("1 of 2") && why.contains("no answer"), "{why}");
        let mut relayed = tally(direct, &[Some(9)]);
        relayed.runs[0].as_mut().unwrap().last.direct = false;
        assert!(matches!(relayed.verdict(), Verdict::Missed(_)));
    }

    #[test]
    fn nine_of_ten_is_enough_where_nine_of_ten_is_expected() {
        let tcp = Expected::Tcp { percent: 90 };
        let runs = |good: usize, bad: usize| {
            let times = [vec![Some(9); good], vec![None; bad]].concat();
            tally(tcp, &times).verdict()
        };
        assert_eq!(runs(45, 5), Verdict::Met);
        assert_eq!(runs(2, 1), Verdict::Met);
        assert!(matches!(runs(44, 6), Verdict::Missed(_)));
        assert!(matches!(runs(1, 2), Verdict::Missed(_)));
    }

    #[test]
    fn time_counts_where_it_is_asked() {
        let times = [vec![Some(100); 18], vec![Some(161); 2]].concat();
        let slow = tally(Expected::Direct { timed: true }, &times);
        assert!(matches!(slow.verdict(), Verdict::Missed(_)));
        assert_eq!(Spread::words(slow.after_signaling()), "100 / 161");
        let rarely = [vec![Some(100); 19], vec![Some(999)]].concat();
        let rarely = tally(Expected::Direct { timed: true }, &rarely);
        assert_eq!(rarely.verdict(), Verdict::Met);
        assert_eq!(
            tally(Expected::Nothing, &[None]).verdict(),
            Verdict::Unasked
        );
    }

    #[test]
    fn late_is_who_does_all_the_rest() {
        let timed = Expected::Direct { timed: true };
        assert!(tally(timed, &[Some(100), Some(161)]).is_late());
        assert!(!tally(timed, &[Some(100), Some(160)]).is_late());
        assert!(!tally(timed, &[Some(161), None]).is_late());
        let untimed = Expected::Direct { timed: false };
        assert!(!tally(untimed, &[Some(161)]).is_late());
        let mostly = [vec![Some(100); 38], vec![Some(900); 2]].concat();
        assert!(!tally(timed, &mostly).is_late());
        let often = [vec![Some(100); 37], vec![Some(900); 3]].concat();
        assert!(tally(timed, &often).is_late());
    }

    #[test]
    fn ports_are_guessed_in_two_seconds_and_not_always() {
        let guessed = Expected::Guessed { percent: 98 };
        let runs = |good: usize, bad: usize, ms: u64| {
            let times = [vec![Some(ms); good], vec![None; bad]].concat();
            tally(guessed, &times).verdict()
        };
        assert_eq!(runs(49, 1, 2000), Verdict::Met);
        assert!(matches!(runs(48, 2, 2000), Verdict::Missed(_)));
        assert!(matches!(runs(50, 0, 2001), Verdict::Missed(_)));
    }

    #[test]
    fn with_a_relay_all_connect_and_the_first_path_is_soon_there() {
        let run = |expected, first_ms: u64, first: bool, last: bool| {
            let mut tally = tally(expected, &[Some(first_ms), Some(first_ms)]);
            tally.pair.turn = Turn::Relay;
            for download in tally.runs.iter_mut().flatten() {
                download.first.direct = first;
                download.last.direct = last;
                download.last.after_signaling = Duration::from_secs(3);
            }
            tally
        };
        let guessed = Expected::Guessed { percent: 98 };
        let direct = Expected::Direct { timed: true };
        // 6 round trips of 20 ms and 100 ms, for a relay 250 ms more.
        for (expected, ms, first, last, met) in [
            (direct, 220, true, true, true),
            (direct, 221, true, true, false),
            (direct, 470, false, true, true),
            (direct, 100, false, false, false),
            (guessed, 470, false, true, true),
            (guessed, 471, false, true, false),
            (Expected::Relayed, 470, false, false, true),
            (Expected::Relayed, 471, false, false, false),
            (Expected::Relayed, 100, true, true, false),
        ] {
            let tally = run(expected, ms, first, last);
            let as_expected = tally.verdict() == Verdict::Met;
            assert_eq!(as_expected, met, "{expected:?} {ms} {:?}", tally.verdict());
        }
        let mut failed = run(Expected::Relayed, 100, false, false);
        failed.runs[1] = Err("no answer".to_owned());
        assert!(matches!(failed.verdict(), Verdict::Missed(_)));
        let mut slow = run(Expected::Relayed, 900, false, false);
        slow.punctual = false;
        assert_eq!(slow.verdict(), Verdict::Met);
    }

    #[test]
    fn methods_are_counted() {
        let mut tally = tally(Expected::Nothing, &[Some(1), Some(1), Some(1)]);
        assert_eq!(tally.methods(), "udp-hole-punch (quic)");
        tally.runs[0].as_mut().unwrap().last.method = "direct".to_owned();
        assert_eq!(
            tally.methods(),
            "udp-hole-punch (quic) ×2, direct (quic) ×1"
        );
    }
}
