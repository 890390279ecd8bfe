//! The local network, in network namespaces that the tests make: nothing leaves them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "the parts of a test fail and print as tests do"
)]

mod forge;
mod netns;
mod node;

use dig_discovery::{Announcement, Discovery, Found, LocalDiscovery, Lookup};
use dig_types::{ContentHash, NodeId};
use futures::StreamExt;
use netns::Namespace;
use node::{PlainQuery, Shelf, discovery, instance};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, time::timeout};

const PATIENCE: Duration = Duration::from_secs(10);

fn movie() -> Lookup {
    Lookup::Name("movie".parse().unwrap())
}

fn hash(number: u8) -> ContentHash {
    ContentHash::from_bytes([number; 32])
}

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// A node that shares `movie` until it is told to end.
struct Sharer {
    port: u16,
    end: oneshot::Sender<()>,
    /// Gives how long it took to close, and how many questions were asked.
    thread: JoinHandle<(Duration, usize)>,
}

impl Sharer {
    fn start(namespace: &Namespace, number: u8, pending: usize) -> Self {
        let (ready, port) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let thread = namespace.run(move || async move {
            let shelf = Shelf::new(number, &[(&movie(), hash(number))], pending);
            let (port, questions) = shelf.serve().await;
            let local = discovery(number, PlainQuery::default());
            local
                .announce(movie().key(), Announcement::new(port))
                .await
                .unwrap();
            ready.send(port).unwrap();
            let _ = ended.await;
            let before = Instant::now();
            local.close().await;
            (before.elapsed(), questions.load(Ordering::SeqCst))
        });
        let port = port.recv().unwrap();
        Self { port, end, thread }
    }

    fn end(self) -> (Duration, usize) {
        let _ = self.end.send(());
        self.thread.join().unwrap()
    }
}

/// Searches until `count` nodes are found or patience ends; gives them as last reported, and how long it took.
async fn search(number: u8, query: PlainQuery, count: usize) -> (Vec<Found>, Duration) {
    let before = Instant::now();
    let local = discovery(number, query);
    let mut stream = local.find(movie());
    let mut found: Vec<Found> = Vec::new();
    while found.len() < count {
        let Ok(Some(next)) = timeout(PATIENCE, stream.next()).await else {
            break;
        };
        found.retain(|old| old.peer.node != next.peer.node);
        found.push(next);
    }
    (found, before.elapsed())
}

/// Whether anybody is found in time.
async fn first(local: &LocalDiscovery, within: Duration) -> bool {
    let found = timeout(within, local.find(movie()).next()).await;
    matches!(found, Ok(Some(_)))
}

#[test]
fn found_across_a_link_whoever_starts_first() {
    let Some((one, two, number)) = Namespace::pair() else {
        return;
    };
    for sharer_head_start in [Some(4000), Some(2000), Some(0), None] {
        let sharer = sharer_head_start.map(|head_start| {
            let sharer = Sharer::start(&one, 1, 0);
            thread::sleep(Duration::from_millis(head_start));
            sharer
        });
        let getter = two.run(|| search(2, PlainQuery::default(), 1));
        let late = sharer.is_none();
        let sharer = sharer.unwrap_or_else(|| {
            thread::sleep(Duration::from_millis(1500));
            Sharer::start(&one, 1, 0)
        });
        let (found, took) = getter.join().unwrap();
        println!("head start {sharer_head_start:?} ms: found after {took:?}");
        let port = sharer.port;
        sharer.end();
        assert_eq!(
            found.len(),
            1,
            "nothing found, head start {sharer_head_start:?}"
        );
        let took = took.saturating_sub(Duration::from_millis(if late { 1500 } else { 0 }));
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(
            (found[0].peer.node, found[0].claims[0].hash),
            (Some(id(1)), Some(hash(1)))
        );
        let near = |addr: &SocketAddr| match addr {
            SocketAddr::V4(v4) => v4.ip().octets() == [10, 77, number, 1],
            SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() != 0,
        };
        let addrs = &found[0].peer.addrs;
        assert!(
            addrs.iter().all(|addr| near(addr) && addr.port() == port),
            "{addrs:?}"
        );
    }
}

