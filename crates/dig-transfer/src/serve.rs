//! Serves contents to whoever has a lane and knows the hash.
//!
//! Each lane is answered in its own order, one request after the other, the next piece being read while the current one is
//! sent. Pieces are at most 1 MiB, and smaller on slow lanes; what all lanes hold together is bounded, as are the reads at a
//! time and, if wished, the bytes a second. All three are granted in the order of asking, so lanes take turns.

use crate::{
    lane::{Carrier, LaneInfo},
    limit::RateLimit,
    link::LinkId,
    store::ContentStore,
    wire::{Query, RefusalCode, Refused, Resolved},
};
use dig_types::{ContentHash, NodeId};
use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Semaphore, broadcast};

mod lane;
mod news;
mod room;
mod session;
mod worker;

pub(crate) use lane::ServingLane;
pub(crate) use news::groups_of;
use session::Sessions;

/// Events that a slow reader of [`Server::events`] may be behind before it misses some.
const EVENTS: usize = 1_024;
/// Withdrawn contents that are remembered as changed; older ones are "not found".
const REMEMBERED: usize = 4_096;

/// Limits of a [`Server`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Bytes of chunks a second, all peers together. Default: no limit.
    pub upload_limit: Option<u64>,
    /// Reads from disk at a time. Default 4: enough to keep a disk and two CPUs busy.
    pub reads: usize,
    /// Bytes read but not yet sent, all lanes together; beyond it each lane still gets a chunk. Default 16 MiB: 8 fast lanes with a
    /// piece ready while one is sent.
    pub budget: usize,
    /// Unanswered requests a lane. Default 64 (`docs/protocol.md` §11).
    pub requests_per_lane: usize,
    /// Opens a lane. Default 256 (`docs/protocol.md` §11).
    pub opens_per_lane: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            upload_limit: None,
            reads: 4,
            budget: 16 << 20,
            requests_per_lane: 64,
            opens_per_lane: 256,
        }
    }
}

/// Answers what a [`Server`] cannot know: what is here under a discovery key, a SHA-256 or a name.
pub trait Resolver: Send + Sync + fmt::Debug {
    /// What matches; `None` if nothing does. Called on a lane's reader: it must not block.
    fn resolve(&self, query: &Query) -> Option<Resolved>;
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServePath {
    /// Where it is, if that can be said.
    pub remote: Option<SocketAddr>,
    /// What carries the lane.
    pub carrier: Carrier,
    /// Whether a relay stands between.
    pub relayed: bool,
}

impl From<&LaneInfo> for ServePath {
    fn from(info: &LaneInfo) -> Self {
        Self {
            remote: info.remote,
            carrier: info.carrier,
            relayed: info.relayed,
        }
    }
}

/// News of serving. A peer's lanes count as one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServeEvent {
    /// A peer begins to fetch a content.
    Started {
        /// Who.
        node: NodeId,
        /// What.
        hash: ContentHash,
        /// Over which path it asks.
        path: ServePath,
    },
    /// Most of what a peer is sent goes over another path now.
    Moved {
        /// Who.
        node: NodeId,
        /// What.
        hash: ContentHash,
        /// Over which path it goes.
        path: ServePath,
    },
    /// A peer has got this much; at most twice a second.
    Progress {
        /// Who.
        node: NodeId,
        /// What.
        hash: ContentHash,
        /// Bytes sent since it began.
        bytes: u64,
    },
    /// A peer says that it has all it wanted.
    Delivered {
        /// Who.
        node: NodeId,
        /// What.
        hash: ContentHash,
    },
    /// A peer fetches a content no longer.
    Ended {
        /// Who.
        node: NodeId,
        /// What.
        hash: ContentHash,
        /// Bytes sent since it began.
        bytes: u64,
    },
    /// A content is served no longer, because the file changed or its owner withdrew it.
    Withdrawn {
        /// What.
        hash: ContentHash,
    },
}

/// Counts since the server was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServeStatistics {
    /// Bytes of chunks sent.
    pub bytes: u64,
    /// Requests taken, whatever the answer.
    pub requests: u64,
    /// Peers that are fetching now; one that fetches two contents counts twice.
    pub fetching: usize,
    /// Lanes open now.
    pub lanes: usize,
}

/// Contents that are served.
#[derive(Debug, Default)]
struct Registry {
    stores: HashMap<ContentHash, Arc<dyn ContentStore>>,
    /// Changed since they were served.
    changed: HashSet<ContentHash>,
    lanes: HashMap<LinkId, Weak<ServingLane>>,
    closing: bool,
}

/// Serves contents on any number of links. One server does for a whole process.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    registry: Mutex<Registry>,
    resolver: Mutex<Option<Arc<dyn Resolver>>>,
    limit: RateLimit,
    reads: Arc<Semaphore>,
    /// A permit for each chunk that may be in memory.
    memory: Arc<Semaphore>,
    sessions: Sessions,
    bytes: AtomicU64,
    requests: AtomicU64,
    events: broadcast::Sender<ServeEvent>,
}

