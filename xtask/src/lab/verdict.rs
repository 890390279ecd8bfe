//! Figures of several downloads of one pair, and whether they are as expected.

use super::{
    oracle::Expected,
    pair::{Download, Pair},
};
use std::{collections::BTreeMap, time::Duration};

/// On top of three round trips: two busy cores that compute keys and check signatures.
const GRACE: Duration = Duration::from_millis(100);

/// Every download of one pair.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    pub(super) pair: Pair,
    pub(super) expected: Expected,
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
    fn direct(&self) -> impl Iterator<Item = &Download> {
        let runs = self.runs.iter().flatten();
        runs.filter(|download| download.path == "direct")
    }

    /// Downloads over a direct path.
    pub(super) fn successes(&self) -> usize {
        self.direct().count()
    }

    /// From the moment both knew of each other to a path.
    pub(super) fn after_signaling(&self) -> Option<Spread> {
        Spread::of(self.direct().map(|one| one.after_signaling).collect())
    }

    /// From command to file.
    pub(super) fn to_file(&self) -> Option<Spread> {
        Spread::of(self.direct().map(|one| one.to_file).collect())
    }

    /// The methods that led to a path, with what carried it, and how often.
    pub(super) fn methods(&self) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        for one in self.runs.iter().flatten() {
            let relayed = if one.path == "direct" { "" } else { " relayed" };
            let name = format!("{}{relayed} ({})", one.method, one.transport);
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

    /// The longest time after signaling that is fine.
    pub(super) fn limit(&self) -> Duration {
        self.round_trip * 3 + GRACE
    }

    /// Judges it.
    pub(super) fn verdict(&self) -> Verdict {
        let runs = self.runs.len();
        let (needed, timed) = match self.expected {
            Expected::Nothing => return Verdict::Unasked,
            Expected::Direct { timed } => (runs, timed),
            // Rounded down, so that few runs have room for the one failure that many would have.
            Expected::Tcp { percent } => (runs * percent / 100, false),
        };
        let successes = self.successes();
        if successes < needed {
            return Verdict::Missed(format!(
                "{successes} of {runs} direct, not {needed}: {}",
                self.reason()
            ));
        }
        match self.after_signaling() {
            Some(Spread { p95, .. }) if timed && p95 > self.limit() => {
                let (p95, limit) = (p95.as_millis(), self.limit().as_millis());
                Verdict::Missed(format!("a path after {p95} ms (p95), not {limit} ms"))
            }
            _ => Verdict::Met,
        }
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
    use super::*;
    use dig_lab::{Habit, SiteKind};

    fn tally(expected: Expected, times: &[Option<u64>]) -> Tally {
        let download = |ms: u64| Download {
            method: "udp-hole-punch".to_owned(),
            path: "direct".to_owned(),
            transport: "quic".to_owned(),
            after_signaling: Duration::from_millis(ms),
            to_file: Duration::from_millis(ms * 2),
        };
        let run = |time: &Option<u64>| time.map(download).ok_or_else(|| "no answer".to_owned());
        Tally {
            pair: Pair {
                host: SiteKind::Open,
                getter: SiteKind::Open,
                habit: Habit::Drop,
                together: false,
            },
            expected,
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
        relayed.runs[0].as_mut().unwrap().path = "relayed".to_owned();
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
    fn methods_are_counted() {
        let mut tally = tally(Expected::Nothing, &[Some(1), Some(1), Some(1)]);
        assert_eq!(tally.methods(), "udp-hole-punch (quic)");
        tally.runs[0].as_mut().unwrap().method = "direct".to_owned();
        assert_eq!(
            tally.methods(),
            "udp-hole-punch (quic) ×2, direct (quic) ×1"
        );
    }
}
