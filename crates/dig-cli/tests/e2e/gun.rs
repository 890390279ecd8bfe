//! Two homes that have nothing in common but Gun relays and a STUN server.

mod gun_js;
mod secrets;

use crate::{
    program::{Dignet, Ended},
    sandbox::{Sandbox, noise},
};
use dig_lab::{Habit, Lab, Machine, Site, SiteKind};
use gun_js::GunJs;
use secrets::Secrets;
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};

const SIZE: usize = 300_000;
/// The name under which it is shared with everybody.
const NAME: &str = "quarterly-plans";

/// A laboratory.
struct World {
    sandbox: Sandbox,
    lab: Lab,
    /// A variable for all programs, as `NAME=VALUE`.
    environment: Option<String>,
}

/// A home with one machine.
struct Home {
    site: Site,
    machine: Machine,
}

impl World {
    /// `None` where there can be no laboratory.
    fn new() -> Option<Self> {
        Some(Self {
            lab: Lab::for_test()?,
            sandbox: Sandbox::new(),
            environment: None,
        })
    }

    fn home(&self, kind: SiteKind, name: &str) -> Home {
        let site = self.lab.site(kind.with_habit(Habit::Drop), name).unwrap();
        let machine = site.host(0).unwrap();
        Home { site, machine }
    }

    /// Both homes behind routers that let in nobody who was not written to.
    fn homes(&self) -> (Home, Home) {
        (
            self.home(SiteKind::PortRestricted, "a"),
            self.home(SiteKind::PortRestricted, "b"),
        )
    }

    fn start(&self, machine: &Machine, home: &str, args: &[&str]) -> Dignet {
        let net = format!("--net={}", machine.namespace().display());
        let mut prefix = vec!["env"];
        prefix.extend(self.environment.as_deref());
        prefix.extend(["nsenter", &net, "--"]);
        Dignet::start_in(&prefix, &self.sandbox.path(home), args)
    }

    /// `dignet relay` on a machine of the public network.
    fn relay(&self, args: &[&str]) -> (Dignet, Value) {
        let machine = self.lab.server(0).unwrap();
        let words = [&["relay"][..], args].concat();
        let mut relay = self.start(&machine, "relay", &words);
        let ready = relay.event("ready");
        (relay, ready)
    }

    /// An address of that machine.
    fn at(&self, port: u16) -> String {
        let machine = self.lab.server(0).unwrap();
        format!("{}:{port}", machine.ipv4().unwrap())
    }

    /// Shares a file; the program and its event `ready`.
    fn share(&self, home: &Home, args: &[&str]) -> (Dignet, Value) {
        let original = self.sandbox.file("private/plans-2027.bin", SIZE);
        let words = ["share", "--no-local", original.to_str().unwrap()];
        let mut host = self.start(&home.machine, "host", &[&words[..], args].concat());
        let ready = host.event("ready");
        (host, ready)
    }

    fn get(&self, home: &Home, what: &str, args: &[&str]) -> Ended {
        self.start_get(home, what, args).end()
    }

    fn start_get(&self, home: &Home, what: &str, args: &[&str]) -> Dignet {
        let copy = self.sandbox.text("copy.bin");
        let _ = fs::remove_file(&copy);
        let mut words = vec!["get", what, "--no-local", "-o", &copy];
        words.extend(args);
        if !args.contains(&"--timeout") {
            words.extend(["--timeout", "20s"]);
        }
        self.start(&home.machine, "getter", &words)
    }

    fn assert_got(&self, ended: &Ended) {
        assert_eq!(ended.done()["bytes"], SIZE);
        let copy = fs::read(self.sandbox.path("copy.bin")).unwrap();
        assert_eq!(copy, noise(SIZE));
    }

    /// What nobody learns who does not know what he looks for: addresses, hashes, names.
    fn secrets(&self, ready: &Value, homes: [&Home; 2]) -> Secrets {
        let mut secrets = Secrets::default()
            .digest(ready["hash"].as_str().unwrap())
            .digest(&crate::sandbox::sha256(&noise(SIZE)))
            .text(NAME)
            .text("plans-2027");
        for home in homes {
            for ip in [home.site.public_ipv4(), home.machine.ipv4()] {
                secrets = secrets.address(ip.unwrap());
            }
        }
        secrets
    }
}