#[test]
fn both_families_are_reported_and_answer() {
    let Some((one, two, _)) = Namespace::pair() else {
        return;
    };
    let sharer = Sharer::start(&one, 1, 0);
    let getter = two.run(|| async {
        let local = discovery(2, PlainQuery::default());
        let mut stream = local.find(movie());
        let both = async {
            loop {
                let found = stream.next().await.expect("a live search");
                let v6 = found.peer.addrs.iter().find(|addr| addr.is_ipv6()).copied();
                if let (true, Some(v6)) = (found.peer.addrs.iter().any(SocketAddr::is_ipv4), v6) {
                    return v6;
                }
            }
        };
        let v6 = timeout(PATIENCE, both)
            .await
            .expect("an IPv4 and an IPv6 address");
        tokio::net::TcpStream::connect(v6).await.map(|_| v6)
    });
    let reached = getter.join().unwrap();
    sharer.end();
    assert!(
        reached.is_ok(),
        "the scope of a link-local address is needed to dial it: {reached:?}"
    );
}

#[test]
fn found_on_loopback_alone_and_every_claimant_of_a_name() {
    let Some(alone) = Namespace::new() else {
        return;
    };
    let sharers = [1, 2, 3].map(|number| Sharer::start(&alone, number, 0));
    let query = PlainQuery::default();
    let asked = query.asked.clone();
    let (found, took) = alone.run(move || search(9, query, 3)).join().unwrap();
    println!("three claimants found after {took:?}");
    for sharer in sharers {
        sharer.end();
    }
    let mut nodes: Vec<_> = found.iter().filter_map(|found| found.peer.node).collect();
    nodes.sort();
    assert_eq!(nodes, [id(1), id(2), id(3)]);
    assert!(
        asked
            .lock()
            .unwrap()
            .iter()
            .all(|addr| addr.ip().is_loopback())
    );
}

#[test]
fn a_pending_node_is_asked_again() {
    let Some(alone) = Namespace::new() else {
        return;
    };
    let sharer = Sharer::start(&alone, 1, 2);
    let (found, _) = alone
        .run(|| search(2, PlainQuery::default(), 1))
        .join()
        .unwrap();
    let (_, questions) = sharer.end();
    assert_eq!((found.len(), questions), (1, 3));
}

#[test]
fn a_goodbye_is_sent_in_time_and_believed() {
    let Some((one, two, _)) = Namespace::pair() else {
        return;
    };
    let sharer = Sharer::start(&one, 1, 0);
    let (seen, was_seen) = mpsc::channel();
    let (gone, is_gone) = oneshot::channel();
    let getter = two.run(|| async move {
        let query = PlainQuery::default();
        let local = discovery(2, query.clone());
        seen.send(first(&local, PATIENCE).await).unwrap();
        is_gone.await.unwrap();
        // One second of grace for goodbyes (RFC 6762 §10.1), and one more.
        tokio::time::sleep(Duration::from_secs(2)).await;
        query.asked.lock().unwrap().clear();
        let again = first(&local, Duration::from_secs(2)).await;
        let asked = query.asked.lock().unwrap().len();
        (again, asked)
    });
    assert!(was_seen.recv().unwrap(), "found while it was there");
    let (closing, _) = sharer.end();
    gone.send(()).unwrap();
    println!("closed after {closing:?}");
    assert!(closing < Duration::from_millis(400), "{closing:?}");
    assert_eq!(
        getter.join().unwrap(),
        (false, 0),
        "not asked after its goodbye"
    );
}

