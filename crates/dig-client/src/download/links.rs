//! Which link of each peer carries the data, and telling so.

use super::Teller;
use crate::{connector::Method, event::DownloadEvent};
use dig_transfer::link::{Link, LinkId};
use dig_types::NodeId;
use std::{collections::HashMap, sync::Arc, time::Duration};

/// The links of one download.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// What is told when a link takes over.
    events: HashMap<LinkId, DownloadEvent>,
    /// The link of each node that was told last.
    told: HashMap<NodeId, LinkId>,
}

impl Links {
    /// A link is up. The first of a node carries its data until another proves better.
    pub(super) fn up(
        &mut self,
        link: &Arc<Link>,
        method: Method,
        elapsed: Duration,
        tell: &Teller,
    ) {
        let info = link.info();
        let event = DownloadEvent::Connected {
            node: info.node,
            remote: info.remote,
            method,
            relayed: info.relayed,
            carrier: info.carrier,
            elapsed,
        };
        self.events.insert(link.id(), event);
        if !self.told.contains_key(&info.node) {
            self.active(info.node, link.id(), tell);
        }
    }

    /// The data of a node comes over this link now.
    pub(super) fn active(&mut self, node: NodeId, link: LinkId, tell: &Teller) {
        let Some(event) = self.events.get(&link) else {
            return;
        };
        if self.told.insert(node, link) != Some(link) {
            tell.tell(event.clone());
        }
    }
}
