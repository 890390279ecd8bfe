//! The shells in namespaces that exist as descriptors of this process only, so that nothing is left of them.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::link::Link;
use crate::nat::{Behaviour, Habit, Nat, NatConfig};

/// Long enough for a packet on a loaded machine.
const SOON: Duration = Duration::from_secs(5);
/// Long enough to say that nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

const PUBLIC: &str = "44.128.1.1";

/// An anonymous network namespace.
struct Space(OwnedFd);

impl Space {
    fn new() -> io::Result<Self> {
        let made = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        });
        let space = Self(made.join().unwrap()?.into());
        space.sh("ip link set lo up");
        Ok(space)
    }

    fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    fn end(&self, device: &str) -> End {
        End::open(self.path(), device).unwrap()
    }

    fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        inside(&self.0, body).unwrap()
    }

    /// Runs a script that must succeed.
    fn sh(&self, script: &str) {
        let output = self.run(|| {
            Command::new("sh")
                .args(["-ec", script])
                .stdin(Stdio::null())
                .output()
                .unwrap()
        });
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn udp(&self, address: &str) -> UdpSocket {
        let socket = self.run(|| UdpSocket::bind(address)).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }
}

/// Whether namespaces can be made here. Where they must be (`CI=true`), that they cannot is a failure.
fn possible() -> bool {
    let missing = match Space::new() {
        Ok(_) if Path::new("/dev/net/tun").exists() => return true,
        Ok(_) => "there is no /dev/net/tun".to_owned(),
        Err(error) => format!("a network namespace cannot be made ({error}); this needs root"),
    };
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "cannot test TUN devices: {missing}"
    );
    eprintln!("skipped: {missing}");
    false
}

/// One host at 10.0.0.2, a router with a [`TunNat`], and a server at 44.128.0.9 and .10.
struct Street {
    host: Space,
    router: Space,
    server: Space,
    nat: Option<TunNat>,
}

impl Street {
    /// With the model as router.
    fn new(config: NatConfig) -> Self {
        let mut street = Self::open();
        let model = Nat::new(config, vec![PUBLIC.parse().unwrap()], 1);
        let router = &street.router;
        let nat = TunNat::start(&router.end("nat-in"), &router.end("nat-out"), model).unwrap();
        router.sh(&nat.commands(&[("lan0", "10.0.0.0/24")]).join("\n"));
        street.nat = Some(nat);
        street
    }

    /// With the kernel as router; `unsolicited` is a rule for packets to the router itself.
    fn masquerading(unsolicited: &str) -> Self {
        let street = Self::open();
        street.router.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1; ip addr add {PUBLIC}/32 dev lo
             nft -f - <<'N'
             table ip lab {{
               chain out {{ type nat hook postrouting priority 100
                 oifname wan0 snat to {PUBLIC}
               }}
               chain in {{ type filter hook input priority 0
                 {unsolicited}
               }}
             }}
N
"
        ));
        street
    }

    fn open() -> Self {
        let (host, router, server) = (
            Space::new().unwrap(),
            Space::new().unwrap(),
            Space::new().unwrap(),
        );
        router.sh(&format!(
            "ip link add lan0 type veth peer name eth0 netns {}
             ip link add wan0 type veth peer name eth0 netns {}
             ip addr add 10.0.0.1/24 dev lan0; ip link set lan0 up
             ip addr add 44.128.0.1/24 dev wan0; ip link set wan0 up",
            host.path(),
            server.path()
        ));
        host.sh("ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.0.0.1");
        server.sh(&format!(
            "ip addr add 44.128.0.9/24 dev eth0; ip addr add 44.128.0.10/24 dev eth0; ip link set eth0 up
             ip route add {PUBLIC}/32 via 44.128.0.1"
        ));
        Self {
            host,
            router,
            server,
            nat: None,
        }
    }

    /// What servers see of one inside port while strangers come too early: whether the port is kept, and what a
    /// connection to it from outside meets.
    fn story(&self) -> Vec<String> {
        let remotes = [
            "44.128.0.9:53",
            "44.128.0.10:53",
            "44.128.0.9:54",
            "44.128.0.10:54",
        ];
        let servers = remotes.map(|remote| self.server.udp(remote));
        let mut told = Vec::new();
        let mut moved = None;
        for port in [4000, 4100] {
            let inner = self.host.udp(&format!("10.0.0.2:{port}"));
            let outside = SocketAddr::new(PUBLIC.parse().unwrap(), port);
            let order: &[usize] = if port == 4000 {
                &[1, 0, 2, 3, 1, 0]
            } else {
                &[0, 1, 0]
            };
            for (step, remote) in order.iter().enumerate() {
                if *remote == 0 {
                    servers[0].send_to(b"early", outside).unwrap();
                    std::thread::sleep(Duration::from_millis(20));
                }
                inner.send_to(b"x", remotes[*remote]).unwrap();
                let (_, seen) = receive(&servers[*remote]).unwrap();
                assert_eq!(seen.ip(), outside.ip());
                let place = if seen.port() == port {
                    "kept"
                } else if moved == Some(seen.port()) {
                    "moved"
                } else {
                    moved = Some(seen.port());
                    "moves"
                };
                told.push(format!("{port}.{step}: {place}"));
            }
        }
        let early = self
            .server
            .run(|| TcpStream::connect_timeout(&address("44.128.1.1:4200"), SILENCE));
        told.push(format!("connection: {:?}", early.unwrap_err().kind()));
        told
    }
}

