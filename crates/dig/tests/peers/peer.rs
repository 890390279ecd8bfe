//! Hosts for tests: real sockets, sessions and lanes, but they serve what a test gives them, and may change what they send.

use dig::{
    identity::{Algorithm, CryptoIdentity},
    session::{Endpoint, LaneReceiver, LaneSender, PlainUdp, SessionConfig, TcpDialer, Transport},
    transfer::{
        lane::{Carrier, FrameReceiver, FrameSender, Lane, LaneClosed, LaneInfo},
        link::Link,
        serve::{Server, ServerConfig},
        store::ContentStore,
    },
    types::{Frame, NodeId, PeerRecord, PeerSource, SystemClock},
};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::runtime::Runtime;

/// Changes frames on their way out: `None` drops one.
pub(crate) type Tamper = Arc<dyn Fn(Frame) -> Option<Frame> + Send + Sync>;

/// A host on loopback, with a runtime of its own, so that it can vanish as a killed process does: TCP connections break, QUIC falls silent.
pub(crate) struct Peer {
    runtime: Option<Runtime>,
    pub(crate) server: Arc<Server>,
    pub(crate) node: NodeId,
    addr: SocketAddr,
}

impl Peer {
    /// Serves this, honestly.
    pub(crate) fn honest(store: &Arc<dyn ContentStore>) -> Self {
        Self::start(store, None, Arc::new(Some))
    }

    /// Serves at most so many bytes a second.
    pub(crate) fn limited(store: &Arc<dyn ContentStore>, rate: u64) -> Self {
        Self::start(store, Some(rate), Arc::new(Some))
    }

    /// Serves this, and changes each frame it sends.
    pub(crate) fn start(store: &Arc<dyn ContentStore>, rate: Option<u64>, tamper: Tamper) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let within = runtime.enter();
        let mut config = ServerConfig::default();
        config.upload_limit = rate;
        let server = Server::new(config);
        server.add(store.clone());
        let (tcp, udp) = sockets();
        let addr = tcp.local_addr().unwrap();
        let session = SessionConfig {
            serves: true,
            port: addr.port(),
            ..SessionConfig::default()
        };
        let identity = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap());
        let endpoint = Endpoint::new(session, identity, Arc::new(SystemClock)).unwrap();
        endpoint
            .attach_datagrams(Arc::new(PlainUdp::from_std(udp).unwrap()))
            .unwrap();
        let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
        let node = endpoint.node_id();
        tokio::spawn(accept_quic(
            endpoint.clone(),
            server.clone(),
            tamper.clone(),
        ));
        tokio::spawn(accept_tcp(tcp, endpoint, server.clone(), tamper));
        drop(within);
        Self {
            runtime: Some(runtime),
            server,
            node,
            addr,
        }
    }

    /// Who and where it is.
    pub(crate) fn record(&self) -> PeerRecord {
        PeerRecord {
            node: Some(self.node),
            addrs: vec![self.addr],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
            source: PeerSource::Explicit,
        }
    }

    /// Ends it without a word.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP and a UDP socket of one number.
fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            return (tcp, udp);
        }
    }
}

async fn accept_quic(endpoint: Endpoint, server: Arc<Server>, tamper: Tamper) {
    while let Some(lane) = endpoint.accept_quic().await {
        Link::start(adapt(lane, &tamper), server.clone());
    }
}

async fn accept_tcp(
    tcp: tokio::net::TcpListener,
    endpoint: Endpoint,
    server: Arc<Server>,
    tamper: Tamper,
) {
    while let Ok((stream, remote)) = tcp.accept().await {
        let (endpoint, server, tamper) = (endpoint.clone(), server.clone(), tamper.clone());
        tokio::spawn(async move {
            let _ = TcpDialer::prepare(&stream);
            if let Ok(lane) = endpoint.accept_stream(stream, Some(remote)).await {
                Link::start(adapt(lane, &tamper), server);
            }
        });
    }
}

fn adapt(lane: dig::session::Lane, tamper: &Tamper) -> Lane {
    let session = lane.info();
    let info = LaneInfo {
        node: session.node,
        instance: session.instance,
        remote: session.remote,
        carrier: if session.transport == Transport::Quic {
            Carrier::Quic
        } else {
            Carrier::TlsTcp
        },
        relayed: false,
        max_requests: session.max_requests,
    };
    let (sender, receiver) = lane.split();
    let sender = Box::new(Sender {
        lane: sender,
        tamper: tamper.clone(),
    });
    Lane {
        info,
        sender,
        receiver: Box::new(Receiver(receiver)),
    }
}

struct Sender {
    lane: LaneSender,
    tamper: Tamper,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("lane", &self.lane)
            .finish_non_exhaustive()
    }
}

impl FrameSender for Sender {
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>> {
        async move {
            match (self.tamper)(frame) {
                Some(frame) => self.lane.send(frame).await.map_err(|_| LaneClosed),
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn close(&self, code: u16, text: &str) {
        self.lane.close(code, text);
    }

    fn rtt(&self) -> Option<Duration> {
        self.lane.rtt()
    }
}

#[derive(Debug)]
struct Receiver(LaneReceiver);

impl FrameReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Option<Frame>> {
        self.0.recv().boxed()
    }
}
