//! Gathering: the addresses at which this node may be reached, kept fresh while somebody wants them.
//!
//! Nobody waits for it. What is known is told at once, and what comes later (the answer of a STUN server, the mapping of a slow
//! router) changes the list: see [`Gatherer::watch`].

mod drift;
mod fresh;
mod hint;
mod interfaces;
mod known;
mod servers;

use crate::{
    attempt::{Drift, NatHint, Subnet},
    candidate::{Candidate, Transport},
    io::{NetworkWatch, TcpPort, UdpHub},
    mapping::{Mapping, MethodState, MethodStatus, PortMapper},
    signaling::Observed,
    turn::{Relay, Relays},
};
use dig_types::NodeId;
pub(crate) use fresh::FreshUdp;
use interfaces::Interfaces;
use known::Known;
use servers::{Asked, Servers};
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// Most candidates that are told: more than a peer would look at (`docs/protocol.md` §11).
pub const MAX_CANDIDATES: usize = 16;
/// How long an answer of a STUN server is believed: below the shortest lifetime of UDP mappings that matters, 30 s (Linux).
const FRESH: Duration = Duration::from_secs(25);

/// Knows where this node may be reached. Clones are the same gatherer.
#[derive(Clone)]
pub struct Gatherer(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Ends with the last clone.
    task: JoinHandle<()>,
}

struct Shared {
    hub: UdpHub,
    udp: SocketAddr,
    tcp: Option<TcpPort>,
    known: Mutex<Known>,
    candidates: watch::Sender<Vec<Candidate>>,
    /// Whether a STUN server has answered, or all have been asked in vain.
    asked: watch::Sender<bool>,
    wanted: watch::Sender<usize>,
    mapper: Mutex<Option<PortMapper>>,
    mappings: Option<watch::Receiver<Vec<Mapping>>>,
    relays: Option<Relays>,
    relay_only: bool,
    network: NetworkWatch,
}

/// What a gatherer asks, besides the interfaces of the machine.
#[derive(Debug, Default)]
pub struct Sources {
    /// STUN servers, as `HOST:PORT`.
    pub stun: Vec<String>,
    /// What maps ports on routers.
    pub mapper: Option<PortMapper>,
    /// Allocations on TURN servers.
    pub relays: Option<Relays>,
    /// Whether nothing but relays is told, so that nobody learns the addresses of this machine.
    pub relay_only: bool,
}

/// While one of these lives, the addresses are kept fresh.
#[derive(Debug)]
pub struct Wanted(Gatherer);

impl fmt::Debug for Gatherer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gatherer")
            .field("udp", &self.0.shared.udp)
            .field("tcp", &self.0.shared.tcp)
            .finish_non_exhaustive()
    }
}

impl Gatherer {
    /// Begins on the current tokio runtime.
    ///
    /// # Errors
    /// The UDP port has no address.
    pub fn start(hub: UdpHub, tcp: Option<TcpPort>, sources: Sources) -> std::io::Result<Self> {
        let udp = hub.local_addr()?;
        let shared = Arc::new(Shared {
            udp,
            hub,
            tcp,
            known: Mutex::default(),
            candidates: watch::Sender::default(),
            asked: watch::Sender::default(),
            wanted: watch::Sender::default(),
            mappings: sources.mapper.as_ref().map(PortMapper::mappings),
            mapper: Mutex::new(sources.mapper),
            relays: sources.relays,
            relay_only: sources.relay_only,
            network: NetworkWatch::start(),
        });
        shared.glance();
        let task = tokio::spawn(Arc::clone(&shared).run(Servers::new(sources.stun)));
        Ok(Self(Arc::new(Inner { shared, task })))
    }

    /// Counts changes of this machine's network, and sleeps of the machine.
    pub fn network_changes(&self) -> watch::Receiver<u64> {
        self.0.shared.network.changes()
    }

    /// What is known now.
    pub fn candidates(&self) -> Vec<Candidate> {
        self.0.shared.candidates.borrow().clone()
    }

    /// What is known, as it changes.
    pub fn watch(&self) -> watch::Receiver<Vec<Candidate>> {
        self.0.shared.candidates.subscribe()
    }

    /// The networks that this machine is on.
    pub fn subnets(&self) -> Vec<Subnet> {
        let shared = &self.0.shared;
        shared.known().interfaces.subnets(shared.udp.ip())
    }

    /// Whether STUN servers see the UDP port under its own number; `None` if none was heard of, or there is no NAT.
    pub fn preserves_ports(&self) -> Option<bool> {
        let shared = &self.0.shared;
        shared.known().preserves_ports(shared.udp)
    }

    /// How the NAT maps the UDP port, as far as STUN servers and carriers of signals tell.
    pub fn nat_hint(&self) -> NatHint {
        let shared = &self.0.shared;
        shared.known().nat_hint(shared.udp)
    }

    /// By which steps the NAT gives out ports towards addresses of that family, and which it gave last; `None` if there is no server to
    /// ask, or no regular step. It takes one round trip to the servers, and leaves a few mappings at the NAT.
    pub async fn drift(&self, ipv6: bool) -> Option<Drift> {
        let shared = &self.0.shared;
        let servers = shared.known().answering(ipv6);
        drift::measure(&shared.hub, &servers).await
    }

    /// Opens a UDP socket for IPv4 that nobody has heard of, and learns by itself where it is seen: one round trip to the servers, if there are
    /// some. `None` if the system opens none.
    pub(crate) async fn fresh(&self) -> Option<FreshUdp> {
        let shared = &self.0.shared;
        let servers = shared.known().answering(false);
        fresh::open(&shared.hub, &servers).await
    }