/// The model is held against the kernel: rejecting by the router's own stack (which remembers), by a rule (which does
/// not), and dropping.
#[test]
fn linux_does_what_the_model_says() {
    if !possible() {
        return;
    }
    if Command::new("nft").arg("-v").output().is_err() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "there is no nft"
        );
        eprintln!("skipped: there is no nft");
        return;
    }
    let model = NatConfig::port_restricted;
    let rejects = model().with_habit(Habit::Reject);
    let forgets = NatConfig {
        poisoning: None,
        ..rejects.clone()
    };
    let by_rule = "meta l4proto tcp reject with tcp reset; reject";
    for (rule, config) in [
        ("accept", rejects),
        (by_rule, forgets),
        ("iifname wan0 drop", model()),
    ] {
        let real = Street::masquerading(rule).story();
        assert_eq!(real, Street::new(config).story(), "{rule}");
        let remembers = real.contains(&"4000.1: moves".to_owned());
        assert_eq!(remembers, rule == "accept", "{real:?}");
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn receive(socket: &UdpSocket) -> io::Result<(String, SocketAddr)> {
    let mut bytes = [0; 2048];
    let (length, from) = socket.recv_from(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes[..length]).into_owned(), from))
}

fn silent(socket: &UdpSocket) {
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let heard = receive(socket);
    assert!(
        matches!(&heard, Err(error) if error.kind() == ErrorKind::WouldBlock),
        "{heard:?}"
    );
    socket.set_read_timeout(Some(SOON)).unwrap();
}

#[test]
fn datagrams_go_out_translated_and_answers_come_back() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::port_restricted());
    let (inner, one, two) = (
        street.host.udp("10.0.0.2:4000"),
        street.server.udp("44.128.0.9:53"),
        street.server.udp("44.128.0.10:53"),
    );
    inner.send_to(b"question", "44.128.0.9:53").unwrap();
    let (text, from) = receive(&one).unwrap();
    assert_eq!(
        (text.as_str(), from),
        ("question", address("44.128.1.1:4000"))
    );
    one.send_to(b"answer", from).unwrap();
    assert_eq!(
        receive(&inner).unwrap(),
        ("answer".into(), address("44.128.0.9:53"))
    );
    two.send_to(b"stranger", from).unwrap();
    silent(&inner);
}

