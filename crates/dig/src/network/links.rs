//! The lanes of a node, in and out: how many there may be, and which can be used again.

use crate::lane;
use dig_session::{Direction, LaneSender, PeerId, Pool};
use dig_transfer::{lane::Lane, link::Link, serve::Server};
use dig_types::NodeId;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// `BYE` code of a lane that is one too many (`docs/protocol.md` §3).
const TOO_MANY: u16 = 4;

/// A link that this node dialled, or a lane that a peer dialled: only the first can be used again from here.
type Kept = Option<Weak<Link>>;

/// Every open lane.
#[derive(Debug, Clone, Default)]
pub(super) struct Links(Arc<Mutex<Pool<Kept>>>);

impl Links {
    fn pool(&self) -> MutexGuard<'_, Pool<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link to this node or, if it is not known who it is, to one of these addresses, that is up.
    pub(super) fn existing(&self, node: Option<NodeId>, addrs: &[SocketAddr]) -> Option<Arc<Link>> {
        let pool = self.pool();
        let up = |kept: &Kept| {
            kept.as_ref()
                .and_then(Weak::upgrade)
                .filter(|link| !link.is_closed())
        };
        match node {
            Some(node) => pool.of_node(node).find_map(|(_, _, kept)| up(kept)),
            None => {
                let mut links = pool.iter().filter_map(|(_, _, kept)| up(kept));
                links.find(|link| {
                    link.info()
                        .remote
                        .is_some_and(|remote| addrs.contains(&remote))
                })
            }
        }
    }

    /// Takes a lane that this node dialled into use; `None` if there are as many as allowed.
    pub(super) fn dialled(
        &self,
        lane: dig_session::Lane,
        server: &Arc<Server>,
    ) -> Option<Arc<Link>> {
        let (peer, (lane, sender)) = (peer_of(&lane), lane::adapt(lane));
        let link = Link::start(lane, server.clone());
        match self
            .pool()
            .insert(peer, Direction::Outgoing, Some(Arc::downgrade(&link)))
        {
            Ok(key) => {
                self.forget_when_closed(key, sender);
                Some(link)
            }
            Err(full) => {
                link.close(TOO_MANY, &full.to_string());
                None
            }
        }
    }

    /// Counts a lane that a peer dialled; `None` if there are as many as allowed.
    pub(super) fn accepted(&self, lane: dig_session::Lane) -> Option<Lane> {
        let (peer, (lane, sender)) = (peer_of(&lane), lane::adapt(lane));
        match self.pool().insert(peer, Direction::Inbound, None) {
            Ok(key) => {
                self.forget_when_closed(key, sender);
                Some(lane)
            }
            Err(full) => {
                sender.close(TOO_MANY, &full.to_string());
                None
            }
        }
    }

    fn forget_when_closed(&self, key: dig_session::PoolKey, sender: LaneSender) {
        let links = self.clone();
        tokio::spawn(async move {
            sender.closed().await;
            links.pool().remove(key);
        });
    }
}

fn peer_of(lane: &dig_session::Lane) -> PeerId {
    PeerId {
        node: lane.info().node,
        instance: lane.info().instance,
    }
}
