//! Two machines on one network, no address given.

use crate::sandbox::{Cable, Sandbox, is_root, noise, sha256sum};
use std::{
    fs,
    time::{Duration, Instant},
};

#[test]
fn found_by_name_connected_verified_done() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let original = sandbox.file("my movie.mp4", 3_000_000);
    let mut host = cable.start(
        0,
        &sandbox.path("host"),
        &["share", original.to_str().unwrap()],
    );
    let ready = host.event("ready");
    assert_eq!(ready["name"], "my movie.mp4");

    let copy = sandbox.text("copy.mp4");
    let get = cable
        .start(
            1,
            &sandbox.path("getter"),
            &["get", "my movie.mp4", "-o", &copy],
        )
        .end();
    assert_eq!(get.done()["bytes"], 3_000_000);
    assert_eq!(fs::read(&copy).unwrap(), noise(3_000_000));
    let connected = get
        .events
        .iter()
        .find(|event| event["event"] == "connected")
        .unwrap();
    assert_eq!(
        (&connected["method"], &connected["path"]),
        (&"local".into(), &"direct".into())
    );
    assert_eq!(connected["peer"], ready["node_id"]);
    host.event_where("serving", |event| event["state"] == "delivered");
}

#[test]
fn ticket_works_on_the_other_machine_and_on_the_same() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let original = sandbox.file("thing.bin", 100_000);
    let mut host = cable.start(
        0,
        &sandbox.path("host"),
        &["share", original.to_str().unwrap()],
    );
    let ticket = host.event("ready")["ticket"].as_str().unwrap().to_owned();
    // On the other machine without multicast, on the same machine with the same home, and with another home.
    for (machine, home, name) in [(1, "other", "a"), (0, "host", "b"), (0, "stranger", "c")] {
        let copy = sandbox.text(name);
        let args = ["get", "--no-local", &ticket, "-o", &copy];
        let get = cable.start(machine, &sandbox.path(home), &args).end();
        assert_eq!(get.done()["bytes"], 100_000);
        assert_eq!(fs::read(&copy).unwrap(), noise(100_000));
    }
}

#[test]
fn disputed_names_are_listed_and_settled_by_node_id() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let (one, other) = (
        sandbox.file("1/report", 10_000),
        sandbox.file("2/report", 20_000),
    );
    let mut first = cable.start(0, &sandbox.path("one"), &["share", one.to_str().unwrap()]);
    let mut second = cable.start(0, &sandbox.path("two"), &["share", other.to_str().unwrap()]);
    let (first, second) = (first.event("ready"), second.event("ready"));
    let copy = sandbox.text("copy");
    let get = |what: &str| {
        cable
            .start(1, &sandbox.path("getter"), &["get", what, "-o", &copy])
            .end()
    };

    let said = get("report").failure(2, "usage");
    for node in [&first["node_id"], &second["node_id"]] {
        assert!(said.contains(node.as_str().unwrap()), "{said}");
    }
    let exact = format!("report@{}", second["node_id"].as_str().unwrap());
    assert_eq!(get(&exact).done()["bytes"], 20_000);
}

#[test]
fn odd_names_arrive_as_they_are() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let names = [
        "-o",
        " leading and trailing ",
        "quote'\"$(id)`id`",
        "con",
        "ünï çödé ☂",
        "e\u{301}",
        "dots..",
        "*?[x]",
        &"n".repeat(255),
    ];
    for (name, size) in names.iter().zip(1..) {
        sandbox.file(&format!("odd folder/{name}"), size);
    }
    let folder = sandbox.text("odd folder");
    let mut host = cable.start(0, &sandbox.path("host"), &["share", &folder]);
    host.event("ready");
    let copy = sandbox.text("copy");
    let args = ["get", "odd folder", "-o", &copy];
    let get = cable.start(1, &sandbox.path("getter"), &args).end();
    get.done();
    for (name, size) in names.iter().zip(1..) {
        // Names are in one Unicode form on the way.
        let name = if *name == "e\u{301}" { "é" } else { *name };
        assert_eq!(
            fs::read(sandbox.path("copy").join(name)).unwrap(),
            noise(size),
            "{name}"
        );
    }
    assert_eq!(fs::read_dir(&copy).unwrap().count(), names.len());
}