#[test]
fn a_sequential_symmetric_nat_steps_a_port_a_remote() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::symmetric_sequential(2));
    let inner = street.host.udp("10.0.0.2:4000");
    let remotes = ["44.128.0.9:53", "44.128.0.9:54", "44.128.0.10:53"];
    let servers = remotes.map(|remote| street.server.udp(remote));
    let mut ports = Vec::new();
    for (remote, server) in remotes.iter().zip(&servers) {
        inner.send_to(b"x", remote).unwrap();
        ports.push(receive(server).unwrap().1.port());
    }
    assert_eq!(
        (
            ports[1].wrapping_sub(ports[0]),
            ports[2].wrapping_sub(ports[1])
        ),
        (2, 2),
        "{ports:?}"
    );
}

#[test]
fn the_router_is_one_hop() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::full_cone());
    let (inner, server) = (
        street.host.udp("10.0.0.2:4000"),
        street.server.udp("44.128.0.9:53"),
    );
    inner.set_ttl(1).unwrap();
    inner
        .send_to(b"dies at the router", "44.128.0.9:53")
        .unwrap();
    silent(&server);
    inner.set_ttl(2).unwrap();
    inner.send_to(b"arrives", "44.128.0.9:53").unwrap();
    assert_eq!(receive(&server).unwrap().0, "arrives");
}

#[test]
fn errors_find_their_way_in_both_directions() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::full_cone());
    // Nobody listens at the server: its error is about the translated packet.
    let inner = street.host.udp("10.0.0.2:4000");
    inner.connect("44.128.0.9:99").unwrap();
    inner.send(b"anyone?").unwrap();
    let refused = inner.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // Nobody listens any more at the inside host: its error is about the packet as it arrived there.
    drop(inner);
    let server = street.server.udp("44.128.0.9:98");
    server.connect("44.128.1.1:4000").unwrap();
    server.send(b"still there?").unwrap();
    let refused = server.recv(&mut [0; 16]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn unsolicited_packets_are_refused_where_the_router_rejects() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::port_restricted().with_habit(Habit::Reject));
    let server = street.server.udp("44.128.0.9:53");
    server.connect("44.128.1.1:4000").unwrap();
    server.send(b"too early").unwrap();
    assert_eq!(
        server.recv(&mut [0; 16]).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let refused = street
        .server
        .run(|| TcpStream::connect_timeout(&address("44.128.1.1:4000"), SOON))
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    // The router took the pair of ends for itself, so the inside host goes out from elsewhere.
    let inner = street.host.udp("10.0.0.2:4000");
    let other = street.server.udp("44.128.0.10:53");
    inner.send_to(b"x", "44.128.0.10:53").unwrap();
    assert_eq!(receive(&other).unwrap().1.port(), 4000);
    let moved = street.host.udp("10.0.0.2:4001");
    server.set_read_timeout(Some(SILENCE)).unwrap();
    inner.send_to(b"x", "44.128.0.9:53").unwrap();
    assert!(
        server.recv(&mut [0; 16]).is_err(),
        "a connected socket hears only port 4000"
    );
    let external = street.nat.as_ref().unwrap().nat().external(
        Duration::ZERO,
        crate::packet::Protocol::Udp,
        address("10.0.0.2:4000"),
        address("44.128.0.9:53"),
    );
    assert_ne!(external.unwrap().port(), 4000);
    drop(moved);
}

#[test]
fn hairpinning_shows_the_outside_address() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::full_cone().with_hairpin(true));
    let (one, two) = (
        street.host.udp("10.0.0.2:4000"),
        street.host.udp("10.0.0.2:4001"),
    );
    let server = street.server.udp("44.128.0.9:53");
    one.send_to(b"open", "44.128.0.9:53").unwrap();
    let outside = receive(&server).unwrap().1;
    two.send_to(b"neighbour", outside).unwrap();
    assert_eq!(
        receive(&one).unwrap(),
        ("neighbour".into(), address("44.128.1.1:4001"))
    );
}

#[test]
fn echo_requests_are_translated() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::symmetric_random());
    if street
        .host
        .run(|| Command::new("ping").arg("-V").output())
        .is_err()
    {
        eprintln!("skipped: there is no ping");
        return;
    }
    street.host.sh("ping -c 2 -i 0.2 -W 5 44.128.0.9");
}

