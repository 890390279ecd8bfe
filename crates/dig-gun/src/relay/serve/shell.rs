//! The core, and what carries out what it says.

use super::{
    outbox::Outbox,
    reads::{Job, Reads},
};
use crate::{
    message::{Message, MessageId, WireLimits},
    relay::{
        core::{Answer, ConnId, Core, Now, Output},
        counters::Counters,
        ids::Ids,
        limits::Limits,
        writing,
    },
    store::{Storage, Writer},
    value::State,
};
use dig_types::Timestamp;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;

/// A connection with more than this waiting may be closed to make room for others.
const SLOW: usize = 64 << 10;

/// A commit that became durable, or failed.
pub(super) type Committed = Result<(), Arc<str>>;

/// What all connections share.
pub(super) struct Shell {
    core: Mutex<Core>,
    outboxes: RwLock<HashMap<ConnId, Arc<Outbox>>>,
    ids: Mutex<Ids>,
    pub(super) limits: Limits,
    pub(super) wire: WireLimits,
    pub(super) storage: Arc<dyn Storage>,
    /// Gone after the end.
    writer: Mutex<Option<Writer>>,
    reads: Reads,
    committed: mpsc::UnboundedSender<Committed>,
    start: Instant,
    /// When the timer is set for, in nanoseconds since the start.
    timer: AtomicU64,
    timer_moved: Notify,
    /// Connections above their rate take their turn here.
    pub(super) turn: Semaphore,
    /// Long frames are handled one at a time, away from the others.
    pub(super) long: Arc<Semaphore>,
    /// There may be room in the store's queues again.
    room: Notify,
    outgoing: Arc<AtomicUsize>,
    pub(super) totals: Totals,
}

/// What is counted outside the core.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) bytes_out: AtomicU64,
    pub(super) closed_slow: AtomicU64,
    pub(super) closed_frames: AtomicU64,
}

impl fmt::Debug for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shell").finish_non_exhaustive()
    }
}

impl Shell {
    pub(super) fn new(
        core: Core,
        limits: Limits,
        seed: u64,
        storage: Arc<dyn Storage>,
        reads: Reads,
        committed: mpsc::UnboundedSender<Committed>,
    ) -> Self {
        Self {
            core: Mutex::new(core),
            outboxes: RwLock::default(),
            ids: Mutex::new(Ids::new(seed)),
            wire: WireLimits {
                max_text: limits.frame,
                max_fields: limits.fields,
                ..WireLimits::default()
            },
            limits,
            storage,
            writer: Mutex::new(None),
            reads,
            committed,
            start: Instant::now(),
            timer: AtomicU64::new(u64::MAX),
            timer_moved: Notify::new(),
            turn: Semaphore::new(1),
            long: Arc::new(Semaphore::new(1)),
            room: Notify::new(),
            outgoing: Arc::default(),
            totals: Totals::default(),
        }
    }

    /// Where commits go; without it, or after the end, they fail.
    pub(super) fn set_writer(&self, writer: Option<Writer>) -> Option<Writer> {
        std::mem::replace(&mut *lock(&self.writer), writer)
    }

    /// What time it is.
    pub(super) fn now(&self) -> Now {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        // Below 2^53 until the year 287396, so nothing is lost that matters.
        let clock = State::new(since.as_secs_f64() * 1000.0);
        Now {
            since: self.start.elapsed(),
            clock: clock.unwrap_or(State::EPOCH),
        }
    }

    /// Tells the core something, and does what it says.
    pub(super) fn tell<T>(&self, what: impl FnOnce(&mut Core, Now) -> T) -> T {
        let mut deliveries = Vec::new();
        let (told, deadline) = {
            let mut core = lock(&self.core);
            let now = self.now();
            let told = what(&mut core, now);
            while let Some(output) = core.pop_output() {
                // Commits and reads in the core's order, so before anybody else tells it something.
                match output {
                    Output::Load(soul) => self.reads.send(Job::Load(soul)),
                    Output::Find(find, query) => self.reads.send(Job::Find(find, query)),
                    Output::Commit { changes, hurried } => self.commit(changes, hurried, now.clock),
                    output => deliveries.push(output),
                }
            }
            (told, core.deadline(now))
        };
        for output in deliveries {
            self.deliver(output);
        }
        if let Some(deadline) = deadline {
            let deadline = u64::try_from(deadline.as_nanos()).unwrap_or(u64::MAX);
            if self.timer.fetch_min(deadline, Ordering::Relaxed) > deadline {
                self.timer_moved.notify_one();
            }
        }
        told
    }

