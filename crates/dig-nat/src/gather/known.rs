//! What is known of where this node may be reached, by whose word.

use super::{
    MAX_CANDIDATES,
    hint::{Sighting, hint},
    interfaces::Interfaces,
    servers::Asked,
};
use crate::{
    attempt::NatHint,
    candidate::{Candidate, CandidateKind, Transport},
    io::canonical,
    mapping::Mapping,
    signaling::Observed,
};
use dig_types::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// Most own addresses that are told, each for both transports.
const MAX_HOSTS: usize = 4;
/// Mapped ports that are told.
const MAX_MAPPED: usize = 4;
/// Allocations that are told: more are not used at a time.
const MAX_RELAYED: usize = 2;
/// Carriers whose word is kept.
const MAX_CARRIERS: usize = 16;

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) interfaces: Interfaces,
    /// By transport and STUN server.
    stun: BTreeMap<(Transport, SocketAddr), Seen>,
    /// By carrier of signals.
    carriers: BTreeMap<NodeId, Vec<Observed>>,
    /// Carriers that spoke before the machine moved: where they saw it says nothing of the NAT that it is behind now.
    outdated: BTreeSet<NodeId>,
}

/// What a STUN server saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    mapped: SocketAddr,
    /// The server's place among those that were asked when its mapping was made.
    place: Option<usize>,
}

impl Known {
    /// A STUN server answered, or did not.
    pub(super) fn seen(&mut self, asked: Asked, mapped: Option<SocketAddr>) {
        let key = (asked.transport, asked.server);
        let Some(mapped) = mapped else {
            self.stun.remove(&key);
            return;
        };
        // As long as the NAT keeps a mapping, its port says when it was made and not when it was asked about last.
        let old = self.stun.get(&key).filter(|seen| seen.mapped == mapped);
        let place = old.map_or(asked.place, |seen| seen.place);
        self.stun.insert(key, Seen { mapped, place });
    }

    /// A carrier of signals sees this node there; an empty list forgets it.
    pub(super) fn observed(&mut self, carrier: NodeId, observed: Vec<Observed>) {
        self.outdated.remove(&carrier);
        if observed.is_empty() {
            self.carriers.remove(&carrier);
        } else if self.carriers.len() < MAX_CARRIERS || self.carriers.contains_key(&carrier) {
            self.carriers.insert(carrier, observed);
        }
    }

    /// The machine is on another network.
    pub(super) fn moved(&mut self) {
        self.stun.clear();
        self.outdated = self.carriers.keys().copied().collect();
    }

    /// Whether STUN servers see the UDP port under its own number; `None` if none was heard of, or there is no NAT.
    pub(super) fn preserves_ports(&self, udp: SocketAddr) -> Option<bool> {
        let own = self.interfaces.reachable(udp.ip(), usize::MAX);
        let mut behind = self
            .stun
            .values()
            .map(|seen| seen.mapped)
            .filter(|mapped| !own.contains(&mapped.ip()))
            .peekable();
        behind.peek()?;
        Some(behind.all(|mapped| mapped.port() == udp.port()))
    }

    /// How the NAT maps the UDP port.
    pub(super) fn nat_hint(&self, udp: SocketAddr) -> NatHint {
        let own = self.interfaces.reachable(udp.ip(), usize::MAX);
        let asked = self
            .stun
            .iter()
            .filter(|((by, _), _)| *by == Transport::Udp);
        let asked = asked.map(|((_, server), seen)| Sighting {
            by: server.ip().into(),
            at: seen.mapped,
            place: seen.place,
        });
        let current = |(carrier, _): &(&NodeId, _)| !self.outdated.contains(*carrier);
        let told = self.carriers.iter().filter(current);
        let told = told.flat_map(|(carrier, seen)| seen.iter().map(move |seen| (carrier, seen)));
        let told = told.filter(|(_, seen)| seen.transport == Transport::Udp);
        let told = told.map(|(carrier, seen)| Sighting {
            by: (*carrier).into(),
            at: canonical(seen.addr),
            place: None,
        });
        hint(&own, udp.port(), asked.chain(told).collect())
    }

    /// What a server saw last.
    #[cfg(test)]
    pub(super) fn seen_by(&self, transport: Transport, server: SocketAddr) -> Option<SocketAddr> {
        self.stun.get(&(transport, server)).map(|seen| seen.mapped)
    }

    /// STUN servers of a family that answered by datagram.
    pub(super) fn answering(&self, ipv6: bool) -> Vec<SocketAddr> {
        let answered = self
            .stun
            .keys()
            .filter(|(by, server)| *by == Transport::Udp && server.is_ipv6() == ipv6);
        answered.map(|(_, server)| *server).collect()
    }

    /// Own addresses first, then an allocation, mapped ports, and where others see us: each address once, at most [`MAX_CANDIDATES`].
    pub(super) fn candidates(
        &self,
        (udp, tcp): (SocketAddr, Option<SocketAddr>),
        mappings: &[Mapping],
        relays: &[SocketAddr],
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
        list.add_relayed(relays);
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
            .map(|((transport, _), seen)| (*transport, seen.mapped));
        let told = self.carriers.values().flatten();
        for (transport, addr) in stun.chain(told.map(|seen| (seen.transport, seen.addr))) {
            list.add(CandidateKind::ServerReflexive, transport, addr);
        }
        list.0
    }
}

/// The candidates of whoever tells nothing but relays.
pub(super) fn relayed(relays: &[SocketAddr]) -> Vec<Candidate> {
    let mut list = List::default();
    list.add_relayed(relays);
    list.0
}

#[derive(Default)]
struct List(Vec<Candidate>);

impl List {
    fn add_relayed(&mut self, relays: &[SocketAddr]) {
        for relayed in relays.iter().take(MAX_RELAYED) {
            self.add(CandidateKind::Relayed, Transport::Udp, *relayed);
        }
    }

    fn add(&mut self, kind: CandidateKind, transport: Transport, addr: SocketAddr) {
        let candidate = Candidate {
            kind,
            transport,
            addr: canonical(addr),
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
