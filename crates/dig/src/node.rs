//! A whole node in a few lines.

use crate::{
    gun::{GunClient, GunDiscovery},
    home::{Home, HomeError, HomeMethods, Pin, Pins, Running, RunningMark},
    network::{Gun, LaneQuery, NetworkError, NetworkManager},
    paths::PathOptions,
    ports::Ports,
    spool::Spool,
};
use dig_client::{ClientConfig, FileClient, NamePins, PendingWatch};
use dig_discovery::{
    Discovery as _, DiscoveryConfig, LocalConfig, LocalDiscovery, PeerDiscoveryManager,
};
use dig_host::{FileHost, HostConfig, Share, ShareError, ShareOptions};
use dig_identity::{
    Algorithm, CryptoIdentity, GenerateError, Signer,
    file::{IdentityFile, IdentityFileError},
};
use dig_session::{AuthPolicy, SessionConfig};
use dig_transfer::serve::{Server, ServerConfig};
use dig_types::{
    Clock, ContentName, NodeId, PeerRecord, PeerSource, SystemClock, Ticket, TicketNode,
};
use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::io::AsyncRead;

mod builder;

pub use builder::{Identity, NodeBuilder};

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no home folder.
    #[error("there is no home folder; name one with --home DIR")]
    NoHome,
    /// The home folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The identity cannot be read or made.
    #[error(transparent)]
    IdentityFile(#[from] IdentityFileError),
    /// No key could be made.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The node cannot listen.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// The identity of a home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeIdentity {
    /// Who it is to others.
    pub node_id: NodeId,
    /// The kind of its key.
    pub algorithm: Algorithm,
}

/// The identity of a home; it is made if there is none. Blocking.
pub fn home_identity(home: &Home, algorithm: Algorithm) -> Result<HomeIdentity, StartError> {
    let identity = IdentityFile::load_or_create(&home.identity_file(), algorithm)?;
    let algorithm = identity.public_key().algorithm();
    Ok(HomeIdentity {
        node_id: identity.node_id(),
        algorithm,
    })
}

/// A running node: it listens, shares, and gets.
#[derive(Debug)]
pub struct Node {
    home: Home,
    network: NetworkManager,
    discovery: Arc<PeerDiscoveryManager>,
    announcer: Option<GunDiscovery>,
    host: FileHost,
    client: FileClient,
    running: Mutex<Option<RunningMark>>,
    spools: Mutex<Vec<Spool>>,
}

impl Node {
    /// How to make one.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Who this node is to others.
    pub fn id(&self) -> NodeId {
        self.network.node_id()
    }

    /// Its UDP and TCP port.
    pub fn port(&self) -> u16 {
        self.network.port()
    }

    /// What it shares.
    pub fn host(&self) -> &FileHost {
        &self.host
    }

    /// What it gets.
    pub fn client(&self) -> &FileClient {
        &self.client
    }

    /// Its sockets.
    pub fn network(&self) -> &NetworkManager {
        &self.network
    }

    /// How it finds peers.
    pub fn discovery(&self) -> &PeerDiscoveryManager {
        &self.discovery
    }

    /// Its Gun relays; `None` if Gun is not used.
    pub fn gun(&self) -> Option<&GunClient> {
        self.network.gun().map(Gun::client)
    }

    /// Waits until all that was announced over Gun has come to a relay, but no longer than `patience`; whether a relay is connected.
    pub async fn announced(&self, patience: Duration) -> bool {
        let (Some(gun), Some(announcer)) = (self.gun(), &self.announcer) else {
            return false;
        };
        announcer.settled(patience).await;
        gun.connected(Duration::ZERO).await
    }

    /// Shares a file or folder. `progress` is told the bytes hashed and the bytes in all. Dropping the future gives up.
    pub async fn share(
        &self,
        path: PathBuf,
        options: ShareOptions,
        progress: impl Fn(u64, u64) + Send + 'static,
    ) -> Result<Share, ShareError> {
        self.mark_running();
        self.network.keep_addresses_fresh();
        self.host
            .add_file(path, options, move |state| {
                progress(state.hashed, state.total)
            })
            .await
    }

    /// Shares what a reader gives, standard input say: it is kept in a file of the home until the node stops.
    pub async fn share_reader(
        &self,
        input: impl AsyncRead + Unpin,
        mut options: ShareOptions,
    ) -> Result<Share, SpoolError> {
        let spool = Spool::fill(&self.home, input).await?;
        if options.name.is_none() {
            options.name = ContentName::new("stdin").ok();
        }
        let share = self
            .share(spool.path().to_owned(), options, |_, _| {})
            .await?;
        self.spools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(spool);
        Ok(share)
    }

    /// What to give to somebody who should get a share.
    pub fn ticket(&self, share: &Share) -> Ticket {
        let mut addrs = self.network.addrs();
        addrs.truncate(Ticket::MAX_ADDRS);
        Ticket {
            size: Some(share.size),
            name: ContentName::new(&share.name).ok(),
            kind: Some(share.kind),
            nodes: vec![TicketNode {
                node: self.id(),
                addrs,
                mapped: self.network.mapped(),
                via: self.network.via(),
                relays: self.network.relays_to_tell(),
            }],
            ..Ticket::new(share.hash)
        }
    }

    /// Withdraws everything, takes leave of the peers, and closes the sockets.
    pub async fn stop(&self) {
        self.host.stop().await;
        self.discovery.close().await;
        self.network.stop().await;
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.spools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Lets others of this home find the node without any network.
    fn mark_running(&self) {
        let mut mark = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if mark.is_some() {
            return;
        }
        match self.home.mark_running(Running {
            node: self.id(),
            port: self.port(),
        }) {
            Ok(running) => *mark = Some(running),
            Err(error) => tracing::warn!(%error, "others of this home will not find this node"),
        }
    }
}

/// Why a reader's bytes cannot be shared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// They cannot be kept in the home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// They cannot be shared.
    #[error(transparent)]
    Share(#[from] ShareError),
}

/// Pins of names in the home's file.
#[derive(Debug)]
struct HomePins(Home);

impl NamePins for HomePins {
    fn owner(&self, name: &ContentName) -> Option<NodeId> {
        Pins::load(&self.0).of(name).map(|pin| pin.node)
    }

    fn pin(&self, name: &ContentName, owner: NodeId) {
        let pin = Pin {
            node: owner,
            since: SystemClock.now().as_millis(),
        };
        if let Err(error) = Pins::add(&self.0, name, pin) {
            tracing::warn!(%error, "the owner of the name was not remembered");
        }
    }
}

/// Admits only these nodes; all, if there are none.
#[derive(Debug)]
struct Trusted(BTreeSet<NodeId>);

impl AuthPolicy for Trusted {
    fn admits(&self, node: &NodeId) -> bool {
        self.0.is_empty() || self.0.contains(node)
    }
}
