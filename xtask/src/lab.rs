//! `cargo xtask lab`: the program itself between any two sites of the laboratory (`dig-lab`), and what to expect of it there.
//!
//! - [`matrix`]: every ordered pair of sites, many times, judged;
//! - [`methods`]: every method alone, where it can and where it cannot work;
//! - [`pair`]: one pair of sites with a peer that introduces, and one download in it; [`dignet`] is a running program;
//! - [`oracle`]: which path can exist between two sites, derived from what their NATs do;
//! - [`verdict`]: figures of several downloads, and whether they are as expected;
//! - [`document`]: what lands in `docs/nat-lab.md`.

mod dignet;
mod document;
mod folder;
mod matrix;
mod methods;
mod oracle;
mod pair;
mod queue;
mod verdict;

use crate::workspace::{Workspace, cargo};
use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use dig_lab::{Lab, SiteKind, link::Link};
use dignet::Program;
use document::Document;
use folder::Folder;
use std::{path::PathBuf, process::Command, time::Duration};

/// What the laboratory can be used for.
#[derive(Debug, Subcommand)]
pub(crate) enum Chore {
    /// `dignet share` in one site and `dignet get` in another, for every ordered pair of sites
    Matrix(matrix::Options),
    /// Every method alone, in pairs where it can and where it cannot work, beside the race of all
    Methods(methods::Options),
    /// Put what the oracle says into docs/nat-lab.md; needs no laboratory
    Oracle,
}

/// What both chores are told.
#[derive(Debug, Clone, Args)]
pub(crate) struct Conditions {
    /// Time from one site to another and back, in milliseconds; half of it to the peer that introduces
    #[arg(long, value_name = "MS", default_value_t = 20)]
    delay: u64,
    /// Packets lost between two sites, in each direction
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Size of the file in bytes
    #[arg(long, default_value_t = 64 << 10)]
    size: usize,
    /// Pairs at once; each keeps about one core busy
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Decides the links' losses and the files' bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The dignet to use [default: the release build, built first]
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Build and use the dev profile
    #[arg(long, conflicts_with = "program")]
    dev: bool,
    /// Keep the debug logs of pairs that are not as expected here
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, chore: &Chore) -> anyhow::Result<()> {
    match chore {
        Chore::Oracle => Document::open(workspace)?.write_oracle(),
        Chore::Matrix(options) if is_available()? => matrix::run(workspace, options),
        Chore::Methods(options) if is_available()? => methods::run(workspace, options),
        Chore::Matrix(_) | Chore::Methods(_) => Ok(()),
    }
}

/// Whether there can be a laboratory here; says why if not.
fn is_available() -> anyhow::Result<bool> {
    let Err(reason) = Lab::available() else {
        return Ok(true);
    };
    // A check that nobody ran must not look like one that passed where people rely on it.
    ensure!(std::env::var_os("CI").is_none(), "{reason}");
    eprintln!("SKIPPED: {reason}");
    Ok(false)
}

impl Conditions {
    /// The program that was named, or the one of this workspace, built first: a copy in that folder, since somebody may build the next
    /// one meanwhile.
    fn program(&self, workspace: &Workspace, folder: &Folder) -> anyhow::Result<Program> {
        let original = match &self.program {
            Some(program) => program.clone(),
            None => self.build(workspace)?,
        };
        let path = folder.0.join("dignet");
        std::fs::copy(&original, &path)
            .with_context(|| format!("no program {}", original.display()))?;
        let logs = self.logs.clone();
        Ok(Program { path, logs })
    }

    fn build(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        let (profile, folder) = if self.dev {
            ("dev", "debug")
        } else {
            ("release", "release")
        };
        let status = Command::new(cargo())
            .args(["build", "--locked", "--quiet", "--package", "dig-cli"])
            .args(["--profile", profile])
            .current_dir(&workspace.root)
            .status()?;
        ensure!(status.success(), "cargo build --package dig-cli failed");
        let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
        let target = target.unwrap_or_else(|| workspace.root.join("target"));
        Ok(target.join(folder).join("dignet"))
    }

    /// What a site's link to the internet does to packets in either direction: two of them are between two sites. `None`: nothing.
    fn uplink(&self) -> Option<Link> {
        let delay = Duration::from_millis(self.delay) / 4;
        let loss = 1.0 - (1.0 - self.loss.clamp(0.0, 100.0) / 100.0).sqrt();
        let perfect = delay.is_zero() && loss <= 0.0;
        (!perfect).then(|| Link::delay(delay).with_loss(loss))
    }
}

/// The site of this name, for command lines.
fn parse_site(name: &str) -> Result<SiteKind, String> {
    SiteKind::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = SiteKind::ALL.into_iter().map(SiteKind::name).collect();
        format!("no such site; the sites are {}", names.join(", "))
    })
}

/// Ends with the failures, if there are any.
fn conclude(failures: &[String]) -> anyhow::Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} not as expected:\n  {}",
        failures.len(),
        failures.join("\n  ")
    )
}
