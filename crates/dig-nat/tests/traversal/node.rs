//! A node on a machine of the laboratory, and two of them that look for a path.

use dig_identity::{Algorithm, CryptoIdentity, Signer as _};
use dig_lab::Machine;
use dig_nat::{
    attempt::{Strategy, is_public},
    candidate::{CandidateKind, Transport},
    gather::Wanted,
    io::{OsUdp, OwnUdp, Sorted, TcpPort, UdpHub, UdpReader, Verdict},
    signaling::{
        Observed,
        memory::{MemoryConfig, MemoryNetwork},
        prekey::Prekeys,
    },
    stun::io::serve,
    trace::Trace,
    traversal::{
        NatConfig, NatTraversalManager, NetworkKey, Parts, Path, PathMemory, Progress, UdpFrom,
    },
};
use dig_types::{Clock as _, Method, NodeId, SystemClock};
use futures::StreamExt as _;
use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc::UnboundedReceiver, oneshot},
};

/// The longest that anything here takes on a machine that is busy with others.
const LIMIT: Duration = Duration::from_secs(30);
const SAID: &[u8] = b"over the path";
const PORT: u16 = 40_123;
/// What is said is said again after this time.
const AGAIN: Duration = Duration::from_millis(100);

/// Runs asynchronous work in a machine's network.
pub(crate) fn within<T: Send>(machine: &Machine, work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { tokio::time::timeout(LIMIT, work()).await.expect("in time") })
    };
    machine.enter(run).unwrap()
}

/// A STUN server, until dropped.
pub(crate) struct Rendezvous {
    stun: SocketAddr,
    _end: oneshot::Sender<()>,
}

impl Rendezvous {
    pub(crate) fn start(machine: &Machine) -> Self {
        let stun = machine.at(3478).unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let (told, telling) = mpsc::channel();
        let machine = machine.clone();
        thread::spawn(move || {
            let run = || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async move {
                    let _serving = serve(stun, None).await.unwrap();
                    told.send(()).unwrap();
                    let _ = ended.await;
                });
            };
            // It ends when the test has, whatever becomes of the machine.
            let _ = machine.enter(run);
        });
        telling.recv_timeout(LIMIT).unwrap();
        Self { stun, _end: end }
    }
}

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) methods: Vec<Method>,
    pub(crate) strategy: Strategy,
    /// What is remembered to have worked last time.
    pub(crate) worked: Option<Method>,
}

/// Remembers one thing of everybody.
#[derive(Debug)]
struct Worked(Option<Method>);

impl PathMemory for Worked {
    fn recall(&self, _: NetworkKey, _: NodeId) -> Option<Method> {
        self.0
    }

    fn remember(&self, _: NetworkKey, _: NodeId, _: Option<Method>) {}
}

impl Wish {
    pub(crate) fn methods(methods: &[Method]) -> Self {
        Self {
            methods: methods.to_vec(),
            strategy: Strategy::Race,
            worked: None,
        }
    }
}

/// A path over which both sides spoke.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) method: Method,
    pub(crate) transport: Transport,
    pub(crate) after_signaling: Duration,
}

/// A socket that a tactic opened, read as its owner shall.
struct Own {
    socket: tokio::net::UdpSocket,
    handed: OwnUdp,
}

impl Own {
    fn new(handed: OwnUdp) -> Self {
        let socket = handed.socket.try_clone().unwrap();
        let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
        Self { socket, handed }
    }

    /// The next datagram that is not of the attempt.
    async fn next(&mut self) -> (SocketAddr, Vec<u8>) {
        if !self.handed.early.is_empty() {
            let (source, bytes) = self.handed.early.remove(0);
            return (source, bytes.to_vec());
        }
        let mut buffer = [0; 2048];
        loop {
            let (length, source) = self.socket.recv_from(&mut buffer).await.unwrap();
            let (hub, port) = (&self.handed.hub, self.handed.port);
            if hub.receive_at(port, source, &buffer[..length]) == Verdict::Pass {
                return (source, buffer[..length].to_vec());
            }
        }
    }
}

struct Node {
    manager: NatTraversalManager,
    _wanted: Wanted,
    socket: UdpSocket,
    /// Datagrams that are not the hub's.
    passed: UnboundedReceiver<(SocketAddr, Vec<u8>)>,
    _reader: UdpReader,
}

