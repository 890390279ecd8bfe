//! The peer, as far as it may be believed.

use super::{
    config::{Local, is_public},
    keys::Role,
    message::{MAX_CANDIDATES, Terms},
};
use crate::{
    candidate::{Candidate, CandidateKind, Transport},
    signaling::Observed,
};
use std::net::{IpAddr, SocketAddr};

/// Addresses kept of those that carriers saw the peer at.
const MAX_OBSERVED: usize = 8;

/// Ends used of a peer that no carrier sees: one of each family.
pub(super) const MAX_UNATTESTED: usize = 2;

/// Relayed addresses used of the peer's: a node has allocations on two servers at most.
const MAX_RELAYED: usize = 2;

/// What the peer says of itself and what carriers say of it.
#[derive(Debug, Clone)]
pub(super) struct Remote {
    /// The peer's role.
    role: Role,
    pub(super) terms: Terms,
    observed: Vec<Observed>,
}

impl Remote {
    pub(super) fn new(role: Role, terms: Terms) -> Self {
        Self {
            role,
            terms,
            observed: Vec::new(),
        }
    }

    /// Takes over a later edition of the peer's terms; whether it was one.
    pub(super) fn revise(&mut self, terms: Terms) -> bool {
        let newer = terms.share == self.terms.share && terms.revision > self.terms.revision;
        if newer {
            self.terms = terms;
        }
        newer
    }

    /// Takes over where a carrier sees the peer; whether that was news.
    pub(super) fn observe(&mut self, observed: &[Observed]) -> bool {
        let before = self.observed.len();
        for seen in observed {
            let seen = Observed {
                addr: SocketAddr::new(seen.addr.ip().to_canonical(), seen.addr.port()),
                ..*seen
            };
            if self.observed.len() < MAX_OBSERVED && !self.observed.contains(&seen) {
                self.observed.push(seen);
            }
        }
        self.observed.len() > before
    }

    /// The peer's candidates that may be tried, and where a carrier sees its datagrams come from on hosts that it
    /// did not name itself.
    pub(super) fn candidates(&self, local: &Local) -> Vec<Candidate> {
        let mut relayed = 0;
        let allowed = |candidate: &Candidate| {
            if candidate.kind != CandidateKind::Relayed {
                return self.may_try(candidate.addr.ip(), local);
            }
            relayed += 1;
            relayed <= MAX_RELAYED && Self::may_relay(candidate.addr.ip(), local)
        };
        let mut candidates: Vec<Candidate> = self
            .terms
            .candidates
            .iter()
            .copied()
            .filter(allowed)
            .collect();
        for seen in self
            .observed
            .iter()
            .filter(|seen| seen.transport == Transport::Udp && seen.addr.port() != 0)
        {
            let named = candidates
                .iter()
                .filter(|c| c.transport == Transport::Udp && c.kind != CandidateKind::Relayed)
                .any(|c| c.addr.ip() == seen.addr.ip());
            if !named && candidates.len() < MAX_CANDIDATES && self.may_try(seen.addr.ip(), local) {
                let kind = CandidateKind::ServerReflexive;
                candidates.push(Candidate {
                    kind,
                    transport: Transport::Udp,
                    addr: seen.addr,
                });
            }
        }
        candidates
    }

    /// Where the peer says that its datagrams come from, if it made the offer and no carrier says where it is: the carrier cannot see it, or says
    /// nothing of its senders. Nothing may go to these ends but what this side's own NAT ends at, and to few of them.
    pub(super) fn unattested_ends(&self, local: &Local) -> Vec<SocketAddr> {
        if self.role != Role::Initiator || !self.observed.is_empty() {
            return Vec::new();
        }
        let speaks = |addr: SocketAddr| {
            let mut own = local.candidates.iter();
            own.any(|own| own.addr.is_ipv4() == addr.is_ipv4())
        };
        let outside = |c: &&Candidate| {
            c.transport == Transport::Udp
                && matches!(c.kind, CandidateKind::ServerReflexive | CandidateKind::Host)
                && c.addr.port() != 0
                && is_public(c.addr.ip())
                && !local.shares_network(c.addr.ip())
                && speaks(c.addr)
        };
        let ends = self.terms.candidates.iter().filter(outside);
        ends.map(|c| c.addr).take(MAX_UNATTESTED).collect()
    }

