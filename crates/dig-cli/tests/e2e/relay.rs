//! A relay of one's own: what it says, who may use it, and how it ends.

use crate::{program::Dignet, sandbox::Sandbox};
use dig_lab::{Lab, Machine};
use serde_json::Value;
use std::{
    net::UdpSocket,
    process::Command,
    time::{Duration, Instant},
};

struct World {
    sandbox: Sandbox,
    lab: Lab,
}

impl World {
    /// `None` where there can be no laboratory.
    fn new() -> Option<Self> {
        Some(Self {
            lab: Lab::for_test()?,
            sandbox: Sandbox::new(),
        })
    }

    fn relay(&self, args: &[&str]) -> (Dignet, Value) {
        let machine = self.lab.server(0).unwrap();
        let net = format!("--net={}", machine.namespace().display());
        let words: Vec<&str> = ["relay"].iter().chain(args).copied().collect();
        let home = self.sandbox.path("relay");
        let mut relay = Dignet::start_in(&["nsenter", &net, "--"], &home, &words);
        let ready = relay.event("ready");
        (relay, ready)
    }
}

fn texts(value: &Value) -> Vec<String> {
    let values = value.as_array().unwrap().iter();
    values
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

/// User, password and address of the first URI of that transport.
fn credentials(ready: &Value, transport: &str) -> [String; 3] {
    let uris = texts(&ready["turn"]);
    let end = format!("?transport={transport}");
    let uri = uris
        .iter()
        .find_map(|uri| uri.strip_prefix("turn:")?.strip_suffix(&end));
    let (who, addr) = uri.unwrap().split_once('@').unwrap();
    let (user, password) = who.split_once(':').unwrap();
    [user, password, addr.strip_suffix(":3478").unwrap()].map(str::to_owned)
}

/// coturn's client, two allocations that talk to each other; whether all came through.
fn relays(machine: &Machine, ready: &Value, transport: &str) -> bool {
    let [user, password, addr] = credentials(ready, transport);
    let mut command = Command::new("timeout");
    command.args(["60", "turnutils_uclient", "-y", "-c", "-n", "10", "-z", "5"]);
    command.args(["-u", &user, "-w", &password]);
    if transport == "tcp" {
        command.arg("-t");
    }
    let output = machine.output(command.arg(addr)).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success() && text.contains("Total lost packets 0 ")
}

#[test]
fn a_relay_without_options_serves_everything_and_a_restart_changes_nothing() {
    let Some(world) = World::new() else { return };
    let asker = world.lab.server(1).unwrap();
    let (relay, ready) = world.relay(&[]);
    assert!(ready["node_id"].is_string() && ready["addrs"].is_array());
    let server = world.lab.server(0).unwrap();
    let stun = texts(&ready["stun"]);
    assert!(
        stun.contains(&server.at(3478).unwrap().to_string()),
        "{stun:?}"
    );
    for transport in ["udp", "tcp"] {
        assert!(relays(&asker, &ready, transport), "{transport}");
    }
    relay.signal("TERM");
    assert_eq!(relay.end().code, Some(0));
    let (relay, again) = world.relay(&[]);
    for key in ["node_id", "port", "turn", "stun"] {
        assert_eq!(again[key], ready[key], "{key}");
    }
    assert!(
        relays(&asker, &ready, "udp"),
        "the options of before are still good"
    );
    relay.signal("INT");
    assert_eq!(relay.end().code, Some(0));
}

#[test]
fn stun_with_two_addresses_and_turn_share_a_port() {
    let Some(world) = World::new() else { return };
    let asker = world.lab.server(1).unwrap();
    let server = world.lab.server(0).unwrap();
    let ips = server.addresses().iter().filter(|ip| ip.is_ipv4());
    let ips: Vec<String> = ips.take(2).map(ToString::to_string).collect();
    let args = [
        "--stun",
        &ips[0],
        "--stun",
        &ips[1],
        "--turn",
        &ips[0],
        "--turn-user",
        "al:ice",
    ];
    let (_relay, ready) = world.relay(&args);
    assert!(ready["node_id"].is_null(), "no rendezvous was asked for");
    assert_eq!(texts(&ready["stun"]).len(), 4);
    assert_eq!(texts(&ready["turn"]).len(), 2);
    assert!(relays(&asker, &ready, "udp"));
    let mut command = Command::new("timeout");
    command.args(["30", "turnutils_natdiscovery", "-m", "-f", &ips[0]]);
    let output = asker.output(&mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("NAT with Endpoint Independent") || text.contains("No NAT detected"),
        "{text}"
    );
}

#[test]
fn with_an_allocation_in_use_the_first_signal_waits_and_the_second_ends() {
    let Some(world) = World::new() else { return };
    let asker = world.lab.server(1).unwrap();
    let (mut relay, ready) = world.relay(&["--turn", "44.128.0.10"]);
    let [user, password, addr] = credentials(&ready, "udp");
    // Hangs on after its last message.
    let mut command = Command::new("turnutils_uclient");
    command.args([
        "-y", "-c", "-n", "10000", "-u", &user, "-w", &password, &addr,
    ]);
    command.stdout(std::process::Stdio::null());
    let mut client = asker.spawn(&mut command).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    relay.signal("INT");
    let draining = relay.event("draining");
    assert!(draining["allocations"].as_u64().unwrap() >= 1, "{draining}");
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    relay.signal("INT");
    assert_eq!(relay.end().code, Some(130));
    assert!(start.elapsed() < Duration::from_secs(5));
    let _ = client.kill();
    let _ = client.wait();
}

#[test]
fn an_address_in_use_is_said() {
    let sandbox = Sandbox::new();
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let ended = Dignet::start(&sandbox.path("home"), &["relay", "--turn", &addr]).end();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    let error = ended.events.last().unwrap();
    assert!(
        error["message"].as_str().unwrap().contains(&addr),
        "{error}"
    );
}
