//! `NetworkManager`: the sockets of a node, the lanes in and out, and their limits.

use crate::{datagrams::SharedUdp, introductions::Introductions, paths::PathOptions, ports::Ports};
use dig_discovery::Networks;
use dig_host::Listener;
use dig_identity::Signer;
use dig_nat::{
    attempt::Port,
    gather::Wanted,
    io::{OsUdp, Sorted, TcpPort, UdpHub},
    mapping::PortMapperConfig,
    rendezvous::CarrierEvent,
    report::io::hops_to_nat,
    signaling::prekey::{PrekeyError, Prekeys},
    trace::Trace,
    traversal::{NatConfig, NatTraversalManager, Parts, Path, PathMemory},
    turn::RelayWanted,
};
use dig_session::{Endpoint, PlainUdp, SessionConfig, StreamDialer, TcpDialer};
use dig_transfer::{lane::Lane, serve::Server};
use dig_types::{Clock, InstanceId, MappedAddr, NodeId, PeerAddr};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex as AsyncMutex, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

mod dial;
mod gun;
mod keeping;
mod lane;
mod links;
mod query;
mod roaming;
mod sockets;
mod traverse;
mod via;

pub(crate) use gun::Gun;
use keeping::LookOuts;
use links::Links;
pub(crate) use query::LaneQuery;
use sockets::Sockets;
use via::Via;

