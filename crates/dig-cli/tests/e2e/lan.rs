//! Two machines on one network, no address given.

use crate::sandbox::{Cable, Sandbox, is_root, noise};
use std::fs;

#[test]
fn found_by_name_connected_verified_done() {
    if !is_root() {
        return;
    }
    let (sandbox, cable) = (Sandbox::new(), Cable::new());
    let original = sandbox.file("my movie.mp4", 3_000_000);
    let mut host = cable.start(0, &sandbox.path("host"), &["share", original.to_str().unwrap()]);
    let ready = host.event("ready");
    assert_eq!(ready["name"], "my movie.mp4");

    let copy = sandbox.text("copy.mp4");
    let get = cable.start(1, &sandbox.path("getter"), &["get", "my movie.mp4", "-o", &copy]).end();
    assert_eq!(get.done()["bytes"], 3_000_000);
    assert_eq!(fs::read(&copy).unwrap(), noise(3_000_000));
    let connected = get.events.iter().find(|event| event["event"] == "connected").unwrap();
    assert_eq!((&connected["method"], &connected["path"]), (&"local".into(), &"direct".into()));
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
    let mut host = cable.start(0, &sandbox.path("host"), &["share", original.to_str().unwrap()]);
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
    let (one, other) = (sandbox.file("1/report", 10_000), sandbox.file("2/report", 20_000));
    let mut first = cable.start(0, &sandbox.path("one"), &["share", one.to_str().unwrap()]);
    let mut second = cable.start(0, &sandbox.path("two"), &["share", other.to_str().unwrap()]);
    let (first, second) = (first.event("ready"), second.event("ready"));
    let copy = sandbox.text("copy");
    let get = |what: &str| cable.start(1, &sandbox.path("getter"), &["get", what, "-o", &copy]).end();

    let said = get("report").failure(2, "usage");
    for node in [&first["node_id"], &second["node_id"]] {
        assert!(said.contains(node.as_str().unwrap()), "{said}");
    }
    let exact = format!("report@{}", second["node_id"].as_str().unwrap());
    assert_eq!(get(&exact).done()["bytes"], 20_000);
}
