//! `cargo xtask tidy`: the house rules that neither rustc nor clippy nor rustfmt knows.
//!
//! - [`arrows`]: crates depend only on crates of a lower tier, and a folder has the name of its crate;
//! - [`source`]: every source file says what it is for, is short, and excuses no lint without a reason;
//! - [`naming`]: no module is called after nothing in particular, none is a `mod.rs`;
//! - [`manifest`]: every crate takes part in the workspace's lints;
//! - [`defaults`]: every knob is in the table of defaults;
//! - [`links`]: links of the documentation lead to files that exist.
//!
//! Each rule is a function from text to [`Finding`]s; only this file reads the disk.

mod arrows;
mod code;
mod defaults;
mod links;
mod manifest;
mod naming;
mod source;

use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::{fmt, fs, path::Path};

/// Folders with Rust sources of ours.
const SOURCES: &[&str] = &["crates", "examples", "xtask"];
/// Places with documentation: the root's own files are added to these.
const DOCUMENTS: &[&str] = &["docs", "crates", "examples", "xtask"];

/// Something that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Line, from 1; 0 for the file as a whole.
    line: usize,
    message: String,
    severity: Severity,
}

/// Whether a finding fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    Warning,
    Error,
}

impl Finding {
    fn error(line: usize, message: impl Into<String>) -> Self {
        Self {
            line,
            message: message.into(),
            severity: Severity::Error,
        }
    }

    fn warning(line: usize, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(line, message)
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Checks the whole workspace and prints what it finds.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let mut report = Report::default();
    for member in workspace.members()? {
        let path = member.folder.join("Cargo.toml");
        let path = workspace.relative(&path);
        report.add(path, arrows::check(&member));
        report.add(path, manifest::check(&member.manifest));
    }
    let defaults = read(&workspace.root.join(defaults::DOCUMENT))?;
    for file in workspace.files(SOURCES, "rs")? {
        let path = workspace.relative(&file);
        let text = read(&file)?;
        report.add(path, naming::check(path));
        report.add(path, source::check(path, &text));
        // The laboratory is no part of the product.
        if !path.starts_with("crates/dig-lab") {
            report.add(path, defaults::check(&text, &defaults));
        }
    }
    let mut documents = workspace.files(DOCUMENTS, "md")?;
    documents.extend(["README.md", "CHANGELOG.md"].map(|name| workspace.root.join(name)));
    for file in documents.iter().filter(|file| file.is_file()) {
        let folder = file.parent().unwrap_or(&workspace.root);
        let exists = |target: &str| folder.join(target).exists();
        report.add(
            workspace.relative(file),
            links::check(&read(file)?, &exists),
        );
    }
    report.conclude()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

#[derive(Debug, Default)]
struct Report {
    errors: usize,
    warnings: usize,
}

impl Report {
    fn add(&mut self, path: &Path, findings: Vec<Finding>) {
        for Finding {
            line,
            message,
            severity,
        } in findings
        {
            match severity {
                Severity::Warning => self.warnings += 1,
                Severity::Error => self.errors += 1,
            }
            match line {
                0 => eprintln!("{}: {severity}: {message}", path.display()),
                line => eprintln!("{}:{line}: {severity}: {message}", path.display()),
            }
        }
    }

    fn conclude(self) -> Result<()> {
        match self {
            Self {
                errors: 0,
                warnings: 0,
            } => Ok(()),
            Self {
                errors: 0,
                warnings,
            } => {
                eprintln!("tidy: {warnings} warnings");
                Ok(())
            }
            Self { errors, .. } => bail!("{errors} house rules are broken (above)"),
        }
    }
}
