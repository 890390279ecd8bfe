//! What a node learns of the network that it is on, behind NATs of the laboratory.
//!
//! Needs root, as every laboratory does; says so and passes without testing anything where it cannot, except under `CI`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where it stands"
)]

use dig_lab::{Lab, Machine, Site, SiteKind, SiteSpec, link::Link, nat::NatConfig};
use dig_nat::{
    attempt::NatHint,
    candidate::{Candidate, CandidateKind, Transport},
    gather::{Gatherer, Sources},
    io::{OsUdp, UdpHub, UdpReader},
    stun::io::serve,
};
use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The longest that anything here takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(20);
/// One way through the link of a site.
const DELAY: Duration = Duration::from_millis(10);

/// Runs asynchronous work in a machine's network.
fn within<T: Send>(machine: &Machine, work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { tokio::time::timeout(LIMIT, work()).await.expect("in time") })
    };
    machine.enter(run).unwrap()
}

/// A STUN server on a machine of its own, until dropped.
struct Server {
    addr: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl Server {
    fn start(machine: &Machine) -> Self {
        let addr = machine.at(3478).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let (told, telling) = mpsc::channel();
        let machine = machine.clone();
        thread::spawn(move || {
            within(&machine, async || {
                let _serving = serve(addr, None).await.unwrap();
                told.send(()).unwrap();
                // It ends when the test has.
                let _ = tokio::time::timeout(LIMIT / 2, ended).await;
            });
        });
        telling.recv_timeout(LIMIT).unwrap();
        Self { addr, _end: end }
    }
}

/// A machine at a site, and servers outside.
struct Place {
    machine: Machine,
    servers: Vec<Server>,
    _site: Site,
    _lab: Lab,
}

impl Place {
    fn build(site: impl Into<SiteSpec>, servers: u8) -> Option<Self> {
        let lab = Lab::for_test()?;
        let servers = (0..servers).map(|n| Server::start(&lab.server(n).unwrap()));
        let servers = servers.collect();
        let spec = site.into().with_link(Link::delay(DELAY));
        let site = lab.site(spec, "home").unwrap();
        Some(Self {
            machine: site.host(0).unwrap(),
            servers,
            _site: site,
            _lab: lab,
        })
    }

    fn sources(&self) -> Sources {
        Sources {
            stun: self.servers.iter().map(|s| s.addr.to_string()).collect(),
            ..Sources::default()
        }
    }
}

/// A gatherer on a port of its own.
struct Node {
    gatherer: Gatherer,
    _reader: UdpReader,
}

impl Node {
    fn start(sources: Sources) -> Self {
        let socket = UdpSocket::bind("0.0.0.0:40123").unwrap();
        let hub = UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()));
        let reader = UdpReader::start(&socket, hub.clone(), |_, _| {}).unwrap();
        Self {
            gatherer: Gatherer::start(hub, None, sources).unwrap(),
            _reader: reader,
        }
    }

    /// Waits until a hint is there that says something.
    async fn hint(&self) -> NatHint {
        let _wanted = self.gatherer.want();
        loop {
            let hint = self.gatherer.nat_hint();
            if hint != NatHint::Unknown {
                return hint;
            }
            tokio::time::sleep(DELAY).await;
        }
    }
}

fn hint_at(site: impl Into<SiteSpec>) -> Option<NatHint> {
    let place = Place::build(site, 3)?;
    let sources = place.sources();
    Some(within(&place.machine, async || {
        let node = Node::start(sources);
        let _wanted = node.gatherer.want();
        node.hint().await;
        // All three have answered after that.
        tokio::time::sleep(20 * DELAY).await;
        node.gatherer.nat_hint()
    }))
}

#[test]
fn each_nat_is_told_by_what_it_does_to_ports() {
    let dependent = |step| NatHint::Dependent { step };
    let counting = NatConfig::symmetric_sequential;
    let sites: [(SiteSpec, NatHint); 6] = [
        (SiteKind::Open.into(), NatHint::Open),
        (SiteKind::PortRestricted.into(), NatHint::Independent),
        (SiteKind::FullCone.into(), NatHint::Independent),
        (SiteKind::SymmetricRandom.into(), dependent(None)),
        (SiteKind::SymmetricSequential.into(), dependent(Some(1))),
        (counting(-2).into(), dependent(Some(-2))),
    ];
    for (site, expected) in sites {
        let name = format!("{site:?}");
        let Some(hint) = hint_at(site) else {
            return;
        };
        assert_eq!(hint, expected, "{name}");
    }
}

