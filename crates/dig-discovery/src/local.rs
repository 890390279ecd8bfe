//! The local network: DNS-SD over multicast DNS (`docs/protocol.md` §9, whitepaper 4.3).
//!
//! A node that shares anything makes itself known as one instance of `_dig._udp.local.` with its
//! port and a random instance id, nothing else: no name, hash or node id is ever multicast. Whoever looks for
//! something browses and asks each node over an authenticated lane, through [`NodeQuery`].
//!
//! Multicast DNS is unauthenticated: any machine on the link can claim any number of nodes, at any
//! address, in anybody's place. Rules that bound what this is good for:
//!
//! - only near addresses are dialled ([`crate::Networks::allows_local`]), at most 8 a node;
//! - at most 32 nodes are asked a search, at most 8 at a time and 8 times each; nodes at an address of which
//!   few were asked come first, so 1,000 false nodes of one machine do not hide a true one of another;
//! - an address that never answers is dialled at most three times an hour, a machine twelve times;
//! - 1,024 nodes are remembered, and the daemon's cache is thrown away when a flood fills it.
//!
//! Who a node is, is proved by its handshake; a false advertisement costs an attempt, no more.
//! RFC 6762 §11 asks to ignore messages from beyond the link; the daemon does not say where a message
//! came from, so a distant sender can do what a liar on the link can, and the same bounds hold.

mod advert;
mod budget;
mod directory;
mod multicast;
mod run;
mod search;
mod watch;

use crate::{
    discovery::{Announcement, Discovery, DiscoveryError, Found, Lookup},
    query::NodeQuery,
};
use budget::DialBudget;
use dig_types::{DiscoveryKey, InstanceId};
use directory::Directory;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use multicast::Multicast;
use run::Run;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{sync::watch as news, time::Instant};
use tokio_util::task::AbortOnDropHandle;
use watch::Watch;

/// Longest wait for a goodbye to be sent; a program that ends does not wait longer.
const GOODBYE: Duration = Duration::from_millis(300);

/// How [`LocalDiscovery`] behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalConfig {
    /// This node's instance: what it makes known, and how it knows itself among the others.
    pub instance: InstanceId,
    /// Most nodes asked in one search. Default: 32 (`docs/protocol.md` §11).
    pub max_nodes: usize,
    /// Most nodes asked at a time. Default: 8, so that silent ones delay the others little.
    pub concurrency: usize,
    /// How long a node may take to answer, dialling included. Default: 4 s: on a local network an
    /// honest one takes milliseconds, and 32 silent nodes then take 16 s.
    pub query_timeout: Duration,
    /// The UDP port of multicast DNS. Default: 5353 (RFC 6762 §2).
    pub multicast_port: u16,
}

impl LocalConfig {
    /// The defaults for a node of this instance.
    pub const fn new(instance: InstanceId) -> Self {
        Self {
            instance,
            max_nodes: 32,
            concurrency: 8,
            query_timeout: Duration::from_secs(4),
            multicast_port: 5353,
        }
    }
}

/// Finds, and is found by, nodes of the local network.
///
/// The multicast daemon (one thread, sockets on port 5353) starts with the first announcement or
/// search and ends when the last clone is dropped, or with [`Discovery::close`]; lookups end with it.
/// Use it within a tokio runtime.
#[derive(Debug, Clone)]
pub struct LocalDiscovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: LocalConfig,
    query: Arc<dyn NodeQuery>,
    multicast: Arc<Multicast>,
    announced: Mutex<Announced>,
    budget: Arc<Mutex<DialBudget>>,
    started: Instant,
    directory: news::Receiver<Directory>,
    watch: Mutex<Watching>,
}

/// The task that listens to the daemon: not started yet, or running.
#[derive(Debug)]
enum Watching {
    Idle(Watch),
    Running { _task: AbortOnDropHandle<()> },
    Closed,
}

/// What is announced; the node is advertised while anything is.
#[derive(Debug, Default)]
struct Announced {
    keys: BTreeSet<DiscoveryKey>,
    always: bool,
}

impl LocalDiscovery {
    /// Nothing is sent before the first announcement or search.
    pub fn new(config: LocalConfig, query: Arc<dyn NodeQuery>) -> Self {
        let multicast = Arc::new(Multicast::new(config.instance, config.multicast_port));
        let (sender, directory) = news::channel(Directory::default());
        let watch = Watch::new(Arc::clone(&multicast), config.instance, sender);
        Self(Arc::new(Inner {
            config,
            query,
            multicast,
            announced: Mutex::default(),
            budget: Arc::default(),
            started: Instant::now(),
            directory,
            watch: Mutex::new(Watching::Idle(watch)),
        }))
    }

    /// Advertises the node though it announces nothing, until [`Discovery::close`].
    pub fn advertise(&self, port: u16) -> Result<(), DiscoveryError> {
        self.0.advertise(port)?;
        lock(&self.0.announced).always = true;
        Ok(())
    }
}

impl Inner {
    fn advertise(&self, port: u16) -> Result<(), DiscoveryError> {
        if port < 1024 {
            return Err(DiscoveryError::Port(port));
        }
        self.multicast.advertise(port)?;
        self.watch();
        Ok(())
    }

    /// Starts the listening task, once.
    fn watch(&self) {
        let mut watching = lock(&self.watch);
        *watching = match std::mem::replace(&mut *watching, Watching::Closed) {
            Watching::Idle(watch) => Watching::Running {
                _task: AbortOnDropHandle::new(tokio::spawn(watch.run())),
            },
            other => other,
        };
    }

    fn search(&self, lookup: Lookup) -> Result<Run, DiscoveryError> {
        self.multicast.browse()?;
        self.watch();
        Ok(Run::new(
            &self.config,
            Arc::clone(&self.query),
            Arc::clone(&self.budget),
            self.directory.clone(),
            self.started,
            lookup,
        ))
    }
}

impl Discovery for LocalDiscovery {
    fn announce(
        &self,
        key: DiscoveryKey,
        announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        async move {
            self.0.advertise(announcement.port)?;
            lock(&self.0.announced).keys.insert(key);
            Ok(())
        }
        .boxed()
    }

    fn withdraw(&self, key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        async move {
            let last = {
                let mut announced = lock(&self.0.announced);
                announced.keys.remove(&key) && announced.keys.is_empty() && !announced.always
            };
            if last {
                self.0.multicast.withdraw(GOODBYE).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn find(&self, lookup: Lookup) -> BoxStream<'static, Found> {
        let start = Start {
            inner: Arc::downgrade(&self.0),
            lookup,
        };
        stream::once(async move { start.run() })
            .filter_map(std::future::ready)
            .flat_map(Run::into_stream)
            .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async move {
            *lock(&self.0.announced) = Announced::default();
            *lock(&self.0.watch) = Watching::Closed;
            self.0.multicast.close(GOODBYE).await;
        }
        .boxed()
    }
}

/// A lookup that nobody has polled yet. It does not keep the daemon alive.
struct Start {
    inner: Weak<Inner>,
    lookup: Lookup,
}

impl Start {
    fn run(self) -> Option<Run> {
        let started = self.inner.upgrade()?.search(self.lookup);
        started
            .inspect_err(|error| tracing::warn!(%error, "cannot search the local network"))
            .ok()
    }
}

/// A panic elsewhere leaves these plain values whole, so poisoning says nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