#[test]
fn who_waits_gets_it_from_a_host_that_comes_later() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let original = sandbox.file("late", 1_000_000);
    let copy = sandbox.text("copy");
    let args = ["get", "late", "--wait", "-o", &copy];
    let mut getter = cable.start(1, &sandbox.path("getter"), &args);
    std::thread::sleep(Duration::from_secs(3));
    assert!(getter.is_running());
    let mut host = cable.start(
        0,
        &sandbox.path("host"),
        &["share", original.to_str().unwrap()],
    );
    host.event("ready");
    let ready = Instant::now();
    assert_eq!(getter.end().done()["bytes"], 1_000_000);
    assert!(
        ready.elapsed() < Duration::from_secs(10),
        "{:?}",
        ready.elapsed()
    );
    assert_eq!(fs::read(&copy).unwrap(), noise(1_000_000));
}

#[test]
fn two_get_at_once() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let original = sandbox.file("shared", 6_000_000);
    let share = ["share", "--limit", "3MB", original.to_str().unwrap()];
    let mut host = cable.start(0, &sandbox.path("host"), &share);
    host.event("ready");
    let getters = ["one", "two"].map(|name| {
        let copy = sandbox.text(&format!("copy-{name}"));
        cable.start(1, &sandbox.path(name), &["get", "shared", "-o", &copy])
    });
    for (getter, name) in getters.into_iter().zip(["one", "two"]) {
        assert_eq!(getter.end().done()["bytes"], 6_000_000);
        assert!(fs::read(sandbox.path(&format!("copy-{name}"))).unwrap() == noise(6_000_000));
    }
}

/// The SHA-256 of a whole file is computed while nobody is being served. Who asks by it meanwhile is told to wait, and finds it.
#[test]
fn a_sha256_that_is_still_being_computed_is_waited_for() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    // Sparse: it is ready at once, and its SHA-256 takes seconds.
    let big = sandbox.path("big");
    fs::File::create(&big).unwrap().set_len(1 << 30).unwrap();
    let sha256 = format!("sha256:{}", sha256sum(&big));
    let share = ["share", "--limit", "1MB", big.to_str().unwrap()];
    let mut host = cable.start(0, &sandbox.path("host"), &share);
    let ticket = host.event("ready")["ticket"].as_str().unwrap().to_owned();
    let busy = ["get", &ticket, "-o", &sandbox.text("busy")];
    let mut busy = cable.start(1, &sandbox.path("busy-home"), &busy);
    busy.event_where("progress", |event| event["bytes"] != 0);

    let args = ["get", &sha256, "-o", &sandbox.text("copy")];
    let mut getter = cable.start(1, &sandbox.path("getter"), &args);
    let pending = getter.event("pending");
    assert!(pending["estimate_ms"].as_u64().unwrap() > 0, "{pending}");
    busy.kill();
    assert_eq!(
        format!(
            "sha256:{}",
            host.event("sha256")["sha256"].as_str().unwrap()
        ),
        sha256
    );
    getter.event("resolved");
    getter.event_where("progress", |event| event["bytes"] != 0);
}

#[test]
fn either_transport_is_enough() {
    if !is_root() {
        return;
    }
    for (blocked, left) in [("udp", "tls-tcp"), ("tcp", "quic")] {
        let (sandbox, cable) = (Sandbox::new(), Cable::new());
        cable.block(0, blocked);
        let original = sandbox.file("thing.bin", 3_000_000);
        let share = ["share", "--no-local", original.to_str().unwrap()];
        let mut host = cable.start(0, &sandbox.path("host"), &share);
        let ticket = host.event("ready")["ticket"].as_str().unwrap().to_owned();
        let copy = sandbox.text("copy");
        let args = ["get", "--no-local", &ticket, "-o", &copy];
        let get = cable.start(1, &sandbox.path("getter"), &args).end();
        assert_eq!(get.done()["bytes"], 3_000_000);
        assert_eq!(
            get.event("connected")["transport"],
            left,
            "{blocked} is blocked"
        );
        assert_eq!(fs::read(&copy).unwrap(), noise(3_000_000));
    }
}