/// Accepted lanes that wait for the host.
const ACCEPT_QUEUE: usize = 16;
/// After the system could not accept a connection (no descriptors left, say), it is asked again no sooner.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long after the start of a node its first ticket may wait for routers: they answer within this time or are slow, and the
/// hashing of what is shared goes on meanwhile.
const ROUTERS: Duration = Duration::from_millis(400);

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
    /// No key for sealed signals could be made.
    #[error(transparent)]
    Prekey(#[from] PrekeyError),
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
    sockets: Arc<Sockets>,
    look_outs: LookOuts,
    introductions: Introductions,
    paths: PathOptions,
    nat: NatTraversalManager,
    tcp: TcpPort,
    via: Via,
    gun: Option<Gun>,
    wanted: OnceLock<(Wanted, RelayWanted)>,
    started: Instant,
    measured: AtomicBool,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl NetworkManager {
    /// Starts to listen on these ports and to speak as `signer`.
    pub(crate) fn start(
        ports: Ports,
        config: SessionConfig,
        (paths, memory): (PathOptions, Arc<dyn PathMemory>),
        gun: Option<Gun>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        server: Arc<Server>,
    ) -> Result<Self, NetworkError> {
        let failed = |error| NetworkError::Bind {
            addr: format!("port {}", ports.number),
            error,
        };
        let (port, listens_at) = (ports.number, ports.tcp.local_addr().map_err(failed)?.ip());
        let hub = UdpHub::new(Arc::new(OsUdp::new(&ports.udp).map_err(failed)?));
        let udp = PlainUdp::from_std(ports.udp).map_err(failed)?;
        let tcp = TcpPort::share(&ports.tcp).map_err(failed)?;
        let listener = TcpListener::from_std(ports.tcp).map_err(failed)?;
        let prekeys = Prekeys::new(clock.now(), &*signer)?;
        let introductions = Introductions::new(prekeys.current().bytes().clone(), paths.relay_only);
        let parts = Parts {
            signer: signer.clone(),
            prekeys,
            signaling: gun::carriers(&introductions, gun.as_ref()),
            udp: hub.clone(),
            tcp: Some(tcp.clone()),
            memory,
            clock: clock.clone(),
        };
        let nat =
            NatTraversalManager::new(nat_config(&paths, listens_at), parts).map_err(failed)?;
        let endpoint = Endpoint::new(SessionConfig { port, ..config }, signer, clock)?;
        endpoint.attach_datagrams(Arc::new(SharedUdp::new(udp, hub, Port::Shared)))?;
        let sockets = Sockets::new(endpoint.clone(), nat.peer_relays());
        let (sender, accepted) = mpsc::channel(ACCEPT_QUEUE);
        let inner = Arc::new(Inner {
            endpoint,
            dialer: Arc::new(TcpDialer),
            server,
            port,
            listens_at,
            accepted: AsyncMutex::new(accepted),
            links: Links::new(introductions.clone(), sockets.clone()),
            sockets,
            look_outs: LookOuts::default(),
            introductions,
            paths,
            nat,
            tcp,
            via: Via::default(),
            gun,
            wanted: OnceLock::new(),
            started: Instant::now(),
            measured: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        spawn_tasks(&inner, &sender, listener);
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

    /// Addresses at which other machines may reach this node, best first; none where nothing but relays may be used.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        if self.is_relay_only() {
            return Vec::new();
        }
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

    /// Outside addresses that routers map to this node and that others can reach.
    pub fn mapped(&self) -> Vec<MappedAddr> {
        let Some(mappings) = self.0.nat.gatherer().mappings() else {
            return Vec::new();
        };
        let mappings = mappings.borrow();
        let advertised = mappings.iter().filter(|mapping| mapping.is_advertised());
        let mapped = advertised.map(|mapping| MappedAddr {
            method: mapping.method,
            transport: mapping.transport,
            addr: mapping.external,
        });
        mapped.collect()
    }

    /// Keeps the outside addresses known and relays ready from now on: a node that shares may be asked for a path at any time.
    pub(crate) fn keep_addresses_fresh(&self) {
        let nat = &self.0.nat;
        let wanted = || (nat.gatherer().want(), nat.relays().want());
        self.0.wanted.get_or_init(wanted);
        if let Some(gun) = &self.0.gun {
            gun.be_reached(|| nat.prekey());
        }
    }

    /// Waits until routers map this node's port or refuse, but no longer than 400 ms from the node's start: a ticket that is
    /// printed before has no mapped address.
    pub async fn mapping_settled(&self) {
        let deadline = self.0.started + ROUTERS;
        self.0.nat.gatherer().mapped_by(deadline).await;
    }

    /// The peers that introduce this node at the moment.
    pub fn via(&self) -> Vec<PeerAddr> {
        self.0.via.up()
    }

    /// Waits until the peers that are to introduce this node have been reached or have failed; those that have failed, and are
    /// dialled again from time to time.
    pub async fn via_settled(&self, patience: Duration) -> Vec<PeerAddr> {
        self.0.via.settled(patience).await;
        self.0.via.down()
    }

    /// Whether nothing but relays may be used.
    pub(crate) fn is_relay_only(&self) -> bool {
        self.0.paths.relay_only
    }

    /// What was tried in attempts that have ended, the latest first.
    pub(crate) fn traces(&self) -> Vec<Trace> {
        self.0.nat.traces()
    }

    /// Closes every lane and the sockets, and removes mappings from routers.
    pub(crate) async fn stop(&self) {
        self.0.nat.shutdown().await;
        self.0.introductions.signaling().close();
        if let Some(gun) = &self.0.gun {
            gun.close().await;
        }
        self.0.stop.cancel();
        self.0.endpoint.close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    /// Whether anybody carries signals for us, or soon may.
    fn has_carrier(&self) -> bool {
        !self.via.is_empty() || self.gun.as_ref().is_some_and(Gun::has_relays)
    }

    /// What a rendezvous peer sees of this node is where others may try to reach it.
    fn tell_where_seen(&self, carrier: NodeId) {
        let observed = self.introductions.observed_by(carrier);
        self.nat.gatherer().observed(carrier, observed);
    }
}

/// What a node does all the time.
fn spawn_tasks(inner: &Arc<Inner>, sender: &mpsc::Sender<Lane>, listener: TcpListener) {
    let tasks = &inner.tasks;
    tasks.spawn(accept_quic(inner.clone(), sender.clone()));
    tasks.spawn(accept_tcp(inner.clone(), listener, sender.clone()));
    tasks.spawn(accept_paths(inner.clone(), sender.clone()));
    tasks.spawn(tell_where_seen(inner.clone()));
    tasks.spawn(publish_prekeys(inner.clone()));
    tasks.spawn(roaming::roam(inner.clone()));
    tasks.spawn(sockets::attach_relays(
        inner.sockets.clone(),
        inner.nat.relays().watch(),
        inner.stop.clone(),
    ));
    if inner.gun.as_ref().is_some_and(Gun::has_relays) {
        tasks.spawn(gun::measure_hops(inner.clone()));
    }
    for via in inner.paths.via.clone() {
        Via::want(inner, via);
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
            let Sorted::Pass(stream) = inner.tcp.sort(stream, remote).await else {
                return;
            };
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

/// Paths of attempts that others began: this side is the server of the session.
async fn accept_paths(inner: Arc<Inner>, accepted: mpsc::Sender<Lane>) {
    while let Some(found) = inner.nat.incoming().await {
        let (stream, remote) = match found.path {
            Path::Tcp { stream, remote } => (stream, remote),
            Path::Udp { remote, from } => {
                if let Err(error) = inner.sockets.socket_of(from) {
                    tracing::debug!(%remote, %error, "no session over the path");
                }
                continue;
            }
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

/// Rendezvous peers see where this node's ports come out.
async fn tell_where_seen(inner: Arc<Inner>) {
    let signaling = inner.introductions.signaling().clone();
    while let Some(event) = signaling.next_event().await {
        if let CarrierEvent::Registered { carrier, .. } = event {
            inner.tell_where_seen(carrier);
            if let Some(addr) = inner.introductions.addr_of(carrier) {
                inner.tasks.spawn(measure_hops(inner.clone(), addr));
            }
        }
    }
}

/// Packets that open this node's NAT must get past it, and no farther.
async fn measure_hops(inner: Arc<Inner>, towards: SocketAddr) {
    if !towards.is_ipv4() || inner.measured.swap(true, Ordering::Relaxed) {
        return;
    }
    let hops = tokio::select! {
        hops = hops_to_nat(towards) => hops,
        () = inner.stop.cancelled() => return,
    };
    if hops.is_some() {
        tracing::debug!(?hops, "to the outermost NAT");
        inner.nat.set_hops_to_nat(hops);
    }
}

async fn publish_prekeys(inner: Arc<Inner>) {
    let mut prekey = inner.nat.prekey();
    loop {
        let changed = tokio::select! {
            changed = prekey.changed() => changed,
            () = inner.stop.cancelled() => return,
        };
        if changed.is_err() {
            return;
        }
        let bytes = prekey.borrow_and_update().clone();
        inner.introductions.signaling().publish(bytes);
    }
}

/// What of the options concerns attempts. A node that only this machine reaches asks no router for a port.
fn nat_config(paths: &PathOptions, listens_at: IpAddr) -> NatConfig {
    let mut config = NatConfig::default();
    config.methods.clone_from(&paths.methods);
    config.strategy = paths.strategy;
    config.peers.clone_from(&paths.peers);
    config.turn.clone_from(&paths.turn);
    config.relay_only = paths.relay_only;
    config.birthday = paths.birthday;
    config.stun = paths.stun.iter().map(ToString::to_string).collect();
    let mapped = paths.port_mapping && !paths.relay_only && !listens_at.is_loopback();
    config.port_mapping = mapped.then(PortMapperConfig::default);
    config
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