/// Sends `total` bytes from one namespace to the other, and says how long that took.
fn bulk(from: &Space, to: &Space, listen: &str, total: usize) -> Duration {
    let listener = to.run(|| TcpListener::bind(listen)).unwrap();
    let reader = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let (mut bytes, mut sum) = (vec![0; 1 << 18], 0);
        loop {
            match stream.read(&mut bytes).unwrap() {
                0 => return sum,
                length => sum += length,
            }
        }
    });
    let start = Instant::now();
    let mut stream = from.run(|| TcpStream::connect(listen)).unwrap();
    let bytes = vec![7; 1 << 18];
    for _ in 0..total.div_ceil(bytes.len()) {
        stream.write_all(&bytes).unwrap();
    }
    drop(stream);
    assert!(reader.join().unwrap() >= total);
    start.elapsed()
}

/// Says the rate; there is no bound, because the machine may be busy with anything.
fn report(what: &str, bytes: usize, time: Duration) {
    eprintln!(
        "{what}: {:.0} MB/s",
        bytes as f64 / time.as_secs_f64() / 1e6
    );
}

#[test]
fn streams_pass_the_nat_whole() {
    if !possible() {
        return;
    }
    let street = Street::new(NatConfig::symmetric_sequential(1));
    let total = 64 << 20;
    report(
        "stream through the NAT",
        total,
        bulk(&street.host, &street.server, "44.128.0.9:80", total),
    );
}

#[test]
fn every_filter_lets_in_whom_it_should() {
    if !possible() {
        return;
    }
    for filtering in [
        Behaviour::Independent,
        Behaviour::AddressDependent,
        Behaviour::AddressAndPortDependent,
    ] {
        let street = Street::new(NatConfig {
            filtering,
            ..NatConfig::full_cone()
        });
        let inner = street.host.udp("10.0.0.2:4000");
        let known = street.server.udp("44.128.0.9:53");
        inner.send_to(b"open", "44.128.0.9:53").unwrap();
        let outside = receive(&known).unwrap().1;
        for (from, passes) in [
            (
                "44.128.0.9:54",
                filtering != Behaviour::AddressAndPortDependent,
            ),
            ("44.128.0.10:53", filtering == Behaviour::Independent),
        ] {
            street.server.udp(from).send_to(b"x", outside).unwrap();
            if passes {
                assert_eq!(receive(&inner).unwrap().1, address(from), "{filtering:?}");
            } else {
                silent(&inner);
            }
        }
    }
}

/// Two namespaces joined by a link, with IPv4 and IPv6.
struct Joined {
    a: Space,
    b: Space,
    link: TunLink,
}

impl Joined {
    fn new(there: Link, back: Link) -> Self {
        let (a, b) = (Space::new().unwrap(), Space::new().unwrap());
        let link = TunLink::start(&a.end("up0"), &b.end("site1"), there, back, 5).unwrap();
        a.sh("ip addr add 44.128.0.1/30 dev up0; ip addr add 2a0d:1::1/64 dev up0 nodad");
        b.sh("ip addr add 44.128.0.2/30 dev site1; ip addr add 2a0d:1::2/64 dev site1 nodad");
        Self { a, b, link }
    }

    /// Round trips of datagrams, shortest first.
    fn round_trips(&self, from: &str, to: &str, count: usize) -> Vec<Duration> {
        let (near, far) = (self.a.udp(from), self.b.udp(to));
        let trip = || {
            let start = Instant::now();
            near.send_to(b"ping", to).unwrap();
            let (_, source) = receive(&far).unwrap();
            far.send_to(b"pong", source).unwrap();
            receive(&near).unwrap();
            start.elapsed()
        };
        let mut trips: Vec<Duration> = (0..count).map(|_| trip()).collect();
        trips.sort();
        trips
    }
}

