//! Transfers that go on while the paths under them change.

use crate::{
    program::Dignet,
    sandbox::{Sandbox, noise},
};
use dig_lab::{Habit, Lab, Machine, Site, SiteKind};
use serde_json::Value;
use std::{
    fs,
    time::{Duration, Instant},
};

const SIZE: usize = 256 << 20;
/// So that there is time for the path to change.
const LIMIT: &str = "24MiB";
/// Longer than this a pause is seen.
const PAUSE: Duration = Duration::from_millis(500);

/// Two homes whose ways to each other can be shut, and a relay in between.
struct World {
    sandbox: Sandbox,
    _lab: Lab,
    host: (Site, Machine),
    getter: (Site, Machine),
    _relay: Dignet,
    paths: Vec<String>,
}

impl World {
    /// `None` where there can be no laboratory. Where nothing else is said the way from site to site is shut.
    fn new() -> Option<Self> {
        let lab = Lab::for_test()?;
        let sandbox = Sandbox::new();
        let site = |name| {
            let kind = SiteKind::PortRestricted.with_habit(Habit::Drop);
            let site = lab.site(kind, name).unwrap();
            let machine = site.host(0).unwrap();
            (site, machine)
        };
        let (host, getter) = (site("a"), site("b"));
        let server = lab.server(0).unwrap();
        let ip = server.ipv4().unwrap();
        let (listen, stun, turn) = (
            format!("{ip}:4433"),
            format!("{ip}:3479"),
            format!("{ip}:3478"),
        );
        let args = [
            "relay",
            "--listen",
            &listen,
            "--stun",
            &stun,
            "--turn",
            &turn,
            "--turn-user",
            "alice:secret",
        ];
        let mut relay = start(&server, &sandbox, "relay", &args);
        let ready = relay.event("ready");
        let paths = [
            "--via".to_owned(),
            format!("{}@{listen}", ready["node_id"].as_str().unwrap()),
            "--stun".to_owned(),
            stun,
            "--turn".to_owned(),
            format!("turn:alice:secret@{turn}"),
        ];
        let world = Self {
            sandbox,
            _lab: lab,
            host,
            getter,
            _relay: relay,
            paths: paths.to_vec(),
        };
        world.shut();
        Some(world)
    }

    /// Shuts the way between the two sites.
    fn shut(&self) {
        let other = self.host.0.public_ipv4().unwrap();
        let rules = format!(
            "add table inet shut; add chain inet shut forward {{ type filter hook forward priority -5; }}; \
             add rule inet shut forward ip daddr {other} drop; add rule inet shut forward ip saddr {other} drop"
        );
        self.getter.0.router().run("nft", &[rules]).unwrap();
    }

    /// Opens it.
    fn open(&self) {
        let router = self.getter.0.router();
        router.run("nft", &["delete table inet shut"]).unwrap();
    }

    /// A download that is going on.
    fn begin(&self) -> Transfer {
        let original = self.sandbox.file("thing.bin", SIZE);
        let mut words = vec!["share", "--no-local", original.to_str().unwrap()];
        words.extend(self.paths.iter().map(String::as_str));
        let mut host = start(&self.host.1, &self.sandbox, "host", &words);
        let ticket = host.event("ready")["ticket"].as_str().unwrap().to_owned();
        let copy = self.sandbox.text("copy.bin");
        let mut words = vec![
            "get",
            &ticket,
            "--no-local",
            "-o",
            &copy,
            "--limit",
            LIMIT,
            "--timeout",
            "20s",
        ];
        words.extend(self.paths.iter().map(String::as_str));
        let getter = start(&self.getter.1, &self.sandbox, "getter", &words);
        Transfer {
            getter,
            host,
            last: None,
            bytes: 0,
            longest: Duration::ZERO,
        }
    }
}

fn start(machine: &Machine, sandbox: &Sandbox, home: &str, args: &[&str]) -> Dignet {
    let net = format!("--net={}", machine.namespace().display());
    let prefix = ["nsenter", &net, "--"];
    Dignet::start_in(&prefix, &sandbox.path(home), args)
}

/// A download, and how long it ever stood still.
struct Transfer {
    getter: Dignet,
    host: Dignet,
    last: Option<Instant>,
    bytes: u64,
    longest: Duration,
}

