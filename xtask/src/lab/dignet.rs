//! A running `dignet --json` on a machine of the laboratory: its events, each with its time, and its end.

use anyhow::{Context as _, bail};
use dig_lab::Machine;
use serde_json::Value;
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How long a program may take to end that was asked to.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is run.
#[derive(Debug)]
pub(super) struct Program {
    /// The executable.
    pub(super) path: PathBuf,
    /// Where the debug logs of downloads that are not as expected go.
    pub(super) logs: Option<PathBuf>,
}

impl Program {
    /// Whether somebody wants to read logs.
    pub(super) const fn keeps_logs(&self) -> bool {
        self.logs.is_some()
    }
}

/// A running program that ends when this is dropped.
pub(super) struct Dignet {
    child: Child,
    events: Receiver<(Instant, Value)>,
    seen: Vec<(Instant, Value)>,
    /// When it was started.
    pub(super) started: Instant,
}

impl Dignet {
    /// Starts it with a home of its own in `dir`, where its words go as well.
    pub(super) fn start(
        machine: &Machine,
        program: &Program,
        dir: &Path,
        args: &[String],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut command = Command::new(&program.path);
        command
            .arg("--json")
            .arg("--home")
            .arg(dir.join("home"))
            .args(args)
            .env("DIGNET_NO_DEFAULTS", "1")
            .env(
                "DIGNET_LOG",
                if program.keeps_logs() {
                    "debug"
                } else {
                    "warn"
                },
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(dir.join("log"))?);
        let started = Instant::now();
        let mut child = machine.spawn(&mut command)?;
        let lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let mut copy = File::create(dir.join("events"))?;
        let (sender, events) = channel();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let now = Instant::now();
                // For whoever reads the logs; a download does not fail for want of them.
                let _ = std::io::Write::write_all(&mut copy, format!("{line}\n").as_bytes());
                let event = serde_json::from_str(&line).unwrap_or(Value::Null);
                if sender.send((now, event)).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            events,
            seen: Vec::new(),
            started,
        })
    }

    /// The next event of this name, and when it came.
    pub(super) fn event(
        &mut self,
        name: &str,
        deadline: Instant,
    ) -> anyhow::Result<(Instant, Value)> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok((time, event)) => {
                    self.seen.push((time, event.clone()));
                    if event["event"] == name {
                        return Ok((time, event));
                    }
                }
                Err(RecvTimeoutError::Timeout) => bail!("no `{name}` in time"),
                Err(RecvTimeoutError::Disconnected) => bail!("{}", self.failure()),
            }
        }
    }

    /// The events of this name among those that have come, and when they came.
    pub(super) fn seen<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a (Instant, Value)> {
        self.seen
            .iter()
            .filter(move |(_, event)| event["event"] == name)
    }

    /// Why a program ended that should not have.
    fn failure(&mut self) -> String {
        let code = self.child.wait().ok().and_then(|status| status.code());
        let code = code.map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
        match self.seen("error").next() {
            Some((_, error)) => {
                let message = error["message"].as_str().unwrap_or("no message");
                format!("{message} ({code})")
            }
            None => format!("it ended with {code} and without a word"),
        }
    }

    /// Waits until it ends by itself.
    pub(super) fn wait(&mut self, deadline: Instant) -> anyhow::Result<Option<i32>> {
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            if Instant::now() > deadline {
                bail!("it does not end");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, as Ctrl-C does, so that it can tell its router and its peers.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.child.id().to_string();
        Command::new("kill").args(["-s", "INT", &pid]).status()?;
        self.wait(Instant::now() + FAREWELL).map(drop)
    }
}

impl Drop for Dignet {
    fn drop(&mut self) {
        // It has ended already, or ends now; either way nobody is left to be told.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
