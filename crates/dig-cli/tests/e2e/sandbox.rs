//! Folders, files and networks for tests; everything is gone afterwards.

use crate::program::{Dignet, Ended, Prefix};
use data_encoding::HEXLOWER;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A folder with homes and files.
pub(crate) struct Sandbox(TempDir);

impl Sandbox {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// A file of noise; the seed is its size.
    pub(crate) fn file(&self, name: &str, size: usize) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, noise(size)).unwrap();
        path
    }

    /// Shares on loopback, until the host is dropped.
    pub(crate) fn share(&self, args: &[&str]) -> Host {
        self.share_as("host", args)
    }

    /// Shares on loopback with a home of its own.
    pub(crate) fn share_as(&self, home: &str, args: &[&str]) -> Host {
        let mut words = vec!["share", "--no-local", "--listen", "127.0.0.1:0"];
        words.extend(args);
        let mut program = Dignet::start(&self.path(home), &words);
        let ready = program.event("ready");
        Host { program, ready }
    }

    /// Gets from this host over loopback.
    pub(crate) fn get(&self, host: &Host, args: &[&str]) -> Ended {
        self.start_get(host, args).end()
    }

    pub(crate) fn start_get(&self, host: &Host, args: &[&str]) -> Dignet {
        let peer = host.peer();
        let mut words = vec![
            "get",
            "--no-local",
            "--listen",
            "127.0.0.1:0",
            "--peer",
            &peer,
        ];
        words.extend(args);
        Dignet::start(&self.path("getter"), &words)
    }
}

/// A running `dignet share`.
pub(crate) struct Host {
    pub(crate) program: Dignet,
    pub(crate) ready: Value,
}

impl Host {
    pub(crate) fn hash(&self) -> String {
        self.field("hash")
    }

    pub(crate) fn ticket(&self) -> String {
        self.field("ticket")
    }

    pub(crate) fn node(&self) -> String {
        self.field("node_id")
    }

    /// Where and who it is.
    pub(crate) fn peer(&self) -> String {
        format!("{}@127.0.0.1:{}", self.node(), self.ready["port"])
    }

    fn field(&self, name: &str) -> String {
        self.ready[name].as_str().unwrap().to_owned()
    }
}

/// Bytes that look random, the same for every run.
pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(size as u64);
    let mut bytes = vec![0; size];
    random.fill(&mut bytes);
    bytes
}

/// What `sha256sum` prints for a file, as that program says.
pub(crate) fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

/// Whether the test can do what only root can; says so if not, and fails in CI, where it must.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    assert!(
        root || std::env::var_os("CI").is_none(),
        "CI must run as root"
    );
    if !root {
        eprintln!("SKIP: this test needs root, for network namespaces and mounts");
    }
    root
}

/// Two machines joined by a cable: network namespaces with one virtual Ethernet pair.
pub(crate) struct Cable {
    names: [String; 2],
}

impl Cable {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let stem = format!(
            "dig{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let names = [format!("{stem}a"), format!("{stem}b")];
        let cable = Self { names };
        let [a, b] = &cable.names;
        for name in [a, b] {
            ip(&["netns", "add", name]);
            ip(&["-n", name, "link", "set", "lo", "up"]);
        }
        ip(&[
            "-n", a, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", b,
        ]);
        for (name, addr) in [(a, "10.83.0.1/24"), (b, "10.83.0.2/24")] {
            ip(&["-n", name, "addr", "add", addr, "dev", "eth0"]);
            ip(&["-n", name, "link", "set", "eth0", "up"]);
        }
        cable
    }

    /// What runs a program on one of both machines.
    pub(crate) fn prefix(&self, machine: usize) -> [&str; 4] {
        ["ip", "netns", "exec", &self.names[machine]]
    }

    /// From now on one of both machines drops all that comes in by this protocol, as a firewall does.
    pub(crate) fn block(&self, machine: usize, protocol: &str) {
        let rule = format!("meta l4proto {protocol} drop");
        let hook = "{ type filter hook input priority 0 ; }";
        for words in [
            vec!["add", "table", "inet", "wall"],
            vec!["add", "chain", "inet", "wall", "in", hook],
            vec!["add", "rule", "inet", "wall", "in", &rule],
        ] {
            let [ip, netns, exec, name] = self.prefix(machine);
            let output = Command::new(ip)
                .args([netns, exec, name, "nft"])
                .args(&words)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "nft {words:?}: {said}");
        }
    }

    /// Starts a program on one of both machines.
    pub(crate) fn start(&self, machine: usize, home: &Path, args: &[&str]) -> Dignet {
        let prefix: Prefix<'_> = &self.prefix(machine);
        Dignet::start_in(prefix, home, args)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = Command::new("ip")
                .args(["netns", "del", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

fn ip(args: &[&str]) {
    let output = Command::new("ip").args(args).output().unwrap();
    assert!(
        output.status.success(),
        "ip {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