#[test]
fn a_nat_that_counts_is_asked_where_it_stands() {
    let counting = NatConfig::symmetric_sequential;
    let sites: [(SiteSpec, u8, Option<i16>); 3] = [
        (SiteKind::SymmetricSequential.into(), 1, Some(1)),
        (counting(3).into(), 2, Some(3)),
        (SiteKind::SymmetricRandom.into(), 2, None),
    ];
    for (site, servers, step) in sites {
        let name = format!("{site:?}");
        let Some(place) = Place::build(site, servers) else {
            return;
        };
        let sources = place.sources();
        within(&place.machine, async || {
            let node = Node::start(sources);
            let _wanted = node.gatherer.want();
            node.gatherer.ready(LIMIT).await;
            let asked = Instant::now();
            let drift = node.gatherer.drift(false).await;
            assert!(asked.elapsed() < Duration::from_secs(1), "{name}");
            assert_eq!(drift.map(|drift| drift.step), step, "{name}");
            let Some(drift) = drift else { return };
            // The next port that it gives is the one that follows from it.
            let again = node.gatherer.drift(false).await.unwrap();
            let apart = i32::from(again.last) - i32::from(drift.last);
            assert_eq!(apart, 4 * i32::from(drift.step), "{name}");
        });
    }
}

#[test]
fn another_network_is_asked_about_at_once() {
    let Some(place) = Place::build(SiteKind::PortRestricted, 2) else {
        return;
    };
    let route = place.machine.run("ip", &["-4", "route", "show", "default"]);
    let route = route.unwrap();
    let words: Vec<&str> = route.split_whitespace().collect();
    let after = |word| words[words.iter().position(|w| *w == word).unwrap() + 1];
    let device = after("dev");
    let sources = place.sources();
    within(&place.machine, async || {
        let node = Node::start(sources);
        let _wanted = node.gatherer.want();
        assert_eq!(node.hint().await, NatHint::Independent);
        let outside = outside(&node.gatherer.candidates());
        let mut candidates = node.gatherer.watch();
        let mut changes = node.gatherer.network_changes();
        candidates.mark_unchanged();
        // The machine gets another address in the same network, which the NAT gives another outside port: that of the first
        // one is taken.
        let script = "set -e; old=$(ip -4 -o addr show dev $1 | awk '{print $4}' | head -n 1); \
            base=${old%.*}; new=$base.77/${old#*/}; \
            via=$(ip -4 route show default | awk '{print $3}'); \
            ip addr del $old dev $1; ip addr add $new dev $1; \
            ip route replace default via $via";
        let moved = Instant::now();
        (place.machine)
            .run("sh", &["-c", script, "sh", device])
            .unwrap();
        tokio::time::timeout(LIMIT, changes.changed())
            .await
            .unwrap()
            .unwrap();
        loop {
            candidates.changed().await.unwrap();
            let known = candidates.borrow_and_update().clone();
            let host = known.iter().any(|candidate| {
                candidate.kind == CandidateKind::Host
                    && candidate.addr.ip().to_string().ends_with(".77")
            });
            if host && !self::outside(&known).is_empty() && self::outside(&known) != outside {
                break;
            }
        }
        println!("known {:?} after the machine moved", moved.elapsed());
        assert!(moved.elapsed() < Duration::from_secs(2));
        assert_eq!(node.hint().await, NatHint::Independent);
    });
}

/// Where servers see the port.
fn outside(candidates: &[Candidate]) -> Vec<SocketAddr> {
    let seen = candidates.iter().filter(|candidate| {
        candidate.kind == CandidateKind::ServerReflexive && candidate.transport == Transport::Udp
    });
    seen.map(|candidate| candidate.addr).collect()
}
