//! `cargo xtask lab matrix`: every ordered pair of sites, several downloads each, judged.

use super::{
    Conditions, conclude,
    dignet::Program,
    document::{Document, Ran},
    folder::Folder,
    oracle::{self, Expected},
    pair::{Manner, Pair, Scene, Turn, habit_name},
    parse_site, queue,
    verdict::{Spread, Tally, Verdict},
};
use crate::workspace::Workspace;
use anyhow::ensure;
use clap::{Args, ValueEnum};
use dig_lab::{Habit, SiteKind};
use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

/// How long a getter waits for a path where there can be none.
const HOPELESS: Duration = Duration::from_secs(8);
/// How long a download takes at least that begins with a relay and should end without one.
const IMPROVING: Duration = Duration::from_secs(2);
/// The same where a port has to be guessed: a first attempt, and time for a second one.
const GUESSING: Duration = Duration::from_secs(6);

/// Downloads of a pair that was late in a few: so many that their 95th percentile is not simply the slowest one.
const MANY: usize = 40;

/// Which pairs, and how often.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Downloads a pair; pairs between which no path can exist are tried once [default: 3; with --subset 2]
    #[arg(long)]
    runs: Option<usize>,
    /// Who relays between sites that cannot meet, and until they meet
    #[arg(long, value_enum, default_value_t = Turn::Relay, conflicts_with = "subset")]
    turn: Turn,
    /// Only these sites, on both sides
    #[arg(long, value_delimiter = ',', value_parser = parse_site, value_name = "SITE,…")]
    sites: Vec<SiteKind>,
    /// Only these sites for `dignet share`
    #[arg(long, value_delimiter = ',', value_parser = parse_site, value_name = "SITE,…")]
    hosts: Vec<SiteKind>,
    /// Only these sites for `dignet get`
    #[arg(long, value_delimiter = ',', value_parser = parse_site, value_name = "SITE,…")]
    getters: Vec<SiteKind>,
    /// What routers do with packets that nobody asked for
    #[arg(long, value_enum, default_value_t = Habits::Both)]
    habit: Habits,
    /// Only pairs between which a direct path is expected
    #[arg(long)]
    expected: bool,
    /// Only pairs between which a port has to be guessed
    #[arg(long)]
    guessed: bool,
    /// The telling pairs for continuous integration instead of all
    #[arg(long, value_enum, conflicts_with_all = ["sites", "hosts", "getters"])]
    subset: Option<Subset>,
    /// Only these ways of getting a path; nothing is expected then
    #[arg(long, value_name = "LIST")]
    methods: Option<String>,
    /// `race` or `sequential`
    #[arg(long)]
    strategy: Option<String>,
    /// Put the results into docs/nat-lab.md
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    conditions: Conditions,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Habits {
    Drop,
    Reject,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Subset {
    Ci,
}

/// One pair of each kind of meeting, in the direction that is harder, and some in both.
const TELLING: &[(SiteKind, SiteKind, Turn)] = &[
    (SiteKind::Open, SiteKind::PortRestricted, Turn::None),
    (SiteKind::PortRestricted, SiteKind::Open, Turn::None),
    (
        SiteKind::PortRestricted,
        SiteKind::PortRestricted,
        Turn::None,
    ),
    (SiteKind::FullCone, SiteKind::SymmetricRandom, Turn::None),
    (
        SiteKind::SymmetricRandom,
        SiteKind::AddressRestricted,
        Turn::None,
    ),
    (SiteKind::CarrierGrade, SiteKind::PortRestricted, Turn::None),
    (SiteKind::UdpBlocked, SiteKind::PortRestricted, Turn::None),
    (SiteKind::CarrierGrade, SiteKind::UdpBlocked, Turn::None),
    (SiteKind::UpnpRouter, SiteKind::SymmetricRandom, Turn::None),
    (SiteKind::Ipv6Firewall, SiteKind::DualStack, Turn::None),
    (
        SiteKind::PortRestricted,
        SiteKind::SymmetricRandom,
        Turn::None,
    ),
    (
        SiteKind::SymmetricRandom,
        SiteKind::PortRestricted,
        Turn::None,
    ),
    (
        SiteKind::PortRestricted,
        SiteKind::SymmetricSequential,
        Turn::None,
    ),
    (
        SiteKind::SymmetricRandom,
        SiteKind::SymmetricSequential,
        Turn::Relay,
    ),
    (SiteKind::WebOnly, SiteKind::PortRestricted, Turn::Relay),
    (
        SiteKind::Ipv6Firewall,
        SiteKind::PortRestricted,
        Turn::Relay,
    ),
    (SiteKind::FullCone, SiteKind::PortRestricted, Turn::Relay),
];

pub(crate) fn run(workspace: &Workspace, options: &Options) -> anyhow::Result<()> {
    let pairs = options.pairs();
    ensure!(!pairs.is_empty(), "no pair is left");
    let folder = Folder::create()?;
    let program = options.conditions.program(workspace, &folder)?;
    let (begun, done) = (Instant::now(), AtomicUsize::new(0));
    eprintln!(
        "{} pairs, {} downloads each, {} ms round trip, seed {}",
        pairs.len(),
        options.runs(),
        options.conditions.delay,
        options.conditions.seed
    );
    let tallies = queue::run(&pairs, options.conditions.jobs, |index, pair| {
        let dir = folder.0.join(format!("{index}-{}", habit_name(pair.habit)));
        let tally = options.measure(pair, &program, &dir);
        let number = done.fetch_add(1, Ordering::Relaxed) + 1;
        show(&tally, number, pairs.len());
        tally
    });
    let ran = Ran {
        seconds: begun.elapsed().as_secs(),
        downloads: tallies.iter().map(|tally| tally.runs.len()).sum(),
        seed: options.conditions.seed,
        place: options.place(),
    };
    drop(folder);
    let failures = summarise(&tallies, &ran);
    if options.write {
        Document::open(workspace)?.write(&tallies, &ran)?;
    }
    conclude(&failures)
}

impl Options {
    fn pairs(&self) -> Vec<Pair> {
        let habits: &[Habit] = match self.habit {
            Habits::Drop => &[Habit::Drop],
            Habits::Reject => &[Habit::Reject],
            Habits::Both => &[Habit::Drop, Habit::Reject],
        };
        let among = |narrow: &[SiteKind]| -> Vec<SiteKind> {
            let fits = |list: &[SiteKind], kind| list.is_empty() || list.contains(&kind);
            let all = SiteKind::ALL.into_iter();
            all.filter(|&kind| fits(narrow, kind) && fits(&self.sites, kind))
                .collect()
        };
        let getters = among(&self.getters);
        let sites: Vec<(SiteKind, SiteKind, Turn)> = match self.subset {
            Some(Subset::Ci) => TELLING.to_vec(),
            None => (among(&self.hosts).into_iter())
                .flat_map(|host| getters.iter().map(move |getter| (host, *getter, self.turn)))
                .collect(),
        };
        let pair = |habit: Habit, (host, getter, turn): (SiteKind, SiteKind, Turn)| Pair {
            host,
            getter,
            habit,
            together: false,
            turn,
        };
        let pairs = habits
            .iter()
            .flat_map(|habit| sites.iter().map(|sites| pair(*habit, *sites)));
        let wanted = |pair: &Pair| {
            let expected = expected(pair);
            let direct = !matches!(expected, Expected::Nothing | Expected::Relayed);
            let guessed = matches!(expected, Expected::Guessed { .. });
            (direct || !self.expected) && (guessed || !self.guessed)
        };
        pairs.filter(wanted).collect()
    }

    fn runs(&self) -> usize {
        let usual = if self.subset.is_some() { 2 } else { 3 };
        self.runs.unwrap_or(usual)
    }

    /// The part of the document for what is measured.
    fn place(&self) -> &'static str {
        let Conditions { loss, delay, .. } = self.conditions;
        match self.turn {
            _ if loss > 0.0 => "bad line",
            _ if delay == 0 => "no delay",
            Turn::Coturn => "coturn",
            Turn::Relay if delay >= 100 => "relay afar",
            Turn::Relay => "relay",
            Turn::None if self.guessed => "guessed",
            Turn::None => "matrix",
        }
    }

    fn measure(&self, pair: &Pair, program: &Program, dir: &Path) -> Tally {
        let possible = expected(pair);
        // Speed is what is looked at: a file is here before a port is guessed.
        let fast = self.conditions.delay == 0;
        let expected = match possible {
            _ if self.methods.is_some() => Expected::Nothing,
            Expected::Guessed { .. } if fast && pair.turn != Turn::None => Expected::Nothing,
            possible => possible,
        };
        let mut tally = Tally {
            pair: *pair,
            expected,
            // What has to be sent again comes later.
            punctual: self.conditions.loss <= 0.0,
            round_trip: Duration::from_millis(self.conditions.delay),
            runs: Vec::new(),
        };
        let hopeless = possible == Expected::Nothing;
        let manner = Manner {
            methods: self.methods.clone(),
            strategy: self.strategy.clone(),
            timeout: hopeless.then_some(HOPELESS),
            relayed: pair.turn != Turn::None,
            at_least: match possible {
                _ if fast || pair.turn == Turn::None => None,
                Expected::Nothing | Expected::Relayed => None,
                Expected::Guessed { .. } => Some(GUESSING),
                Expected::Direct { .. } | Expected::Tcp { .. } => Some(IMPROVING),
            },
        };
        let runs = if hopeless {
            self.runs().min(1)
        } else {
            self.runs()
        };
        if let Err(error) = self.play(&mut tally, &manner, runs, program, dir) {
            // Not a failure of the program, but no success either.
            tally.runs.push(Err(format!("laboratory: {error:#}")));
        }
        tally
    }

    fn play(
        &self,
        tally: &mut Tally,
        manner: &Manner,
        runs: usize,
        program: &Program,
        dir: &Path,
    ) -> anyhow::Result<()> {
        let mut scene = Scene::build(&tally.pair, &self.conditions, program, dir.to_owned())?;
        tally.round_trip = scene.round_trip;
        while tally.runs.len() < runs || (tally.is_late() && tally.runs.len() < MANY) {
            let outcome = scene.download(manner);
            tally
                .runs
                .push(outcome.map_err(|error| format!("{error:#}")));
        }
        let missed = matches!(tally.verdict(), Verdict::Missed(_));
        if let (Some(logs), true) = (&program.logs, missed) {
            let name = format!("{}-{}", habit_name(tally.pair.habit), tally.pair.name());
            scene.keep_logs(&logs.join(name.replace(' ', "-")))?;
        }
        scene.end()
    }
}

