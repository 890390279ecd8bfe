use super::*;
use crate::{
    attempt::Strategy,
    candidate::Transport,
    io::{OsUdp, Sorted, UdpReader},
    signaling::{
        Observed,
        memory::{MemoryConfig, MemoryNetwork},
    },
    trace::Outcome,
};
use dig_identity::{Algorithm, CryptoIdentity};
use dig_types::SystemClock;
use futures::StreamExt as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};

mod hostile;

/// What a node's sockets do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Net {
    Both,
    /// Datagrams are sent, and none arrives.
    DeafUdp,
    /// There is no TCP port.
    NoTcp,
}

/// A node on loopback.
struct Node {
    manager: Arc<NatTraversalManager>,
    id: NodeId,
    udp: SocketAddr,
    _reader: Option<UdpReader>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn identity() -> Arc<CryptoIdentity> {
    Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap())
}

/// Two identities, the lower id first.
fn identities() -> [Arc<CryptoIdentity>; 2] {
    let mut both = [identity(), identity()];
    both.sort_by_key(|identity| identity.node_id());
    both
}

/// Methods alone, quick to give up, and no router asked.
fn config(methods: &[Method]) -> NatConfig {
    NatConfig {
        methods: methods.to_vec(),
        method_timeout: Duration::from_secs(2),
        offer_timeout: Duration::from_secs(2),
        port_mapping: None,
        gather_wait: Duration::ZERO,
        ..NatConfig::default()
    }
}

fn listen() -> (UdpSocket, TcpListener) {
    loop {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
}

fn node(
    network: &MemoryNetwork,
    identity: Arc<CryptoIdentity>,
    net: Net,
    config: NatConfig,
) -> Node {
    let (socket, listener) = listen();
    let udp = socket.local_addr().unwrap();
    let hub = UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()));
    let reader =
        (net != Net::DeafUdp).then(|| UdpReader::start(&socket, hub.clone(), |_, _| {}).unwrap());
    let tcp = (net != Net::NoTcp).then(|| TcpPort::share(&listener).unwrap());
    let accepting = tcp.clone().map(|port| {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move {
            loop {
                let (stream, remote) = listener.accept().await.unwrap();
                let port = port.clone();
                tokio::spawn(async move { drop::<Sorted>(port.sort(stream, remote).await) });
            }
        })
    });
    let prekeys = Prekeys::new(SystemClock.now(), &*identity).unwrap();
    let observed = vec![Observed {
        transport: Transport::Udp,
        addr: udp,
    }];
    let id = identity.node_id();
    let signaling = network.join(id, prekeys.current().bytes().clone(), observed);
    let parts = Parts {
        signer: identity,
        prekeys,
        signaling: Arc::new(signaling),
        udp: hub,
        tcp,
        memory: Arc::new(Remembered::default()),
        clock: Arc::new(SystemClock),
    };
    Node {
        manager: Arc::new(NatTraversalManager::new(config, parts).unwrap()),
        id,
        udp,
        _reader: reader,
        accepting,
    }
}

/// Two nodes that may do the same.
fn pair(memory: MemoryConfig, net: Net, methods: &[Method]) -> [Node; 2] {
    let network = MemoryNetwork::new(memory);
    identities().map(|identity| node(&network, identity, net, config(methods)))
}

/// The first path, or why there is none.
async fn first(connecting: &mut Connecting) -> Result<FoundPath, Failed> {
    loop {
        match connecting
            .next()
            .await
            .expect("it ends with a path or a failure")
        {
            Progress::Attempt { .. } => {}
            Progress::Path(path) => return Ok(path),
            Progress::Failed(failed) => return Err(failed),
        }
    }
}

async fn within<T>(seconds: u64, future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, future).await.expect("in time")
}

