//! Who of the advertised nodes is asked when: the plan of one search, without sockets or clock.

use super::{budget::DialBudget, directory::Directory};
use crate::{
    discovery::{Claim, Found, Lookup, MAX_CLAIMS},
    query::{Answer, QueryError},
};
use dig_types::{NodeId, PeerRecord, PeerSource};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Most questions to one node in one search, so that one that always says "later" ends.
const MAX_ASKS: u32 = 8;
/// Waits for a node that failed or said "pending", doubled each time; an estimate counts if it is longer.
const RETRY: Duration = Duration::from_secs(1);
/// Wait for a node that does not have it, doubled each time: it may begin to share.
const RECHECK: Duration = Duration::from_secs(15);
/// Longest wait, whatever a node estimates.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// The plan of one search. Times are since any fixed start.
#[derive(Debug)]
pub(super) struct Search {
    lookup: Lookup,
    max_nodes: usize,
    concurrency: usize,
    nodes: BTreeMap<String, Node>,
    arrivals: u64,
    asked_nodes: usize,
    asked_hosts: BTreeMap<IpAddr, u64>,
    in_flight: usize,
}

/// A question to put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) name: String,
    pub(super) addrs: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Node {
    addrs: Vec<SocketAddr>,
    arrival: u64,
    asks: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    /// To be asked from then on.
    Due(Duration),
    /// A question is under way; `renewed` if other addresses have come since.
    Asking { renewed: bool },
    /// It has it.
    Found { node: NodeId, claims: Vec<Claim> },
    /// Not asked again while it is advertised as it is.
    Done,
    /// No longer advertised.
    Gone,
}

impl Search {
    pub(super) fn new(lookup: Lookup, max_nodes: usize, concurrency: usize) -> Self {
        Self {
            lookup,
            max_nodes,
            concurrency,
            nodes: BTreeMap::new(),
            arrivals: 0,
            asked_nodes: 0,
            asked_hosts: BTreeMap::new(),
            in_flight: 0,
        }
    }

    /// Takes over what is advertised now; gives nodes that have it and can be reached at other addresses than before.
    pub(super) fn sync(&mut self, now: Duration, directory: &Directory) -> Vec<Found> {
        // A node that left before it was asked is forgotten, so that floods that come and go do not pile up.
        self.nodes.retain(|name, node| {
            let here = directory.get(name).is_some();
            if !here && matches!(node.state, State::Due(_) | State::Done) {
                node.state = State::Gone;
            }
            here || node.asks > 0
        });
        let mut moved = Vec::new();
        for advert in directory.iter() {
            self.arrivals += 1;
            let node = self.nodes.entry(advert.name.clone()).or_insert(Node {
                addrs: Vec::new(),
                arrival: self.arrivals,
                asks: 0,
                state: State::Gone,
            });
            let renewed = node.addrs != advert.addrs;
            if renewed {
                node.addrs.clone_from(&advert.addrs);
            }
            match &mut node.state {
                State::Gone => node.state = State::Due(now),
                State::Done if renewed => node.state = State::Due(now),
                State::Asking { renewed: flag } => *flag |= renewed,
                State::Found { node: id, claims } if renewed => {
                    moved.push(found(*id, node.addrs.clone(), claims.clone()));
                }
                State::Done | State::Due(_) | State::Found { .. } => {}
            }
        }
        moved
    }

    /// The next question to put, now.
    pub(super) fn next(&mut self, now: Duration, budget: &mut DialBudget) -> Option<Ask> {
        while self.in_flight < self.concurrency {
            let name = self.candidate(now)?;
            let node = self.nodes.get_mut(&name)?;
            let dials = node.addrs.iter().copied();
            let addrs: Vec<_> = dials.filter(|addr| budget.spend(now, *addr)).collect();
            let Some(first) = addrs.first() else {
                node.state = State::Done;
                continue;
            };
            *self.asked_hosts.entry(first.ip()).or_default() += 1;
            self.asked_nodes += usize::from(node.asks == 0);
            self.in_flight += 1;
            node.asks += 1;
            node.state = State::Asking { renewed: false };
            return Some(Ask { name, addrs });
        }
        None
    }

    /// Takes in how a question ended; gives the node if it has it.
    pub(super) fn answered(
        &mut self,
        now: Duration,
        ask: &Ask,
        answer: Result<Answer, QueryError>,
    ) -> Option<Found> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let node = self.nodes.get_mut(&ask.name)?;
        let renewed = matches!(node.state, State::Asking { renewed: true });
        let doublings = node.asks.saturating_sub(1).min(16);
        let after = |wait: Duration| State::Due(now + wait.min(MAX_WAIT));
        node.state = match answer {
            Ok(Answer::Found { node: id, claims }) => {
                let claims = self.lookup.fitting(claims);
                if claims.is_empty() {
                    node.state = State::Done;
                    return None;
                }
                let result = found(id, node.addrs.clone(), claims.clone());
                node.state = State::Found { node: id, claims };
                return Some(result);
            }
            Ok(Answer::Pending { eta }) => after(eta.max(RETRY * (1 << doublings) / 2)),
            Ok(Answer::NotFound) => after(RECHECK * (1 << doublings)),
            Err(_) if renewed => after(Duration::ZERO),
            Err(_) => after(RETRY * (1 << doublings)),
        };
        None
    }

    /// When [`Self::next`] may have a question, if nothing else happens before.
    pub(super) fn wake(&self) -> Option<Duration> {
        if self.in_flight >= self.concurrency {
            return None;
        }
        let due = self.nodes.values().filter(|node| self.may_ask(node));
        due.filter_map(Node::due).min()
    }

    fn candidate(&self, now: Duration) -> Option<String> {
        let due = self
            .nodes
            .iter()
            .filter(|(_, node)| self.may_ask(node) && node.due().is_some_and(|due| due <= now));
        let asked = |node: &Node| {
            let host = node.addrs.first().map(SocketAddr::ip);
            host.and_then(|ip| self.asked_hosts.get(&ip)).copied()
        };
        due.min_by_key(|(_, node)| (asked(node), node.arrival))
            .map(|(name, _)| name.clone())
    }

    fn may_ask(&self, node: &Node) -> bool {
        node.asks < MAX_ASKS && (node.asks > 0 || self.asked_nodes < self.max_nodes)
    }
}

impl Node {
    fn due(&self) -> Option<Duration> {
        match self.state {
            State::Due(at) => Some(at),
            _ => None,
        }
    }
}

impl Lookup {
    /// The claims that answer this lookup, with the hash that the asker knows filled in.
    fn fitting(&self, claims: Vec<Claim>) -> Vec<Claim> {
        let known = match self {
            Self::Content(hash) => Some(*hash),
            Self::Sha256(_) | Self::Name(_) => None,
        };
        let fill = |mut claim: Claim| {
            claim.hash = claim.hash.or(known);
            claim
        };
        let claims = claims.into_iter().map(fill);
        let fits = |claim: &Claim| claim.hash.is_some() && (known.is_none() || claim.hash == known);
        claims.filter(fits).take(MAX_CLAIMS).collect()
    }
}

fn found(node: NodeId, addrs: Vec<SocketAddr>, claims: Vec<Claim>) -> Found {
    Found {
        peer: PeerRecord {
            node: Some(node),
            addrs,
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
            source: PeerSource::Local,
        },
        claims,
    }
}

#[cfg(test)]
mod tests;
