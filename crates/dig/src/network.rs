//! `NetworkManager`: the sockets of a node, the lanes in and out, and their limits.

use crate::ports::Ports;
use dig_discovery::Networks;
use dig_host::Listener;
use dig_identity::Signer;
use dig_session::{Endpoint, PlainUdp, SessionConfig, StreamDialer, TcpDialer};
use dig_transfer::{lane::Lane, serve::Server};
use dig_types::{Clock, InstanceId, NodeId};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, mpsc},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod dial;
mod links;
mod query;

use links::Links;
pub(crate) use query::LaneQuery;

/// Accepted lanes that wait for the host.
const ACCEPT_QUEUE: usize = 16;
/// After the system could not accept a connection (no descriptors left, say), it is asked again no sooner.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a node cannot listen or talk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The port cannot be bound.
    #[error("cannot listen on {addr}: {error}; choose another address with --listen ADDR:PORT")]
    Bind {
        /// Where.
        addr: String,
        /// What the system said.
        error: io::Error,
    },
    /// The session cannot be set up.
    #[error(transparent)]
    Session(#[from] dig_session::EndpointError),
}

/// Owns the sockets of a node: one UDP port for QUIC and one TCP port for TLS, of the same number. Cheap to clone.
#[derive(Debug, Clone)]
pub struct NetworkManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoint: Endpoint,
    dialer: Arc<dyn StreamDialer>,
    server: Arc<Server>,
    port: u16,
    listens_at: IpAddr,
    accepted: AsyncMutex<mpsc::Receiver<Lane>>,
    links: Links,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NetworkManager {
    /// Starts to listen on these ports and to speak as `signer`.
    pub(crate) fn start(
        ports: Ports,
        config: SessionConfig,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        server: Arc<Server>,
    ) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError::Bind {
            addr: format!("port {}", ports.number),
            error,
        };
        let (port, listens_at) = (ports.number, ports.tcp.local_addr().map_err(failed)?.ip());
        let udp = PlainUdp::from_std(ports.udp).map_err(failed)?;
        let tcp = TcpListener::from_std(ports.tcp).map_err(failed)?;
        let endpoint = Endpoint::new(SessionConfig { port, ..config }, signer, clock)?;
        endpoint.attach_datagrams(Arc::new(udp))?;
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let inner = Arc::new(Inner {
            endpoint,
            dialer: Arc::new(TcpDialer),
            server,
            port,
            listens_at,
            accepted: AsyncMutex::new(accepted),
            links: Links::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        inner
            .tasks
            .spawn(accept_quic(inner.clone(), sender.clone()));
        inner.tasks.spawn(accept_tcp(inner.clone(), tcp, sender));
        Ok(Self(inner))
    }

    /// Who this node is to others.
    pub fn node_id(&self) -> NodeId {
        self.0.endpoint.node_id()
    }

    /// Which run of the program this is.
    pub fn instance(&self) -> InstanceId {
        self.0.endpoint.instance()
    }

    /// The UDP and TCP port.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Addresses at which other machines may reach this node, best first.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        let ips = if self.0.listens_at.is_unspecified() {
            let v6_too = self.0.listens_at.is_ipv6();
            let ips = crate::interfaces::reachable().into_iter();
            ips.filter(|ip| v6_too || ip.is_ipv4()).collect()
        } else {
            vec![self.0.listens_at]
        };
        ips.into_iter()
            .map(|ip| SocketAddr::new(ip, self.0.port))
            .collect()
    }

    /// Closes every lane and the sockets.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.endpoint.close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

async fn accept_quic(inner: Arc<Inner>, accepted: mpsc::Sender<Lane>) {
    loop {
        let lane = tokio::select! {
            lane = inner.endpoint.accept_quic() => lane,
            () = inner.stop.cancelled() => return,
        };
        let Some(lane) = lane else { return };
        if let Some(lane) = inner.links.accepted(lane) {
            let _ = accepted.send(lane).await;
        }
    }
}

async fn accept_tcp(inner: Arc<Inner>, listener: TcpListener, accepted: mpsc::Sender<Lane>) {
    loop {
        let stream = tokio::select! {
            stream = listener.accept() => stream,
            () = inner.stop.cancelled() => return,
        };
        let Ok((stream, remote)) = stream else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (inner, accepted) = (inner.clone(), accepted.clone());
        inner.clone().tasks.spawn(async move {
            let _ = TcpDialer::prepare(&stream);
            match inner.endpoint.accept_stream(stream, Some(remote)).await {
                Ok(lane) => {
                    if let Some(lane) = inner.links.accepted(lane) {
                        let _ = accepted.send(lane).await;
                    }
                }
                Err(error) => tracing::debug!(%remote, %error, "not accepted"),
            }
        });
    }
}

impl Listener for NetworkManager {
    fn accept(&self) -> BoxFuture<'_, Option<Lane>> {
        async { self.0.accepted.lock().await.recv().await }.boxed()
    }
}

/// Whether an address is on a network that this machine is on.
fn is_local(networks: &Networks, addr: &SocketAddr) -> bool {
    addr.ip().to_canonical().is_loopback() || networks.on_link(addr.ip())
}
