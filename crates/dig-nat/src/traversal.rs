//! The manager: paths to peers when asked for, and paths for peers who ask.
//!
//! One task drives each attempt; this file starts them, and hands each the messages that are for it. What an attempt does is in
//! [`attempt`](crate::attempt), what it does it with in [`io`](crate::io).

mod audience;
mod config;
mod driver;
mod ledger;
mod memory;
mod peer_relays;
mod post;
mod progress;
mod streams;
mod table;
pub mod upkeep;

pub use config::NatConfig;
pub use memory::{NetworkKey, PathMemory, Remembered};
pub use peer_relays::PeerRelays;
pub use progress::{Connecting, Failed, FoundPath, Path, Progress, TraverseError, UdpFrom};
pub use upkeep::{Upkeep, Wish};

use crate::{
    attempt::Role,
    gather::{Gatherer, Sources},
    io::{TcpPort, UdpHub},
    mapping::{PortMapper, PortMapperConfig},
    signaling::{
        Signaling,
        prekey::Prekeys,
        secure::{Opened, SecureSignaling},
    },
    trace::{AttemptId, Trace},
    turn::Relays,
};
use audience::Audience;
use bytes::Bytes;
use dig_identity::Signer;
use dig_types::{Clock, Method, NodeId};
use driver::{Begin, Driver, Inbox};
use ledger::Ledger;
use post::Post;
use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use table::{Decision, Table};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use zeroize::Zeroizing;

/// Messages that wait for one attempt; what is more is dropped, and the peer repeats it.
const INBOX: usize = 32;
/// Paths of others that wait for [`NatTraversalManager::incoming`].
const INCOMING: usize = 64;
/// Progress that waits for whoever asked for it.
const PROGRESS: usize = 256;
/// How long attempts have at the end, to tell their peers.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a manager works with.
#[derive(Debug)]
pub struct Parts {
    /// Signs what is said to peers.
    pub signer: Arc<dyn Signer>,
    /// This node's prekeys: new ones, or those of the last run.
    pub prekeys: Prekeys,
    /// Carries messages.
    pub signaling: Arc<dyn Signaling>,
    /// The UDP port; somebody reads it and calls [`UdpHub::receive`].
    pub udp: UdpHub,
    /// The TCP port, if there is one; whoever accepts there calls [`TcpPort::sort`].
    pub tcp: Option<TcpPort>,
    /// What worked last time.
    pub memory: Arc<dyn PathMemory>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
}

/// Finds paths to peers whatever NATs stand between (whitepaper section 3).
///
/// Dropping it ends every attempt at once; [`NatTraversalManager::shutdown`] tells the peers and the routers too.
#[derive(Debug)]
pub struct NatTraversalManager(Arc<Shared>);

/// What is shared with the tasks of attempts.
struct Shared {
    config: NatConfig,
    node: NodeId,
    post: Arc<Post>,
    udp: UdpHub,
    tcp: Option<TcpPort>,
    gatherer: Gatherer,
    relays: Relays,
    peer_relays: PeerRelays,
    memory: Arc<dyn PathMemory>,
    /// The zero of the times that state machines are told.
    start: Instant,
    table: Mutex<Table>,
    ledger: Mutex<Ledger>,
    traces: Mutex<VecDeque<Trace>>,
    /// Hops from here to the outermost NAT, as far as is known.
    hops: Mutex<Option<u8>>,
    incoming: mpsc::Sender<FoundPath>,
    arrived: tokio::sync::Mutex<mpsc::Receiver<FoundPath>>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("node", &self.node)
            .field("udp", &self.udp)
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

impl NatTraversalManager {
    /// Begins to listen for offers, on the current tokio runtime.
    ///
    /// # Errors
    /// The UDP port has no address.
    pub fn new(config: NatConfig, parts: Parts) -> io::Result<Self> {
        let node = parts.signer.node_id();
        let bound = parts.udp.local_addr()?;
        let mapper = mapping(&config).map(|mapping| PortMapper::start(mapping, bound.port()));
        let (udp, tcp) = (parts.udp.clone(), parts.tcp.clone());
        let relays = Relays::start(config.turn.clone(), udp.clone());
        let sources = Sources {
            stun: config.stun.clone(),
            mapper,
            relays: Some(relays.clone()),
            relay_only: config.relay_only,
        };
        let gatherer = Gatherer::start(udp, tcp, sources)?;
        let secure = SecureSignaling::new(parts.clock.now(), parts.signer, parts.prekeys);
        let (incoming, arrived) = mpsc::channel(INCOMING);
        let shared = Arc::new(Shared {
            table: Mutex::new(Table::new(node, &config)),
            config,
            node,
            post: Arc::new(Post::new(secure, parts.signaling, parts.clock)),
            udp: parts.udp,
            tcp: parts.tcp,
            gatherer,
            relays,
            peer_relays: PeerRelays::default(),
            memory: parts.memory,
            start: Instant::now(),
            ledger: Mutex::default(),
            traces: Mutex::default(),
            hops: Mutex::default(),
            incoming,
            arrived: tokio::sync::Mutex::new(arrived),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        });
        tokio::spawn(read_post(Arc::clone(&shared)));
        tokio::spawn(rotate_prekeys(Arc::clone(&shared)));
        Ok(Self(shared))
    }

