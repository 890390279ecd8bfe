//! The client itself.

use crate::{
    connector::Connector,
    download::{self, Download, Listing},
    error::DownloadError,
    names::NamePins,
    options::{Destination, DownloadOptions},
    pending::PendingWatch,
    resolve::Resolution,
    what::What,
};
use dig_discovery::{Lookup, Networks, PeerDiscoveryManager};
use dig_transfer::serve::Server;
use dig_types::{ContentHash, ContentName, PeerRecord, PeerSource, Ticket};
use futures::stream::{self, BoxStream, StreamExt as _};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

/// Knobs of a [`FileClient`].
#[derive(Debug, Clone, Default)]
pub struct ClientConfig {
    /// Where finished downloads are remembered, so that getting one again is instant. Default: nowhere.
    pub cache: Option<PathBuf>,
    /// The port at which this node serves what it is downloading; 0 announces nothing. Default: 0.
    pub port: u16,
    /// Peers to ask in every search besides those that are found: nodes of the same home, say. Default: none.
    pub neighbours: Vec<PeerRecord>,
}

/// Gets contents (whitepaper 8). Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileClient(Arc<Inner>);

/// What all downloads of a client have in common.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: ClientConfig,
    pub(crate) connector: Arc<dyn Connector>,
    pub(crate) discovery: Arc<PeerDiscoveryManager>,
    pub(crate) query: Arc<PendingWatch>,
    pub(crate) server: Arc<Server>,
    pub(crate) pins: Arc<dyn NamePins>,
}

impl FileClient {
    /// A client that finds peers through `discovery`, asks them through `query`, dials them through `connector`, and
    /// serves what it downloads through `server`.
    pub fn new(
        config: ClientConfig,
        connector: Arc<dyn Connector>,
        discovery: Arc<PeerDiscoveryManager>,
        query: Arc<PendingWatch>,
        server: Arc<Server>,
        pins: Arc<dyn NamePins>,
    ) -> Self {
        Self(Arc::new(Inner {
            config,
            connector,
            discovery,
            query,
            server,
            pins,
        }))
    }

    /// Starts a download. It ends by itself, or when the handle is cancelled or dropped.
    pub fn download(&self, what: What, options: DownloadOptions) -> Download {
        Download::start(self.0.clone(), what, options)
    }

    /// Downloads a content to a path (whitepaper 6.1).
    pub fn download_file(
        &self,
        hash: ContentHash,
        path: impl Into<PathBuf>,
        options: DownloadOptions,
    ) -> Download {
        self.download(
            What::Hash(hash),
            DownloadOptions {
                destination: Destination::Path(path.into()),
                ..options
            },
        )
    }

    /// Downloads a content to a path from these peers and those that are found (whitepaper 6.2).
    pub fn download_file_from_peers(
        &self,
        peers: &[PeerRecord],
        hash: ContentHash,
        path: impl Into<PathBuf>,
        mut options: DownloadOptions,
    ) -> Download {
        for peer in peers {
            options
                .peers
                .extend(peer.addrs.iter().map(|addr| dig_types::PeerAddr {
                    node: peer.node,
                    addr: *addr,
                }));
        }
        self.download_file(hash, path, options)
    }

    /// Downloads whatever a name stands for (whitepaper 8.1).
    pub fn download_by_content_id(&self, name: ContentName, options: DownloadOptions) -> Download {
        self.download(What::Name(name), options)
    }

    /// What a name stands for (whitepaper 13).
    pub async fn get_hash_for_content_id(
        &self,
        name: &ContentName,
        options: &DownloadOptions,
    ) -> Result<ContentHash, DownloadError> {
        let resolution = Resolution::new(&self.0, options, Lookup::Name(name.clone()));
        Ok(resolution.name(name, None).await?.claim.hash)
    }

    /// Who is reported to have a content, found within `within` (whitepaper 13).
    pub async fn find_peers(&self, hash: ContentHash, within: Duration) -> Vec<PeerRecord> {
        let found = self
            .0
            .discovery
            .find_peers(Lookup::Content(hash), within)
            .await;
        found.into_iter().map(|found| found.peer).collect()
    }

    /// What a content consists of, without getting it.
    pub async fn list(
        &self,
        what: What,
        options: DownloadOptions,
    ) -> Result<Listing, DownloadError> {
        download::list(&self.0, what, options).await
    }
}

impl Inner {
    /// The peers that the user or the configuration names.
    pub(crate) fn explicit(&self, options: &DownloadOptions) -> BoxStream<'static, PeerRecord> {
        let named = options
            .peers
            .iter()
            .map(|peer| PeerRecord::from_addr(*peer, PeerSource::Explicit));
        let mut records: Vec<PeerRecord> = named.collect();
        records.extend(self.config.neighbours.iter().cloned());
        stream::iter(records).boxed()
    }

    /// The peers that a ticket names, as far as it may make us dial them.
    pub(crate) fn of_ticket(what: &What) -> (Vec<PeerRecord>, BTreeSet<std::net::SocketAddr>) {
        match what {
            What::Ticket(ticket) => named(ticket),
            _ => Default::default(),
        }
    }
}

/// The peers that a ticket names, as far as a ticket may make this machine dial them: public addresses, and those of networks
/// that it is on.
pub fn peers_of_ticket(ticket: &Ticket) -> Vec<PeerRecord> {
    named(ticket).0
}

/// The same, and the addresses that are not dialled.
fn named(ticket: &Ticket) -> (Vec<PeerRecord>, BTreeSet<std::net::SocketAddr>) {
    let networks = Networks::current().unwrap_or_default();
    let mut refused = BTreeSet::new();
    let mut allow = |addrs: &[std::net::SocketAddr]| {
        let (allowed, other): (Vec<_>, Vec<_>) =
            addrs.iter().partition(|addr| networks.allows_ticket(addr));
        refused.extend(other);
        allowed
    };
    let mut records: Vec<PeerRecord> = ticket
        .nodes
        .iter()
        .map(|node| PeerRecord {
            node: Some(node.node),
            addrs: allow(&node.addrs),
            mapped: (node.mapped.iter().copied())
                .filter(|mapped| networks.allows_ticket(&mapped.addr))
                .collect(),
            via: (node.via.iter().copied())
                .filter(|via| networks.allows_ticket(&via.addr))
                .collect(),
            relays: node.relays.clone(),
            source: PeerSource::Ticket,
        })
        .collect();
    let anonymous = allow(&ticket.anonymous).into_iter();
    records.extend(anonymous.map(|addr| PeerRecord {
        node: None,
        addrs: vec![addr],
        mapped: Vec::new(),
        via: Vec::new(),
        relays: Vec::new(),
        source: PeerSource::Ticket,
    }));
    (records, refused)
}
