//! The Gun client as the adapters see it.

use super::graph::{GraphError, SharedGraph};
use dig_discovery::Networks;
use dig_gun::{
    client::{ClientConfig, Gun, PutError, RelayStatus, RelayUrl, Subscription},
    graph::Node,
    lex::Query,
    value::Soul,
};
use dig_types::{Clock, Ticket};
use futures::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

/// Bytes of a subscription that wait for its reader: as many as are read of one slot of a topic.
const MAX_WAITING: usize = 16 << 20;
/// Relays that only strangers named and that are connected to at most; a further one is not.
const MAX_NAMED_BY_OTHERS: usize = 4;

/// A graph behind relays. Clones are the same.
#[derive(Debug, Clone)]
pub struct GunClient {
    gun: Gun,
    /// Relays that tickets and announcements named.
    by_others: Arc<Mutex<Vec<RelayUrl>>>,
}

impl GunClient {
    /// Connects to these relays and keeps connected to them. It must live on a tokio runtime.
    pub fn start(relays: Vec<RelayUrl>, clock: Arc<dyn Clock>) -> Self {
        let config = ClientConfig {
            relays,
            clock,
            ..ClientConfig::default()
        };
        Self {
            gun: Gun::start(config),
            by_others: Arc::default(),
        }
    }

    /// How the relays are.
    pub fn status(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.gun.status()
    }

    /// Waits until a relay is connected; whether one is.
    pub async fn connected(&self, patience: Duration) -> bool {
        self.gun.connected(patience).await
    }

    /// Connects to the relays of a peer too, those with TLS, as long as there are not too many of them.
    pub(crate) fn add_named(&self, relays: &[Arc<str>]) {
        let known: Vec<RelayUrl> = self.urls();
        let mut by_others = self
            .by_others
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let urls = relays
            .iter()
            .filter_map(|relay| relay.parse::<RelayUrl>().ok());
        for url in urls.filter(|url| url.is_secure() && !is_private(url)) {
            let is_new = !known.contains(&url) && !by_others.contains(&url);
            if is_new && by_others.len() < MAX_NAMED_BY_OTHERS {
                tracing::debug!(relay = %url, "a peer names a Gun relay");
                self.gun.add_relay(url.clone());
                by_others.push(url);
            }
        }
    }

    /// The relays that this node's tickets name: those with TLS that are connected, and that its user chose.
    pub(crate) fn to_tell(&self) -> Vec<Arc<str>> {
        let by_others = self
            .by_others
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let status = self.gun.status();
        let status = status.borrow();
        let told = status.iter().filter(|relay| {
            relay.is_up() && relay.url.is_secure() && !by_others.contains(&relay.url)
        });
        told.take(Ticket::MAX_RELAYS)
            .map(|relay| relay.url.to_string().into())
            .collect()
    }

    /// Sends what is still to be sent, for a moment, and disconnects.
    pub(crate) async fn close(&self) {
        self.gun.close().await;
    }

    fn urls(&self) -> Vec<RelayUrl> {
        let status = self.gun.status();
        status
            .borrow()
            .iter()
            .map(|relay| relay.url.clone())
            .collect()
    }
}

/// Whether the address is one that no ticket may make us dial. What a name stands for only the system's resolver knows; its owner has a
/// certificate that we trust, at least.
fn is_private(url: &RelayUrl) -> bool {
    let ip = url.host().parse::<IpAddr>();
    let networks = Networks::current().unwrap_or_default();
    ip.is_ok_and(|ip| !networks.allows_ticket(&SocketAddr::new(ip, url.port())))
}

/// A subscription that is emptied at once, whatever its reader does meanwhile: to judge a flood takes longer than to receive it, and what the
/// client has no room for it drops, genuine records among it.
struct Pumped {
    nodes: mpsc::UnboundedReceiver<Node>,
    waiting: Arc<AtomicUsize>,
    _pump: AbortOnDropHandle<()>,
}

impl Pumped {
    fn start(mut subscription: Subscription) -> Self {
        let (sender, nodes) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let counted = waiting.clone();
        let pump = async move {
            while let Some(node) = subscription.next().await {
                let weight = node.weight();
                if counted.load(Ordering::Relaxed) + weight > MAX_WAITING {
                    tracing::debug!(soul = %node.soul, "more of a Gun node than is waited for");
                    continue;
                }
                counted.fetch_add(weight, Ordering::Relaxed);
                if sender.send(node).is_err() {
                    return;
                }
            }
        };
        Self {
            nodes,
            waiting,
            _pump: AbortOnDropHandle::new(tokio::spawn(pump)),
        }
    }

    async fn next(&mut self) -> Option<Node> {
        let node = self.nodes.recv().await?;
        self.waiting.fetch_sub(node.weight(), Ordering::Relaxed);
        Some(node)
    }
}

impl SharedGraph for GunClient {
    fn put(&self, node: Node) -> BoxFuture<'static, Result<(), GraphError>> {
        let gun = self.gun.clone();
        async move {
            match gun.put(vec![node.clone()]).await {
                Ok(_) => Ok(()),
                Err(error @ (PutError::Refused(_) | PutError::Invalid(_))) => {
                    Err(GraphError::Refused(error.to_string()))
                }
                Err(PutError::NoRelay { .. }) => {
                    if let Err(error) = gun.put_soon(vec![node]) {
                        tracing::debug!(%error, "a write to the Gun graph is given up");
                    }
                    Err(GraphError::Unreachable)
                }
                Err(_) => Err(GraphError::Unreachable),
            }
        }
        .boxed()
    }

    fn read(&self, soul: Soul) -> BoxFuture<'static, Result<Option<Node>, GraphError>> {
        let gun = self.gun.clone();
        async move {
            match gun.once(Query::node(soul)).await {
                Ok(nodes) => Ok(nodes.into_iter().next()),
                Err(_) => Err(GraphError::Unreachable),
            }
        }
        .boxed()
    }

    fn subscribe(&self, soul: Soul) -> BoxStream<'static, Node> {
        let gun = self.gun.clone();
        let pumped = async move { Pumped::start(gun.subscribe(Query::node(soul))) };
        stream::once(pumped)
            .flat_map(|pumped| {
                stream::unfold(pumped, |mut pumped| async {
                    Some((pumped.next().await?, pumped))
                })
            })
            .boxed()
    }

    fn has_relays(&self) -> bool {
        !self.gun.status().borrow().is_empty()
    }

    fn relays(&self) -> Vec<Arc<str>> {
        let status = self.gun.status();
        let status = status.borrow();
        let up = status.iter().filter(|relay| relay.is_up());
        up.map(|relay| relay.url.to_string().into()).collect()
    }

    fn relays_changed(&self) -> BoxFuture<'static, ()> {
        let mut status = self.gun.status();
        status.mark_unchanged();
        async move {
            if status.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
