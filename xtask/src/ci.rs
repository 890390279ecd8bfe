//! `cargo xtask ci`: the steps one after the other, each named and timed, up to the first that fails.
//!
//! The cheap steps come first and the tests last, so that the output ends with the test runner's
//! summary.

mod step;

use crate::workspace::Workspace;
use anyhow::{Result, bail};
use clap::Args;
use std::time::Instant;
use step::{Outcome, STEPS, Step};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Only these steps, in their usual order
    #[arg(long, value_delimiter = ',', value_name = "STEP,…")]
    only: Vec<String>,
    /// Print the names of the steps and what they run
    #[arg(long)]
    list: bool,
}

/// Runs the chosen steps.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let chosen = choose(&options.only)?;
    if options.list {
        for step in chosen {
            eprintln!("{:<10} {}", step.name, step.shown());
        }
        return Ok(());
    }
    let begun = Instant::now();
    let mut skipped = Vec::new();
    for step in &chosen {
        eprintln!("==> {}: {}", step.name, step.shown());
        let step_begun = Instant::now();
        let outcome = step.run(workspace);
        let seconds = step_begun.elapsed().as_secs_f32();
        match outcome {
            Ok(Outcome::Passed) => eprintln!("<== {} passed in {seconds:.1} s", step.name),
            Ok(Outcome::Skipped(reason)) => {
                eprintln!("<== {} skipped: {reason}", step.name);
                skipped.push(step.name);
            }
            Err(error) => bail!(
                "{} failed after {seconds:.1} s: {error:#}\n  the step again:    cargo xtask ci --only {}\n  \
                 the command alone: {}",
                step.name,
                step.name,
                step.shown()
            ),
        }
    }
    let seconds = begun.elapsed().as_secs_f32();
    let note = match skipped.as_slice() {
        [] => String::new(),
        names => format!(", skipped: {}", names.join(", ")),
    };
    eprintln!(
        "ci: {} steps passed in {seconds:.0} s{note}",
        chosen.len() - skipped.len()
    );
    Ok(())
}

fn choose(only: &[String]) -> Result<Vec<&'static Step>> {
    let known = || {
        STEPS
            .iter()
            .map(|step| step.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(unknown) = only
        .iter()
        .find(|name| STEPS.iter().all(|step| step.name != **name))
    {
        bail!("no step is called {unknown:?}; the steps are {}", known());
    }
    Ok(STEPS
        .iter()
        .filter(|step| only.is_empty() || only.iter().any(|name| name == step.name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str]) -> Vec<&'static str> {
        let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
        choose(&only)
            .unwrap()
            .iter()
            .map(|step| step.name)
            .collect()
    }

    #[test]
    fn chosen_steps_keep_their_order() {
        assert_eq!(names(&["fmt", "tidy"]), ["tidy", "fmt"]);
        assert_eq!(names(&[]).len(), STEPS.len());
        assert_eq!(names(&[]).last(), Some(&"tests"));
    }

    #[test]
    fn an_unknown_step_is_named() {
        let error = choose(&["fnt".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("fnt") && error.contains("fmt"), "{error}");
    }
}