    /// Begins to look for any path to a peer.
    pub fn connect(&self, peer: NodeId) -> Connecting {
        self.connect_with(peer, Wish::Any)
    }

    /// Begins to look for a path to a peer. An attempt that the peer began is joined as it is, whatever is wished for.
    pub fn connect_with(&self, peer: NodeId, wish: Wish) -> Connecting {
        let (progress, told) = mpsc::channel(PROGRESS);
        let (orders, commands) = mpsc::unbounded_channel();
        let audience = Audience::new(progress, commands, wish);
        self.0.begin_for(peer, audience);
        Connecting::new(told, orders)
    }

    /// The next path of an attempt that a peer began; `None` after the end.
    ///
    /// On a stream this side is the session's server. Of a datagram path nothing need be done: the peer's connection comes
    /// to the shared socket by itself, maybe before the path is told here, which then is not told at all.
    pub async fn incoming(&self) -> Option<FoundPath> {
        let mut arrived = self.0.arrived.lock().await;
        tokio::select! {
            () = self.0.closing.cancelled() => None,
            path = arrived.recv() => path,
        }
    }

    /// Where this node may be reached.
    pub fn gatherer(&self) -> &Gatherer {
        &self.0.gatherer
    }

    /// The allocations on TURN servers. Whoever has a session over one [wants](Relays::want) them as long as it lasts, and whoever
    /// wants them ahead of an attempt spares it the time that they take.
    pub fn relays(&self) -> &Relays {
        &self.0.relays
    }

    /// The allocations that peers have: sessions from there are relayed.
    pub fn peer_relays(&self) -> PeerRelays {
        self.0.peer_relays.clone()
    }

    /// Counts changes of this machine's network, and sleeps of the machine: sessions are worth a probe then, and paths are
    /// worth another search.
    pub fn network_changes(&self) -> watch::Receiver<u64> {
        self.0.gatherer.network_changes()
    }

    /// The signed prekey to publish, as it changes once a day: peers need it to write to this node.
    pub fn prekey(&self) -> watch::Receiver<Bytes> {
        self.0.post.prekey()
    }

    /// The prekeys as [`Prekeys::restore`] takes them. They are secret.
    pub fn prekey_state(&self) -> Zeroizing<Vec<u8>> {
        self.0.post.state()
    }

    /// How many hops away this node's outermost NAT is, if a report told: packets that open it without going further are made to
    /// measure then.
    pub fn set_hops_to_nat(&self, hops: Option<u8>) {
        *lock(&self.0.hops) = hops;
    }

    /// Traces of attempts that ended, the latest first.
    pub fn traces(&self) -> Vec<Trace> {
        lock(&self.0.traces).iter().rev().cloned().collect()
    }

    /// Ends every attempt, tells the peers, removes mappings from routers and gives allocations back to TURN servers.
    pub async fn shutdown(&self) {
        self.0.closing.cancel();
        self.0.tasks.close();
        // What takes longer is ended by the runtime.
        let _ = tokio::time::timeout(FAREWELL, self.0.tasks.wait()).await;
        tokio::join!(self.0.gatherer.shutdown(), self.0.relays.shutdown());
    }
}

impl Drop for NatTraversalManager {
    fn drop(&mut self) {
        self.0.closing.cancel();
    }
}

/// What routers are asked by, which is what the methods allow.
fn mapping(config: &NatConfig) -> Option<PortMapperConfig> {
    let mut mapping = config.port_mapping.clone()?;
    let allowed = |method| config.methods.contains(&method);
    mapping.upnp &= allowed(Method::Upnp);
    mapping.nat_pmp &= allowed(Method::NatPmp);
    mapping.pcp &= allowed(Method::Pcp);
    (mapping.upnp || mapping.nat_pmp || mapping.pcp).then_some(mapping)
}

/// Takes a lock whose holder cannot leave anything half-done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Begins, and says so if it cannot.
    fn begin_for(self: &Arc<Self>, peer: NodeId, audience: Audience) {
        if let Err((audience, error)) = self.begin(peer, audience) {
            audience.refuse(Failed::before(peer, error));
        }
    }

