//! Programs that are measured: they run where nothing but loopback exists.

use anyhow::{Context as _, ensure};
use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

/// A program that runs until it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(program: &Path, args: &[&str]) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .env("DIGNET_NO_DEFAULTS", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
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
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .context("no VmHWM")?;
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse()?;
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