impl Transfer {
    /// Waits for an event, and watches the bytes meanwhile.
    fn until(&mut self, fits: impl Fn(&Value) -> bool) -> (Instant, Value) {
        loop {
            let (at, event) = self.getter.any_event();
            if event["event"] == "progress" {
                self.watch(at, &event);
            }
            if fits(&event) {
                return (at, event);
            }
            assert_ne!(event["event"], "done", "it ended before: {event}");
        }
    }

    fn watch(&mut self, at: Instant, progress: &Value) {
        let bytes = progress["bytes"].as_u64().unwrap();
        if bytes > self.bytes {
            if let Some(last) = self.last.replace(at) {
                self.longest = self.longest.max(at - last);
            }
            self.bytes = bytes;
        }
    }

    /// Waits until the data comes over such a path.
    fn until_path(&mut self, path: &str) -> Instant {
        let (at, _) = self.until(|event| event["event"] == "connected" && event["path"] == path);
        at
    }

    fn until_bytes(&mut self, mebibytes: u64) {
        self.until(|event| {
            event["event"] == "progress" && event["bytes"].as_u64().unwrap() >= mebibytes << 20
        });
    }

    /// It ends well: every byte is right, and none was fetched twice. How long it stood still at most.
    fn assert_ends(mut self, world: &World) -> Duration {
        let (_, done) = self.until(|event| event["event"] == "done");
        assert_eq!(done["bytes"], SIZE);
        assert_eq!(done["fetched"], SIZE, "no verified byte twice: {done}");
        assert!(
            fs::read(world.sandbox.path("copy.bin")).unwrap() == noise(SIZE),
            "the right bytes"
        );
        eprintln!("longest pause {:?}", self.longest);
        drop(self.host);
        self.longest
    }
}

fn assert_no_pause(transfer: impl Fn(&World) -> Duration) {
    let Some(world) = World::new() else { return };
    let pause = transfer(&world);
    assert!(pause <= PAUSE, "it stood still for {pause:?}");
}

#[test]
fn what_starts_on_the_relay_goes_on_over_the_direct_path_and_back() {
    assert_no_pause(there_and_back);
}

fn there_and_back(world: &World) -> Duration {
    let mut transfer = world.begin();
    transfer.until_path("relayed");
    transfer.until_bytes(48);
    world.open();
    let opened = Instant::now();
    let direct = transfer.until_path("direct");
    assert!(
        direct - opened < Duration::from_secs(5),
        "direct after {:?}",
        direct - opened
    );
    transfer
        .host
        .event_where("serving", |event| event["path"] == "direct");
    transfer.until_bytes(128);
    world.shut();
    let shut = Instant::now();
    let relayed = transfer.until_path("relayed");
    assert!(
        relayed - shut < Duration::from_secs(6),
        "relayed after {:?}",
        relayed - shut
    );
    eprintln!(
        "direct after {:?}, relayed after {:?}",
        direct - opened,
        relayed - shut
    );
    transfer.assert_ends(world)
}

#[test]
fn a_new_address_of_the_getter_is_no_pause() {
    assert_no_pause(a_new_address_of_the_getter);
}

fn a_new_address_of_the_getter(world: &World) -> Duration {
    world.open();
    let mut transfer = world.begin();
    transfer.until_path("direct");
    transfer.until_bytes(48);
    let machine = &world.getter.1;
    let (old, gateway) = (machine.ipv4().unwrap(), world.getter.0.gateway().unwrap());
    let [a, b, c, _] = old.octets();
    let script = format!(
        "dev=$(ip -o -4 addr show to {old} | awk '{{print $2}}'); len=$(ip -o -4 addr show to {old} | sed 's/.*{old}.\\([0-9]*\\) .*/\\1/'); \
         ip addr del {old}/$len dev $dev; ip addr add {a}.{b}.{c}.77/$len dev $dev; ip route replace default via {gateway}"
    );
    machine.run("sh", &["-c", &script]).unwrap();
    transfer.assert_ends(world)
}

#[test]
fn a_nat_that_forgets_its_bindings_is_no_pause() {
    assert_no_pause(a_nat_that_forgets_its_bindings);
}

fn a_nat_that_forgets_its_bindings(world: &World) -> Duration {
    world.open();
    let mut transfer = world.begin();
    transfer.until_path("direct");
    transfer.until_bytes(48);
    world.getter.0.forget().unwrap();
    transfer.until_bytes(144);
    world.host.0.forget().unwrap();
    transfer.assert_ends(world)
}