    /// Begins an attempt of our own, or joins one that the peer began.
    fn begin(
        self: &Arc<Self>,
        peer: NodeId,
        audience: Audience,
    ) -> Result<(), (Audience, TraverseError)> {
        if self.closing.is_cancelled() {
            return Err((audience, TraverseError::Closed));
        }
        let mut id = [0; 16];
        if getrandom::fill(&mut id).is_err() {
            return Err((audience, TraverseError::Randomness));
        }
        let mut table = lock(&self.table);
        if !table.has_room() {
            return Err((audience, TraverseError::TooMany));
        }
        if let Some(entry) = table.get_mut(peer) {
            if entry.wanted {
                return Err((audience, TraverseError::GoingOn));
            }
            return match entry.inbox.try_send(Inbox::Join(audience)) {
                Ok(()) => {
                    entry.wanted = true;
                    Ok(())
                }
                Err(error) => match error.into_inner() {
                    Inbox::Join(audience) => Err((audience, TraverseError::GoingOn)),
                    Inbox::Message(_) | Inbox::Turn(_) => Ok(()),
                },
            };
        }
        self.enter(&mut table, peer, Begin::Offer(AttemptId(id)), audience);
        Ok(())
    }

    /// Starts the task of an attempt.
    fn enter(self: &Arc<Self>, table: &mut Table, peer: NodeId, begin: Begin, audience: Audience) {
        let (sender, inbox) = mpsc::channel(INBOX);
        let (attempt, role) = match &begin {
            Begin::Offer(id) => (*id, Role::Initiator),
            Begin::Answer(opened) => (opened.attempt, Role::Responder),
        };
        let number = table.enter(peer, attempt, role, sender);
        let driver = Driver::new(Arc::clone(self), peer, inbox, audience);
        let shared = Arc::clone(self);
        self.tasks.spawn(async move {
            let mut unread = driver.run(begin).await;
            let mut late = Vec::new();
            {
                // Under the lock nobody can put anything more into the inbox.
                let mut table = lock(&shared.table);
                table.leave(peer, number);
                while let Ok(handed) = unread.try_recv() {
                    late.extend(handed.into_audience());
                }
            }
            for audience in late {
                shared.begin_for(peer, audience);
            }
        });
    }

    /// Hands on a message that was opened.
    fn deliver(self: &Arc<Self>, opened: Opened) {
        let admitted = self.config.peers.as_ref();
        if admitted.is_some_and(|peers| !peers.contains(&opened.from)) && driver::is_offer(&opened)
        {
            tracing::debug!(from = %opened.from.short(), "an offer of a stranger was refused");
            return;
        }
        let (from, attempt) = (opened.from, opened.attempt);
        let mut table = lock(&self.table);
        let now = self.start.elapsed();
        // A full inbox drops what the peer will repeat.
        match table.on_message(now, from, attempt, driver::is_offer(&opened)) {
            Decision::Forward(inbox) => drop(inbox.try_send(Inbox::Message(opened))),
            Decision::Turn(inbox) => drop(inbox.try_send(Inbox::Turn(opened))),
            Decision::Begin => {
                self.enter(&mut table, from, Begin::Answer(opened), Audience::none());
            }
            Decision::Ignore(why) => {
                tracing::debug!(%from, %attempt, why, "a signal was ignored");
            }
        }
    }

    /// Keeps the trace of an attempt that ended.
    fn keep(&self, trace: Trace) {
        let mut traces = lock(&self.traces);
        traces.push_back(trace);
        while traces.len() > self.config.traces {
            traces.pop_front();
        }
    }

    /// Names the network that this machine is on.
    fn network(&self) -> NetworkKey {
        NetworkKey::of(&self.gatherer)
    }
}

/// Opens what the carriers bring.
async fn read_post(shared: Arc<Shared>) {
    loop {
        let signal = tokio::select! {
            () = shared.closing.cancelled() => return,
            signal = shared.post.receive() => signal,
        };
        let Some(signal) = signal else {
            tracing::debug!("no more signals");
            return;
        };
        match shared.post.open(signal) {
            Ok(opened) => shared.deliver(opened),
            Err(error) => tracing::debug!(%error, "a signal was refused"),
        }
    }
}

/// Makes a new prekey whenever it is time.
async fn rotate_prekeys(shared: Arc<Shared>) {
    /// Looks at least so often, for clocks that are set and machines that sleep.
    const LOOK: Duration = Duration::from_secs(600);
    loop {
        let due = shared.post.rotate();
        let millis = due
            .as_millis()
            .saturating_sub(shared.post.now().as_millis());
        let pause = Duration::from_millis(millis).clamp(Duration::from_secs(1), LOOK);
        tokio::select! {
            () = shared.closing.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

#[cfg(test)]
mod tests;