fn connected(ended: &Ended) -> &Value {
    let mut events = ended.events.iter();
    events
        .find(|event| event["event"] == "connected")
        .unwrap_or_else(|| panic!("not connected: {ended:#?}"))
}

fn assert_punched(ended: &Ended) {
    let connected = connected(ended);
    assert_eq!(connected["path"], "direct", "{connected}");
    let method = connected["method"].as_str().unwrap();
    assert!(
        [
            "udp-hole-punch",
            "tcp-hole-punch",
            "tcp-simultaneous-open",
            "ice"
        ]
        .contains(&method),
        "{connected}"
    );
}

/// Text of a field.
fn text(event: &Value, name: &str) -> String {
    event[name].as_str().unwrap().to_owned()
}

/// Names, hashes and nodes are found, both homes signal and punch, and the relay learns nothing by it.
fn find_and_punch(world: &World, (host, getter): (&Home, &Home), paths: &[&str]) -> Value {
    let args = [&["--public", "--name", NAME][..], paths].concat();
    let (mut share, ready) = world.share(host, &args);
    assert_eq!(ready["gun"].as_array().unwrap().len(), 1, "{ready}");
    share.event("sha256");
    let owner = format!("{NAME}@{}", text(&ready, "node_id"));
    let sha256 = format!("sha256:{}", crate::sandbox::sha256(&noise(SIZE)));
    for what in [NAME, &owner, &text(&ready, "hash"), &sha256] {
        let begin = Instant::now();
        let got = world.get(getter, what, paths);
        world.assert_got(&got);
        assert_punched(&got);
        eprintln!("{what}: {:?}, {}", begin.elapsed(), connected(&got));
    }
    share.signal("INT");
    assert_eq!(share.end().code, Some(0));
    let gone = world.get(getter, NAME, paths);
    gone.failure(3, "not-found");
    ready
}

#[test]
fn over_gun_js_and_a_stun_server_two_homes_find_each_other_and_punch() {
    let (Some(world), Some(modules)) = (World::new(), gun_js::modules()) else {
        return;
    };
    let (host, getter) = world.homes();
    let server = world.lab.server(1).unwrap();
    let folder = world.sandbox.path("gun-js");
    let gun_js = GunJs::start(&server, &modules, &folder);
    let stun = world.at(3478);
    let (_relay, ready) = world.relay(&["--stun", &stun]);
    assert!(ready["gun"].as_array().unwrap().is_empty(), "{ready}");
    let gun = format!("ws://{}:8765/gun", server.ipv4().unwrap());
    let paths = ["--gun", &gun, "--stun", &stun];
    let ready = find_and_punch(&world, (&host, &getter), &paths);
    // What it keeps is on its disk within a quarter of a second.
    std::thread::sleep(Duration::from_secs(1));
    drop(gun_js);
    let secrets = world.secrets(&ready, [&host, &getter]);
    secrets.assert_absent(
        &folder,
        &["dig/1/t/", "dig/1/m/", "dig/1/k/", "dig.announce.v1"],
    );
}

#[test]
fn over_a_relay_of_ours_alone_two_homes_find_each_other_and_punch() {
    let Some(world) = World::new() else { return };
    let (host, getter) = world.homes();
    let (relay, offered) = world.relay(&[]);
    let first = |name: &str| {
        let ip = world.lab.server(0).unwrap().ipv4().unwrap().to_string();
        let all = offered[name].as_array().unwrap().iter();
        let mut all = all.map(|text| text.as_str().unwrap().to_owned());
        all.find(|text| text.contains(&ip)).unwrap()
    };
    let (gun, stun) = (first("gun"), first("stun"));
    let paths = ["--gun", &gun, "--stun", &stun];
    let ready = find_and_punch(&world, (&host, &getter), &paths);
    relay.signal("INT");
    assert_eq!(relay.end().code, Some(0));
    let folder = world.sandbox.path("relay/relay");
    let secrets = world.secrets(&ready, [&host, &getter]);
    secrets.assert_absent(&folder, &["dig/1/t/", "dig.announce.v1"]);
}