/// Waits until nothing of any attempt is left.
async fn idle(node: &Node) {
    within(4, async {
        while !lock(&node.manager.0.table).is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(node.manager.0.udp.is_idle(), "a tag is still attached");
    assert!(node.manager.0.tcp.as_ref().is_none_or(TcpPort::is_idle));
}

/// What one side writes the other reads, both ways.
async fn talk(one: &mut TcpStream, other: &mut TcpStream) {
    let mut buffer = [0; 4];
    for (from, to) in [(&mut *one, &mut *other)] {
        from.write_all(b"ping").await.unwrap();
        to.read_exact(&mut buffer).await.unwrap();
        to.write_all(b"pong").await.unwrap();
        assert_eq!(&buffer, b"ping");
        from.read_exact(&mut buffer).await.unwrap();
        assert_eq!(&buffer, b"pong");
    }
}

#[tokio::test]
async fn datagrams_find_a_path_and_both_sides_know_it() {
    let [a, b] = pair(MemoryConfig::default(), Net::NoTcp, &[Method::Local]);
    let mut connecting = a.manager.connect(b.id);
    let path = within(2, first(&mut connecting)).await.unwrap();
    assert!(
        matches!(path.path, Path::Udp { remote, from: UdpFrom::Shared } if remote == b.udp),
        "{path:?}"
    );
    assert_eq!(
        (path.peer, path.method, path.role),
        (b.id, Method::Local, Role::Initiator)
    );
    connecting.confirm();
    let other = within(2, b.manager.incoming()).await.unwrap();
    assert!(
        matches!(other.path, Path::Udp { remote, from: UdpFrom::Shared } if remote == a.udp),
        "{other:?}"
    );
    assert_eq!((other.peer, other.role), (a.id, Role::Responder));
    assert_eq!(other.attempt, path.attempt);
    idle(&a).await;
    idle(&b).await;
    for node in [&a, &b] {
        let [trace] = &node.manager.traces()[..] else {
            panic!("one trace on each side")
        };
        assert_eq!(trace.attempt, path.attempt);
        assert_eq!(trace.methods[0].outcome, Outcome::Connected, "{trace:?}");
    }
    let memory = &a.manager.0.memory;
    assert_eq!(
        memory.recall(a.manager.0.network(), b.id),
        Some(Method::Local)
    );
}

#[tokio::test]
async fn streams_find_a_path_where_datagrams_do_not_arrive() {
    let [a, b] = pair(MemoryConfig::default(), Net::DeafUdp, &[Method::Local]);
    let mut connecting = a.manager.connect(b.id);
    let path = within(3, first(&mut connecting)).await.unwrap();
    let other = within(2, b.manager.incoming()).await.unwrap();
    connecting.confirm();
    let (
        Path::Tcp { mut stream, .. },
        Path::Tcp {
            stream: mut theirs, ..
        },
    ) = (path.path, other.path)
    else {
        panic!("streams on both sides")
    };
    assert_eq!(stream.local_addr().unwrap(), theirs.peer_addr().unwrap());
    talk(&mut stream, &mut theirs).await;
    idle(&a).await;
    idle(&b).await;
    talk(&mut theirs, &mut stream).await;
}

#[tokio::test]
async fn a_rejected_path_is_followed_by_another_one_or_the_reason() {
    let [a, b] = pair(MemoryConfig::default(), Net::Both, &[Method::Local]);
    let mut connecting = a.manager.connect(b.id);
    let mut paths = 0;
    let failed = within(15, async {
        loop {
            match first(&mut connecting).await {
                Ok(_) => paths += 1,
                Err(failed) => return failed,
            }
            assert!(paths < 20, "it ends");
        }
    })
    .await;
    assert!(paths > 0);
    assert!(
        matches!(failed.error, TraverseError::Ended(_)),
        "{failed:?}"
    );
    assert!(connecting.next().await.is_none());
    idle(&a).await;
    idle(&b).await;
}

#[tokio::test]
async fn dropping_it_ends_the_attempt_on_both_sides() {
    // Nothing arrives, so the attempt would go on for its whole time.
    let [a, b] = pair(
        MemoryConfig::default(),
        Net::DeafUdp,
        &[Method::UdpHolePunch, Method::Local],
    );
    if let Some(accepting) = &b.accepting {
        accepting.abort();
    }
    let connecting = a.manager.connect(b.id);
    within(2, async {
        while lock(&b.manager.0.table).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop(connecting);
    let dropped = Instant::now();
    idle(&a).await;
    idle(&b).await;
    assert!(
        dropped.elapsed() < Duration::from_millis(1500),
        "{:?}",
        dropped.elapsed()
    );
}

#[tokio::test]
async fn a_method_that_cannot_apply_fails_with_its_reason_at_once() {
    let [a, b] = pair(MemoryConfig::default(), Net::Both, &[Method::Upnp]);
    let began = Instant::now();
    let failed = within(3, first(&mut a.manager.connect(b.id)))
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(1));
    let [method] = &failed.trace.methods[..] else {
        panic!("{failed:?}")
    };
    assert_eq!(method.method, Method::Upnp);
    assert!(
        matches!(&method.outcome, Outcome::Skipped(reason) if reason.contains("upnp")),
        "{method:?}"
    );
}

#[tokio::test]
async fn a_peer_that_nobody_knows_is_said_to_be_unknown() {
    let [a, _b] = pair(MemoryConfig::default(), Net::Both, &[Method::Local]);
    let failed = within(3, first(&mut a.manager.connect(identity().node_id())))
        .await
        .unwrap_err();
    assert!(
        matches!(failed.error, TraverseError::Signal(_)),
        "{failed:?}"
    );
    assert!(failed.to_string().contains("offline"), "{failed}");
}

#[tokio::test]
async fn both_sides_at_once_make_one_attempt() {
    for net in [Net::NoTcp, Net::DeafUdp] {
        let [a, b] = pair(MemoryConfig::default(), net, &[Method::Local]);
        let (mut from_a, mut from_b) = (a.manager.connect(b.id), b.manager.connect(a.id));
        let (at_a, at_b) = within(4, async {
            tokio::join!(first(&mut from_a), first(&mut from_b))
        })
        .await;
        let (at_a, at_b) = (at_a.unwrap(), at_b.unwrap());
        assert_eq!(at_a.attempt, at_b.attempt);
        assert_eq!(
            (at_a.role, at_b.role),
            (Role::Initiator, Role::Responder),
            "the lower id offers"
        );
        from_a.confirm();
        from_b.confirm();
        if let (
            Path::Tcp { mut stream, .. },
            Path::Tcp {
                stream: mut other, ..
            },
        ) = (at_a.path, at_b.path)
        {
            talk(&mut stream, &mut other).await;
        }
        idle(&a).await;
        idle(&b).await;
    }
}

#[tokio::test]
async fn whoever_asks_while_the_peer_tries_gets_the_same_path() {
    let [a, b] = pair(MemoryConfig::default(), Net::NoTcp, &[Method::Local]);
    let mut from_a = a.manager.connect(b.id);
    within(2, async {
        while lock(&b.manager.0.table).is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut from_b = b.manager.connect(a.id);
    let at_a = within(2, first(&mut from_a)).await.unwrap();
    let joined = tokio::select! {
        at_b = first(&mut from_b) => at_b.unwrap(),
        // It was found before the other one asked.
        at_b = b.manager.incoming() => at_b.unwrap(),
    };
    assert_eq!(at_a.attempt, joined.attempt);
    assert!(matches!(
        within(1, first(&mut a.manager.connect(b.id))).await,
        Err(Failed {
            error: TraverseError::GoingOn,
            ..
        })
    ));
}

#[tokio::test]
async fn lost_repeated_and_reordered_signals_do_no_harm() {
    for seed in 0..10 {
        let carrier = MemoryConfig {
            loss: 0.2,
            duplicate: 0.3,
            delay: Duration::ZERO..=Duration::from_millis(80),
            seed,
        };
        for strategy in [Strategy::Race, Strategy::Sequential] {
            let network = MemoryNetwork::new(carrier.clone());
            let [a, b] = identities().map(|identity| {
                let config = NatConfig {
                    strategy,
                    ..config(&[Method::Local, Method::TcpHolePunch])
                };
                node(&network, identity, Net::Both, config)
            });
            let mut connecting = a.manager.connect(b.id);
            let path = within(6, first(&mut connecting)).await;
            let path = path.unwrap_or_else(|failed| panic!("seed {seed} {strategy}: {failed:?}"));
            assert_eq!(path.method, Method::Local, "seed {seed} {strategy}");
            connecting.confirm();
        }
    }
}

#[tokio::test]
async fn shutting_down_tells_the_peer_and_refuses_what_follows() {
    let [a, b] = pair(MemoryConfig::default(), Net::NoTcp, &[Method::Local]);
    let mut connecting = a.manager.connect(b.id);
    within(2, first(&mut connecting)).await.unwrap();
    within(1, a.manager.shutdown()).await;
    idle(&a).await;
    idle(&b).await;
    assert!(matches!(
        first(&mut a.manager.connect(b.id)).await,
        Err(Failed {
            error: TraverseError::Closed,
            ..
        })
    ));
    assert!(a.manager.incoming().await.is_none());
}
