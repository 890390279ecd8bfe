//! Peers that the user or a ticket names.

use crate::{
    discovery::{Announcement, Discovery, DiscoveryError, Found, Lookup},
    networks::Networks,
};
use dig_types::{DiscoveryKey, PeerAddr, PeerRecord, PeerSource, Ticket, TicketNode};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use std::sync::Arc;

/// A fixed list of peers, given for every lookup in its order; its streams end.
///
/// Announcing to it does nothing: a list has nobody to tell.
#[derive(Debug, Clone)]
pub struct ExplicitPeers(Arc<[PeerRecord]>);

impl ExplicitPeers {
    /// Peers that the user named. The user may name any address.
    pub fn new(peers: impl IntoIterator<Item = PeerAddr>) -> Self {
        let record = |peer| PeerRecord::from_addr(peer, PeerSource::Explicit);
        Self(peers.into_iter().map(record).collect())
    }

    /// Peers that a ticket names, at the addresses that a ticket may make us dial ([`Networks::allows_ticket`]).
    pub fn from_ticket(ticket: &Ticket, networks: &Networks) -> Self {
        let allowed = |addr: &_| networks.allows_ticket(addr);
        let known = ticket.nodes.iter().map(|node| {
            let addrs = node.addrs.iter().filter(|addr| allowed(addr)).copied();
            PeerRecord {
                node: Some(node.node),
                addrs: addrs.take(Ticket::MAX_ADDRS).collect(),
                mapped: (node.mapped.iter().copied())
                    .filter(|mapped| allowed(&mapped.addr))
                    .collect(),
                via: allowed_via(node, networks),
                relays: node.relays.clone(),
                source: PeerSource::Ticket,
            }
        });
        let anonymous = ticket.anonymous.iter().filter(|addr| allowed(addr));
        let anonymous = anonymous
            .map(|&addr| PeerRecord::from_addr(PeerAddr { node: None, addr }, PeerSource::Ticket));
        Self(
            known
                .take(Ticket::MAX_NODES)
                .chain(anonymous.take(Ticket::MAX_NODES))
                .filter(PeerRecord::has_way)
                .collect(),
        )
    }

    /// The peers, in the order in which they are given.
    pub fn peers(&self) -> &[PeerRecord] {
        &self.0
    }
}

/// Who may introduce us to a node of a ticket: the same rules as for the node itself.
fn allowed_via(node: &TicketNode, networks: &Networks) -> Vec<PeerAddr> {
    let via = node.via.iter().copied();
    via.filter(|via| networks.allows_ticket(&via.addr))
        .collect()
}

impl Discovery for ExplicitPeers {
    fn announce(
        &self,
        _key: DiscoveryKey,
        _announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        future::ready(Ok(())).boxed()
    }

    fn withdraw(&self, _key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        future::ready(Ok(())).boxed()
    }

    fn find(&self, _lookup: Lookup) -> BoxStream<'static, Found> {
        let peers: Vec<_> = self.0.iter().cloned().map(Found::from).collect();
        stream::iter(peers).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::Subnet;
    use dig_types::{ContentHash, NodeId};

    #[test]
    fn a_ticket_makes_us_dial_only_what_it_may() {
        let mut ticket = Ticket::new(ContentHash::from_bytes([1; 32]));
        let addrs = [
            "127.0.0.1:4433",
            "10.1.2.3:4433",
            "10.9.9.9:4433",
            "192.0.2.1:4433",
        ];
        ticket.nodes.push(TicketNode {
            node: NodeId::from_bytes([2; 32]),
            addrs: addrs.map(|addr| addr.parse().unwrap()).to_vec(),
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
        });
        ticket.nodes.push(TicketNode {
            node: NodeId::from_bytes([3; 32]),
            addrs: vec!["[::ffff:127.0.0.1]:4433".parse().unwrap()],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
        });
        ticket.anonymous.push("224.0.0.1:4433".parse().unwrap());
        let networks = Networks::new([Subnet::new("10.1.2.1".parse().unwrap(), 24)]);
        let peers = ExplicitPeers::from_ticket(&ticket, &networks);
        assert_eq!(peers.peers().len(), 1);
        let dialled = [addrs[1], addrs[3]].map(|addr| addr.parse().unwrap());
        assert_eq!(peers.peers()[0].addrs, dialled);
    }
}
