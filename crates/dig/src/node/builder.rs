//! How a node is made.

use super::{
    Arc, AuthPolicy, BTreeSet, ClientConfig, Clock, CryptoIdentity, DiscoveryConfig, FileClient,
    FileHost, Home, HomeMethods, HomePins, HostConfig, IdentityFile, Ipv4Addr, LaneQuery,
    LocalConfig, LocalDiscovery, Mutex, NetworkError, NetworkManager, Node, NodeId, PathOptions,
    PeerDiscoveryManager, PeerRecord, PeerSource, PendingWatch, Ports, Server, ServerConfig,
    SessionConfig, Signer, SocketAddr, StartError, SystemClock, Trusted,
};
use crate::{
    gun::{GunBus, GunClient, GunDiscovery, GunSignaling, RelayUrl},
    network::Gun,
};
use dig_identity::Algorithm;
use dig_nat::traversal::PathMemory;

/// Who a node is to others.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Identity {
    /// The identity of the home; it is made if there is none.
    #[default]
    Home,
    /// A new one, forgotten at the end, so that nobody learns who fetches what.
    Fresh,
    /// A key that lives elsewhere: a wallet, say.
    Signer(Arc<dyn Signer>),
}

/// Configuration of a [`Node`]. Every setting has a default.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    home: Option<Home>,
    identity: Identity,
    listen: Option<SocketAddr>,
    local_discovery: bool,
    limit: Option<u64>,
    require_authentication: bool,
    trusted: BTreeSet<NodeId>,
    paths: PathOptions,
    gun: Option<Vec<RelayUrl>>,
    clock: Arc<dyn Clock>,
}

impl Default for NodeBuilder {
    fn default() -> Self {
        Self {
            home: None,
            identity: Identity::default(),
            listen: None,
            local_discovery: true,
            limit: None,
            require_authentication: false,
            trusted: BTreeSet::new(),
            paths: PathOptions::default(),
            gun: Some(Vec::new()),
            clock: Arc::new(SystemClock),
        }
    }
}

impl NodeBuilder {
    /// Where identity, cache and settings live. Default: [`Home::of_user`].
    #[must_use]
    pub fn home(self, home: Home) -> Self {
        Self {
            home: Some(home),
            ..self
        }
    }

    /// Who the node is. Default: the home's own identity.
    #[must_use]
    pub fn identity(self, identity: Identity) -> Self {
        Self { identity, ..self }
    }

    /// Where to listen. Default: every address, at the port used last if it is free.
    #[must_use]
    pub fn listen(self, listen: Option<SocketAddr>) -> Self {
        Self { listen, ..self }
    }

    /// Whether to announce and search on the local network. Default: yes.
    #[must_use]
    pub fn local_discovery(self, enabled: bool) -> Self {
        Self {
            local_discovery: enabled,
            ..self
        }
    }

    /// Bytes a second that are sent at most. Default: no limit. (Downloads have a limit of their own in their options.)
    #[must_use]
    pub fn limit(self, limit: Option<u64>) -> Self {
        Self { limit, ..self }
    }

    /// Whether peers must prove their identity by challenge–response, besides their certificate (whitepaper 11.2). Default: no.
    #[must_use]
    pub fn require_authentication(self, required: bool) -> Self {
        Self {
            require_authentication: required,
            ..self
        }
    }

    /// If not empty: deal with no other nodes than these. Demands challenge–response. Default: everybody.
    #[must_use]
    pub fn trust(self, trusted: BTreeSet<NodeId>) -> Self {
        Self { trusted, ..self }
    }

    /// How paths through NATs are found. Default: [`PathOptions::default`].
    #[must_use]
    pub fn paths(self, paths: PathOptions) -> Self {
        Self { paths, ..self }
    }

    /// The Gun relays to announce, search and send signals over; `None` uses Gun not at all, not even the relays that a ticket names. Default: those of
    /// tickets only.
    #[must_use]
    pub fn gun(self, relays: Option<Vec<RelayUrl>>) -> Self {
        Self {
            gun: relays,
            ..self
        }
    }

    /// The clock by which certificates and records are judged. Default: the system's.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Starts the node.
    pub async fn start(self) -> Result<Node, StartError> {
        let home = self
            .home
            .clone()
            .or_else(Home::of_user)
            .ok_or(StartError::NoHome)?;
        let mut serving = ServerConfig::default();
        serving.upload_limit = self.limit;
        let server = Server::new(serving);
        let signer = self.signer(&home).await?;
        let network = self.network(&home, signer.clone(), server.clone())?;
        let query = Arc::new(PendingWatch::new(Arc::new(LaneQuery(network.clone()))));
        let announcer = self.announcer(signer, &network);
        let discovery = Arc::new(self.discovery(&network, announcer.clone(), query.clone()));
        let host = HostConfig {
            port: network.port(),
            cache: Some(home.cache_dir()),
            ..HostConfig::default()
        };
        let host = FileHost::new(host, server.clone(), discovery.clone());
        host.listen(Arc::new(network.clone()));
        let client = ClientConfig {
            cache: Some(home.cache_dir()),
            port: network.port(),
            neighbours: neighbours(&home),
        };
        let pins = Arc::new(HomePins(home.clone()));
        let client = FileClient::new(
            client,
            Arc::new(network.clone()),
            discovery.clone(),
            query,
            server,
            pins,
        );
        let (running, spools) = (Mutex::default(), Mutex::default());
        Ok(Node {
            home,
            network,
            discovery,
            announcer,
            host,
            client,
            running,
            spools,
        })
    }

