//! One step of continuous integration: a command or the house rules, and the tool it needs.

use crate::{
    tidy,
    workspace::{Workspace, cargo},
};
use anyhow::{Context, Result, bail, ensure};
use std::process::{Command, Stdio};

/// A step: its name, what it needs, what it does.
#[derive(Debug)]
pub(crate) struct Step {
    /// The word for `--only`.
    pub(crate) name: &'static str,
    action: Action,
    /// Not part of a Rust installation: probed before the step runs.
    tool: Option<Tool>,
}

/// How a step ended that did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// All is well.
    Passed,
    /// Its tool is not installed here. Under `CI` this is a failure instead.
    Skipped(String),
}

#[derive(Debug)]
enum Action {
    /// `cargo` with these arguments.
    Cargo(&'static [&'static str]),
    /// `cargo doc` in which a warning is an error.
    CargoDoc(&'static [&'static str]),
    /// nextest where it is installed, else `cargo test`.
    Tests,
    /// Python with these arguments.
    Python(&'static [&'static str]),
    /// The house rules.
    Tidy,
}

/// A program that a step needs, and how to get it.
#[derive(Debug)]
struct Tool {
    probe: &'static [&'static str],
    install: &'static str,
}

const DENY: Tool = Tool {
    probe: &["cargo", "deny", "--version"],
    install: "cargo install --locked cargo-deny --version 0.20.2",
};

const PYTHON: Tool = Tool {
    probe: &["python3", "-c", "import cryptography"],
    install: "apt-get install python3 python3-cryptography",
};

/// What `cargo xtask lab` needs first; it checks the rest itself.
const NAMESPACES: Tool = Tool {
    probe: &[
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "nft",
        "--version",
    ],
    install: "apt-get install util-linux iproute2 nftables, and run it as root on Linux",
};

const NEXTEST: &[&str] = &[
    "nextest",
    "run",
    "--workspace",
    "--locked",
    "--no-fail-fast",
];
const CARGO_TEST: &[&str] = &[
    "test",
    "--workspace",
    "--locked",
    "--all-targets",
    "--no-fail-fast",
];

/// All steps in order: cheap ones first, the tests last.
pub(crate) const STEPS: &[Step] = &[
    // The licence check below reads the sources of every target, also of those not built here.
    step("fetch", Action::Cargo(&["fetch", "--locked"])),
    step("tidy", Action::Tidy),
    step("fmt", Action::Cargo(&["fmt", "--all", "--check"])),
    Step {
        name: "deny",
        action: Action::Cargo(&[
            "deny",
            "--offline",
            "--locked",
            "check",
            "bans",
            "licenses",
            "sources",
        ]),
        tool: Some(DENY),
    },
    step(
        "clippy",
        Action::Cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
    ),
    step(
        "docs",
        Action::CargoDoc(&["doc", "--workspace", "--no-deps", "--locked"]),
    ),
    Step {
        // The published test vectors and the client in Python, against a host in Python.
        name: "python",
        action: Action::Python(&[
            "-m",
            "unittest",
            "discover",
            "--start-directory",
            "docs/python",
        ]),
        tool: Some(PYTHON),
    },
    // Tests of several crates start the program itself.
    step(
        "build",
        Action::Cargo(&["build", "--package", "dig-cli", "--locked"]),
    ),
    // The program between telling pairs of sites of the laboratory; what the step above has built.
    Step {
        name: "lab",
        action: Action::Cargo(&["xtask", "lab", "matrix", "--subset", "ci", "--dev"]),
        tool: Some(NAMESPACES),
    },
    // The examples that need neither an argument nor a network.
    step(
        "full-transfer",
        Action::Cargo(&[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "dig-examples",
            "--example",
            "full_transfer",
        ]),
    ),
    step(
        "multi-source",
        Action::Cargo(&[
            "run",
            "--quiet",
            "--locked",
            "--package",
            "dig-examples",
            "--example",
            "multi_source",
        ]),
    ),
    step(
        "doc-tests",
        Action::Cargo(&["test", "--workspace", "--doc", "--locked"]),
    ),
    step("tests", Action::Tests),
];

const fn step(name: &'static str, action: Action) -> Step {
    Step {
        name,
        action,
        tool: None,
    }
}

impl Step {
    /// The command of this step as one would type it.
    pub(crate) fn shown(&self) -> String {
        match &self.action {
            Action::Cargo(arguments) => format!("cargo {}", arguments.join(" ")),
            Action::CargoDoc(arguments) => {
                format!("RUSTDOCFLAGS='-D warnings' cargo {}", arguments.join(" "))
            }
            Action::Tests => format!("cargo {}", test_arguments().join(" ")),
            Action::Python(arguments) => format!("python3 {}", arguments.join(" ")),
            Action::Tidy => "cargo xtask tidy".to_owned(),
        }
    }

    /// Runs the step; its output goes to the terminal.
    pub(crate) fn run(&self, workspace: &Workspace) -> Result<Outcome> {
        if let Some(tool) = self.tool.as_ref().filter(|tool| !tool.present()) {
            let message = format!("its tool is not installed; get it with: {}", tool.install);
            // A check that nobody ran must not look like one that passed where people rely on it.
            ensure!(std::env::var_os("CI").is_none(), message);
            return Ok(Outcome::Skipped(message));
        }
        let mut command = match &self.action {
            Action::Tidy => return tidy::run(workspace).map(|()| Outcome::Passed),
            Action::Cargo(arguments) => cargo_with(arguments),
            Action::CargoDoc(arguments) => {
                let mut command = cargo_with(arguments);
                command.env("RUSTDOCFLAGS", "-D warnings");
                command
            }
            Action::Tests => cargo_with(test_arguments()),
            Action::Python(arguments) => {
                let mut command = Command::new("python3");
                command.args(*arguments);
                command
            }
        };
        let status = command
            .current_dir(&workspace.root)
            .status()
            .with_context(|| format!("cannot start `{}`", self.shown()))?;
        if !status.success() {
            bail!("{status}");
        }
        Ok(Outcome::Passed)
    }
}

impl Tool {
    fn present(&self) -> bool {
        succeeds(self.probe)
    }
}

fn cargo_with(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(arguments);
    command
}

fn test_arguments() -> &'static [&'static str] {
    if succeeds(&["cargo", "nextest", "--version"]) {
        NEXTEST
    } else {
        CARGO_TEST
    }
}

/// Whether a command can be started and ends well; its words are nobody's concern.
fn succeeds(command: &[&str]) -> bool {
    let Some((program, arguments)) = command.split_first() else {
        return false;
    };
    let program = if *program == "cargo" {
        cargo()
    } else {
        program.into()
    };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_noticed() {
        assert!(succeeds(&["cargo", "--version"]));
        assert!(!succeeds(&["no-such-program-here"]));
        assert!(!succeeds(&[]));
    }

    #[test]
    fn commands_are_shown_as_typed() {
        let shown: Vec<String> = STEPS.iter().map(Step::shown).collect();
        assert!(shown.contains(&"cargo fmt --all --check".to_owned()));
        assert!(
            shown
                .iter()
                .any(|line| line.starts_with("RUSTDOCFLAGS='-D warnings' cargo doc"))
        );
    }
}
