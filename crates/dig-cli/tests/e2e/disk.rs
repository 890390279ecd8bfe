//! Disks that are full or may not be written to.

use crate::{
    program::Dignet,
    sandbox::{Host, Sandbox, is_root, noise},
};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A disk in memory that only programs behind its [`Disk::prefix`] see, until it is dropped.
struct Disk {
    holder: Child,
    prefix: [String; 4],
}

impl Disk {
    /// A disk at a path of the sandbox.
    fn mount(sandbox: &Sandbox, name: &str, options: &str) -> Self {
        fs::create_dir(sandbox.path(name)).unwrap();
        let mut holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .args(["mount -t tmpfs -o \"$1\" none \"$0\" && echo mounted && exec cat"])
            .args([&sandbox.text(name), options])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        let prefix = ["nsenter", "-t", &holder.id().to_string(), "-m"].map(str::to_owned);
        Self { holder, prefix }
    }

    /// What runs a program where the disk is.
    fn prefix(&self) -> Vec<&str> {
        self.prefix.iter().map(String::as_str).collect()
    }

    /// Runs a shell command where the disk is, and says what it wrote.
    fn shell(&self, command: &str) -> Vec<u8> {
        let mut words = self.prefix.iter();
        let mut program = Command::new(words.next().unwrap());
        let output = program
            .args(words)
            .args(["sh", "-c", command])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// Starts to get from a host onto the disk.
    fn get(&self, sandbox: &Sandbox, host: &Host, target: &str) -> Dignet {
        let (peer, hash) = (host.peer(), host.hash());
        let mut words = vec!["get", "--no-local", "--listen", "127.0.0.1:0"];
        words.extend(["--peer", &peer, &hash, "-o", target]);
        Dignet::start_in(&self.prefix(), &sandbox.path("getter"), &words)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

const SIZE: usize = 6_000_000;

#[test]
fn too_little_room_is_said_before_anything_is_fetched() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox, "disk", "size=8m");
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let (filler, target) = (sandbox.text("disk/filler"), sandbox.text("disk/copy"));
    disk.shell(&format!("head -c 4000000 /dev/zero > {filler}"));
    let get = disk.get(&sandbox, &host, &target).end();
    let said = get.failure(6, "local");
    for word in [
        " bytes, but its disk has ",
        " free",
        "make room",
        "run the command again",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    disk.shell(&format!("rm {filler}"));
    disk.get(&sandbox, &host, &target).end().done();
    assert!(disk.shell(&format!("cat {target}")) == noise(SIZE));
}

#[test]
fn a_disk_that_fills_up_meanwhile_keeps_what_is_there() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox, "disk", "size=8m");
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", "2MB"]);
    let (filler, target) = (sandbox.text("disk/filler"), sandbox.text("disk/copy"));
    let mut getter = disk.get(&sandbox, &host, &target);
    getter.event_where("progress", |event| {
        event["bytes"].as_u64().unwrap() > 2_000_000
    });
    // Some other program takes all that is left.
    disk.shell(&format!(
        "head -c 8000000 /dev/zero > {filler} 2> /dev/null || true"
    ));
    let said = getter.end().failure(6, "local");
    assert!(
        said.contains("copy") && said.contains("run the command again"),
        "{said}"
    );
    assert!(
        said.contains("No space left") || said.contains("free"),
        "{said}"
    );
    disk.shell(&format!("test ! -e {target} && test -e {target}.part"));

    disk.shell(&format!("rm {filler}"));
    let get = disk.get(&sandbox, &host, &target).end();
    let resumed = get.event("resumed")["bytes"].as_u64().unwrap();
    assert!(resumed > 1_000_000, "{resumed}");
    assert_eq!(
        get.done()["fetched"].as_u64().unwrap() + resumed,
        SIZE as u64
    );
    assert!(disk.shell(&format!("cat {target}")) == noise(SIZE));
}

#[test]
fn a_target_that_may_not_be_written_to() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox, "disk", "ro");
    let original = sandbox.file("file", 100_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let said = disk
        .get(&sandbox, &host, &sandbox.text("disk/copy"))
        .end()
        .failure(6, "local");
    assert!(
        said.contains("Read-only file system") && said.contains("disk/copy"),
        "{said}"
    );
    assert!(said.contains("-o"), "where else? {said}");
}

