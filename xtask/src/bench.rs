//! `cargo xtask bench`: speeds, each beside a reference measured in the same run.

mod gun;
mod namespace;
mod process;
mod transfer;

use crate::workspace::Workspace;
use clap::Subcommand;

/// What can be measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// `dignet share` and `dignet get` over loopback, beside plain copies of the same size
    Transfer(transfer::Options),
    /// `dignet relay --gun` beside the relay of gun.js
    Gun(gun::Options),
}

pub(crate) fn run(workspace: &Workspace, bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Transfer(options) => transfer::run(workspace, options),
        Bench::Gun(options) => gun::run(workspace, options),
    }
}
