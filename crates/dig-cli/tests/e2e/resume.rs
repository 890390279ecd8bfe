//! Interrupted transfers go on where they stopped.

use crate::sandbox::{Sandbox, noise};
use std::{
    fs,
    time::{Duration, Instant},
};

/// What the host gives a second, so that a transfer lasts about two seconds.
const LIMIT: &str = "4MB";
const SIZE: usize = 8_000_000;
/// Bytes of groups that a kill may catch half written: one for each request in flight, which are few at that rate.
const PARTIAL: u64 = 2 << 20;

#[test]
fn kill_9_at_random_moments_loses_nothing_synced() {
    let seed = std::env::var("DIG_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("DIG_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", LIMIT]);
    let (mut seen_in_all, mut resumed_in_all) = (0, 0);
    for kill in 0..20 {
        let copy = sandbox.text(&format!("copy-{kill}"));
        let args = [host.hash(), "-o".into(), copy.clone()];
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let getter = sandbox.start_get(&host, &args);
        std::thread::sleep(Duration::from_millis(random.u64(0..1_500)));
        let before = getter.kill();
        let progress = before.iter().rfind(|event| event["event"] == "progress");
        let seen = progress.map_or(0, |event| event["bytes"].as_u64().unwrap());
        assert!(
            !fs::exists(&copy).unwrap(),
            "only what is complete gets its name"
        );
        // The rest at full speed: what was here need not come again.
        let get = sandbox.get(&host, &args);
        let done = get.done();
        assert_eq!(
            fs::read(&copy).unwrap(),
            noise(SIZE),
            "kill {kill}, seed {seed}"
        );
        let resumed = get.events.iter().find(|event| event["event"] == "resumed");
        let resumed = resumed.map_or(0, |event| event["bytes"].as_u64().unwrap());
        assert_eq!(
            done["fetched"].as_u64().unwrap() + resumed,
            SIZE as u64,
            "{get:#?}"
        );
        println!("kill {kill}: {seen} bytes were verified, {resumed} are kept");
        (seen_in_all, resumed_in_all) = (seen_in_all + seen, resumed_in_all + resumed);
        // What was verified is on disk but for groups that were not whole yet: it is hashed again, not fetched again.
        assert!(resumed + PARTIAL >= seen, "kill {kill}, seed {seed}");
        fs::remove_file(copy).unwrap();
    }
    println!("in all {seen_in_all} and {resumed_in_all}");
    assert!(resumed_in_all > 0, "no kill left anything, seed {seed}");
}

#[test]
fn ctrl_c_ends_within_a_second_and_keeps_what_is_verified() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", LIMIT]);
    let args = [host.hash(), "-o".into(), sandbox.text("copy")];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut getter = sandbox.start_get(&host, &args);
    let progress = getter.event_where("progress", |event| {
        event["bytes"].as_u64().unwrap() > 2_000_000
    });
    getter.signal("INT");
    let interrupted = Instant::now();
    let ended = getter.end();
    assert!(
        interrupted.elapsed() < Duration::from_secs(1),
        "{:?}",
        interrupted.elapsed()
    );
    let said = ended.failure(130, "interrupted");
    assert!(said.contains("same command"), "{said}");

    let get = sandbox.get(&host, &args);
    let resumed = get.event("resumed")["bytes"].as_u64().unwrap();
    assert!(
        resumed >= progress["bytes"].as_u64().unwrap(),
        "{resumed} of {progress}"
    );
    assert_eq!(
        get.done()["fetched"].as_u64().unwrap() + resumed,
        SIZE as u64
    );
    assert_eq!(fs::read(sandbox.path("copy")).unwrap(), noise(SIZE));
}

#[test]
fn a_host_that_comes_back_is_found_again() {
    let sandbox = Sandbox::new();
    let original = sandbox.file("file", SIZE);
    let host = sandbox.share(&[original.to_str().unwrap(), "--limit", LIMIT]);
    let args = [host.hash(), "-o".into(), sandbox.text("copy")];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut getter = sandbox.start_get(&host, &args);
    getter.event_where("progress", |event| {
        event["bytes"].as_u64().unwrap() > 1_000_000
    });
    let addr = format!("127.0.0.1:{}", host.ready["port"]);
    host.program.kill();
    getter.event("waiting");
    let again = [
        "share",
        "--no-local",
        "--listen",
        &addr,
        original.to_str().unwrap(),
    ];
    let mut host = crate::program::Dignet::start(&sandbox.path("host"), &again);
    host.event("ready");
    getter.end().done();
    assert_eq!(fs::read(sandbox.path("copy")).unwrap(), noise(SIZE));
}
