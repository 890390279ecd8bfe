//! The TURN server over real sockets: UDP and TCP at each address, a UDP socket for each allocation.
//!
//! ```no_run
//! use dig_nat::turn::{serve::{ServeOptions, serve}, server::{ServerConfig, User}};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ServerConfig::new([User::new("alice", "wonderland")]);
//! let serving = serve(ServeOptions::new(["0.0.0.0:3478".parse()?], config)).await?;
//! println!("TURN at {:?}", serving.addrs());
//! # Ok(()) }
//! ```
//!
//! Every address of the machine gets sockets of its own, so that answers, and what peers get, leave from the address that was
//! asked, without ancillary data for each packet.

mod connections;
mod datagrams;
mod metrics;
mod outbox;
mod ports;
mod relays;

use super::server::{
    Client, ConfigError, Counters, Heard, Opening, Server, ServerConfig, Transport,
};
use crate::stun;
use outbox::Outbox;
use ports::Ports;
use relays::Relays;
use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
    time::Instant,
};

/// Longest datagram that is relayed, in bytes: what a path with jumbo frames carries. Peers that talk QUIC send 1,452 at most.
const LARGEST: usize = 9216;
/// Addresses of this machine that are served where all are asked for, at most.
const ADDRESSES: usize = 16;
/// How often what is over is looked for: it ends at most so much late.
const TICK: Duration = Duration::from_secs(1);
/// Nothing relayed for so long, and no allocation counts as in use.
const QUIET: Duration = Duration::from_secs(3);
/// Room for datagrams that wait for this process, in bytes, as far as the system allows it.
const SOCKET_BUFFER: usize = 4 << 20;

/// Where and how to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Addresses for TURN, UDP and TCP. An unspecified one stands for every address of that family that the machine has, but for
    /// loopback and link-local ones.
    pub listen: Vec<SocketAddr>,
    /// Where STUN is answered with two addresses (RFC 5780); at all of [`Self::listen`] it is answered anyway, with one. Sockets
    /// that are in both serve both.
    pub stun: Vec<stun::Layout>,
    /// Addresses that peers are to use instead of the machine's own of that family: those of a router that forwards the ports
    /// here. Default: none.
    pub public: Vec<IpAddr>,
    /// Ports of allocations. Default: 49152 to 65535 (RFC 8656 §7.2).
    pub ports: RangeInclusive<u16>,
    /// What the server is told.
    pub config: ServerConfig,
}

impl ServeOptions {
    /// The defaults, at these addresses.
    pub fn new(listen: impl IntoIterator<Item = SocketAddr>, config: ServerConfig) -> Self {
        Self {
            listen: listen.into_iter().collect(),
            stun: Vec::new(),
            public: Vec::new(),
            ports: 49_152..=65_535,
            config,
        }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The settings make no server.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The machine has no address to serve.
    #[error("this machine has no address to serve; name one")]
    NoAddress,
    /// An address is not ours, or its port is taken.
    #[error("cannot listen at {addr}: {error}; name an address of this machine and a free port")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// No ports for allocations.
    #[error("the ports for allocations are none, or below 1024; name a range such as 49152-65535")]
    Ports,
    /// The system does not say which addresses it has, or gives no randomness.
    #[error("the system does not help: {0}")]
    System(io::Error),
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    shared: Arc<Shared>,
    addrs: Vec<SocketAddr>,
    tasks: JoinSet<()>,
}

impl Serving {
    /// Where TURN is served, as clients name it: with public addresses where those were given.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.core().server.counters()
    }

    /// Takes no new allocations any more; those that live go on.
    pub fn drain(&self) {
        self.shared.core().server.drain();
    }

    /// Waits until no allocation lives, or nothing has been relayed for 3 s: who holds one in reserve is not interrupted.
    pub async fn idle(&self) {
        let passed = |counters: &Counters| counters.packets_to_peers + counters.packets_to_clients;
        let (mut last, mut since) = (passed(&self.counters()), Instant::now());
        loop {
            let counters = self.counters();
            if passed(&counters) != last {
                (last, since) = (passed(&counters), Instant::now());
            }
            if counters.allocations == 0 || since.elapsed() >= QUIET {
                return;
            }
            tokio::time::sleep(TICK / 10).await;
        }
    }

    /// Shows the counters at an address, over HTTP, in the text format of Prometheus; where, with the port that it got.
    pub async fn show_metrics(&mut self, addr: SocketAddr) -> Result<SocketAddr, ServeError> {
        let failed = |error| ServeError::Bind { addr, error };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        self.tasks
            .spawn(metrics::show(Arc::clone(&self.shared), listener));
        Ok(addr)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.shared.core().relays.clear();
    }
}

