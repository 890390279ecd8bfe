//! The figures as a table, with what is aimed at beside each.

use crate::workspace::Workspace;
use anyhow::Context as _;
use std::time::Duration;

/// Where the table is kept, and between what.
const PLACE: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- gun: written by cargo xtask bench gun -->";
const END: &str = "<!-- gun: end -->";

/// What we want of a figure, beside that of gun.js.
#[derive(Debug, Clone, Copy)]
pub(super) enum Aim {
    /// At least so many times as much.
    Times(f64),
    /// At most this share.
    Share(f64),
    /// To know it.
    None,
}

/// What was measured of one relay.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// A second, or bytes.
    value: f64,
    /// CPU time of the relay for each request.
    cpu: Option<Duration>,
    lost: usize,
}

impl Figure {
    /// Requests a second; `done` of them took `cpu`.
    pub(super) fn new(rate: f64, lost: usize, cpu: Duration, done: f64) -> Self {
        Self {
            value: rate,
            cpu: Some(cpu.div_f64(done.max(1.0))),
            lost,
        }
    }

    pub(super) fn memory(bytes: u64) -> Self {
        Self {
            value: bytes as f64,
            cpu: None,
            lost: 0,
        }
    }

    fn text(&self) -> String {
        let mut text = match self.cpu {
            Some(_) => format!("{} /s", thousands(self.value)),
            None => format!("{} MiB", thousands(self.value / f64::from(1 << 20))),
        };
        if self.lost > 0 {
            text.push_str(&format!(" ({} unanswered)", thousands(self.lost as f64)));
        }
        text
    }

    fn cpu_text(&self) -> String {
        let micros = |cpu: Duration| format!("{} µs", thousands(cpu.as_secs_f64() * 1e6));
        self.cpu.map_or_else(String::new, micros)
    }
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    aim: Aim,
    theirs: Figure,
    ours: Figure,
}

impl Row {
    /// Of both figures, theirs first.
    pub(super) fn new(name: String, aim: Aim, figures: Vec<Figure>) -> Option<Self> {
        let [theirs, ours] = figures.try_into().ok()?;
        Some(Self {
            name,
            aim,
            theirs,
            ours,
        })
    }

    fn text(&self) -> String {
        let ratio = self.ours.value / self.theirs.value;
        let (aim, reached) = match self.aim {
            Aim::Times(times) => (format!("{times:.0}"), ratio >= times),
            Aim::Share(share) => (format!("{share:.2}"), ratio <= share),
            Aim::None => (String::new(), true),
        };
        format!(
            "| {} | {} | {} | {}{} | {aim} | {} | {} |\n",
            self.name,
            self.theirs.text(),
            self.ours.text(),
            if ratio < 10.0 {
                format!("{ratio:.2}")
            } else {
                thousands(ratio)
            },
            if reached { "" } else { " (missed)" },
            self.theirs.cpu_text(),
            self.ours.cpu_text(),
        )
    }
}

pub(super) fn table(rows: &[Row]) -> String {
    let mut table = "| | gun.js | ours | ratio | aim | CPU for each, gun.js | ours |\n|---|---|---|---|---|---|---|\n".to_owned();
    for row in rows {
        table.push_str(&row.text());
    }
    table
}

/// Prints it, and keeps it if that is wanted.
#[allow(clippy::print_stdout, reason = "the table is the result")]
pub(super) fn publish(workspace: &Workspace, table: &str, write: bool) -> anyhow::Result<()> {
    println!("\n{table}");
    if write {
        let place = workspace.root.join(PLACE);
        let mut text = std::fs::read_to_string(&place)?;
        let missing = || format!("{PLACE} has no place for the table");
        let from = text.find(BEGIN).with_context(missing)? + BEGIN.len();
        let length = text[from..].find(END).with_context(missing)?;
        text.replace_range(from..from + length, &format!("\n{}\n", table.trim()));
        std::fs::write(place, text)?;
    }
    Ok(())
}

/// A number without fraction, in groups of three digits.
pub(super) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_whether_its_aim_is_reached() {
        let figure = |value| Figure::new(value, 0, Duration::from_millis(10), 100.0);
        let row = |ours, aim| Row::new("put".to_owned(), aim, vec![figure(1_000.0), figure(ours)]);
        let text = |ours, aim| row(ours, aim).unwrap().text();
        assert_eq!(
            text(5_000.0, Aim::Times(5.0)),
            "| put | 1,000 /s | 5,000 /s | 5.00 | 5 | 100 µs | 100 µs |\n"
        );
        assert!(text(4_000.0, Aim::Times(5.0)).contains("4.00 (missed)"));
        assert!(text(300.0, Aim::Share(0.2)).contains("0.30 (missed)"));
    }

    #[test]
    fn digits_are_grouped() {
        for (number, text) in [
            (0.4, "0"),
            (999.0, "999"),
            (1_000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(thousands(number), text);
        }
    }
}
