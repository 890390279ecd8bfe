//! The generated parts of `docs/nat-lab.md`, each between two markers.

use super::{
    methods::Trial,
    oracle::{self, Expected},
    pair::{Turn, habit_name},
    verdict::{Spread, Tally, Verdict},
};
use crate::workspace::Workspace;
use anyhow::{Context as _, Result};
use dig_lab::{Habit, SiteKind};
use std::{fs, path::PathBuf, process::Command};

/// Where it is, from the root of the workspace.
const PLACE: &str = "docs/nat-lab.md";

/// The document, read once.
pub(super) struct Document {
    place: PathBuf,
    text: String,
}

/// A run of the matrix as a whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ran {
    pub(super) seconds: u64,
    pub(super) downloads: usize,
    pub(super) seed: u64,
    /// The part of the document for links like these.
    pub(super) place: &'static str,
}

impl Document {
    pub(super) fn open(workspace: &Workspace) -> Result<Self> {
        let place = workspace.root.join(PLACE);
        let text = fs::read_to_string(&place).with_context(|| format!("no {PLACE}"))?;
        Ok(Self { place, text })
    }

    /// Puts the oracle's table there.
    pub(super) fn write_oracle(mut self) -> Result<()> {
        self.replace("oracle", &oracle_table())?;
        Ok(fs::write(&self.place, &self.text)?)
    }

    /// Puts the results of a matrix there.
    pub(super) fn write(mut self, tallies: &[Tally], ran: &Ran) -> Result<()> {
        self.replace(ran.place, &matrix(tallies, ran))?;
        Ok(fs::write(&self.place, &self.text)?)
    }

    /// Puts the results of every method there.
    pub(super) fn write_methods(mut self, trials: &[Trial], seed: u64) -> Result<()> {
        self.replace("methods", &methods(trials, seed))?;
        Ok(fs::write(&self.place, &self.text)?)
    }

    /// Replaces what stands between the markers of this name.
    fn replace(&mut self, name: &str, new: &str) -> Result<()> {
        let (begin, end) = markers(name);
        let missing = || format!("{PLACE} has no {name} between markers");
        let from = self.text.find(&begin).with_context(missing)? + begin.len();
        let length = self.text[from..].find(&end).with_context(missing)?;
        let new = format!("\n{}\n", new.trim());
        self.text.replace_range(from..from + length, &new);
        Ok(())
    }
}

fn markers(name: &str) -> (String, String) {
    (
        format!("<!-- {name}: written by cargo xtask lab -->"),
        format!("<!-- {name}: end -->"),
    )
}

/// Date, command, machine and seed.
fn circumstances(seed: u64) -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    };
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Measured on {} with `cargo xtask {}`, {} with {cpus} CPUs, seed {seed}",
        output("date", &["-u", "+%Y-%m-%d"]),
        command(std::env::args().skip(1)),
        output("uname", &["-sr"])
    )
}

/// The words of the command that decide what is measured.
fn command(mut words: impl Iterator<Item = String>) -> String {
    let mut command = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--write" => {}
            "--logs" => drop(words.next()),
            _ => command.push(word),
        }
    }
    command.join(" ")
}

/// The sites in the order of the matrix, with the short names of its columns.
fn short(kind: SiteKind) -> &'static str {
    match kind {
        SiteKind::FullCone => "full",
        SiteKind::AddressRestricted => "addr",
        SiteKind::PortRestricted => "port",
        SiteKind::SymmetricRandom => "sym-r",
        SiteKind::SymmetricSequential => "sym-s",
        SiteKind::CarrierGrade => "cgn",
        SiteKind::UpnpPrivate => "upnp-p",
        SiteKind::UdpBlocked => "no-udp",
        SiteKind::WebOnly => "web",
        SiteKind::Ipv6Firewall => "v6",
        SiteKind::DualStack => "dual",
        other => other.name(),
    }
}

/// What the oracle says of every pair.
fn oracle_table() -> String {
    grid(|host, getter| oracle::possible(host, getter).words())
}

fn grid(cell: impl Fn(SiteKind, SiteKind) -> String) -> String {
    let heads: Vec<&str> = SiteKind::ALL.into_iter().map(short).collect();
    let mut text = format!(
        "| | {} |\n|---|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for host in SiteKind::ALL {
        let cells: Vec<String> = SiteKind::ALL
            .into_iter()
            .map(|getter| cell(host, getter))
            .collect();
        text.push_str(&format!(
            "| **{}** | {} |\n",
            host.name(),
            cells.join(" | ")
        ));
    }
    text
}

fn matrix(tallies: &[Tally], ran: &Ran) -> String {
    let mut text = format!(
        "{}: {} downloads in {} s.\n",
        circumstances(ran.seed),
        ran.downloads,
        ran.seconds
    );
    for habit in [Habit::Drop, Habit::Reject] {
        let own: Vec<&Tally> = tallies
            .iter()
            .filter(|tally| tally.pair.habit == habit)
            .collect();
        if own.is_empty() {
            continue;
        }
        text.push_str(&format!("\n### Routers that {}\n\n", habit_name(habit)));
        if own.len() > SiteKind::ALL.len() {
            text.push_str(&grid(|host, getter| {
                let this = |tally: &&&Tally| tally.pair.host == host && tally.pair.getter == getter;
                own.iter()
                    .find(this)
                    .map_or_else(String::new, |tally| cell(tally))
            }));
        }
        let relay = own.iter().any(|tally| tally.pair.turn != Turn::None);
        text.push_str(&match relay {
            true => over_relays(&own),
            false => details(&own),
        });
    }
    text
}

