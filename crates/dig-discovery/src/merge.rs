//! What several mechanisms report about one lookup, as one list without doubles.
//!
//! - Who has a node id is one peer, whatever its addresses.
//! - A report without id belongs to the peer that shares an address with it, but an id never takes
//!   over an address that a more trusted report gave without one: else a stranger could make us
//!   demand the wrong identity at an address that the user named.
//! - Addresses and claims of more trusted sources stand first and displace others when there are too many.
//! - Hearsay (peer exchange, DHT, Gun) has a bounded share of the places, and each such source half
//!   of them, so no flood keeps out the user's own peers or another mechanism's.

use crate::discovery::{Claim, Found, MAX_CLAIMS};
use dig_types::{MappedAddr, PeerAddr, PeerRecord, PeerSource};
use std::{net::SocketAddr, sync::Arc};

/// Most peers that are kept as able to introduce us to one peer: as many as a ticket may list.
const MAX_VIA: usize = dig_types::Ticket::MAX_VIA;
/// Most mapped addresses that are kept of one peer: as many as a ticket may list.
const MAX_MAPPED: usize = dig_types::Ticket::MAX_MAPPED;
/// Most Gun relays that are kept of one peer: those that a ticket may list, and as many that this node is connected to.
const MAX_RELAYS: usize = 2 * dig_types::Ticket::MAX_RELAYS;
/// Most addresses that are kept of one peer: as many as a ticket may list.
pub(crate) const MAX_ADDRS: usize = 8;

/// Collects the reports about one lookup.
#[derive(Debug)]
pub(crate) struct Merge {
    max_peers: usize,
    peers: Vec<Known>,
}

#[derive(Debug)]
struct Known {
    node: Option<dig_types::NodeId>,
    /// Who first reported it: whose place it takes.
    reporter: PeerSource,
    source: PeerSource,
    addrs: Vec<(PeerSource, SocketAddr)>,
    mapped: Vec<(PeerSource, MappedAddr)>,
    via: Vec<(PeerSource, PeerAddr)>,
    relays: Vec<(PeerSource, Arc<str>)>,
    claims: Vec<(PeerSource, Claim)>,
}

impl Merge {
    pub(crate) const fn new(max_peers: usize) -> Self {
        Self {
            max_peers,
            peers: Vec::new(),
        }
    }

    /// Takes in a report; gives the peer as it is now known, if the report says something new.
    pub(crate) fn add(&mut self, mut found: Found) -> Option<Found> {
        found.peer.addrs.retain(|addr| addr.port() != 0);
        if found.peer.node.is_none() {
            // Nobody stands behind these claims.
            found.claims.clear();
            if !found.peer.has_way() {
                return None;
            }
        }
        if let Some(index) = self.position(&found.peer) {
            let known = &mut self.peers[index];
            return known.update(found).then(|| known.found());
        }
        if !self.has_room(found.peer.source) {
            return None;
        }
        let mut known = Known::new(&found.peer);
        known.update(found);
        let found = known.found();
        self.peers.push(known);
        Some(found)
    }

    /// All peers, those of more trusted sources first, otherwise in the order in which they came.
    pub(crate) fn into_found(mut self) -> Vec<Found> {
        self.peers.sort_by_key(|known| known.source);
        self.peers.iter().map(Known::found).collect()
    }

    fn position(&self, peer: &PeerRecord) -> Option<usize> {
        let by_node = |known: &Known| peer.node.is_some() && known.node == peer.node;
        let by_addr = |known: &Known| {
            let compatible = match (known.node, peer.node) {
                (None, None) => true,
                (None, Some(_)) => peer.source <= known.source,
                (Some(_), None) => known.source <= peer.source,
                (Some(_), Some(_)) => false,
            };
            compatible && known.shares_addr(peer)
        };
        let mut peers = self.peers.iter();
        (peers.position(by_node)).or_else(|| self.peers.iter().position(by_addr))
    }

    fn has_room(&self, source: PeerSource) -> bool {
        let count = |of: &dyn Fn(PeerSource) -> bool| {
            let of = |known: &&Known| of(known.reporter);
            self.peers.iter().filter(of).count()
        };
        let hearsay_places = self.max_peers - self.max_peers / 8;
        self.peers.len() < self.max_peers
            && (!is_hearsay(source)
                || (count(&is_hearsay) < hearsay_places
                    && count(&|other| other == source) < self.max_peers / 2))
    }
}

impl Known {
    fn new(peer: &PeerRecord) -> Self {
        Self {
            node: peer.node,
            reporter: peer.source,
            source: peer.source,
            addrs: Vec::new(),
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
            claims: Vec::new(),
        }
    }

    /// Takes in a report about this peer; whether it says something new.
    fn update(&mut self, found: Found) -> bool {
        let source = found.peer.source;
        let before = (self.node, self.source);
        self.node = self.node.or(found.peer.node);
        self.source = self.source.min(source);
        let mut changed = before != (self.node, self.source);
        for addr in found.peer.addrs {
            changed |= place(&mut self.addrs, MAX_ADDRS, source, addr);
        }
        for mapped in found.peer.mapped {
            changed |= place(&mut self.mapped, MAX_MAPPED, source, mapped);
        }
        for via in found.peer.via {
            changed |= place(&mut self.via, MAX_VIA, source, via);
        }
        for relay in found.peer.relays {
            changed |= place(&mut self.relays, MAX_RELAYS, source, relay);
        }
        for claim in found.claims {
            changed |= place(&mut self.claims, MAX_CLAIMS, source, claim);
        }
        changed
    }

    fn shares_addr(&self, peer: &PeerRecord) -> bool {
        (self.addrs.iter()).any(|(_, addr)| peer.addrs.contains(addr))
    }

    fn found(&self) -> Found {
        Found {
            peer: PeerRecord {
                node: self.node,
                addrs: self.addrs.iter().map(|(_, addr)| *addr).collect(),
                mapped: self.mapped.iter().map(|(_, mapped)| *mapped).collect(),
                via: self.via.iter().map(|(_, via)| *via).collect(),
                relays: self.relays.iter().map(|(_, relay)| relay.clone()).collect(),
                source: self.source,
            },
            claims: self.claims.iter().map(|(_, claim)| claim.clone()).collect(),
        }
    }
}

/// Puts a value behind those of sources at least as trusted; whether the list changed.
fn place<T: PartialEq>(
    list: &mut Vec<(PeerSource, T)>,
    max: usize,
    source: PeerSource,
    value: T,
) -> bool {
    let old = list.iter().position(|(_, other)| *other == value);
    if let Some(old) = old {
        if list[old].0 <= source {
            return false;
        }
        list.remove(old);
    }
    let index = list.partition_point(|(other, _)| *other <= source);
    if index >= max {
        return false;
    }
    list.insert(index, (source, value));
    list.truncate(max);
    true
}

fn is_hearsay(source: PeerSource) -> bool {
    !matches!(
        source,
        PeerSource::Explicit | PeerSource::Ticket | PeerSource::Local
    )
}

#[cfg(test)]
mod tests;
