//! Gun among the carriers of a node's signals.

use super::{Inner, NetworkManager};
use crate::{
    gun::{Carriers, GunClient, GunSignaling, Listening, Presence},
    introductions::Introductions,
};
use bytes::Bytes;
use dig_nat::signaling::Signaling;
use dig_types::{Ticket, TicketNode};
use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::watch;

/// Gun as the network of a node uses it.
#[derive(Debug)]
pub(crate) struct Gun {
    client: GunClient,
    signaling: GunSignaling,
    /// Kept from when the node may be asked for a path at any time.
    reached: OnceLock<Listening>,
}

impl Gun {
    pub(crate) const fn new(client: GunClient, signaling: GunSignaling) -> Self {
        Self {
            client,
            signaling,
            reached: OnceLock::new(),
        }
    }

    pub(crate) const fn client(&self) -> &GunClient {
        &self.client
    }

    pub(crate) const fn signaling(&self) -> &GunSignaling {
        &self.signaling
    }

    /// Whether any relay was named.
    pub(super) fn has_relays(&self) -> bool {
        self.signaling.has_relays()
    }

    /// Connects to relays of a peer, too.
    pub(super) fn add(&self, relays: &[Arc<str>]) {
        self.client.add_named(relays);
    }

    /// Reads this node's mailbox, as long as the answer is kept.
    pub(super) fn listen(&self) -> Listening {
        self.signaling.listen()
    }

    /// Waits until a relay is there; whether one is.
    pub(super) async fn up(&self, patience: Duration) -> bool {
        self.has_relays()
            && tokio::time::timeout(patience, self.signaling.up())
                .await
                .is_ok()
    }

    /// Lets others write to this node from now on.
    pub(super) fn be_reached(&self, prekey: impl FnOnce() -> watch::Receiver<Bytes>) {
        self.reached.get_or_init(|| {
            self.signaling.keep_published(prekey());
            self.signaling.listen()
        });
    }

    pub(super) async fn close(&self) {
        self.signaling.close();
        self.client.close().await;
    }
}

impl NetworkManager {
    /// Signals and records over Gun relays; `None` if Gun is not used.
    pub(crate) fn gun(&self) -> Option<&Gun> {
        self.0.gun.as_ref()
    }

    /// The Gun relays that a ticket of this node names.
    pub(crate) fn relays_to_tell(&self) -> Vec<Arc<str>> {
        let gun = self.0.gun.as_ref();
        gun.map(|gun| gun.client().to_tell()).unwrap_or_default()
    }
}

impl Presence for NetworkManager {
    fn here(&self) -> TicketNode {
        let mut addrs = self.addrs();
        addrs.truncate(Ticket::MAX_ADDRS);
        TicketNode {
            node: self.node_id(),
            addrs,
            mapped: self.mapped(),
            via: self.via(),
            relays: Vec::new(),
        }
    }

    fn prekey(&self) -> Bytes {
        self.0.nat.prekey().borrow().clone()
    }
}

/// What carries the signals of a node.
pub(super) fn carriers(introductions: &Introductions, gun: Option<&Gun>) -> Arc<dyn Signaling> {
    let rendezvous = introductions.signaling().clone();
    match gun {
        Some(gun) => Arc::new(Carriers::new(rendezvous, gun.signaling.clone())),
        None => rendezvous,
    }
}

/// Nobody introduces a node that has relays alone, so how far its outermost NAT is it learns on the way to a STUN server.
pub(super) async fn measure_hops(inner: Arc<Inner>) {
    for server in inner.paths.stun.clone() {
        let addrs = tokio::select! {
            addrs = server.resolve() => addrs.unwrap_or_default(),
            () = inner.stop.cancelled() => return,
        };
        if let Some(addr) = addrs.into_iter().find(SocketAddr::is_ipv4) {
            super::measure_hops(inner, addr).await;
            return;
        }
    }
}