    /// Whether a carrier sees the peer at that very host of the internet, by IPv4.
    fn attests(&self, ip: IpAddr) -> bool {
        let there = |seen: &Observed| seen.addr.ip() == ip;
        ip.is_ipv4() && is_public(ip) && self.observed.iter().any(there)
    }

    /// The peer's outside end for datagrams, on a host where a carrier sees it; one that the carrier names itself before others.
    pub(super) fn attested_end(&self, local: &Local) -> Option<SocketAddr> {
        let seen = |addr: SocketAddr| {
            let exact = |seen: &&Observed| seen.transport == Transport::Udp && seen.addr == addr;
            self.observed.iter().find(exact).is_some()
        };
        let outside = |c: &Candidate| {
            c.transport == Transport::Udp
                && matches!(c.kind, CandidateKind::ServerReflexive | CandidateKind::Host)
                && self.attests(c.addr.ip())
        };
        self.candidates(local)
            .into_iter()
            .filter(outside)
            .map(|c| c.addr)
            .min_by_key(|addr| !seen(*addr))
    }

    /// The host from which the peer's datagrams come, where a carrier sees it.
    pub(super) fn attested_host(&self) -> Option<IpAddr> {
        let datagrams = |ip: IpAddr| {
            let seen = |seen: &Observed| seen.transport == Transport::Udp && seen.addr.ip() == ip;
            let named = |c: &Candidate| c.transport == Transport::Udp && c.addr.ip() == ip;
            self.observed.iter().any(seen) || self.terms.candidates.iter().any(named)
        };
        self.observed
            .iter()
            .map(|seen| seen.addr.ip())
            .filter(|ip| self.attests(*ip))
            .min_by_key(|ip| !datagrams(*ip))
    }

    /// Whether an address is that of an allocation of the peer's.
    pub(super) fn is_relayed(&self, addr: SocketAddr) -> bool {
        self.relays().any(|relay| relay == addr)
    }

    /// The peer's allocations.
    pub(super) fn relays(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let relayed = |c: &&Candidate| c.kind == CandidateKind::Relayed;
        self.terms.candidates.iter().filter(relayed).map(|c| c.addr)
    }

    /// Where the peer's fresh ports may be tried, by round.
    pub(super) fn fresh(&self, local: &Local) -> Vec<Option<SocketAddr>> {
        let allowed = |addr: &SocketAddr| {
            (addr.port() != 0 && self.may_try(addr.ip(), local)).then_some(*addr)
        };
        self.terms.fresh.iter().map(allowed).collect()
    }

    /// Whether packets may go to a relay because the peer says that it has an allocation there. No carrier sees the peer at a relay: what
    /// protects others is that there are few of these, in a public place or on a network that both are on, and the attempt's budget.
    fn may_relay(ip: IpAddr, local: &Local) -> bool {
        let place = !ip.is_multicast() && !ip.is_unspecified();
        place && (is_public(ip) || local.shares_network(ip))
    }

    /// Whether packets may go to an address because the peer asks for it. Whoever answers an offer is told by strangers
    /// where to send: only to where a carrier sees them, or to a network that both are on. Whoever makes the offer chose the peer,
    /// and only spares its own private networks.
    pub(super) fn may_try(&self, ip: IpAddr, local: &Local) -> bool {
        if ip.is_multicast() || ip.is_unspecified() {
            return false;
        }
        if local.shares_network(ip) {
            return true;
        }
        is_public(ip)
            && (self.role == Role::Responder
                || self
                    .observed
                    .iter()
                    .any(|seen| same_site(seen.addr.ip(), ip)))
    }
}

