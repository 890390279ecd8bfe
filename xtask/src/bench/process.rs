//! Programs that are measured: they run where nothing but loopback exists.

use crate::workspace::{Workspace, cargo};
use anyhow::{Context as _, ensure};
use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

/// The unit of times in `/proc/PID/stat`: Linux gives user space 100 a second on every machine.
const TICK: Duration = Duration::from_millis(10);

/// Builds a program in its released form; the folder it is in.
pub(crate) fn build(workspace: &Workspace, args: &[&str]) -> anyhow::Result<PathBuf> {
    let status = Command::new(cargo())
        .args(["build", "--release", "--locked", "--offline", "--quiet"])
        .args(args)
        .current_dir(&workspace.root)
        .status()?;
    ensure!(status.success(), "cargo build {} failed", args.join(" "));
    Ok(release(workspace))
}

/// Where cargo puts programs in their released form.
pub(crate) fn release(workspace: &Workspace) -> PathBuf {
    target(workspace).join("release")
}

/// Where cargo puts all that it makes.
pub(crate) fn target(workspace: &Workspace) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| workspace.root.join("target"))
}

/// A program that runs until it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(program: &Path, args: &[&str]) -> anyhow::Result<Self> {
        Self::spawn(Command::new(program).args(args))
    }

    /// Starts what this command says.
    pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .env("DIGNET_NO_DEFAULTS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", command.get_program().display()))?;
        let out = child.stdout.take().context("no standard output")?;
        Ok(Self {
            child,
            lines: BufReader::new(out),
        })
    }

    /// The next event, as a line of JSON; `None` at the end.
    pub(crate) fn next_event(&mut self) -> anyhow::Result<Option<String>> {
        let mut line = String::new();
        Ok((self.lines.read_line(&mut line)? > 0).then_some(line))
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> anyhow::Result<String> {
        while let Some(line) = self.next_event()? {
            if is_event(&line, name) {
                return Ok(line);
            }
        }
        anyhow::bail!("the program ended before its event {name}")
    }

    /// Most memory it has had resident so far, in bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    /// The memory it has resident, in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    /// The CPU time that all its threads have taken.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field, the name, may hold anything; fields are counted from its end.
        let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
        let mut fields = fields.split_whitespace().skip(11);
        let mut ticks =
            || -> anyhow::Result<u64> { Ok(fields.next().context("no times")?.parse()?) };
        Ok(TICK * u32::try_from(ticks()? + ticks()?)?)
    }

    fn status(&self, name: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let value = value.with_context(|| format!("no {name}"))?;
        let kib: u64 = value.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a line of JSON is this event.
pub(crate) fn is_event(line: &str, name: &str) -> bool {
    line.contains(&format!("\"event\":\"{name}\""))
}

/// What a program prints, once it has ended well.
pub(crate) fn output(program: &Path, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(
        output.status.success(),
        "{} {} failed",
        program.display(),
        args.join(" ")
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// The text of a field in a line of JSON, without what JSON escapes.
pub(crate) fn field<'a>(line: &'a str, name: &str) -> anyhow::Result<&'a str> {
    let key = format!("\"{name}\":");
    let (_, rest) = line
        .split_once(&key)
        .with_context(|| format!("no {name} in {line}"))?;
    let end = rest.find([',', '}']).context("a line of JSON is cut off")?;
    Ok(rest[..end].trim_matches('"'))
}
