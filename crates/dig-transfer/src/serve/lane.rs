//! What one lane asks for.

use super::{Server, news, refusal, room::LaneRoom, worker};
use crate::{
    chunk::Run,
    lane::LaneInfo,
    link::{LinkId, Outgoing},
    store::ContentStore,
    wire::{Claim, Info, Message, Query, RefusalCode, Refused, Resolved, Want},
};
use dig_types::{ContentHash, ContentName, DiscoveryKey, InstanceId, NodeId};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Something that takes reading, in the order of asking.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) request: u32,
    pub(super) hash: ContentHash,
    pub(super) what: What,
    pub(super) cancel: CancellationToken,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum What {
    Manifest,
    Chunks { run: Run, want: Want },
}

#[derive(Debug)]
struct Open {
    hash: ContentHash,
    end: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// All jobs that are not answered, waiting or not.
    unanswered: HashMap<u32, CancellationToken>,
    opens: HashMap<u32, Open>,
    /// Contents of which this lane has asked for data.
    fetching: HashSet<ContentHash>,
}

/// The serving side of one link.
#[derive(Debug)]
pub(crate) struct ServingLane {
    pub(super) server: Arc<Server>,
    pub(super) out: Arc<Outgoing>,
    pub(super) room: Arc<LaneRoom>,
    id: LinkId,
    info: LaneInfo,
    state: Mutex<State>,
    wake: Notify,
    stop: CancellationToken,
}

impl ServingLane {
    pub(crate) fn start(
        server: Arc<Server>,
        id: LinkId,
        info: LaneInfo,
        out: Arc<Outgoing>,
    ) -> Arc<Self> {
        let lane = Arc::new(Self {
            room: LaneRoom::new(server.memory.clone()),
            server,
            out,
            id,
            info,
            state: Mutex::default(),
            wake: Notify::new(),
            stop: CancellationToken::new(),
        });
        lane.server.join(id, &lane);
        worker::start(&lane);
        lane
    }

