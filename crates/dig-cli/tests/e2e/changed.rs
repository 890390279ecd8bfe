//! What is shared changes, vanishes, or loses its host while somebody gets it.

use crate::{
    program::{Dignet, Ended},
    sandbox::{Host, Sandbox, noise},
};
use std::{
    fs,
    time::{Duration, Instant},
};

const SIZE: usize = 8_000_000;
const LIMIT: &str = "3MB";

/// A host of a file, and a getter that has a third of it.
fn under_way(sandbox: &Sandbox, more: &[&str]) -> (Host, Dignet) {
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", LIMIT]);
    let (hash, copy) = (host.hash(), sandbox.text("copy"));
    let args = [&[hash.as_str(), "-o", &copy], more].concat();
    let mut getter = sandbox.start_get(&host, &args);
    getter.event_where("progress", |event| {
        event["bytes"].as_u64().unwrap() > SIZE as u64 / 3
    });
    (host, getter)
}

/// The host says so within 5 s, and ends, as it shared nothing else.
fn is_withdrawn(mut host: Host) -> Ended {
    let changed = Instant::now();
    let withdrawn = host.program.event("withdrawn");
    assert!(
        changed.elapsed() < Duration::from_secs(5),
        "{:?}",
        changed.elapsed()
    );
    assert_eq!(withdrawn["hash"], host.ready["hash"]);
    let ended = host.program.end();
    let said = ended.failure(6, "local");
    assert!(
        said.contains("changed") && said.contains("share it again"),
        "{said}"
    );
    ended
}

fn has_changed(sandbox: &Sandbox, getter: Dignet) {
    let started = Instant::now();
    let said = getter.end().failure(3, "not-found");
    assert!(
        said.contains("changed") && said.contains("new ticket"),
        "{said}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "why wait for what cannot come? {:?}",
        started.elapsed()
    );
    assert!(!sandbox.path("copy").exists(), "two versions were mixed");
}

#[test]
fn a_file_that_vanishes() {
    let sandbox = Sandbox::new();
    let (host, getter) = under_way(&sandbox, &[]);
    fs::remove_file(sandbox.path("file")).unwrap();
    is_withdrawn(host);
    has_changed(&sandbox, getter);
}

#[test]
fn a_file_that_is_edited_in_place() {
    let sandbox = Sandbox::new();
    let (host, getter) = under_way(&sandbox, &[]);
    let mut bytes = noise(SIZE);
    bytes[SIZE - 1] ^= 1;
    fs::write(sandbox.path("file"), bytes).unwrap();
    is_withdrawn(host);
    has_changed(&sandbox, getter);
}

#[test]
fn a_file_that_is_replaced() {
    let sandbox = Sandbox::new();
    let (host, getter) = under_way(&sandbox, &[]);
    sandbox.file("new", SIZE + 1);
    fs::rename(sandbox.path("new"), sandbox.path("file")).unwrap();
    is_withdrawn(host);
    has_changed(&sandbox, getter);
}

#[test]
fn a_file_that_is_edited_while_nobody_looks() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", 100_000);
    let host = sandbox.share(&[original.to_str().unwrap()]);
    fs::write(&original, b"other").unwrap();
    is_withdrawn(host);
}

#[test]
fn another_host_makes_good_what_one_lost() {
    let sandbox = Sandbox::new();
    let (original, other) = (sandbox.file("file", SIZE), sandbox.path("other/file"));
    fs::create_dir(sandbox.path("other")).unwrap();
    fs::copy(&original, &other).unwrap();
    let first = sandbox.share(&[original.to_str().unwrap(), "--limit", LIMIT]);
    let second = sandbox.share_as("second", &[other.to_str().unwrap(), "--limit", LIMIT]);
    let (hash, copy, peer) = (first.hash(), sandbox.text("copy"), second.peer());
    let mut getter = sandbox.start_get(&first, &[&hash, "-o", &copy, "--peer", &peer]);
    getter.event_where("progress", |event| {
        event["bytes"].as_u64().unwrap() > SIZE as u64 / 3
    });
    fs::write(&original, vec![0; SIZE]).unwrap();
    is_withdrawn(first);
    let got = getter.end();
    got.done();
    assert!(
        got.events.iter().all(|event| event["event"] != "banned"),
        "a change is no lie"
    );
    assert!(fs::read(copy).unwrap() == noise(SIZE));
}

#[test]
fn one_of_several_shares_that_changes_leaves_the_others() {
    let sandbox = Sandbox::new();
    let (one, other) = (sandbox.file("one", 100_000), sandbox.file("other", 200_000));
    let mut host = sandbox.share(&[one.to_str().unwrap(), other.to_str().unwrap()]);
    let second = host.program.event("ready")["hash"]
        .as_str()
        .unwrap()
        .to_owned();
    fs::write(&one, b"new").unwrap();
    assert_eq!(host.program.event("withdrawn")["hash"], host.ready["hash"]);
    let copy = sandbox.text("copy");
    sandbox.get(&host, &[&second, "-o", &copy]).done();
    assert_eq!(fs::read(&copy).unwrap(), noise(200_000));
    let started = Instant::now();
    let said = sandbox
        .get(&host, &[&host.hash(), "-o", &sandbox.text("gone")])
        .failure(3, "not-found");
    assert!(said.contains("changed"), "{said}");
    assert!(
        started.elapsed() < Duration::from_secs(12),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_killed_host_without_another() {
    let sandbox = Sandbox::new();
    let (host, getter) = under_way(&sandbox, &["--timeout", "2s"]);
    host.program.kill();
    let killed = Instant::now();
    let ended = getter.end();
    assert!(
        killed.elapsed() < Duration::from_secs(8),
        "{:?}",
        killed.elapsed()
    );
    let said = ended.failure(4, "connect");
    assert!(said.contains("again"), "how to go on? {said}");
    assert!(!sandbox.path("copy").exists() && sandbox.path("copy.part").exists());
}

#[test]
fn sigterm_is_like_ctrl_c() {
    let sandbox = Sandbox::new();
    let (host, getter) = under_way(&sandbox, &[]);
    for (program, code) in [(getter, 130), (host.program, 0)] {
        program.signal("TERM");
        let asked = Instant::now();
        let ended = program.end();
        assert!(
            asked.elapsed() < Duration::from_secs(1),
            "{:?}",
            asked.elapsed()
        );
        assert_eq!(ended.code, Some(code), "{ended:#?}");
    }
    assert!(!sandbox.path("copy").exists() && sandbox.path("copy.part").exists());
}