/// The same IPv4 address, or two IPv6 addresses of one /64: privacy addresses (RFC 8981) change within it.
fn same_site(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::config::{NatHint, Subnet};

    fn remote(role: Role, addrs: &[&str], observed: &[&str]) -> Remote {
        let host = |addr: &&str| Candidate {
            kind: CandidateKind::Host,
            transport: Transport::Udp,
            addr: addr.parse().unwrap(),
        };
        let candidates = addrs.iter().map(host).collect();
        let fresh = addrs.iter().map(|addr| addr.parse().unwrap()).collect();
        let terms = Terms {
            share: [0; 32],
            revision: 0,
            methods: Vec::new(),
            candidates,
            fresh,
            nat: NatHint::Unknown,
        };
        let mut remote = Remote::new(role, terms);
        let observed = observed.iter().map(|a| Observed {
            transport: Transport::Udp,
            addr: a.parse().unwrap(),
        });
        remote.observe(&observed.collect::<Vec<_>>());
        remote
    }

    fn local() -> Local {
        let subnet = |ip: &str, prefix| Subnet {
            ip: ip.parse().unwrap(),
            prefix,
        };
        Local {
            subnets: vec![subnet("192.168.7.2", 24)],
            ..Local::default()
        }
    }

    #[test]
    fn an_offer_directs_packets_only_to_where_its_sender_is_seen() {
        let check = |role, observed: &[&str], addr: &str, expected: bool| {
            let remote = remote(role, &[addr], observed);
            assert_eq!(
                remote
                    .candidates(&local())
                    .iter()
                    .any(|c| c.addr == addr.parse().unwrap()),
                expected,
                "{role:?} {addr}"
            );
            assert_eq!(
                remote.fresh(&local())[0].is_some(),
                expected,
                "{role:?} {addr}"
            );
        };
        let seen: &[&str] = &["44.1.1.1:9", "[2a0d:1:2:3::4]:9", "192.168.9.9:9"];
        for (addr, allowed) in [
            ("44.1.1.1:5000", true),
            ("44.1.1.2:5000", false),
            ("[2a0d:1:2:3::5]:5000", true),
            ("[2a0d:1:2:4::5]:5000", false),
            ("192.168.7.9:5000", true),
            ("192.168.8.9:5000", false),
            ("192.168.9.9:5000", false),
            ("127.0.0.1:5000", false),
            ("224.0.0.1:5000", false),
        ] {
            check(Role::Initiator, seen, addr, allowed);
        }
        check(Role::Initiator, &[], "44.1.1.1:5000", false);
        check(Role::Responder, &[], "44.1.1.2:5000", true);
        check(Role::Responder, &[], "192.168.8.9:5000", false);
        check(Role::Responder, &[], "127.0.0.1:5000", false);
    }

    #[test]
    fn two_relays_of_a_peer_are_tried_wherever_the_public_sees_them() {
        let addrs = [
            "127.0.0.1:1",
            "44.9.9.9:49160",
            "44.9.9.8:49160",
            "44.9.9.7:49160",
        ];
        for (role, skip) in [(Role::Initiator, 0), (Role::Responder, 1)] {
            let mut remote = remote(role, &addrs[skip..], &["44.1.1.1:9"]);
            for candidate in &mut remote.terms.candidates {
                candidate.kind = CandidateKind::Relayed;
            }
            let found: Vec<_> = remote
                .candidates(&local())
                .iter()
                .filter(|c| c.kind == CandidateKind::Relayed)
                .map(|c| c.addr.to_string())
                .collect();
            // One that may not be tried counts as well: who names such a thing gets nothing for it.
            assert_eq!(found, &addrs[1..3 - usize::from(skip == 0)], "{role:?}");
        }
    }

    #[test]
    fn a_host_that_only_the_carrier_names_is_a_candidate() {
        let remote = remote(
            Role::Initiator,
            &["44.1.1.1:5000"],
            &["44.1.1.1:7", "44.1.1.9:8"],
        );
        let found: Vec<_> = remote
            .candidates(&local())
            .iter()
            .map(|c| c.addr.to_string())
            .collect();
        assert_eq!(found, ["44.1.1.1:5000", "44.1.1.9:8"]);
    }

    #[test]
    fn carriers_cannot_fill_memory() {
        let mut remote = remote(Role::Initiator, &[], &[]);
        for port in 1..100 {
            remote.observe(&[Observed {
                transport: Transport::Udp,
                addr: ([44, 1, 1, 1], port).into(),
            }]);
        }
        assert_eq!(remote.observed.len(), MAX_OBSERVED);
    }

    #[test]
    fn only_later_editions_of_the_same_terms_count() {
        let mut remote = remote(Role::Initiator, &[], &[]);
        let terms = Terms {
            revision: 1,
            ..remote.terms.clone()
        };
        assert!(!remote.revise(Terms {
            share: [9; 32],
            ..terms.clone()
        }));
        assert!(remote.revise(terms.clone()));
        assert!(!remote.revise(terms));
    }
}
