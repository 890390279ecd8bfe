//! A running `dignet`, its JSON events, and its end.

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// No step of a test takes longer, however slow the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A `dignet --json` that contacts nobody it was not told of.
pub(crate) struct Dignet {
    child: Child,
    /// With the time at which each came, however late it is looked at.
    events: Receiver<(Instant, Value)>,
    seen: Vec<Value>,
    errors: Option<std::thread::JoinHandle<String>>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) events: Vec<Value>,
    pub(crate) stderr: String,
}

/// The arguments in front of the program, such as those that enter a namespace.
pub(crate) type Prefix<'a> = &'a [&'a str];

impl Dignet {
    /// Starts it with this home.
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        // This machine's own router is not for tests.
        Self::start_in(&["env", "DIGNET_NO_UPNP=1"], home, args)
    }

    /// Starts it behind a prefix.
    pub(crate) fn start_in(prefix: Prefix<'_>, home: &Path, args: &[&str]) -> Self {
        let program = env!("CARGO_BIN_EXE_dignet");
        let mut words = prefix.iter().copied().chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--json").args(args);
        command
            .env("DIGNET_NO_DEFAULTS", "1")
            .env("DIGNET_HOME", home);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::spawn(command)
    }

    pub(crate) fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut stderr = child.stderr.take().unwrap();
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: Value =
                    serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
                assert_eq!(event["v"], 1, "{line}");
                let _ = sender.send((Instant::now(), event));
            }
        });
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stderr.read_to_string(&mut text);
            text
        });
        Self {
            child,
            events,
            seen: Vec::new(),
            errors: Some(errors),
        }
    }

    /// The next event of this name.
    pub(crate) fn event(&mut self, name: &str) -> Value {
        self.event_where(name, |_| true)
    }

    /// The next event of this name that fits.
    pub(crate) fn event_where(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok((_, event)) => {
                    self.seen.push(event.clone());
                    if event["event"] == name && fits(&event) {
                        return event;
                    }
                }
                Err(error) => {
                    let why = if error == RecvTimeoutError::Timeout {
                        "in time"
                    } else {
                        "before the end"
                    };
                    let _ = self.child.kill();
                    let stderr = self.errors.take().map(|errors| errors.join().unwrap());
                    panic!("no event {name} {why}; seen: {:#?}\n{stderr:?}", self.seen);
                }
            }
        }
    }

    /// The next event, whatever it is.
    pub(crate) fn any_event(&mut self) -> (Instant, Value) {
        let event = self.events.recv_timeout(PATIENCE);
        let (at, event) = event.unwrap_or_else(|error| panic!("{error}; seen: {:#?}", self.seen));
        self.seen.push(event.clone());
        (at, event)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, such as `INT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// kill -9, and waits until it is gone; what it said until then.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.seen.extend(self.events.iter().map(|(_, event)| event));
        std::mem::take(&mut self.seen)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        let status = self.wait();
        self.seen
            .extend(self.events.try_iter().map(|(_, event)| event));
        let stderr = self.errors.take().unwrap().join().unwrap();
        self.seen.extend(self.events.iter().map(|(_, event)| event));
        Ended {
            code: status.code(),
            events: std::mem::take(&mut self.seen),
            stderr,
        }
    }

    fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let stderr = self.errors.take().map(|errors| errors.join().unwrap());
                panic!("it does not end; seen: {:#?}\n{stderr:?}", self.seen);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Dignet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The only event of this name.
    pub(crate) fn event(&self, name: &str) -> &Value {
        let mut events = self.events.iter().filter(|event| event["event"] == name);
        match (events.next(), events.next()) {
            (Some(event), None) => event,
            (None, _) => panic!("no event {name}: {self:#?}"),
            _ => panic!("several events {name}: {self:#?}"),
        }
    }

    /// It ended well: its `done` event.
    pub(crate) fn done(&self) -> &Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.event("done")
    }

    /// It failed with this exit code and kind: what it says, message and hint together.
    pub(crate) fn failure(&self, code: i32, kind: &str) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        let error = self.event("error");
        assert_eq!(error["kind"], kind, "{error}");
        format!(
            "{} {}",
            error["message"].as_str().unwrap(),
            error["hint"].as_str().unwrap_or_default()
        )
    }
}