impl Server {
    /// A server of nothing yet.
    pub fn new(config: ServerConfig) -> Arc<Self> {
        Arc::new(Self {
            registry: Mutex::default(),
            resolver: Mutex::default(),
            limit: RateLimit::new(config.upload_limit),
            reads: Arc::new(Semaphore::new(config.reads.max(1))),
            memory: Arc::new(Semaphore::new(
                (config.budget / crate::chunk::CHUNK_LEN).max(16),
            )),
            sessions: Sessions::default(),
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            events: broadcast::Sender::new(EVENTS),
            config,
        })
    }

    /// Serves a content from now on, in place of one of the same hash. A folder's files are contents of their own: add their
    /// stores too, so that whoever wants one of them alone finds it.
    pub fn add(&self, store: Arc<dyn ContentStore>) {
        let hash = store.header().hash();
        let mut registry = self.registry();
        registry.changed.remove(&hash);
        registry.stores.insert(hash, store);
    }

    /// Serves a content no longer, because it changed: who fetches it is told so, and who asks later too. Whether it was served.
    pub fn withdraw(&self, hash: &ContentHash) -> bool {
        self.take_back(hash, RefusalCode::Changed)
    }

    /// Serves a content no longer, though nothing is wrong with it: who asks is told that it is not here. Whether it was served.
    pub fn remove(&self, hash: &ContentHash) -> bool {
        self.take_back(hash, RefusalCode::NotFound)
    }

    /// Whether a content is served.
    pub fn serves(&self, hash: &ContentHash) -> bool {
        self.registry().stores.contains_key(hash)
    }

    /// Who answers names, SHA-256s and discovery keys. Without one, only discovery keys of what is served are answered.
    pub fn set_resolver(&self, resolver: Arc<dyn Resolver>) {
        *self.resolver.lock().unwrap_or_else(PoisonError::into_inner) = Some(resolver);
    }

    /// Changes the limit of bytes a second.
    pub fn set_upload_limit(&self, rate: Option<u64>) {
        self.limit.set_rate(rate);
    }

    /// News from now on. A reader that is more than 1,024 events behind misses the oldest.
    pub fn events(&self) -> BoxStream<'static, ServeEvent> {
        let receiver = self.events.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }

    /// Counts so far.
    pub fn statistics(&self) -> ServeStatistics {
        ServeStatistics {
            bytes: self.bytes.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            fetching: self.sessions.count(),
            lanes: self.registry().lanes.len(),
        }
    }

    /// Whether bytes were sent to somebody within the last second.
    pub fn is_serving(&self) -> bool {
        self.sessions.busy()
    }

    /// Refuses all further requests with `REFUSED` code 9, and tells everybody who has a content open.
    pub fn shut_down(&self) {
        let hashes: Vec<ContentHash> = {
            let mut registry = self.registry();
            registry.closing = true;
            registry.stores.keys().copied().collect()
        };
        for hash in hashes {
            self.take_back(&hash, RefusalCode::ShuttingDown);
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_back(&self, hash: &ContentHash, code: RefusalCode) -> bool {
        let lanes: Vec<Arc<ServingLane>> = {
            let mut registry = self.registry();
            if registry.stores.remove(hash).is_none() {
                return false;
            }
            if code == RefusalCode::Changed && registry.changed.len() < REMEMBERED {
                registry.changed.insert(*hash);
            }
            registry.lanes.values().filter_map(Weak::upgrade).collect()
        };
        for lane in lanes {
            lane.withdraw(hash, &refusal(code));
        }
        self.emit(ServeEvent::Withdrawn { hash: *hash });
        true
    }

    /// The store of a content, or why there is none.
    fn find(&self, hash: &ContentHash) -> Result<Arc<dyn ContentStore>, Refused> {
        let registry = self.registry();
        let code = match registry.stores.get(hash) {
            Some(store) => return Ok(store.clone()),
            None if registry.closing => RefusalCode::ShuttingDown,
            None if registry.changed.contains(hash) => RefusalCode::Changed,
            None => RefusalCode::NotFound,
        };
        Err(refusal(code))
    }

    fn resolve(&self, query: &Query) -> Option<Resolved> {
        let resolver = self
            .resolver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        resolver?.resolve(query)
    }

    fn join(&self, id: LinkId, lane: &Arc<ServingLane>) {
        self.registry().lanes.insert(id, Arc::downgrade(lane));
    }

    fn leave(&self, id: LinkId) {
        self.registry().lanes.remove(&id);
    }

    fn sent(&self, info: &LaneInfo, hash: &ContentHash, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let peer = (info.node, info.instance);
        for event in self.sessions.sent(peer, hash, bytes, info.into()) {
            self.emit(event);
        }
    }

    fn emit(&self, event: ServeEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }
}

/// A refusal in words.
fn refusal(code: RefusalCode) -> Refused {
    let text = match code {
        RefusalCode::NotFound => "nothing of that hash is here",
        RefusalCode::Changed => "it changed since it was announced",
        RefusalCode::NotHere => "not here yet",
        RefusalCode::Cancelled => "cancelled",
        RefusalCode::ShuttingDown => "shutting down",
        RefusalCode::Busy => "too much to do",
        _ => "",
    };
    let retry = (code == RefusalCode::Busy).then_some(std::time::Duration::from_secs(1));
    Refused {
        retry,
        ..Refused::new(code, text)
    }
}