#[test]
fn a_link_delays_both_families_by_what_it_says() {
    if !possible() {
        return;
    }
    let delay = Duration::from_millis(20);
    let joined = Joined::new(Link::delay(delay), Link::delay(delay));
    for (from, to) in [
        ("44.128.0.1:1000", "44.128.0.2:1000"),
        ("[2a0d:1::1]:1000", "[2a0d:1::2]:1000"),
    ] {
        let trips = joined.round_trips(from, to, 9);
        eprintln!("round trip {:?}, median {:?}", trips[0], trips[4]);
        assert!(trips[0] >= 2 * delay, "{trips:?}");
        assert!(
            trips[0] <= 2 * delay + Duration::from_millis(5),
            "the quickest of nine: {trips:?}"
        );
    }
    joined.link.set(Link::default(), Link::default());
    let trips = joined.round_trips("44.128.0.1:1000", "44.128.0.2:1000", 9);
    eprintln!(
        "round trip without delay {:?}, median {:?}",
        trips[0], trips[4]
    );
    assert!(trips[0] < delay, "{trips:?}");
}

#[test]
fn a_link_loses_what_it_says() {
    if !possible() {
        return;
    }
    let joined = Joined::new(Link::default().with_loss(0.5), Link::default());
    let (near, far) = (
        joined.a.udp("44.128.0.1:1000"),
        joined.b.udp("44.128.0.2:1000"),
    );
    far.set_read_timeout(Some(SILENCE)).unwrap();
    let mut arrived = 0;
    // A receive buffer holds some 250 small datagrams.
    for _ in 0..10 {
        for _ in 0..100 {
            near.send_to(b"x", "44.128.0.2:1000").unwrap();
        }
        arrived += std::iter::from_fn(|| receive(&far).ok()).count();
    }
    // 6 standard deviations of 1,000 fair draws are 95.
    assert!((405..=595).contains(&arrived), "{arrived} of 1000 arrived");
    let (there, _) = joined.link.tally();
    assert!(there.lost >= 405 && there.offered >= 1000, "{there:?}");
}

#[test]
fn streams_pass_a_link_whole() {
    if !possible() {
        return;
    }
    let joined = Joined::new(Link::default(), Link::default());
    let total = 64 << 20;
    report(
        "stream through a link",
        total,
        bulk(&joined.a, &joined.b, "44.128.0.2:80", total),
    );
    let slow = Link::delay(Duration::from_millis(10));
    joined.link.set(slow, slow);
    report(
        "stream at 20 ms",
        total,
        bulk(&joined.a, &joined.b, "44.128.0.2:81", total),
    );
    let packets = Link {
        reorder: 1e-12,
        ..Link::default()
    };
    joined.link.set(packets, packets);
    report(
        "stream packet by packet",
        total,
        bulk(&joined.a, &joined.b, "44.128.0.2:82", total),
    );
    joined
        .link
        .set(Link::default().with_rate(20_000_000), Link::default());
    let total = 16 << 20;
    let time = bulk(&joined.a, &joined.b, "44.128.0.2:83", total);
    report("stream at 20 MB/s", total, time);
    assert!(time.as_secs_f64() > total as f64 / 20e6, "{time:?}");
}

#[test]
fn threads_and_devices_end_with_the_handle() {
    if !possible() {
        return;
    }
    let joined = Joined::new(Link::default(), Link::default());
    joined.a.sh("ip link show up0");
    let start = Instant::now();
    drop(joined.link);
    assert!(start.elapsed() < Duration::from_secs(1));
    joined.a.sh("! ip link show up0 2>/dev/null");
}

#[test]
fn a_device_that_exists_already_is_said_to() {
    if !possible() {
        return;
    }
    let space = Space::new().unwrap();
    let first = TunLink::start(
        &space.end("one"),
        &space.end("two"),
        Link::default(),
        Link::default(),
        1,
    );
    let second = TunLink::start(
        &space.end("one"),
        &space.end("three"),
        Link::default(),
        Link::default(),
        1,
    );
    assert!(
        matches!(&second, Err(TunError::Device { device, .. }) if device == "one"),
        "{second:?}"
    );
    drop(first);
}
