//! A script in Node that obeys lines of JSON: gun.js in one of its forms.

use serde_json::{Value as Json, json};
use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command as StdCommand, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::oneshot,
};

/// How long anything may take that happens at once on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What the machine lacks.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

/// A running script. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Script {
    name: String,
    child: Child,
    stdin: tokio::sync::Mutex<ChildStdin>,
    answers: Answers,
    serial: AtomicU64,
    log: PathBuf,
}

/// Those who wait for an answer, by the number of their order.
type Answers = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Json, String>>>>>;

impl Script {
    /// Starts a script with these arguments in this folder, and waits until it is ready; what it says then.
    pub(crate) async fn start(
        name: &str,
        file: &str,
        arguments: &[&str],
        folder: &Path,
    ) -> (Self, Json) {
        fs::create_dir_all(folder).unwrap();
        let log = folder.join("log");
        let mut child = Command::new("node")
            .arg(sources().join(file))
            .args(arguments)
            .current_dir(folder)
            .env("NODE_PATH", modules())
            .env("HOME", folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let answers = Answers::default();
        let (ready, is_ready) = oneshot::channel();
        answers.lock().unwrap().insert(0, ready);
        let stdout = child.stdout.take().unwrap();
        tokio::spawn(hear(stdout, Arc::clone(&answers)));
        let script = Self {
            name: name.to_owned(),
            stdin: tokio::sync::Mutex::new(child.stdin.take().unwrap()),
            child,
            answers,
            serial: AtomicU64::new(1),
            log,
        };
        let hello = script.wait(is_ready, "be ready").await;
        (script, hello)
    }

    /// Gives an order; what it answers.
    ///
    /// # Panics
    ///
    /// If it does not obey.
    pub(crate) async fn ask(&self, mut order: Json) -> Json {
        let id = self.serial.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.answers.lock().unwrap().insert(id, answer);
        let shown = order.to_string();
        order["id"] = json!(id);
        let line = format!("{order}\n");
        let sent = self.stdin.lock().await.write_all(line.as_bytes()).await;
        sent.unwrap_or_else(|error| panic!("{} is gone: {error}\n{}", self.name, self.said()));
        self.wait(answered, &shown).await
    }

    /// Ends it as a power cut would.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn wait(&self, answered: oneshot::Receiver<Result<Json, String>>, what: &str) -> Json {
        let shown: String = what.chars().take(300).collect();
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(answer))) => answer,
            Ok(Ok(Err(error))) => panic!("{}: {shown}: {error}", self.name),
            Ok(Err(_)) => panic!("{} ended at: {shown}\n{}", self.name, self.said()),
            Err(_) => panic!("{} does not: {shown}\n{}", self.name, self.said()),
        }
    }

    /// The end of what it wrote to its log.
    fn said(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(2_000)..]).into_owned()
    }
}

async fn hear(stdout: ChildStdout, answers: Answers) {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let Ok(mut line) = serde_json::from_str::<Json>(&line) else {
            continue;
        };
        let id = line["id"].as_u64().unwrap();
        let answer = match line.get("error") {
            Some(error) => Err(error.to_string()),
            None => Ok(line["answer"].take()),
        };
        if let Some(waiting) = answers.lock().unwrap().remove(&id) {
            // Whoever asked may have given up.
            let _ = waiting.send(answer);
        }
    }
    // Those who wait hear that nothing comes.
    answers.lock().unwrap().clear();
}

/// A headless browser of this machine.
pub(crate) fn browser() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let names = ["chromium-headless-shell", "chromium"];
    env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|file| file.is_file())
}

/// Installs gun.js as the lock file says, once, outside the sources.
pub(crate) fn install() -> Result<(), Missing> {
    let node = StdCommand::new("node")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !node.is_ok_and(|status| status.success()) {
        return Err(Missing("node does not run".to_owned()));
    }
    dig_lab::node_modules(&sources(), &folder())
        .map(drop)
        .map_err(|error| Missing(error.to_string()))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("gun-interop")
}

fn modules() -> PathBuf {
    folder().join("node_modules")
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}