#[test]
fn withdrawing_the_last_content_ends_the_advertisement_and_dropping_the_threads() {
    let Some(alone) = Namespace::new() else {
        return;
    };
    let (stage, staged) = mpsc::channel();
    let (go_on, mut went_on) = tokio::sync::mpsc::channel::<()>(1);
    let sharer = alone.run(|| async move {
        let (port, _) = Shelf::new(1, &[(&movie(), hash(1))], 0).serve().await;
        let local = discovery(1, PlainQuery::default());
        let other = Lookup::Content(hash(7)).key();
        stage.send(()).unwrap();
        went_on.recv().await;
        local
            .announce(movie().key(), Announcement::new(port))
            .await
            .unwrap();
        local
            .announce(other, Announcement::new(port))
            .await
            .unwrap();
        local.withdraw(other).await.unwrap();
        stage.send(()).unwrap();
        went_on.recv().await;
        local.withdraw(movie().key()).await.unwrap();
        stage.send(()).unwrap();
        went_on.recv().await;
        drop(local);
        tokio::time::sleep(Duration::from_secs(1)).await;
        stage.send(()).unwrap();
        went_on.recv().await;
    });
    let look = || {
        alone.run(|| async {
            let local = discovery(2, PlainQuery::default());
            first(&local, Duration::from_secs(3)).await
        })
    };
    staged.recv().unwrap();
    assert_eq!(
        alone.threads("mDNS"),
        [""; 0],
        "nothing runs before it is needed"
    );
    go_on.blocking_send(()).unwrap();
    staged.recv().unwrap();
    assert!(look().join().unwrap(), "one content is still announced");
    go_on.blocking_send(()).unwrap();
    staged.recv().unwrap();
    assert!(!look().join().unwrap(), "none is announced");
    go_on.blocking_send(()).unwrap();
    staged.recv().unwrap();
    assert_eq!(alone.threads("mDNS"), [""; 0], "the daemons ended");
    go_on.blocking_send(()).unwrap();
    sharer.join().unwrap();
}

#[test]
fn privileged_ports_and_closed_mechanisms_are_refused_by_name() {
    let Some(alone) = Namespace::new() else {
        return;
    };
    let errors = alone.run(|| async {
        let local = discovery(1, PlainQuery::default());
        let low = local
            .announce(movie().key(), Announcement::new(443))
            .await
            .unwrap_err();
        local.close().await;
        let closed = local
            .announce(movie().key(), Announcement::new(4433))
            .await
            .unwrap_err();
        (
            low.to_string(),
            closed.to_string(),
            local.find(movie()).next().await.is_none(),
        )
    });
    let (low, closed, ended) = errors.join().unwrap();
    assert!(
        low.contains("443") && closed.contains("closed") && ended,
        "{low}; {closed}"
    );
}

#[test]
fn a_lookup_does_not_keep_its_mechanism_alive() {
    let Some(alone) = Namespace::new() else {
        return;
    };
    let ended = alone.run(|| async {
        let mut unpolled = discovery(1, PlainQuery::default()).find(movie());
        let local = discovery(1, PlainQuery::default());
        let mut polled = local.find(movie());
        let waits = timeout(Duration::from_millis(100), polled.next())
            .await
            .is_err();
        drop(local);
        waits && unpolled.next().await.is_none() && polled.next().await.is_none()
    });
    assert!(ended.join().unwrap());
}

