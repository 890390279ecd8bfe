//! Finding peers and dialling them, for one download.

use crate::{
    connector::{Connector, Dial, DialFailure, DialFailureClass},
    dials::Dials,
};
use dig_discovery::Found;
use dig_types::{NodeId, PeerRecord};
use futures::{
    StreamExt as _,
    stream::{BoxStream, SelectAll},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Most failures that are kept for the error at the end.
const MAX_FAILURES: usize = 64;
/// Most peers that one download dials.
const MAX_PEERS: usize = 50;
/// Time before peers that were lost are dialled again; it doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(8);

/// The peers of one download.
pub(crate) struct Sources {
    connector: Arc<dyn Connector>,
    trusted: BTreeSet<NodeId>,
    finds: SelectAll<BoxStream<'static, Found>>,
    dials: Dials,
    known: Vec<PeerRecord>,
    /// Who answered where.
    met: BTreeMap<SocketAddr, NodeId>,
    /// Who sent something false, or does not give the content: they are not dialled again.
    dismissed: BTreeSet<NodeId>,
    failures: Vec<DialFailure>,
    retry_in: Duration,
    retry_at: Option<Instant>,
    /// No link is up, and who dialled them replaces them.
    replacing: bool,
    /// It was said that nothing is left to try.
    told: bool,
}

/// What happens to the sources.
#[derive(Debug)]
pub(crate) enum SourceNews {
    /// A mechanism reports a peer; it is being dialled.
    Found,
    /// News of a dial.
    Dial(Dial),
    /// All who were found have been dialled, and nobody else will be found: at best, links that are there are replaced.
    Exhausted,
}

impl Sources {
    pub(crate) fn new(connector: Arc<dyn Connector>, trusted: BTreeSet<NodeId>) -> Self {
        Self {
            connector,
            trusted,
            finds: SelectAll::new(),
            dials: Dials::default(),
            known: Vec::new(),
            met: BTreeMap::new(),
            dismissed: BTreeSet::new(),
            failures: Vec::new(),
            retry_in: FIRST_RETRY,
            retry_at: None,
            replacing: false,
            told: false,
        }
    }

    /// Looks for peers here too.
    pub(crate) fn search(&mut self, stream: BoxStream<'static, Found>) {
        self.finds.push(stream);
    }

    /// Dials a peer, unless all that is known of it is being dialled already.
    pub(crate) fn add(&mut self, peer: PeerRecord) {
        let foreign = |node: NodeId| !self.trusted.is_empty() && !self.trusted.contains(&node);
        if !peer.has_way() || peer.node.is_some_and(foreign) || self.is_dismissed(&peer) {
            return;
        }
        let room = self.known.len() < MAX_PEERS;
        match self.known.iter_mut().find(|known| is_same(known, &peer)) {
            Some(known) => {
                let Some(new) = peer.beyond(known) else {
                    return;
                };
                known.addrs.extend(&new.addrs);
                known.mapped.extend(&new.mapped);
                known.via.extend(&new.via);
                known.node = known.node.or(new.node);
                self.dial(new);
            }
            None if room => {
                self.dial(peer.clone());
                self.known.push(peer);
            }
            None => {}
        }
    }

    fn dial(&mut self, peer: PeerRecord) {
        let dials = self.connector.connect(peer.clone());
        self.dials.add(peer, dials);
        self.told = false;
    }

    /// No link is up: dials everybody again before long whom nobody looks after. Whether there is anybody to hope for.
    pub(crate) fn retry(&mut self) -> bool {
        self.replacing = !self.dials.are_over();
        let forsaken = |peer: &PeerRecord| !self.dials.look_after(|other| is_same(peer, other));
        if self.retry_at.is_none() && self.known.iter().any(forsaken) {
            self.retry_at = Some(Instant::now() + self.retry_in);
            self.retry_in = (self.retry_in * 2).min(LONGEST_RETRY);
            self.told = false;
        }
        !self.is_idle()
    }

    /// A link to this node is up: the next loss is retried soon.
    pub(crate) fn link_is_up(&mut self, node: NodeId, remote: Option<SocketAddr>) {
        (self.retry_in, self.replacing) = (FIRST_RETRY, false);
        if let Some(remote) = remote {
            self.met.insert(remote, node);
        }
    }

    /// This node is of no use: it is not dialled again.
    pub(crate) fn dismiss(&mut self, node: NodeId) {
        self.dismissed.insert(node);
        let mut known = std::mem::take(&mut self.known);
        known.retain(|peer| !self.is_dismissed(peer));
        self.known = known;
        let mut dials = std::mem::take(&mut self.dials);
        dials.stop(|peer| self.is_dismissed(peer));
        self.dials = dials;
    }

    /// Whether this node has been dismissed.
    pub(crate) fn has_dismissed(&self, node: &NodeId) -> bool {
        self.dismissed.contains(node)
    }

    /// A peer of unknown identity is whoever answered at its addresses.
    fn is_dismissed(&self, peer: &PeerRecord) -> bool {
        let here = |addr| {
            let node = self.met.get(addr);
            node.is_some_and(|node| self.has_dismissed(node))
        };
        match &peer.node {
            Some(node) => self.has_dismissed(node),
            None => peer.addrs.iter().all(here),
        }
    }

    /// Whether everybody who was found has been dismissed.
    pub(crate) fn are_all_dismissed(&self) -> bool {
        self.known.is_empty() && !self.dismissed.is_empty()
    }

    /// Whether nothing is being dialled, about to be, or being replaced. Looking for better paths than there are is idleness.
    pub(crate) fn is_idle(&self) -> bool {
        let replacing = self.replacing && !self.dials.are_over();
        !self.dials.are_trying() && self.retry_at.is_none() && !replacing
    }

    /// What happened at the addresses that did not work.
    pub(crate) fn failures(&self) -> &[DialFailure] {
        &self.failures
    }

    /// Remembers what a peer said, for the error at the end.
    pub(crate) fn note(&mut self, failure: DialFailure) {
        if self.failures.len() < MAX_FAILURES {
            self.failures.push(failure);
        }
    }

    /// Whether it would be vain to dial again: a wrong identity or a refusal is final, a dead host is not.
    pub(crate) fn is_hopeless(&self) -> bool {
        let last = |class| self.failures.iter().any(|failure| failure.class == class);
        last(DialFailureClass::Identity) || last(DialFailureClass::Refused)
    }

    /// Waits for news. Cancelling it loses nothing. After [`SourceNews::Exhausted`] there may be more.
    pub(crate) async fn next(&mut self) -> SourceNews {
        loop {
            if self.finds.is_empty() && self.is_idle() && !std::mem::replace(&mut self.told, true) {
                return SourceNews::Exhausted;
            }
            let retry_at = self.retry_at;
            tokio::select! {
                found = self.finds.next(), if !self.finds.is_empty() => if let Some(found) = found {
                    self.add(found.peer);
                    return SourceNews::Found;
                },
                Some(dial) = self.dials.next() => {
                    let Some(dial) = dial else {
                        continue;
                    };
                    if let Dial::Failed(failure) = &dial {
                        self.note(failure.clone());
                    }
                    return SourceNews::Dial(dial);
                }
                () = at(retry_at), if retry_at.is_some() => {
                    self.retry_at = None;
                    for peer in self.known.clone() {
                        if !self.dials.look_after(|other| is_same(&peer, other)) {
                            self.dial(peer);
                        }
                    }
                }
                // Nothing is left: what that means is looked at above, once.
                else => if self.told {
                    return std::future::pending().await;
                },
            }
        }
    }
}

/// Whether two records are of one peer: by its identity, or by an address where one of them does not know it.
fn is_same(one: &PeerRecord, other: &PeerRecord) -> bool {
    match (one.node, other.node) {
        (Some(one), Some(other)) => one == other,
        _ => one.addrs.iter().any(|addr| other.addrs.contains(addr)),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
