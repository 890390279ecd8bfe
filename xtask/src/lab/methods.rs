//! `cargo xtask lab methods`: every method alone, where it can and where it cannot work, beside the race of all of them.

use super::{
    Conditions, conclude,
    dignet::Program,
    document::Document,
    folder::Folder,
    oracle::{self, Expected, Meeting},
    pair::{Manner, Pair, Scene, Turn},
    queue,
    verdict::{Spread, Tally},
};
use crate::workspace::Workspace;
use clap::Args;
use dig_lab::{Habit, SiteKind};
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// Every method, as `--methods` takes them.
const METHODS: [&str; 10] = [
    "local",
    "direct",
    "pcp",
    "nat-pmp",
    "upnp",
    "udp-hole-punch",
    "tcp-hole-punch",
    "tcp-simultaneous-open",
    "ice",
    "turn",
];

/// The one of them that relays.
const TURN: &str = "turn";

/// How long a getter waits for a path.
const TIMEOUT: Duration = Duration::from_secs(8);
/// How long a download may take that fails, its programs' starts and ends included.
const PATIENCE: Duration = Duration::from_secs(11);
/// How much slower than the best method alone the race may be.
const SLOWER: Duration = Duration::from_millis(100);

/// How often, and under which conditions.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Downloads a method and pair; where it cannot work it is tried once
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Only these methods
    #[arg(long, value_delimiter = ',', value_parser = METHODS, value_name = "METHOD,…")]
    only: Vec<String>,
    /// Put the results into docs/nat-lab.md
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    conditions: Conditions,
}

/// Pairs in which every method can work once and cannot work once.
const PAIRS: &[(SiteKind, SiteKind)] = &[
    (SiteKind::Open, SiteKind::PortRestricted),
    (SiteKind::PortRestricted, SiteKind::Open),
    (SiteKind::PortRestricted, SiteKind::PortRestricted),
    (SiteKind::FullCone, SiteKind::SymmetricRandom),
    (SiteKind::SymmetricRandom, SiteKind::PortRestricted),
    (SiteKind::UdpBlocked, SiteKind::PortRestricted),
    (SiteKind::UpnpRouter, SiteKind::SymmetricRandom),
    (SiteKind::UpnpPrivate, SiteKind::SymmetricRandom),
    (SiteKind::Ipv6Firewall, SiteKind::DualStack),
];

/// One pair and what every method came to there.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) pair: Pair,
    /// By `--methods`; the last one is the race of all.
    pub(super) attempts: Vec<Attempt>,
}

/// What one method came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// `None`: all of them at once.
    pub(super) method: Option<&'static str>,
    /// Whether it can work.
    pub(super) can: bool,
    pub(super) tally: Tally,
    /// The longest time that a download took.
    pub(super) slowest: Duration,
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let folder = Folder::create()?;
    let program = options.conditions.program(workspace, &folder)?;
    let apart = PAIRS
        .iter()
        .map(|&(host, getter)| pair(host, getter, false));
    let together = pair(SiteKind::PortRestricted, SiteKind::PortRestricted, true);
    let pairs: Vec<Pair> = apart.chain([together]).collect();
    let trials = queue::run(&pairs, options.conditions.jobs, |index, pair| {
        options.trial(pair, &program, &folder.0.join(index.to_string()))
    });
    drop(folder);
    let trials = trials.into_iter().collect::<anyhow::Result<Vec<Trial>>>()?;
    let failures: Vec<String> = trials.iter().flat_map(Trial::failures).collect();
    if options.write {
        Document::open(workspace)?.write_methods(&trials, options.conditions.seed)?;
    }
    conclude(&failures)
}

fn pair(host: SiteKind, getter: SiteKind, together: bool) -> Pair {
    Pair {
        host,
        getter,
        habit: Habit::Drop,
        together,
        turn: Turn::Relay,
    }
}

impl Options {
    fn trial(&self, pair: &Pair, program: &Program, dir: &Path) -> anyhow::Result<Trial> {
        let mut scene = Scene::build(pair, &self.conditions, program, dir.to_owned())?;
        let wanted =
            |method: &&str| self.only.is_empty() || self.only.iter().any(|only| only == method);
        let alone = METHODS.into_iter().filter(wanted).map(Some);
        let mut attempts = Vec::new();
        for method in alone.chain([None]) {
            let attempt = self.attempt(&mut scene, pair, method);
            show(pair, &attempt);
            attempts.push(attempt);
        }
        let failed = attempts.iter().any(|attempt| attempt.failure().is_some());
        if let (Some(logs), true) = (&program.logs, failed) {
            scene.keep_logs(&logs.join(pair.name().replace(' ', "-")))?;
        }
        scene.end()?;
        Ok(Trial {
            pair: *pair,
            attempts,
        })
    }

