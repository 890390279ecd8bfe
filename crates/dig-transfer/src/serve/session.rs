//! Who is fetching what.

use super::ServeEvent;
use dig_types::{ContentHash, InstanceId, NodeId};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Time between two [`ServeEvent::Progress`] of a session.
const PROGRESS: Duration = Duration::from_millis(500);
/// After this long without a byte nobody is being served.
const IDLE: Duration = Duration::from_secs(1);

type Peer = (NodeId, InstanceId);

#[derive(Debug)]
struct Session {
    /// Lanes of the peer that take part.
    lanes: u32,
    bytes: u64,
    told: Instant,
    /// Whether the peer said that it has all it wanted, which it says on each lane.
    delivered: bool,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<(Peer, ContentHash), Session>,
    last_sent: Option<Instant>,
}

/// One entry for each peer and content, over all lanes.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<State>);

impl Sessions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more lane of a peer fetches a content.
    pub(super) fn join(
        &self,
        peer: Peer,
        remote: Option<SocketAddr>,
        hash: ContentHash,
    ) -> Option<ServeEvent> {
        let mut state = self.state();
        let session = state
            .sessions
            .entry((peer, hash))
            .or_insert_with(|| Session {
                lanes: 0,
                bytes: 0,
                told: Instant::now(),
                delivered: false,
            });
        session.lanes += 1;
        (session.lanes == 1).then_some(ServeEvent::Started {
            node: peer.0,
            remote,
            hash,
        })
    }

    /// One lane of a peer fetches a content no longer.
    pub(super) fn leave(&self, peer: Peer, hash: ContentHash) -> Option<ServeEvent> {
        let mut state = self.state();
        let session = state.sessions.get_mut(&(peer, hash))?;
        session.lanes -= 1;
        if session.lanes > 0 {
            return None;
        }
        let bytes = session.bytes;
        state.sessions.remove(&(peer, hash));
        Some(ServeEvent::Ended {
            node: peer.0,
            hash,
            bytes,
        })
    }

    /// A peer says that it has all it wanted; told once.
    pub(super) fn delivered(&self, peer: Peer, hash: ContentHash) -> Option<ServeEvent> {
        let mut state = self.state();
        let session = state.sessions.get_mut(&(peer, hash));
        let known = session.is_some_and(|session| std::mem::replace(&mut session.delivered, true));
        (!known).then_some(ServeEvent::Delivered { node: peer.0, hash })
    }

    pub(super) fn sent(&self, peer: Peer, hash: &ContentHash, bytes: u64) -> Option<ServeEvent> {
        let (mut state, now) = (self.state(), Instant::now());
        state.last_sent = Some(now);
        let session = state.sessions.get_mut(&(peer, *hash))?;
        session.bytes += bytes;
        if now - session.told < PROGRESS {
            return None;
        }
        session.told = now;
        Some(ServeEvent::Progress {
            node: peer.0,
            hash: *hash,
            bytes: session.bytes,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.state().sessions.len()
    }

    pub(super) fn busy(&self) -> bool {
        self.state()
            .last_sent
            .is_some_and(|last| last.elapsed() < IDLE)
    }
}