    fn commit(&self, changes: Vec<crate::graph::Node>, hurried: bool, clock: State) {
        let committed = self.committed.clone();
        // The word is passed on to a task: this may run within `tell`.
        let done = move |result: Result<(), Arc<crate::store::StoreError>>| {
            let result = result.map_err(|error| Arc::from(error.to_string()));
            // Nobody listens after the end.
            let _ = committed.send(result);
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the clock is after 1970, and before the year 287396"
        )]
        let at = Timestamp::from_millis(clock.get() as u64);
        match &*lock(&self.writer) {
            Some(writer) if hurried => writer.submit(changes, at, Box::new(done)),
            Some(writer) => writer.submit_unhurried(changes, at, Box::new(done)),
            None => done(Err(Arc::new(crate::store::StoreError::Closed))),
        }
    }

    fn deliver(&self, output: Output) {
        match output {
            Output::Send(conn, message) => {
                let Some(outbox) = self.outbox(conn) else {
                    return;
                };
                self.write(message, &mut |text| self.push(&outbox, &text));
            }
            Output::Push(to, message) => {
                let outboxes: Vec<_> = {
                    let all = self.outboxes.read().unwrap_or_else(PoisonError::into_inner);
                    to.iter()
                        .filter_map(|conn| all.get(conn).cloned())
                        .collect()
                };
                self.write(message, &mut |text| {
                    for outbox in &outboxes {
                        self.push(outbox, &text);
                    }
                });
            }
            Output::Answer(conn, answer) => self.answer(conn, answer),
            Output::Ask(conn, ask) => {
                if let Some(outbox) = self.outbox(conn) {
                    self.push(&outbox, &writing::ask(ask).into());
                }
            }
            Output::Close(conn, why) => {
                tracing::debug!(%conn, %why, "closing a connection");
                if let Some(outbox) = self.outbox(conn) {
                    outbox.close();
                }
            }
            // Done under the lock.
            Output::Load(_) | Output::Find(..) | Output::Commit { .. } => {}
        }
    }

    fn write(&self, message: Message, out: &mut dyn FnMut(Utf8Bytes)) {
        writing::message(message, &mut || self.id(), &mut |text| out(text.into()));
    }

    fn answer(&self, conn: ConnId, answer: Answer) {
        let Some(outbox) = self.outbox(conn) else {
            return;
        };
        let bytes = answer.nodes.iter().map(|node| node.weight()).sum::<usize>();
        if bytes < SLOW / 16 {
            writing::answer(answer, &mut || self.id(), &mut |text| {
                outbox.push(&text.into())
            });
        } else if outbox.bytes_in_all() > self.limits.outgoing_in_all && outbox.bytes() > SLOW {
            self.too_slow(&outbox);
        } else {
            // Written when its turn comes, for a few questions can have long answers.
            outbox.push_answer(answer, bytes);
        }
    }

    fn push(&self, outbox: &Outbox, text: &Utf8Bytes) {
        let told = outbox.told();
        let full = told > 0 && told + text.len() > self.limits.outgoing;
        let full_in_all =
            outbox.bytes() > SLOW && outbox.bytes_in_all() > self.limits.outgoing_in_all;
        if full || full_in_all {
            self.too_slow(outbox);
        } else {
            outbox.push(text);
        }
    }

    fn too_slow(&self, outbox: &Outbox) {
        if outbox.close() {
            self.totals.closed_slow.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A name for a message.
    pub(super) fn id(&self) -> MessageId {
        lock(&self.ids).next()
    }

    /// A connection is there, to which this is sent.
    pub(super) fn attach(&self, conn: ConnId, outbox: &Arc<Outbox>) {
        let mut all = self
            .outboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.insert(conn, Arc::clone(outbox));
    }

    /// A connection is gone.
    pub(super) fn detach(&self, conn: ConnId) {
        let mut all = self
            .outboxes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        all.remove(&conn);
    }

    /// An outbox for a connection to come.
    pub(super) fn new_outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(Arc::clone(&self.outgoing)))
    }

    fn outbox(&self, conn: ConnId) -> Option<Arc<Outbox>> {
        let all = self.outboxes.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&conn).cloned()
    }

    /// Waits until the store's queues have room for what comes: less for those who send more than their rate.
    pub(super) async fn room(&self, for_puts: bool, in_turn: bool) {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            room.as_mut().enable();
            let has_room = lock(&self.core).has_room(self.now(), for_puts, in_turn);
            if has_room {
                return;
            }
            // Looked at again when nobody tells, as time makes room too.
            let _ = tokio::time::timeout(Duration::from_secs(1), room).await;
        }
    }

    /// There may be room again.
    pub(super) fn made_room(&self) {
        self.room.notify_waiters();
    }

    /// Lets the store forget what nobody wrote for long.
    pub(super) fn expire(&self, now: Timestamp) {
        if let Some(writer) = &*lock(&self.writer) {
            writer.expire(now);
        }
    }

    /// Calls the core when it wants to be called. Never ends.
    pub(super) async fn keep_time(&self) {
        loop {
            let due = Duration::from_nanos(self.timer.load(Ordering::Relaxed));
            let wait = due
                .saturating_sub(self.start.elapsed())
                .min(Duration::from_secs(60));
            tokio::select! {
                () = tokio::time::sleep(wait) => {
                    self.timer.store(u64::MAX, Ordering::Relaxed);
                    self.tell(|core, now| core.on_timeout(now));
                }
                () = self.timer_moved.notified() => {}
            }
        }
    }

    /// What happened so far.
    pub(super) fn counters(&self) -> Counters {
        let counters = lock(&self.core).counters();
        let usage = self.storage.usage();
        Counters {
            stored_nodes: usage.souls,
            stored_bytes: usage.bytes,
            outgoing_bytes: self.outgoing.load(Ordering::Relaxed) as u64,
            bytes_out: self.totals.bytes_out.load(Ordering::Relaxed),
            closed_slow: self.totals.closed_slow.load(Ordering::Relaxed),
            closed_frames: self.totals.closed_frames.load(Ordering::Relaxed),
            ..counters
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