    /// Listens.
    fn network(
        &self,
        home: &Home,
        signer: Arc<dyn Signer>,
        server: Arc<Server>,
    ) -> Result<NetworkManager, StartError> {
        let keeps_port = matches!(self.identity, Identity::Home) && self.listen.is_none();
        let ports = self.ports(home, keeps_port)?;
        if keeps_port {
            home.remember_port(ports.number)?;
        }
        let session = SessionConfig {
            serves: true,
            auth: self.policy(),
            ..SessionConfig::default()
        };
        let mut paths = self.paths.clone();
        if !self.trusted.is_empty() {
            paths.peers = Some(self.trusted.clone());
        }
        let memory: Arc<dyn PathMemory> = Arc::new(HomeMethods(home.clone()));
        let clock = self.clock.clone();
        let gun = self.gun.clone().map(|relays| {
            let client = GunClient::start(relays, clock.clone());
            let graph = Arc::new(client.clone());
            Gun::new(
                client,
                GunSignaling::new(graph, clock.clone(), signer.node_id()),
            )
        });
        let network =
            NetworkManager::start(ports, session, (paths, memory), gun, signer, clock, server)?;
        Ok(network)
    }

    async fn signer(&self, home: &Home) -> Result<Arc<dyn Signer>, StartError> {
        let file = match &self.identity {
            Identity::Signer(signer) => return Ok(signer.clone()),
            Identity::Fresh => {
                // For what is remembered between runs; without it, all works but more slowly.
                let _ = home.create();
                return Ok(Arc::new(CryptoIdentity::generate(Algorithm::Ed25519)?));
            }
            Identity::Home => home.identity_file(),
        };
        home.create()?;
        // Reading a file is quick, but making an RSA key is not.
        let load = move || IdentityFile::load_or_create(&file, Algorithm::Ed25519);
        let loaded = tokio::task::spawn_blocking(load).await;
        Ok(Arc::new(loaded.map_err(|_| StartError::NoHome)??))
    }

    fn ports(&self, home: &Home, keeps_port: bool) -> Result<Ports, NetworkError> {
        match self.listen {
            Some(addr) => Ports::bind(addr).map_err(|error| NetworkError::Bind {
                addr: addr.to_string(),
                error,
            }),
            None => {
                let preferred = if keeps_port { home.last_port() } else { 0 };
                let any = "any port".to_owned();
                Ports::bind_any(preferred).map_err(|error| NetworkError::Bind { addr: any, error })
            }
        }
    }

    fn policy(&self) -> Option<Arc<dyn AuthPolicy>> {
        let wanted = self.require_authentication || !self.trusted.is_empty();
        wanted.then(|| Arc::new(Trusted(self.trusted.clone())) as Arc<dyn AuthPolicy>)
    }

    /// Announces and finds over Gun.
    fn announcer(&self, signer: Arc<dyn Signer>, network: &NetworkManager) -> Option<GunDiscovery> {
        let gun = network.gun()?;
        let graph = Arc::new(gun.client().clone());
        let bus = GunBus::new(graph, self.clock.clone());
        let presence = Arc::new(network.clone());
        Some(GunDiscovery::new(
            bus,
            signer,
            presence,
            gun.signaling().clone(),
        ))
    }

    fn discovery(
        &self,
        network: &NetworkManager,
        announcer: Option<GunDiscovery>,
        query: Arc<PendingWatch>,
    ) -> PeerDiscoveryManager {
        let mut discovery = PeerDiscoveryManager::new(DiscoveryConfig::default());
        if self.local_discovery && !self.paths.relay_only {
            let local = LocalDiscovery::new(LocalConfig::new(network.instance()), query);
            discovery.register(PeerSource::Local, Box::new(local));
        }
        if let Some(gun) = announcer {
            discovery.register(PeerSource::Gun, Box::new(gun));
        }
        discovery
    }
}

/// The nodes that run on the same home, hence on the same machine.
fn neighbours(home: &Home) -> Vec<PeerRecord> {
    let running = home.running().into_iter();
    let records = running.map(|running| PeerRecord {
        node: Some(running.node),
        addrs: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, running.port))],
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source: PeerSource::Explicit,
    });
    records.collect()
}
