//! The links of one download: which carries the data of each peer, and which are dead without saying so.

use super::Teller;
use crate::{
    connector::{Method, Timing},
    event::DownloadEvent,
};
use dig_transfer::link::{Link, LinkId};
use dig_types::NodeId;
use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::Instant;

/// A node that lost one link has this long to show that the others live: a program that was killed ends its TCP
/// connections at once, its QUIC ones only by silence.
const DOUBT: Duration = Duration::from_secs(1);
/// `BYE` code of a link that is given up (`docs/protocol.md` §3).
const DONE: u16 = 0;

/// The links of one download.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: HashMap<LinkId, Known>,
    /// The link of each node that was told last.
    told: HashMap<NodeId, LinkId>,
    /// Nodes that lost a link, and when.
    suspects: HashMap<NodeId, Instant>,
}

#[derive(Debug)]
struct Known {
    node: NodeId,
    link: Weak<Link>,
    /// What is told when it takes over.
    event: DownloadEvent,
}

impl Links {
    /// A link is up. The first of a node carries its data until another proves better.
    pub(super) fn up(&mut self, link: &Arc<Link>, method: Method, timing: Timing, tell: &Teller) {
        let info = link.info();
        let event = DownloadEvent::Connected {
            node: info.node,
            remote: info.remote,
            method,
            relayed: info.relayed,
            carrier: info.carrier,
            timing,
        };
        let known = Known {
            node: info.node,
            link: Arc::downgrade(link),
            event,
        };
        let is_up = |known: &Known| known.link.upgrade().is_some_and(|link| !link.is_closed());
        self.links.retain(|_, known| is_up(known));
        self.links.insert(link.id(), known);
        let told = self.told.get(&info.node);
        if told.is_none_or(|told| !self.links.contains_key(told)) {
            self.active(info.node, link.id(), tell);
        }
    }

    /// The data of a node comes over this link now.
    pub(super) fn active(&mut self, node: NodeId, link: LinkId, tell: &Teller) {
        let Some(known) = self.links.get(&link) else {
            return;
        };
        if self.told.insert(node, link) != Some(link) {
            tell.tell(known.event.clone());
        }
    }

    /// A link of this node broke.
    pub(super) fn suspect(&mut self, node: NodeId) {
        self.suspects.entry(node).or_insert_with(Instant::now);
    }

    /// Gives up the nodes that lost a link and since when nothing has come: dialled afresh, they answer or they do not.
    pub(super) fn judge(&mut self, last_progress: Instant) {
        let due: Vec<(NodeId, Instant)> = self
            .suspects
            .iter()
            .map(|(node, since)| (*node, *since))
            .filter(|(_, since)| since.elapsed() >= DOUBT)
            .collect();
        for (node, since) in due {
            self.suspects.remove(&node);
            if last_progress < since {
                self.close(node);
            }
        }
    }

    /// Gives up all links of a node.
    pub(super) fn close(&mut self, node: NodeId) {
        for known in self.links.values().filter(|known| known.node == node) {
            if let Some(link) = known.link.upgrade() {
                link.close(DONE, "it is silent");
            }
        }
    }
}