    fn attempt(&self, scene: &mut Scene<'_>, pair: &Pair, method: Option<&'static str>) -> Attempt {
        let can = match method {
            Some(method) => oracle::can(method, pair.host, pair.getter, pair.together),
            None => {
                let expected = oracle::expected(pair.host, pair.getter, pair.habit, false);
                pair.together || expected != Expected::Nothing
            }
        };
        let manner = Manner {
            methods: method.map(str::to_owned),
            timeout: Some(TIMEOUT),
            // All others are about direct paths.
            relayed: method == Some(TURN),
            ..Manner::default()
        };
        let runs = if can { self.runs } else { 1 };
        let mut slowest = Duration::ZERO;
        let mut download = |_| {
            let begun = Instant::now();
            let outcome = scene.download(&manner);
            slowest = slowest.max(begun.elapsed());
            let outcome = outcome.map_err(|error| format!("{error:#}"))?;
            match method {
                Some(method) if outcome.last.method != method => Err(format!(
                    "connected by {}, which was not asked for",
                    outcome.last.method
                )),
                _ => Ok(outcome),
            }
        };
        let runs = (0..runs).map(&mut download).collect();
        let tally = Tally {
            pair: *pair,
            expected: Expected::Nothing,
            punctual: false,
            round_trip: scene.round_trip,
            runs,
        };
        Attempt {
            method,
            can,
            tally,
            slowest,
        }
    }
}

impl Attempt {
    /// What it is called.
    pub(super) fn name(&self) -> &'static str {
        self.method.unwrap_or("race of all")
    }

    /// Downloads that ended well: directly, unless relaying is what was asked for.
    pub(super) fn successes(&self) -> usize {
        match self.method {
            Some(TURN) => self.tally.connected(),
            _ => self.tally.successes(),
        }
    }

    /// Why it is not as expected.
    pub(super) fn failure(&self) -> Option<String> {
        let (successes, runs) = (self.successes(), self.tally.runs.len());
        if self.can && successes < runs {
            return Some(format!("{successes} of {runs}: {}", self.tally.reason()));
        }
        if !self.can && successes > 0 {
            return Some("connected where it cannot; is the oracle wrong?".to_owned());
        }
        (self.slowest > PATIENCE).then(|| format!("it took {} s", self.slowest.as_secs()))
    }

    fn median(&self) -> Option<Duration> {
        Some(self.tally.to_file()?.median)
    }
}

impl Trial {
    fn failures(&self) -> Vec<String> {
        let own = self.attempts.iter().filter_map(|attempt| {
            let why = attempt.failure()?;
            Some(format!("{}, {}: {why}", self.pair.name(), attempt.name()))
        });
        own.chain(self.slow_race()).collect()
    }

    /// Why the race is too slow, if it is.
    fn slow_race(&self) -> Option<String> {
        let (host, getter) = (self.pair.host, self.pair.getter);
        if matches!(oracle::possible(host, getter).udp, Some(Meeting::Guess(_))) {
            // Some are luckier than others.
            return None;
        }
        let (race, alone) = self.attempts.split_last()?;
        let direct = alone.iter().filter(|attempt| attempt.method != Some(TURN));
        let best = direct.filter_map(Attempt::median).min()?;
        let race = race.median()?;
        (race > best + SLOWER).then(|| {
            let name = self.pair.name();
            let (race, best) = (race.as_millis(), best.as_millis());
            format!("{name}: the race takes {race} ms, the best method alone {best} ms")
        })
    }
}

fn show(pair: &Pair, attempt: &Attempt) {
    let mark = if attempt.failure().is_none() {
        "ok"
    } else {
        "NO"
    };
    let can = if attempt.can { "can" } else { "cannot" };
    let words = match attempt.tally.reason() {
        "" => format!("file in {} ms", Spread::words(attempt.tally.to_file())),
        reason => reason.to_owned(),
    };
    eprintln!(
        "{mark} {:<46} {:<22} {can:<7} {} of {}  {words}",
        pair.name(),
        attempt.name(),
        attempt.successes(),
        attempt.tally.runs.len()
    );
}
