//! Who is fetching what.

use super::{ServeEvent, ServePath};
use dig_types::{ContentHash, InstanceId, NodeId};
use std::{
    collections::HashMap,
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
    /// The path that was told last.
    path: ServePath,
    /// What each path carried since the last look.
    carried: Vec<(ServePath, u64)>,
    /// Whether the peer said that it has all it wanted, which it says on each lane.
    delivered: bool,
}

impl Session {
    fn carry(&mut self, path: ServePath, bytes: u64) {
        match self.carried.iter_mut().find(|(known, _)| *known == path) {
            Some((_, carried)) => *carried += bytes,
            // As many as the peer has lanes, within half a second.
            None => self.carried.push((path, bytes)),
        }
    }

    /// The path that carries most, if it is another than was told; begins to count anew.
    fn moved(&mut self) -> Option<ServePath> {
        let carried = std::mem::take(&mut self.carried);
        let (path, _) = carried.into_iter().max_by_key(|(_, bytes)| *bytes)?;
        (std::mem::replace(&mut self.path, path) != path).then_some(path)
    }
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
        path: ServePath,
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
                path,
                carried: Vec::new(),
                delivered: false,
            });
        session.lanes += 1;
        (session.lanes == 1).then_some(ServeEvent::Started {
            node: peer.0,
            hash,
            path,
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

    /// Bytes went out over a path. Half a second of them tells by which path most go: a lane more on trial is no move.
    pub(super) fn sent(
        &self,
        peer: Peer,
        hash: &ContentHash,
        bytes: u64,
        path: ServePath,
    ) -> impl Iterator<Item = ServeEvent> + use<> {
        let (mut state, now) = (self.state(), Instant::now());
        state.last_sent = Some(now);
        let (mut moved, mut progress) = (None, None);
        if let Some(session) = state.sessions.get_mut(&(peer, *hash)) {
            session.bytes += bytes;
            session.carry(path, bytes);
            if now - session.told >= PROGRESS {
                session.told = now;
                let (node, hash, bytes) = (peer.0, *hash, session.bytes);
                progress = Some(ServeEvent::Progress { node, hash, bytes });
                moved = session
                    .moved()
                    .map(|path| ServeEvent::Moved { node, hash, path });
            }
        }
        moved.into_iter().chain(progress)
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