/// A relay that was killed is as it was: what it acknowledged is there, and those that used it are back within 10 s.
#[test]
fn a_relay_that_was_killed_comes_back_with_all_and_all_come_back_to_it() {
    let Some(world) = World::new() else { return };
    let (host, getter) = world.homes();
    let (gun, stun) = (world.at(8765), world.at(3478));
    let serve = ["--gun", &gun, "--stun", &stun];
    let url = format!("ws://{gun}/gun");
    let paths = ["--gun", &url, "--stun", &stun];
    let (relay, _) = world.relay(&serve);
    let (mut share, ready) = world.share(&host, &paths);
    let hash = text(&ready, "hash");
    share.signal("STOP");
    relay.kill();
    let (relay, _) = world.relay(&serve);
    // Nobody but the relay can say that there is a host.
    let got = world.get(&getter, &hash, &[&paths[..], &["--timeout", "8s"]].concat());
    got.failure(4, "connect");
    share.signal("CONT");
    share.event_where("gun", |event| event["state"] == "up");

    relay.kill();
    share.event_where("gun", |event| event["state"] == "down");
    std::thread::sleep(Duration::from_secs(2));
    let (_relay, _) = world.relay(&serve);
    let back = Instant::now();
    let mut getter = world.start_get(&getter, &hash, &paths);
    getter.event("connected");
    let took = back.elapsed();
    eprintln!("found again after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    world.assert_got(&getter.end());
}

#[test]
fn homes_that_use_different_relays_meet_where_these_are_joined() {
    let (Some(world), Some(modules)) = (World::new(), gun_js::modules()) else {
        return;
    };
    let (host, getter) = world.homes();
    let server = world.lab.server(1).unwrap();
    let _gun_js = GunJs::start(&server, &modules, &world.sandbox.path("gun-js"));
    let theirs = format!("ws://{}:8765/gun", server.ipv4().unwrap());
    let (gun, stun) = (world.at(8765), world.at(3478));
    let (_relay, _) = world.relay(&["--gun", &gun, "--join", &theirs, "--stun", &stun]);
    let ours = format!("ws://{gun}/gun");
    for (hosts, getters) in [(&theirs, &ours), (&ours, &theirs)] {
        let (share, ready) = world.share(&host, &["--gun", hosts, "--stun", &stun]);
        let paths = ["--gun", getters, "--stun", &stun];
        let got = world.get(&getter, &text(&ready, "hash"), &paths);
        world.assert_got(&got);
        assert_punched(&got);
        share.signal("INT");
        assert_eq!(share.end().code, Some(0));
    }
}

/// Whoever has the ticket needs no other word.
#[test]
fn a_ticket_names_relays_that_have_tls() {
    let Some(mut world) = World::new() else {
        return;
    };
    let (host, getter) = world.homes();
    let ip = world.lab.server(0).unwrap().ipv4().unwrap();
    let made = rcgen::generate_simple_self_signed([ip.to_string()]).unwrap();
    let (cert, key) = (
        world.sandbox.text("cert.pem"),
        world.sandbox.text("key.pem"),
    );
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (gun, stun) = (world.at(443), world.at(3478));
    let serve = [
        "--gun",
        &gun,
        "--stun",
        &stun,
        "--gun-cert",
        &cert,
        "--gun-key",
        &key,
    ];
    let (_relay, offered) = world.relay(&serve);
    let url = offered["gun"][0].as_str().unwrap();
    assert!(url.starts_with("wss://"), "{url}");
    // Without the certificate in its store nobody believes it.
    let (mistrusting, ready) = world.share(&host, &["--gun", url, "--stun", &stun]);
    assert!(ready["gun"].as_array().unwrap().is_empty(), "{ready}");
    drop(mistrusting);
    world.environment = Some(format!("SSL_CERT_FILE={cert}"));
    let (_share, ready) = world.share(&host, &["--gun", url, "--stun", &stun]);
    let got = world.get(&getter, &text(&ready, "ticket"), &["--stun", &stun]);
    world.assert_got(&got);
    assert_punched(&got);
}

#[test]
fn who_may_only_use_the_web_gets_it_over_the_relay() {
    let Some(world) = World::new() else { return };
    let host = world.home(SiteKind::PortRestricted, "a");
    let getter = world.home(SiteKind::WebOnly, "b");
    let (gun, turn) = (world.at(80), world.at(443));
    let serve = [
        "--gun",
        &gun,
        "--turn",
        &turn,
        "--turn-user",
        "alice:secret",
    ];
    let (_relay, _) = world.relay(&serve);
    let url = format!("ws://{gun}/gun");
    let turn = format!("turn:alice:secret@{turn}?transport=tcp");
    let paths = ["--gun", &url, "--turn", &turn];
    let (_share, ready) = world.share(&host, &paths);
    let got = world.get(&getter, &text(&ready, "hash"), &paths);
    world.assert_got(&got);
    assert_eq!(connected(&got)["path"], "relayed");
}

#[test]
fn a_relay_that_is_not_there_is_said_and_does_no_harm() {
    let sandbox = Sandbox::new();
    let gun = ["--gun", "ws://127.0.0.1:1/gun"];
    let file = sandbox.file("thing.bin", SIZE);
    let begin = Instant::now();
    let mut host = sandbox.share(&[&gun[..], &[file.to_str().unwrap()]].concat());
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(
        host.ready["gun"].as_array().unwrap().is_empty(),
        "{}",
        host.ready
    );
    let copy = sandbox.text("copy.bin");
    sandbox
        .get(&host, &[&gun[..], &["-o", &copy, &host.ticket()]].concat())
        .done();
    assert!(host.program.is_running());
    let lost = "ab".repeat(32);
    let words = [
        "get",
        "--no-local",
        "--listen",
        "127.0.0.1:0",
        "--timeout",
        "5s",
        &lost,
    ];
    let ended = Dignet::start(&sandbox.path("getter"), &[&words[..], &gun].concat()).end();
    ended.failure(3, "not-found");
    let down = ended.event("gun");
    assert_eq!(
        (&down["state"], &down["relay"]),
        (&"down".into(), &gun[1].into())
    );
    assert!(text(down, "reason").len() > 3, "{down}");
}

#[test]
fn a_url_that_is_none_is_refused() {
    let sandbox = Sandbox::new();
    for url in ["relay.example", "ftp://relay.example/gun", "ws://"] {
        let ended = Dignet::start(&sandbox.path("home"), &["get", "thing", "--gun", url]).end();
        assert_eq!(ended.code, Some(2), "{ended:?}");
        let error = format!("{:?}", ended.events) + &ended.stderr;
        assert!(error.contains("Gun relay"), "{error}");
    }
}

#[test]
fn a_home_serves_one_gun_relay_and_metrics_tell_of_it() {
    let sandbox = Sandbox::new();
    let words = ["relay", "--gun", "127.0.0.1:0", "--metrics", "127.0.0.1:0"];
    let home = sandbox.path("relay");
    let mut first = Dignet::start(&home, &words);
    let ready = first.event("ready");
    let second = Dignet::start(&home, &words).end();
    assert_eq!(second.code, Some(6), "{second:?}");
    let error = text(second.event("error"), "message");
    assert!(error.contains("gun.redb"), "{error}");
    let metrics = fetch(&text(&ready, "metrics"), "/metrics");
    assert!(metrics.contains("gun_"), "{metrics}");
    let url = ready["gun"][0].as_str().unwrap();
    let addr = url.trim_start_matches("ws://").trim_end_matches("/gun");
    assert!(fetch(addr, "/health").contains("200"), "{url}");
}

/// An answer of a web server as a whole.
fn fetch(addr: &str, path: &str) -> String {
    use std::{
        io::{Read as _, Write as _},
        net::TcpStream,
    };
    let mut stream = TcpStream::connect(addr).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