/// One address.
#[derive(Debug)]
struct Place {
    local: SocketAddr,
    udp: UdpSocket,
    /// Whether TURN is served here, too.
    turn: bool,
    stun: Arc<Mutex<stun::Server>>,
}

/// What the tasks of a server share.
#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    places: Vec<Place>,
    ports: Ports,
    started: Instant,
}

/// What is locked for each message, for a microsecond or less. Nothing is sent meanwhile.
#[derive(Debug)]
struct Core {
    server: Server,
    relays: Relays,
    outboxes: HashMap<Client, Arc<Outbox>>,
}

/// What was decided under the lock, to be done without it.
enum Decided<'a> {
    Nothing,
    Reply(Vec<u8>),
    Open(Box<Opening>),
    Forward(Arc<UdpSocket>, SocketAddr, &'a [u8]),
    /// Bytes for another client stand in the buffer.
    Deliver(Client, Option<Arc<Outbox>>),
}

impl Shared {
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// A message of a client; the answer to it, if there is one. `buffer` is for what goes to somebody else.
    fn on_client(
        self: &Arc<Self>,
        client: Client,
        bytes: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Option<Vec<u8>> {
        match self.decide(client, bytes, buffer) {
            Decided::Nothing => None,
            Decided::Reply(reply) => Some(reply),
            Decided::Open(opening) => Some(self.open(*opening)),
            Decided::Forward(socket, to, data) => {
                if socket.try_send_to(data, to).is_err() {
                    self.core().server.on_full();
                }
                None
            }
            Decided::Deliver(client, outbox) => {
                self.deliver(client, outbox, buffer);
                None
            }
        }
    }

    fn decide<'a>(&self, client: Client, bytes: &'a [u8], buffer: &mut Vec<u8>) -> Decided<'a> {
        let now = self.now();
        let mut core = self.core();
        match core.server.on_client(now, client, bytes) {
            Heard::Nothing => Decided::Nothing,
            Heard::Reply(reply) => {
                core.close_ended();
                Decided::Reply(reply)
            }
            Heard::Open(opening) => Decided::Open(opening),
            Heard::Forward { from, to, data } => match core.relays.socket(from) {
                Some(socket) => Decided::Forward(socket, to, data),
                None => Decided::Nothing,
            },
            Heard::Between { to, source, data } => {
                match core.server.on_peer(now, to, source, data, buffer) {
                    Some(client) => Decided::Deliver(client, core.outbox(client)),
                    None => Decided::Nothing,
                }
            }
        }
    }

    /// Sends what stands in the buffer to a client.
    fn deliver(&self, client: Client, outbox: Option<Arc<Outbox>>, bytes: &[u8]) {
        let sent = match (client.transport, outbox) {
            (Transport::Udp, _) => {
                let mut places = self.places.iter();
                let place = places.find(|place| place.local == client.local);
                place.is_some_and(|place| place.udp.try_send_to(bytes, client.remote).is_ok())
            }
            (Transport::Stream, Some(outbox)) => outbox.push(bytes),
            (Transport::Stream, None) => false,
        };
        if !sent {
            self.core().server.on_full();
        }
    }

    /// Opens the socket of an allocation; the answer to the client.
    fn open(self: &Arc<Self>, opening: Opening) -> Vec<u8> {
        let kept = opening
            .reserved
            .and_then(|relayed| self.core().relays.take_kept(relayed));
        let opened = self.ports.open(&opening, kept);
        let told = match &opened {
            Ok(opened) => Ok((
                opened.relayed,
                opened.kept.as_ref().map(|kept| kept.relayed),
            )),
            Err(error) => Err(*error),
        };
        let now = self.now();
        let mut core = self.core();
        let (id, reply) = core.server.on_opened(now, opening, told);
        if let (Some(id), Ok(opened)) = (id, opened) {
            core.relays.keep(opened.kept);
            core.relays.start(self, id, opened.socket);
        }
        reply
    }

    /// Ends what is over, every second, until dropped.
    async fn tick(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            let now = self.now();
            let mut core = self.core();
            core.server
                .set_epoch(unix_time().saturating_sub(now.as_secs()));
            core.server.on_timeout(now);
            core.close_ended();
        }
    }
}

impl Core {
    fn outbox(&self, client: Client) -> Option<Arc<Outbox>> {
        match client.transport {
            Transport::Udp => None,
            Transport::Stream => self.outboxes.get(&client).cloned(),
        }
    }

