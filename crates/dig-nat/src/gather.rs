//! Gathering: the addresses at which this node may be reached, kept fresh while somebody wants them.
//!
//! Nobody waits for it. What is known is told at once, and what comes later (the answer of a STUN server, the mapping of a slow
//! router) changes the list: see [`Gatherer::watch`].

mod interfaces;
mod servers;

use crate::{
    attempt::Subnet,
    candidate::{Candidate, CandidateKind, Transport},
    io::{TcpPort, UdpHub},
    mapping::{Mapping, MethodState, MethodStatus, PortMapper},
    signaling::Observed,
};
use dig_types::NodeId;
use interfaces::Interfaces;
use servers::Servers;
use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

/// Most candidates that are told: more than a peer would look at (`docs/protocol.md` §11).
pub const MAX_CANDIDATES: usize = 16;
/// Most own addresses that are told, each for both transports.
const MAX_HOSTS: usize = 4;
/// Mapped ports that are told.
const MAX_MAPPED: usize = 4;
/// How long an answer of a STUN server is believed: below the shortest lifetime of UDP mappings that matters, 30 s (Linux).
const FRESH: Duration = Duration::from_secs(25);
/// How often the interfaces are looked at meanwhile: a machine that changes its network is there again that soon.
const GLANCE: Duration = Duration::from_secs(5);
/// Carriers whose word is kept.
const MAX_CARRIERS: usize = 16;

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
}

#[derive(Default)]
struct Known {
    interfaces: Interfaces,
    /// By transport and STUN server.
    stun: BTreeMap<(Transport, SocketAddr), SocketAddr>,
    /// By carrier of signals.
    carriers: BTreeMap<NodeId, Vec<Observed>>,
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
    /// Begins on the current tokio runtime. `stun` are servers as `HOST:PORT`.
    ///
    /// # Errors
    /// The UDP port has no address.
    pub fn start(
        hub: UdpHub,
        tcp: Option<TcpPort>,
        stun: Vec<String>,
        mapper: Option<PortMapper>,
    ) -> std::io::Result<Self> {
        let udp = hub.local_addr()?;
        let shared = Arc::new(Shared {
            udp,
            hub,
            tcp,
            known: Mutex::default(),
            candidates: watch::Sender::default(),
            asked: watch::Sender::default(),
            wanted: watch::Sender::default(),
            mappings: mapper.as_ref().map(PortMapper::mappings),
            mapper: Mutex::new(mapper),
        });
        shared.glance();
        let task = tokio::spawn(Arc::clone(&shared).run(Servers::new(stun)));
        Ok(Self(Arc::new(Inner { shared, task })))
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
        let known = shared.known();
        let own = known.interfaces.reachable(shared.udp.ip(), usize::MAX);
        let mut behind = known
            .stun
            .values()
            .filter(|seen| !own.contains(&seen.ip()))
            .peekable();
        behind.peek()?;
        Some(behind.all(|seen| seen.port() == shared.udp.port()))
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
        if observed.is_empty() {
            known.carriers.remove(&carrier);
        } else if known.carriers.len() < MAX_CARRIERS || known.carriers.contains_key(&carrier) {
            known.carriers.insert(carrier, observed);
        }
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
        let mut mappings = self.mappings.clone();
        loop {
            if *wanted.borrow_and_update() == 0 {
                servers.hang_up();
            }
            tokio::select! {
                waited = wanted.wait_for(|count| *count > 0) => {
                    if waited.is_err() {
                        return;
                    }
                }
                () = changed(&mut mappings) => {
                    self.publish();
                    continue;
                }
            }
            self.glance();
            servers.ask(&self).await;
            self.asked.send_replace(true);
            let stale = Instant::now() + FRESH;
            while Instant::now() < stale {
                tokio::select! {
                    () = changed(&mut mappings) => self.publish(),
                    () = tokio::time::sleep_until(stale.min(Instant::now() + GLANCE)) => {
                        if self.glance() {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Looks at the interfaces; whether they changed. What was seen from another network is forgotten.
    fn glance(&self) -> bool {
        let interfaces = Interfaces::current();
        let mut known = self.known();
        let changed = known.interfaces != interfaces;
        if changed {
            known.interfaces = interfaces;
            known.stun.clear();
        }
        drop(known);
        self.publish();
        changed
    }

    /// What a STUN server says; `None`: it does not answer.
    fn seen(&self, transport: Transport, server: SocketAddr, mapped: Option<SocketAddr>) {
        let mut known = self.known();
        match mapped {
            Some(mapped) => {
                if let Some(mapper) = self.mapper().as_ref() {
                    mapper.external_seen(mapped);
                }
                known
                    .stun
                    .insert((transport, server), crate::io::canonical(mapped));
                self.asked.send_replace(true);
            }
            None => {
                known.stun.remove(&(transport, server));
            }
        }
        drop(known);
        self.publish();
    }

    fn publish(&self) {
        let mappings = self.mappings.as_ref().map(|watch| watch.borrow().clone());
        let tcp = self.tcp.as_ref().map(TcpPort::local_addr);
        let candidates = self
            .known()
            .candidates(self.udp, tcp, &mappings.unwrap_or_default());
        self.candidates.send_if_modified(|told| {
            let changed = *told != candidates;
            *told = candidates;
            changed
        });
    }
}

/// Waits for routers to change their mind; for ever if there are none.
async fn changed(mappings: &mut Option<watch::Receiver<Vec<Mapping>>>) {
    if let Some(watch) = mappings {
        if watch.changed().await.is_ok() {
            return;
        }
        *mappings = None;
    }
    std::future::pending().await
}

impl Known {
    /// Own addresses first, then mapped ports, then where others see us: each address once, at most [`MAX_CANDIDATES`].
    fn candidates(
        &self,
        udp: SocketAddr,
        tcp: Option<SocketAddr>,
        mappings: &[Mapping],
    ) -> Vec<Candidate> {
        let mut list = List::default();
        let hosts = self.interfaces.reachable(udp.ip(), MAX_HOSTS);
        for ip in hosts {
            list.add(
                CandidateKind::Host,
                Transport::Udp,
                SocketAddr::new(ip, udp.port()),
            );
            if let Some(tcp) = tcp {
                list.add(
                    CandidateKind::Host,
                    Transport::Tcp,
                    SocketAddr::new(ip, tcp.port()),
                );
            }
        }
        let advertised = mappings.iter().filter(|mapping| mapping.is_advertised());
        for mapping in advertised.take(MAX_MAPPED) {
            list.add(
                CandidateKind::Mapped(mapping.method),
                mapping.transport,
                mapping.external,
            );
        }
        let stun = self
            .stun
            .iter()
            .map(|((transport, _), addr)| (*transport, *addr));
        let told = self.carriers.values().flatten();
        for (transport, addr) in stun.chain(told.map(|seen| (seen.transport, seen.addr))) {
            list.add(CandidateKind::ServerReflexive, transport, addr);
        }
        list.0
    }
}

#[derive(Default)]
struct List(Vec<Candidate>);

impl List {
    fn add(&mut self, kind: CandidateKind, transport: Transport, addr: SocketAddr) {
        let candidate = Candidate {
            kind,
            transport,
            addr: crate::io::canonical(addr),
        };
        let known = self
            .0
            .iter()
            .any(|other| (other.transport, other.addr) == (transport, candidate.addr));
        if !known && self.0.len() < MAX_CANDIDATES && addr.port() != 0 {
            self.0.push(candidate);
        }
    }
}

#[cfg(test)]
mod tests;