/// Everything that a hostile machine on the link can say, then a true node on another machine.
fn attack(number: u8) {
    let (seed, own) = (fastrand::u64(..), Ipv4Addr::new(10, 77, number, 1));
    println!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let socket = forge::socket(own);
    forge::send(&socket, &forge::pointer_loop());
    forge::send(&socket, &forge::empty_promise());
    forge::send(&socket, &vec![0xff; 65_507]);
    let mut oversized = forge::advert("big", instance(50), own.into(), 5000);
    oversized.resize(9500, 0);
    forge::send(&socket, &oversized);
    for _ in 0..200 {
        let mut message = forge::advert("fuzz", instance(51), own.into(), 5001);
        let at = rng.usize(..message.len());
        message[at] = rng.u8(..);
        message.truncate(rng.usize(12..=message.len()));
        forge::send(&socket, &message);
    }
    let off_link: [IpAddr; 4] = [
        [192, 0, 2, 1].into(),
        [127, 0, 0, 1].into(),
        [224, 0, 0, 5].into(),
        "2001:db8::1".parse().unwrap(),
    ];
    for (index, ip) in off_link.into_iter().enumerate() {
        forge::send(
            &socket,
            &forge::advert(&format!("off{index}"), instance(52), ip, 5002),
        );
    }
    forge::send(
        &socket,
        &forge::advert("port", instance(53), own.into(), 80),
    );
    forge::send(
        &socket,
        &forge::advert("self", instance(2), own.into(), 5003),
    );
    for index in 0..1000_u16 {
        let victim = Ipv4Addr::new(10, 77, number, 66);
        let label = format!("flood{index}");
        forge::send(
            &socket,
            &forge::advert(&label, instance(54), victim.into(), 10_000 + index),
        );
        if index % 50 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn hostile_announcements_are_bounded_and_hide_nobody() {
    let Some((one, two, number)) = Namespace::pair() else {
        return;
    };
    let query = PlainQuery::default();
    let asked = query.asked.clone();
    let getter = two.run(move || async move {
        let before = Instant::now();
        let local = discovery(2, query);
        let mut stream = local.find(movie());
        let found = timeout(PATIENCE, stream.next()).await.ok().flatten();
        let took = before.elapsed();
        // Long enough to ask many more, if there were no bounds.
        let rest = timeout(
            Duration::from_secs(5),
            stream.for_each(|_| std::future::ready(())),
        );
        assert!(rest.await.is_err(), "a live search stays open");
        (found, took)
    });
    thread::sleep(Duration::from_millis(500));
    let attacker = one.run(move || async move { attack(number) });
    attacker.join().unwrap();
    let sharer = Sharer::start(&one, 1, 0);
    let port = sharer.port;
    let (found, took) = getter.join().unwrap();
    sharer.end();

    let dials = std::mem::take(&mut *asked.lock().unwrap());
    println!("found after {took:?}, {} dials in all", dials.len());
    let found = found.expect("the true node is found among 1,000 false ones");
    assert_eq!(found.peer.node, Some(id(1)));
    let near = |addr: &SocketAddr| match addr.ip() {
        IpAddr::V4(ip) => ip.octets()[..3] == [10, 77, number],
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    assert!(
        dials.iter().all(|addr| near(addr) && addr.port() >= 1024),
        "{dials:?}"
    );
    for (forged, what) in [
        (5000, "too large"),
        (5002, "off the link"),
        (5003, "ourselves"),
    ] {
        assert!(
            !dials.iter().any(|addr| addr.port() == forged),
            "dialled: {what}"
        );
    }
    assert!(dials.iter().any(|addr| addr.port() == port));
    let nodes: std::collections::BTreeSet<_> = dials.iter().map(SocketAddr::port).collect();
    assert!(nodes.len() <= 32, "{} nodes were asked", nodes.len());
    let victim = IpAddr::from([10, 77, number, 66]);
    let hits = dials.iter().filter(|addr| addr.ip() == victim).count();
    assert!(
        (1..=12).contains(&hits),
        "the victim was dialled {hits} times"
    );
}

#[test]
fn a_flood_of_records_costs_the_attacker_his_audience_not_us_our_memory() {
    let Some((one, two, number)) = Namespace::pair() else {
        return;
    };
    let (ready, is_ready) = mpsc::channel();
    let (dry, is_dry) = oneshot::channel::<()>();
    let getter = two.run(|| async move {
        let local = discovery(2, PlainQuery::default());
        local.advertise(4433).unwrap();
        ready.send(()).unwrap();
        is_dry.await.unwrap();
        first(&local, Duration::from_secs(20)).await
    });
    is_ready.recv().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // A thread takes its name only once it runs.
    while two.threads("mDNS").is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(10));
    }
    let before = two.threads("mDNS");
    assert_eq!(before.len(), 1);
    let dry_up = Arc::new(AtomicBool::new(false));
    let dried_up = Arc::clone(&dry_up);
    let flood = one.run(move || async move {
        let socket = forge::socket(Ipv4Addr::new(10, 77, number, 1));
        for batch in (0..).take_while(|_| !dried_up.load(Ordering::SeqCst)) {
            forge::send(&socket, &forge::chaff(batch * 50, 50));
            if batch % 10 == 0 {
                thread::sleep(Duration::from_millis(10));
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    while two.threads("mDNS") == before && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    dry_up.store(true, Ordering::SeqCst);
    flood.join().unwrap();
    assert_ne!(
        two.threads("mDNS"),
        before,
        "the daemon with the flooded cache goes on"
    );
    let sharer = Sharer::start(&one, 1, 0);
    dry.send(()).unwrap();
    let found = getter.join().unwrap();
    sharer.end();
    assert!(found, "found after the flood");
}
