//! A relay in a process of its own: this test program, run again.

use dig_gun::{
    relay::{Limits, ServeOptions, serve},
    store::{DiskStorage, StoreConfig},
};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Arc,
};

const FILE: &str = "DIG_GUN_TEST_RELAY_FILE";
const LISTEN: &str = "DIG_GUN_TEST_RELAY_LISTEN";

pub(crate) struct Process {
    child: Child,
    /// It ends in order when this is closed.
    stdin: Option<ChildStdin>,
    /// Open, so that it can say how its test ended.
    _stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Process {
    /// Starts it; port 0 is any free one.
    pub(crate) fn start(file: &Path, port: u16) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "process::a_relay_for_other_tests",
                "--exact",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, file)
            .env(LISTEN, format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let url = (&mut stdout)
            .lines()
            .find_map(|line| Some(line.unwrap().split_once("serving ")?.1.to_owned()));
        Self {
            url: url.expect("the relay does not start"),
            _stdout: stdout,
            child,
            stdin,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self
            .url
            .rsplit(':')
            .next()
            .and_then(|rest| rest.split('/').next());
        port.unwrap().parse().unwrap()
    }

    /// kill -9.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it in order.
    pub(crate) fn end(mut self) {
        self.stdin = None;
        assert!(self.child.wait().unwrap().success());
    }

    /// The most memory that it ever had, in MiB.
    pub(crate) fn most_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: u64 = line
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse()
            .unwrap();
        kib / 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "other tests run it as a process"]
async fn a_relay_for_other_tests() {
    let (Ok(file), Ok(listen)) = (env::var(FILE), env::var(LISTEN)) else {
        return;
    };
    let storage = DiskStorage::open(file, StoreConfig::default()).unwrap();
    let mut options = ServeOptions::new(vec![listen.parse().unwrap()], Arc::new(storage));
    options.limits = Limits::default();
    let serving = serve(options).await.unwrap();
    println!("serving ws://{}/gun", serving.addrs()[0]);
    std::io::stdout().flush().unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()))
        .await
        .unwrap()
        .unwrap();
    serving.shutdown().await;
}
