//! Everything continuous integration does, in Rust: `cargo xtask ci` is the same command there and
//! on a laptop. Each step is also a word of its own: `cargo xtask ci --only tidy,fmt`.

mod bench;
mod ci;
mod lab;
mod tidy;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "The chores of this project")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Check everything: format, lints, documentation, licences, house rules, tests
    Ci(ci::Options),
    /// Check the house rules that no other tool knows
    Tidy,
    /// Measure speeds, each beside a reference in the same run
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Run the program between any two sites of the network laboratory; needs root on Linux
    #[command(subcommand)]
    Lab(lab::Chore),
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        // Not returned from main: the backtrace would hide the words.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match chore {
        Chore::Ci(options) => ci::run(&workspace, &options),
        Chore::Tidy => tidy::run(&workspace),
        Chore::Bench(bench) => bench::run(&workspace, &bench),
        Chore::Lab(chore) => lab::run(&workspace, &chore),
    }
}