    /// Keeps the addresses fresh while the returned value lives.
    pub fn want(&self) -> Wanted {
        self.0.shared.wanted.send_modify(|count| *count += 1);
        Wanted(self.clone())
    }

    /// Waits until a STUN server has answered, or all have been asked in vain; at most `within`.
    pub async fn ready(&self, within: Duration) {
        let mut asked = self.0.shared.asked.subscribe();
        // Whoever cannot wait longer goes on with what there is.
        let _ = tokio::time::timeout(within, asked.wait_for(|asked| *asked)).await;
    }

    /// Where a carrier of signals sees this node; replaces what it said before, and an empty list forgets it.
    pub fn observed(&self, carrier: NodeId, observed: Vec<Observed>) {
        let shared = &self.0.shared;
        let mut known = shared.known();
        if let Some(mapper) = shared.mapper().as_ref() {
            observed
                .iter()
                .for_each(|seen| mapper.external_seen(seen.addr));
        }
        known.observed(carrier, observed);
        drop(known);
        shared.publish();
    }

    /// What routers mapped, if they are asked at all.
    pub fn mappings(&self) -> Option<watch::Receiver<Vec<Mapping>>> {
        self.0.shared.mappings.clone()
    }

    /// Waits until routers have mapped the port, UDP and TCP, or have all refused; but no longer than until then. No wait where none is asked.
    pub async fn mapped_by(&self, deadline: Instant) {
        let Some(mut mappings) = self.mappings() else {
            return;
        };
        let Some(mut status) = self.0.shared.mapper().as_ref().map(PortMapper::status) else {
            return;
        };
        let both = |mappings: &Vec<Mapping>| {
            let by = |transport| {
                let mut advertised = mappings.iter().filter(|mapping| mapping.is_advertised());
                advertised.any(|mapping| mapping.transport == transport)
            };
            by(Transport::Udp) && by(Transport::Tcp)
        };
        let mapped = mappings.wait_for(both);
        let asking = |status: &MethodStatus| status.state == MethodState::Asking;
        let refused = status.wait_for(|status| !status.is_empty() && !status.iter().any(asking));
        let over = async {
            tokio::select! {
                _ = mapped => {}
                _ = refused => {}
            }
        };
        // Past the deadline the node does without.
        let _ = tokio::time::timeout_at(deadline, over).await;
    }

    /// Removes every mapping from the routers.
    pub async fn shutdown(&self) {
        self.0.task.abort();
        let mapper = self.0.shared.mapper().take();
        if let Some(mapper) = mapper {
            mapper.shutdown().await;
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.0.shared.wanted.send_modify(|count| *count -= 1);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mapper(&self) -> MutexGuard<'_, Option<PortMapper>> {
        self.mapper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: Arc<Self>, mut servers: Servers) {
        let mut wanted = self.wanted.subscribe();
        let mut network = self.network.changes();
        let mut mappings = self.mappings.clone();
        let mut relays = self.relays.as_ref().map(Relays::watch);
        let mut stale = Instant::now();
        loop {
            let want = *wanted.borrow_and_update() > 0;
            if !want {
                servers.hang_up();
            }
            let ask = async {
                match want {
                    true => tokio::time::sleep_until(stale).await,
                    false => std::future::pending().await,
                }
                servers.ask(&self).await;
            };
            tokio::select! {
                _ = wanted.changed() => {}
                () = changed(&mut mappings) => self.publish(),
                () = changed(&mut relays) => self.publish(),
                Ok(()) = network.changed() => {
                    servers.hang_up();
                    self.moved();
                    stale = Instant::now();
                }
                () = ask => {
                    self.asked.send_replace(true);
                    stale = Instant::now() + FRESH;
                }
            }
        }
    }

    /// Looks at the interfaces.
    fn glance(&self) {
        self.known().interfaces = Interfaces::current();
        self.publish();
    }

    /// The machine is on another network, or was away for a while: what was seen from outside is no longer true.
    fn moved(&self) {
        self.known().moved();
        self.glance();
        if let Some(relays) = &self.relays {
            relays.network_changed();
        }
    }

    /// What a STUN server says; `None`: it does not answer.
    fn seen(&self, asked: Asked, mapped: Option<SocketAddr>) {
        let mut known = self.known();
        if let Some(mapped) = mapped
            && let Some(mapper) = self.mapper().as_ref()
        {
            mapper.external_seen(mapped);
        }
        known.seen(asked, mapped.map(crate::io::canonical));
        drop(known);
        self.publish();
        // Whoever waits for an answer looks for it at once.
        if mapped.is_some() {
            self.asked.send_replace(true);
        }
    }

    fn publish(&self) {
        let mappings = self.mappings.as_ref().map(|watch| watch.borrow().clone());
        let tcp = self.tcp.as_ref().map(TcpPort::local_addr);
        let relays = self.relays.as_ref().map_or_else(Vec::new, |relays| {
            relays.watch().borrow().iter().map(Relay::relayed).collect()
        });
        let candidates = match self.relay_only {
            true => known::relayed(&relays),
            false => {
                self.known()
                    .candidates((self.udp, tcp), &mappings.unwrap_or_default(), &relays)
            }
        };
        self.candidates.send_if_modified(|told| {
            let changed = *told != candidates;
            *told = candidates;
            changed
        });
    }
}

/// Waits for others to know something new; for ever if there are none.
async fn changed<T>(news: &mut Option<watch::Receiver<T>>) {
    if let Some(watch) = news {
        if watch.changed().await.is_ok() {
            return;
        }
        *news = None;
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests;