/// A home that may not be written to is none to share from, but getting needs nothing of it.
#[test]
fn a_home_that_may_not_be_written_to() {
    if !is_root() {
        return;
    }
    let sandbox = Sandbox::new();
    let disk = Disk::mount(&sandbox, "home", "ro");
    let original = sandbox.file("file", 100_000);
    let path = original.to_str().unwrap();
    let share = ["share", "--no-local", "--listen", "127.0.0.1:0", path];
    let share = Dignet::start_in(&disk.prefix(), &sandbox.path("home/dignet"), &share).end();
    let said = share.failure(6, "local");
    assert!(
        said.contains("home/dignet") && said.contains("--home"),
        "{said}"
    );

    let host = sandbox.share(&[path]);
    let (peer, hash, copy) = (host.peer(), host.hash(), sandbox.text("copy"));
    let mut get = vec!["get", "--no-local", "--listen", "127.0.0.1:0"];
    get.extend(["--peer", &peer, &hash, "-o", &copy]);
    let get = Dignet::start_in(&disk.prefix(), &sandbox.path("home/dignet"), &get).end();
    assert_eq!(get.done()["bytes"], 100_000);
}

#[test]
fn targets_in_the_way_or_without_a_folder() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("in/file", 100_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    let hash = host.hash();
    let get = |path: &str, more: &[&str]| {
        let path = sandbox.text(path);
        sandbox.get(&host, &[&[hash.as_str(), "-o", &path], more].concat())
    };
    sandbox.file("taken", 5);
    let said = get("taken", &[]).failure(6, "local");
    assert!(
        said.contains("exists") && said.contains("--force") && said.contains("-o"),
        "{said}"
    );
    assert_eq!(fs::read(sandbox.path("taken")).unwrap(), noise(5));
    get("taken", &["--force"]).done();
    assert_eq!(fs::read(sandbox.path("taken")).unwrap(), noise(100_000));

    let said = get("no/such/folder", &[]).failure(6, "local");
    assert!(
        said.contains("no/such") && said.contains("No such file or directory"),
        "{said}"
    );
    let said = get("taken/below", &[]).failure(6, "local");
    assert!(said.contains("taken"), "{said}");

    fs::create_dir(sandbox.path("folder")).unwrap();
    let done = get("folder", &[]);
    assert_eq!(done.done()["path"], sandbox.text("folder/file"));
    assert_eq!(
        fs::read(sandbox.path("folder/file")).unwrap(),
        noise(100_000)
    );
}

#[test]
fn folders_in_the_way() {
    let sandbox = Sandbox::new();
    sandbox.file("tree/file", 10);
    let host = sandbox.share(&[&sandbox.text("tree")]);
    let (hash, copy) = (host.hash(), sandbox.text("copy"));
    // Into the folder that is there, under its own name.
    fs::create_dir(&copy).unwrap();
    let first = sandbox.get(&host, &[&hash, "-o", &copy]);
    assert_eq!(first.done()["path"], sandbox.text("copy/tree"));
    // Twice into the same is done at once; with other bytes there it is in the way.
    assert_eq!(
        sandbox.get(&host, &[&hash, "-o", &copy]).done()["fetched"],
        0
    );
    fs::write(sandbox.path("copy/tree/file"), b"mine").unwrap();
    let said = sandbox
        .get(&host, &[&hash, "-o", &copy])
        .failure(6, "local");
    assert!(
        said.contains("copy/tree") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(fs::read(sandbox.path("copy/tree/file")).unwrap(), b"mine");
}

#[test]
fn only_one_writes_a_target() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", "2MB"]);
    let (hash, copy) = (host.hash(), sandbox.text("copy"));
    let mut first = sandbox.start_get(&host, &[&hash, "-o", &copy]);
    first.event("progress");
    let said = sandbox
        .get(&host, &[&hash, "-o", &copy])
        .failure(6, "local");
    assert!(
        said.contains("copy") && said.contains("another process"),
        "{said}"
    );
    assert_eq!(first.end().done()["bytes"], SIZE);
    assert!(fs::read(sandbox.path("copy")).unwrap() == noise(SIZE));
}