/// Successes and the median after signaling; where somebody relays, how it ended and when the first path was there. Bold where it
/// is not as expected.
fn cell(tally: &Tally) -> String {
    let (successes, runs) = (tally.successes(), tally.runs.len());
    let median = |spread: Spread| spread.median.as_millis();
    let relay = tally.pair.turn != Turn::None;
    let text = match (tally.after_signaling(), tally.first_path()) {
        (_, Some(first)) if relay && tally.connected() < runs => {
            format!("{}/{runs}, {}", tally.connected(), median(first))
        }
        (_, Some(first)) if relay && successes == runs => format!("direct, {}", median(first)),
        (_, Some(first)) if relay && successes == 0 => format!("relay, {}", median(first)),
        (_, Some(first)) if relay => format!("direct {successes}/{runs}, {}", median(first)),
        (Some(spread), _) => format!("{successes}/{runs}, {}", median(spread)),
        (None, _) => "-".to_owned(),
    };
    match tally.verdict() {
        Verdict::Missed(_) => format!("**{text}**"),
        _ => text,
    }
}

fn details(tallies: &[&Tally]) -> String {
    let mut text = "\n| from `share` | to `get` | direct | method | after signaling, ms | command to file, ms | \
                    at most, ms | as expected |\n|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut hopeless = Vec::new();
    for tally in tallies {
        let verdict = tally.verdict();
        let (host, getter) = (tally.pair.host.name(), tally.pair.getter.name());
        if verdict == Verdict::Unasked && tally.methods().is_empty() {
            hopeless.push(format!("{host} to {getter}"));
            continue;
        }
        text.push_str(&format!(
            "| {host} | {getter} | {} of {} | {} | {} | {} | {} | {} |\n",
            tally.successes(),
            tally.runs.len(),
            tally.methods(),
            Spread::words(tally.after_signaling()),
            Spread::words(tally.to_file()),
            tally.limit().as_millis(),
            verdict.word()
        ));
    }
    if !hopeless.is_empty() {
        let hopeless = hopeless.join("; ");
        text.push_str(&format!("\nNo path, and none expected: {hopeless}.\n"));
    }
    text
}

/// How many connected, and pairs that begin over a relay and end without one, or are not as expected.
fn over_relays(tallies: &[&Tally]) -> String {
    let count = |of: fn(&Tally) -> usize| tallies.iter().map(|tally| of(tally)).sum::<usize>();
    let mut text = format!(
        "\n{} of {} downloads connected, {} of them directly in the end.\n",
        count(Tally::connected),
        count(|tally| tally.runs.len()),
        count(Tally::successes)
    );
    let told = |tally: &&&Tally| {
        let guessed = matches!(tally.expected, Expected::Guessed { .. });
        guessed || matches!(tally.verdict(), Verdict::Missed(_))
    };
    let told: Vec<&&Tally> = tallies.iter().filter(told).collect();
    if told.is_empty() {
        return text;
    }
    text.push_str(
        "\n| from `share` | to `get` | connected | direct in the end | method in the end | first path, ms | direct path, ms | \
         as expected |\n|---|---|---|---|---|---|---|---|\n",
    );
    for tally in told {
        let runs = tally.runs.len();
        text.push_str(&format!(
            "| {} | {} | {} of {runs} | {} of {runs} | {} | {} | {} | {} |\n",
            tally.pair.host.name(),
            tally.pair.getter.name(),
            tally.connected(),
            tally.successes(),
            tally.methods(),
            Spread::words(tally.first_path()),
            Spread::words(tally.after_signaling()),
            tally.verdict().word()
        ));
    }
    text
}

fn methods(trials: &[Trial], seed: u64) -> String {
    let mut text = format!("{}.\n", circumstances(seed));
    for trial in trials {
        text.push_str(&format!(
            "\n### {}\n\n| method | can it? | done | command to file, ms | why not |\n|---|---|---|---|---|\n",
            trial.pair.name()
        ));
        for attempt in &trial.attempts {
            let can = if attempt.can { "yes" } else { "no" };
            let reason = attempt.tally.reason().replace('|', "\\|");
            let wrong = if attempt.failure().is_some() {
                " **(!)**"
            } else {
                ""
            };
            text.push_str(&format!(
                "| {} | {can} | {} of {}{wrong} | {} | {reason} |\n",
                attempt.name(),
                attempt.successes(),
                attempt.tally.runs.len(),
                Spread::words(attempt.tally.to_file()),
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document {
            place: PathBuf::new(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let (begin, end) = markers("oracle");
        let mut document = document(&format!("Before.\n{begin}\nold\n{end}\nAfter.\n"));
        document.replace("oracle", "new\n").unwrap();
        assert_eq!(
            document.text,
            format!("Before.\n{begin}\nnew\n{end}\nAfter.\n")
        );
        let error = document.replace("matrix", "new").unwrap_err().to_string();
        assert!(error.contains("matrix"), "{error}");
    }

    #[test]
    fn commands_are_shown_without_what_makes_no_difference() {
        let words = [
            "lab", "matrix", "--write", "--runs", "9", "--logs", "/tmp/x", "--dev",
        ];
        let shown = command(words.into_iter().map(str::to_owned));
        assert_eq!(shown, "lab matrix --runs 9 --dev");
    }

    #[test]
    fn the_document_shows_the_oracle_as_it_is() {
        let mut document = Document::open(&Workspace::find().unwrap()).unwrap();
        let before = document.text.clone();
        document.replace("oracle", &oracle_table()).unwrap();
        assert!(
            before == document.text,
            "write it again: cargo xtask lab oracle"
        );
    }
}
