//! Where words and JSON go: words for people to standard error, results and JSON lines to standard output.

use crate::exit::Failure;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value};
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Version of the JSON lines.
const JSON_VERSION: u8 = 1;

/// Speaks to people or to programs. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    json: bool,
    bar: Arc<Mutex<Option<ProgressBar>>>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            bar: Arc::default(),
        }
    }

    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// An event for programs; people are told in words of their own.
    pub(crate) fn event(&self, name: &str, fields: Value) {
        if !self.json {
            return;
        }
        let mut line = Map::new();
        line.insert("v".to_owned(), JSON_VERSION.into());
        line.insert("event".to_owned(), name.into());
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{}", Value::Object(line)).and_then(|()| out.flush());
    }

    /// A line for people.
    pub(crate) fn say(&self, line: &str) {
        if self.json {
            return;
        }
        let print = || {
            let _ = writeln!(std::io::stderr().lock(), "{line}");
        };
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// A line that people may want to pipe on: it goes to standard output.
    pub(crate) fn result(&self, line: &str) {
        if !self.json {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }

    /// A whole document for standard output, whatever the mode.
    pub(crate) fn document(&self, bytes: &[u8]) {
        let _ = std::io::stdout().lock().write_all(bytes);
    }

    /// Reports a failure and gives its exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        self.end_bar();
        self.event(
            "error",
            serde_json::json!({
                "kind": failure.kind.word(),
                "message": failure.message,
                "hint": failure.hint,
            }),
        );
        self.say(&format!("dignet: {}", failure.message));
        if let Some(hint) = &failure.hint {
            self.say(&format!("hint: {hint}"));
        }
        failure.code()
    }

    /// Shows or moves the progress bar, on a terminal.
    pub(crate) fn progress(&self, done: u64, total: u64, message: impl FnOnce() -> String) {
        if self.json || !std::io::stderr().is_terminal() {
            return;
        }
        let mut bar = self.bar.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bar.get_or_insert_with(new_bar);
        bar.set_length(total);
        bar.set_position(done);
        bar.set_message(message());
    }

    /// Takes the progress bar away.
    pub(crate) fn end_bar(&self) {
        if let Some(bar) = self
            .bar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    const TEMPLATE: &str = "{bar:30} {percent:>3}%  {bytes} of {total_bytes}  {msg}";
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