fn expected(pair: &Pair) -> Expected {
    let relay = pair.turn != Turn::None;
    oracle::expected(pair.host, pair.getter, pair.habit, relay)
}

fn show(tally: &Tally, number: usize, of: usize) {
    let name = format!("{} ({})", tally.pair.name(), habit_name(tally.pair.habit));
    let (direct, connected) = (tally.successes(), tally.connected());
    let successes = format!("{connected} of {}, {direct} direct", tally.runs.len());
    let times = format!(
        "path {} ms, direct {} ms, file {} ms",
        Spread::words(tally.first_path()),
        Spread::words(tally.after_signaling()),
        Spread::words(tally.to_file())
    );
    let (mark, why) = match tally.verdict() {
        Verdict::Met => ("ok", String::new()),
        Verdict::Unasked => ("--", tally.reason().to_owned()),
        Verdict::Missed(why) => ("NO", why),
    };
    let rtt = tally.round_trip.as_secs_f64() * 1000.0;
    eprintln!(
        "{mark} {number:>3}/{of} {name:<52} {successes:>16}, {times}, RTT {rtt:.1} ms  {} {why}",
        tally.methods()
    );
}

/// Says how many pairs are as expected, and returns those that are not.
fn summarise(tallies: &[Tally], ran: &Ran) -> Vec<String> {
    let mut failures = Vec::new();
    let (mut met, mut unasked) = (0, 0);
    for tally in tallies {
        match tally.verdict() {
            Verdict::Met => met += 1,
            Verdict::Unasked => unasked += 1,
            Verdict::Missed(why) => {
                let habit = habit_name(tally.pair.habit);
                failures.push(format!("{} ({habit}): {why}", tally.pair.name()));
            }
        }
    }
    eprintln!(
        "\n{met} pairs as expected, {} not, {unasked} of which nothing was expected; {} downloads in {} s",
        failures.len(),
        ran.downloads,
        ran.seconds
    );
    failures
}
