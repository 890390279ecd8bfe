//! Discovery inside one process, for tests and simulations.

use crate::discovery::{Announcement, Discovery, DiscoveryError, Found, Lookup};
use dig_types::{DiscoveryKey, NodeId, PeerRecord, PeerSource};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::sync::watch;

type Shelf = BTreeMap<(DiscoveryKey, NodeId), Found>;

/// What the nodes of one process tell each other.
#[derive(Debug, Clone)]
pub struct MemoryNetwork(Arc<watch::Sender<Shelf>>);

impl MemoryNetwork {
    /// A network where nothing is announced.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Shelf::new())))
    }

    /// The view of one node, which others reach at `ip` and the port that it announces.
    pub fn join(&self, node: NodeId, ip: IpAddr) -> MemoryDiscovery {
        MemoryDiscovery {
            network: self.clone(),
            node,
            ip,
        }
    }
}

impl Default for MemoryNetwork {
    fn default() -> Self {
        Self::new()
    }
}

/// One node's view of a [`MemoryNetwork`]. Its lookups are live and report the node itself too.
#[derive(Debug, Clone)]
pub struct MemoryDiscovery {
    network: MemoryNetwork,
    node: NodeId,
    ip: IpAddr,
}

impl Discovery for MemoryDiscovery {
    fn announce(
        &self,
        key: DiscoveryKey,
        announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let found = Found {
            peer: PeerRecord {
                node: Some(self.node),
                addrs: vec![SocketAddr::new(self.ip, announcement.port)],
                mapped: Vec::new(),
                via: Vec::new(),
                relays: Vec::new(),
                source: PeerSource::Local,
            },
            claims: announcement.claim.into_iter().collect(),
        };
        self.network.0.send_modify(|shelf| {
            shelf.insert((key, self.node), found);
        });
        future::ready(Ok(())).boxed()
    }

    fn withdraw(&self, key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        self.network.0.send_modify(|shelf| {
            shelf.remove(&(key, self.node));
        });
        future::ready(Ok(())).boxed()
    }

    fn find(&self, lookup: Lookup) -> BoxStream<'static, Found> {
        let key = lookup.key();
        let mut news = self.network.0.subscribe();
        news.mark_changed();
        let seen: BTreeMap<NodeId, Found> = BTreeMap::new();
        stream::unfold((news, seen), move |(mut news, mut seen)| async move {
            news.changed().await.ok()?;
            let fresh: Vec<_> = news
                .borrow_and_update()
                .range((key, NodeId::from_bytes([0; 32]))..)
                .take_while(|((other, _), _)| *other == key)
                .filter(|((_, node), found)| seen.get(node) != Some(*found))
                .map(|((_, node), found)| (*node, found.clone()))
                .collect();
            seen.extend(fresh.iter().cloned());
            let fresh: Vec<_> = fresh.into_iter().map(|(_, found)| found).collect();
            Some((stream::iter(fresh), (news, seen)))
        })
        .flatten()
        .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.network
            .0
            .send_modify(|shelf| shelf.retain(|(_, node), _| *node != self.node));
        future::ready(()).boxed()
    }
}