    /// The link has ended.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
        self.server.leave(self.id);
        let State {
            opens, fetching, ..
        } = std::mem::take(&mut *self.state());
        opens.values().for_each(|open| open.end.cancel());
        fetching.into_iter().for_each(|hash| self.left(hash));
    }

    /// Takes a request; an error is a violation of the protocol.
    pub(crate) fn take(self: &Arc<Self>, request: u32, message: Message) -> Result<(), String> {
        match message {
            Message::Cancel => self.cancel(request),
            Message::Done(hash) => self.done(hash),
            _ if self.is_used(request) => return Err("it uses a request id twice".into()),
            Message::Resolve(query) => self.resolve(request, &query),
            Message::Open(hash) => self.open(request, hash),
            Message::ManifestGet(hash) => self.enqueue(request, hash, What::Manifest),
            Message::Get { hash, run, want } => {
                self.enqueue(request, hash, What::Chunks { run, want })
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn refuse_malformed(&self, request: u32, text: &str) {
        self.refuse(request, Refused::new(RefusalCode::Malformed, text));
    }

    /// A content is served no longer.
    pub(super) fn withdraw(&self, hash: &ContentHash, refused: &Refused) {
        let requests: Vec<u32> = {
            let mut state = self.state();
            let opens = state.opens.iter().filter(|(_, open)| open.hash == *hash);
            let requests: Vec<u32> = opens.map(|(request, _)| *request).collect();
            for request in &requests {
                if let Some(open) = state.opens.remove(request) {
                    open.end.cancel();
                }
            }
            requests
        };
        for request in requests {
            self.refuse(request, refused.clone());
        }
    }

    /// Sends news of a content, unless the other side was told that there will be none; whether it did.
    pub(super) fn news(&self, request: u32, message: Message) -> bool {
        // Under the lock, so that nothing follows the refusal that ends an `OPEN`.
        let state = self.state();
        let open = state.opens.contains_key(&request);
        if open {
            self.out.post(message, request);
        }
        open
    }

    /// The next job; `None` when the lane has ended.
    pub(super) async fn next(&self) -> Option<Job> {
        loop {
            let job = self.state().waiting.pop_front();
            match job {
                Some(job) => return Some(job),
                None => tokio::select! {
                    () = self.wake.notified() => {}
                    () = self.stop.cancelled() => return None,
                },
            }
        }
    }

    /// Takes note that a job's answer is complete, or about to be.
    pub(super) fn answered(&self, job: &Job) {
        self.state().unanswered.remove(&job.request);
    }

    pub(super) fn sent(&self, hash: &ContentHash, bytes: usize) {
        self.server.sent(&self.info, hash, bytes as u64);
    }

    fn peer(&self) -> (NodeId, InstanceId) {
        (self.info.node, self.info.instance)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, request: u32, refused: Refused) {
        self.out.post(Message::Refused(refused), request);
    }

    fn is_used(&self, request: u32) -> bool {
        let state = self.state();
        state.unanswered.contains_key(&request) || state.opens.contains_key(&request)
    }

    fn resolve(&self, request: u32, query: &Query) {
        self.server.requests.fetch_add(1, Ordering::Relaxed);
        match self
            .server
            .resolve(query)
            .or_else(|| self.resolve_key(query))
        {
            Some(resolved) => self.out.post(Message::Resolved(resolved), request),
            None => self.refuse(request, refusal(RefusalCode::NotFound)),
        }
    }

    fn resolve_key(&self, query: &Query) -> Option<Resolved> {
        let Query::Content(key) = query else {
            return None;
        };
        let registry = self.server.registry();
        let found = registry
            .stores
            .iter()
            .find(|(hash, _)| DiscoveryKey::content(hash) == *key);
        let (_, store) = found?;
        let header = store.header();
        let name = ContentName::new(&store.name()).ok();
        Some(Resolved::Found(vec![Claim {
            hash: None,
            kind: header.kind,
            size: header.size,
            name,
        }]))
    }

    fn open(self: &Arc<Self>, request: u32, hash: ContentHash) {
        self.server.requests.fetch_add(1, Ordering::Relaxed);
        let end = self.stop.child_token();
        {
            let mut state = self.state();
            if state.opens.len() >= self.server.config.opens_per_lane {
                drop(state);
                return self.refuse(request, refusal(RefusalCode::Busy));
            }
            // Noted before it is looked up, so that a withdrawal in between is not missed.
            state.opens.insert(
                request,
                Open {
                    hash,
                    end: end.clone(),
                },
            );
        }
        match self.server.find(&hash) {
            Ok(store) => self.inform(request, store, end),
            Err(refused) => {
                if self.state().opens.remove(&request).is_some() {
                    self.refuse(request, refused);
                }
            }
        }
    }

    fn inform(
        self: &Arc<Self>,
        request: u32,
        store: Arc<dyn ContentStore>,
        end: CancellationToken,
    ) {
        let holding = store.holding();
        let complete = matches!(*holding.borrow(), crate::store::Holding::Complete);
        let header = store.header();
        let info = Info {
            header,
            complete,
            name: ContentName::new(&store.name()).ok(),
        };
        self.out.post(Message::Info(info), request);
        if !complete {
            tokio::spawn(news::tell(
                self.clone(),
                request,
                header.chunks,
                holding,
                end,
            ));
        }
    }

    fn enqueue(&self, request: u32, hash: ContentHash, what: What) {
        self.server.requests.fetch_add(1, Ordering::Relaxed);
        let joined = {
            let mut state = self.state();
            if state.unanswered.len() >= self.server.config.requests_per_lane {
                drop(state);
                return self.refuse(request, refusal(RefusalCode::Busy));
            }
            let cancel = self.stop.child_token();
            state.unanswered.insert(request, cancel.clone());
            state.waiting.push_back(Job {
                request,
                hash,
                what,
                cancel,
            });
            // Only what is served makes a session: a hash from nowhere must not fill the list.
            self.server.serves(&hash) && state.fetching.insert(hash)
        };
        if joined
            && let Some(event) = self
                .server
                .sessions
                .join(self.peer(), (&self.info).into(), hash)
        {
            self.server.emit(event);
        }
        self.wake.notify_one();
    }

    fn cancel(&self, request: u32) {
        let (job, left) = {
            let mut state = self.state();
            let waiting = state.waiting.iter().position(|job| job.request == request);
            let job = waiting.and_then(|at| state.waiting.remove(at));
            if let Some(cancel) = state.unanswered.get(&request) {
                cancel.cancel();
            }
            let open = state.opens.remove(&request);
            let left = open.and_then(|open| {
                open.end.cancel();
                let others = state.opens.values().any(|other| other.hash == open.hash);
                (!others && state.fetching.remove(&open.hash)).then_some(open.hash)
            });
            (job, left)
        };
        if let Some(job) = job {
            self.answered(&job);
            self.refuse(request, refusal(RefusalCode::Cancelled));
        }
        if let Some(hash) = left {
            self.left(hash);
        }
    }

    fn left(&self, hash: ContentHash) {
        if let Some(event) = self.server.sessions.leave(self.peer(), hash) {
            self.server.emit(event);
        }
    }

    fn done(&self, hash: ContentHash) {
        let known = {
            let state = self.state();
            state.fetching.contains(&hash) || state.opens.values().any(|open| open.hash == hash)
        };
        if known && let Some(event) = self.server.sessions.delivered(self.peer(), hash) {
            self.server.emit(event);
        }
    }
}