    fn close_ended(&mut self) {
        while let Some(id) = self.server.pop_ended() {
            self.relays.end(id);
        }
        let server = &self.server;
        self.relays
            .retain_kept(|relayed| server.is_reserved(relayed));
    }
}

fn unix_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Fills bytes from the system's random source: for passwords, say.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(io::Error::other)
}

/// Serves TURN and STUN on the current tokio runtime.
pub async fn serve(options: ServeOptions) -> Result<Serving, ServeError> {
    let ServeOptions {
        listen,
        stun,
        public,
        ports,
        mut config,
    } = options;
    let own: BTreeSet<IpAddr> = interfaces()?.into_iter().chain(public.clone()).collect();
    config.peers = config.peers.own(own);
    let mut seed = [0; 32];
    fill_random(&mut seed).map_err(ServeError::System)?;
    let random = |bytes: &mut [u8]| fill_random(bytes).is_ok();
    let server = Server::new(config, &seed, unix_time(), random)?;

    let (places, listeners) = bind(&expand(&listen)?, &stun).await?;
    let turn = || places.iter().filter(|place| place.turn);
    let addrs = turn()
        .map(|place| ports::told(place.local, &public))
        .collect();
    let ips = turn().map(|place| place.local.ip()).collect();
    let shared = Arc::new(Shared {
        core: Mutex::new(Core {
            server,
            relays: Relays::default(),
            outboxes: HashMap::new(),
        }),
        ports: Ports::new(ips, public, ports).ok_or(ServeError::Ports)?,
        places,
        started: Instant::now(),
    });
    let mut tasks = JoinSet::new();
    for (place, listener) in listeners.into_iter().enumerate() {
        tasks.spawn(datagrams::answer(Arc::clone(&shared), place));
        tasks.spawn(connections::answer(Arc::clone(&shared), place, listener));
    }
    tasks.spawn(Arc::clone(&shared).tick());
    Ok(Serving {
        shared,
        addrs,
        tasks,
    })
}

/// Every socket, and for each the listener of the same address.
async fn bind(
    listen: &[SocketAddr],
    layouts: &[stun::Layout],
) -> Result<(Vec<Place>, Vec<TcpListener>), ServeError> {
    let mut places: Vec<Place> = Vec::new();
    let mut listeners = Vec::new();
    for layout in layouts {
        let stun = Arc::new(Mutex::new(stun::Server::new(
            *layout,
            stun::ServerLimits::default(),
        )));
        for addr in layout.sockets() {
            let (local, udp, tcp) = datagrams::bind(addr).await?;
            let turn = listen.contains(&addr);
            let stun = Arc::clone(&stun);
            places.push(Place {
                local,
                udp,
                turn,
                stun,
            });
            listeners.push(tcp);
        }
    }
    for addr in listen {
        if places.iter().any(|place| place.local == *addr) {
            continue;
        }
        let (local, udp, tcp) = datagrams::bind(*addr).await?;
        let layout = stun::Layout::Single(local);
        let stun = stun::Server::new(layout, stun::ServerLimits::default());
        places.push(Place {
            local,
            udp,
            turn: true,
            stun: Arc::new(Mutex::new(stun)),
        });
        listeners.push(tcp);
    }
    Ok((places, listeners))
}

fn interfaces() -> Result<Vec<IpAddr>, ServeError> {
    let interfaces = if_addrs::get_if_addrs().map_err(ServeError::System)?;
    Ok(interfaces.iter().map(|interface| interface.ip()).collect())
}

/// The addresses that unspecified ones stand for; each once.
fn expand(listen: &[SocketAddr]) -> Result<Vec<SocketAddr>, ServeError> {
    let serves = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
    };
    let mut addrs = Vec::new();
    for addr in listen {
        if !addr.ip().is_unspecified() {
            addrs.push(*addr);
            continue;
        }
        // Both families, as a socket bound to `[::]` has both.
        let ips = interfaces()?.into_iter().filter(serves);
        let ips = ips.filter(|ip| addr.is_ipv6() || ip.is_ipv4());
        addrs.extend(
            ips.take(ADDRESSES)
                .map(|ip| SocketAddr::new(ip, addr.port())),
        );
    }
    let mut seen = BTreeSet::new();
    addrs.retain(|addr| addr.port() == 0 || seen.insert(*addr));
    match addrs.is_empty() {
        true => Err(ServeError::NoAddress),
        false => Ok(addrs),
    }
}
