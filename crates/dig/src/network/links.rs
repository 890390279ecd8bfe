//! The lanes of a node, in and out: how many there may be, and which can be used again.

use super::{lane, sockets::Sockets};
use crate::introductions::Introductions;
use dig_nat::rendezvous::LaneId;
use dig_session::{Direction, LaneSender, PeerId, Pool};
use dig_transfer::{lane::Lane, link::Link, serve::Server};
use dig_types::{Method, NodeId};
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// `BYE` code of a lane that is one too many (`docs/protocol.md` §3).
const TOO_MANY: u16 = 4;

/// A link that this node dialled and how its path was found, or a lane that a peer dialled: only the first can be used
/// again from here.
type Dialled = Option<(Weak<Link>, Method)>;

/// What is kept of a lane.
#[derive(Debug)]
struct Kept {
    dialled: Dialled,
    sender: LaneSender,
}

/// Every open lane.
#[derive(Debug, Clone)]
pub(super) struct Links {
    pool: Arc<Mutex<Pool<Kept>>>,
    introductions: Introductions,
    sockets: Arc<Sockets>,
}

impl Links {
    pub(super) fn new(introductions: Introductions, sockets: Arc<Sockets>) -> Self {
        Self {
            pool: Arc::default(),
            introductions,
            sockets,
        }
    }

    /// Every lane that is open.
    pub(super) fn senders(&self) -> Vec<LaneSender> {
        let pool = self.pool();
        pool.iter()
            .map(|(_, _, kept)| kept.sender.clone())
            .collect()
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Kept>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A link to this node or, if it is not known who it is, to one of these addresses, that is up.
    pub(super) fn existing(
        &self,
        node: Option<NodeId>,
        addrs: &[SocketAddr],
    ) -> Option<(Arc<Link>, Method)> {
        let pool = self.pool();
        let up = |kept: &Kept| {
            let (link, method) = kept.dialled.as_ref()?;
            let link = link.upgrade().filter(|link| !link.is_closed())?;
            Some((link, *method))
        };
        match node {
            Some(node) => pool.of_node(node).find_map(|(_, _, kept)| up(kept)),
            None => {
                let mut links = pool.iter().filter_map(|(_, _, kept)| up(kept));
                links.find(|(link, _)| {
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
        method: Method,
    ) -> Option<(Arc<Link>, LaneId)> {
        let peer = peer_of(&lane);
        let relayed = self.sockets.is_relayed(lane.info());
        let (lane, sender, id) = lane::adapt(lane, &self.introductions, relayed);
        let link = Link::start(lane, server.clone());
        let kept = Kept {
            dialled: Some((Arc::downgrade(&link), method)),
            sender: sender.clone(),
        };
        match self.pool().insert(peer, Direction::Outgoing, kept) {
            Ok(key) => {
                self.forget_when_closed(key, id, sender);
                Some((link, id))
            }
            Err(full) => {
                self.introductions.left(id);
                link.close(TOO_MANY, &full.to_string());
                None
            }
        }
    }

    /// Counts a lane that a peer dialled; `None` if there are as many as allowed.
    pub(super) fn accepted(&self, lane: dig_session::Lane) -> Option<Lane> {
        let peer = peer_of(&lane);
        let relayed = self.sockets.is_relayed(lane.info());
        let (lane, sender, id) = lane::adapt(lane, &self.introductions, relayed);
        let kept = Kept {
            dialled: None,
            sender: sender.clone(),
        };
        match self.pool().insert(peer, Direction::Inbound, kept) {
            Ok(key) => {
                self.forget_when_closed(key, id, sender);
                Some(lane)
            }
            Err(full) => {
                self.introductions.left(id);
                sender.close(TOO_MANY, &full.to_string());
                None
            }
        }
    }

    fn forget_when_closed(&self, key: dig_session::PoolKey, id: LaneId, sender: LaneSender) {
        let links = self.clone();
        let socket = sender.info().socket;
        self.sockets.lane_up(socket);
        tokio::spawn(async move {
            sender.closed().await;
            links.pool().remove(key);
            links.sockets.lane_down(socket);
            links.introductions.left(id);
        });
    }
}

fn peer_of(lane: &dig_session::Lane) -> PeerId {
    PeerId {
        node: lane.info().node,
        instance: lane.info().instance,
    }
}
