//! The TURN server over real sockets: asked by coturn's client in a laboratory, and by our own hand.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

mod figures;
mod talker;

use dig_lab::{Lab, Machine};
use dig_nat::turn::{
    serve::{ServeOptions, Serving, serve},
    server::{Counters, ServerConfig, User},
};
use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};
use tokio::sync::oneshot;

/// A server on a machine of the laboratory.
struct Relay {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Counters>>,
    addr: SocketAddr,
    metrics: SocketAddr,
}

impl Relay {
    fn start(machine: &Machine) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = mpsc::channel();
        let machine = machine.clone();
        let thread = std::thread::spawn(move || {
            machine
                .enter(|| run(machine.at(3478).unwrap(), ready, stopped))
                .unwrap()
        });
        let (addr, metrics) = is_ready.recv().unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
            addr,
            metrics,
        }
    }

    fn stop(mut self) -> Counters {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap()
    }
}

fn config() -> ServerConfig {
    let mut config = ServerConfig::new([User::new("alice", "wonderland")]);
    config.secret = Some("north".to_owned().into());
    config
}

/// Serves until told to stop. The runtime's threads begin, and its sockets open, where this runs.
fn run(
    addr: SocketAddr,
    ready: mpsc::Sender<(SocketAddr, SocketAddr)>,
    stopped: oneshot::Receiver<()>,
) -> Counters {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let options = ServeOptions::new([addr], config());
        let mut serving: Serving = serve(options).await.unwrap();
        let metrics = SocketAddr::new(addr.ip(), 9100);
        let metrics = serving.show_metrics(metrics).await.unwrap();
        ready.send((serving.addrs()[0], metrics)).unwrap();
        let _ = stopped.await;
        serving.counters()
    })
}

/// coturn's echo for its client.
struct Echo(Child);

impl Echo {
    fn start(machine: &Machine) -> Self {
        let address = machine.address().unwrap().to_string();
        let mut command = Command::new("turnutils_peer");
        command
            .args(["-L", &address])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = machine.spawn(&mut command).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        Self(child)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What coturn's client says, which must not have lost anything.
fn client(machine: &Machine, server: &Relay, args: &[&str]) -> String {
    let address = server.addr.ip().to_string();
    let mut command = Command::new("timeout");
    command
        .args(["60", "turnutils_uclient"])
        .args(args)
        .arg(address);
    let output = machine.output(&mut command).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{args:?}: {:?}\n{text}",
        output.status
    );
    assert!(text.contains("Total lost packets 0 "), "{args:?}\n{text}");
    text
}

const ALICE: [&str; 4] = ["-u", "alice", "-w", "wonderland"];

#[test]
fn coturns_client_is_served_by_every_way() {
    let Some(lab) = Lab::for_test() else { return };
    let [server, peer, asker] = [0, 1, 2].map(|number| lab.server(number).unwrap());
    let relay = Relay::start(&server);
    let _echo = Echo::start(&peer);
    let to = peer.address().unwrap().to_string();
    let to_peer = ["-e", &to, "-n", "25", "-m", "2", "-z", "5"];
    for way in [
        // By channels and by indications, by datagrams and by a connection, with and without a second port kept.
        &[][..],
        &["-c"],
        &["-s"],
        &["-t"],
        &["-t", "-c"],
        &["-t", "-s"],
        &["-G"],
        &["-X", "-c"],
        &["-M", "-c"],
        &["-l", "1200"],
        &["-t", "-D", "-l", "1201"],
    ] {
        client(&asker, &relay, &[&ALICE[..], &to_peer, way].concat());
    }
    let secret = ["-u", "carol", "-W", "north"];
    client(&asker, &relay, &[&secret[..], &to_peer].concat());
    // Two clients through two allocations of one relay.
    client(
        &asker,
        &relay,
        &[&ALICE[..], &["-y", "-c", "-n", "25", "-m", "2", "-z", "5"]].concat(),
    );
    let counters = relay.stop();
    println!("{counters:#?}");
    assert!(counters.allocations_made >= 24, "{counters:?}");
    assert!(counters.packets_to_peers >= 12 * 50 && counters.packets_to_clients >= 12 * 50);
}

#[test]
fn a_wrong_password_opens_nothing_and_counters_tell() {
    let Some(lab) = Lab::for_test() else { return };
    let [server, asker] = [0, 1].map(|number| lab.server(number).unwrap());
    let relay = Relay::start(&server);
    let mut command = Command::new("timeout");
    let words = [
        "20",
        "turnutils_uclient",
        "-u",
        "alice",
        "-w",
        "guess",
        "-y",
        "-n",
        "1",
    ];
    command.args(words).arg(relay.addr.ip().to_string());
    let output = asker.output(&mut command).unwrap();
    assert!(!output.status.success());
    let metrics = relay.metrics;
    let text = asker.enter(|| {
        let mut stream = TcpStream::connect(metrics).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    });
    let text = text.unwrap();
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    assert!(
        text.contains("\ndig_turn_allocations_made_total 0\n"),
        "{text}"
    );
    let counters = relay.stop();
    assert!(counters.refused_unproved >= 2, "{counters:?}");
    assert!(
        text.contains("dig_turn_refused_total{reason=\"unproved\"}"),
        "{text}"
    );
}