impl Node {
    /// Starts, and joins the carrier as soon as it knows where it is seen.
    async fn start(
        network: &MemoryNetwork,
        stun: &[SocketAddr],
        identity: Arc<CryptoIdentity>,
        wish: Wish,
    ) -> Self {
        let any = SocketAddr::from(([0; 4], PORT));
        let (socket, listener) = (
            UdpSocket::bind(any).unwrap(),
            TcpListener::bind(any).unwrap(),
        );
        let hub = UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()));
        let (pass, passed) = tokio::sync::mpsc::unbounded_channel();
        let reader = UdpReader::start(&socket, hub.clone(), move |source, bytes| {
            let _ = pass.send((source, bytes.to_vec()));
        });
        let tcp = TcpPort::share(&listener).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let port = tcp.clone();
        tokio::spawn(async move {
            while let Ok((stream, remote)) = listener.accept().await {
                let port = port.clone();
                tokio::spawn(async move { drop::<Sorted>(port.sort(stream, remote).await) });
            }
        });
        let prekeys = Prekeys::new(SystemClock.now(), &*identity).unwrap();
        let (id, prekey) = (identity.node_id(), prekeys.current().bytes().clone());
        let signaling = network.join(id, prekey.clone(), Vec::new());
        let config = NatConfig {
            methods: wish.methods,
            strategy: wish.strategy,
            stun: stun.iter().map(SocketAddr::to_string).collect(),
            port_mapping: None,
            ..NatConfig::default()
        };
        let parts = Parts {
            signer: identity,
            prekeys,
            signaling: Arc::new(signaling),
            udp: hub,
            tcp: Some(tcp),
            memory: Arc::new(Worked(wish.worked)),
            clock: Arc::new(SystemClock),
        };
        let manager = NatTraversalManager::new(config, parts).unwrap();
        let wanted = manager.gatherer().want();
        let observed = observed(&manager).await;
        network.join(id, prekey, observed);
        Self {
            manager,
            _wanted: wanted,
            socket,
            passed,
            _reader: reader.unwrap(),
        }
    }

    /// Says something over a path, and hears it come back.
    async fn speak(&mut self, path: Path) {
        match path {
            Path::Tcp { mut stream, .. } => {
                stream.write_all(SAID).await.unwrap();
                stream.shutdown().await.unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                assert_eq!(heard, SAID);
            }
            Path::Udp {
                remote,
                from: UdpFrom::Own(own),
            } => {
                let mut own = Own::new(own);
                loop {
                    own.socket.send_to(SAID, remote).await.unwrap();
                    if let Ok(heard) = tokio::time::timeout(AGAIN, own.next()).await {
                        assert_eq!(heard, (remote, SAID.to_vec()));
                        return;
                    }
                }
            }
            Path::Udp { remote, .. } => loop {
                self.socket.send_to(SAID, remote).unwrap();
                if let Ok(heard) = tokio::time::timeout(AGAIN, self.passed.recv()).await {
                    assert_eq!(heard, Some((remote, SAID.to_vec())));
                    return;
                }
            },
        }
    }

    /// Says back what is said over any path.
    async fn echo(&mut self) {
        loop {
            tokio::select! {
                path = self.manager.incoming() => match path.unwrap().path {
                    Path::Tcp { mut stream, .. } => {
                        // Of several streams the other side uses one, and resets the others.
                        tokio::spawn(async move {
                            let mut heard = Vec::new();
                            if stream.read_to_end(&mut heard).await.is_ok() {
                                stream.write_all(&heard).await.unwrap();
                            }
                        });
                    }
                    Path::Udp { from: UdpFrom::Own(own), .. } => {
                        let mut own = Own::new(own);
                        tokio::spawn(async move {
                            loop {
                                let (source, bytes) = own.next().await;
                                own.socket.send_to(&bytes, source).await.unwrap();
                            }
                        });
                    }
                    Path::Udp { .. } => {}
                },
                said = self.passed.recv() => {
                    let (source, bytes) = said.unwrap();
                    self.socket.send_to(&bytes, source).unwrap();
                }
            }
        }
    }
}

/// Where a rendezvous peer would see this node: where the STUN server does, which stands beside it.
async fn observed(manager: &NatTraversalManager) -> Vec<Observed> {
    let mut watch = manager.gatherer().watch();
    loop {
        let known: Vec<Observed> = watch
            .borrow_and_update()
            .iter()
            .filter(|c| c.kind == CandidateKind::ServerReflexive || is_public(c.addr.ip()))
            .map(|c| Observed {
                transport: c.transport,
                addr: c.addr,
            })
            .collect();
        if known.iter().any(|seen| seen.transport == Transport::Tcp) {
            // The answer by datagram comes first, where any comes.
            return known;
        }
        watch.changed().await.unwrap();
    }
}

/// The first machine connects to the second.
pub(crate) fn meet(
    rendezvous: &[Rendezvous],
    machines: &[Machine; 2],
    wish: Wish,
) -> Result<Found, Trace> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let network = {
        // The carrier's clock is tokio's.
        let _inside = runtime.enter();
        MemoryNetwork::new(MemoryConfig::default())
    };
    let identities =
        [(); 2].map(|()| Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap()));
    let [one, other] = identities;
    let peer = other.node_id();
    let stun: Vec<SocketAddr> = rendezvous.iter().map(|server| server.stun).collect();
    let stun = &stun[..];
    let (ready, is_ready) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    thread::scope(|scope| {
        let serving = {
            let (network, wish) = (network.clone(), wish.clone());
            scope.spawn(move || {
                within(&machines[1], async move || {
                    let mut node = Node::start(&network, stun, other, wish).await;
                    ready.send(()).unwrap();
                    tokio::select! {
                        _ = ended => {}
                        () = node.echo() => {}
                    }
                });
            })
        };
        let result = within(&machines[0], async move || {
            let mut node = Node::start(&network, stun, one, wish).await;
            is_ready.await.unwrap();
            let found = connect(&mut node, peer).await;
            node.manager.shutdown().await;
            let _ = end.send(());
            found
        });
        serving.join().unwrap();
        result
    })
}

async fn connect(node: &mut Node, peer: NodeId) -> Result<Found, Trace> {
    let mut connecting = node.manager.connect(peer);
    loop {
        match connecting.next().await.unwrap() {
            Progress::Path(path) => {
                let found = Found {
                    method: path.method,
                    transport: path.path.transport(),
                    after_signaling: path.after_signaling,
                };
                node.speak(path.path).await;
                connecting.confirm();
                return Ok(found);
            }
            Progress::Failed(failed) => return Err(failed.trace),
            _ => {}
        }
    }
}
