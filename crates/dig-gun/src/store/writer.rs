//! Commits in groups: what arrives while the disk is busy goes in the next transaction together.
//!
//! A durable write waits for the disk, some milliseconds whatever its size. One thread therefore takes everything that
//! waits, commits it at once and tells every submitter; it never waits for more to come, so that a lone write is not held up.
//!
//! While the disk writes what one submitter leaves, others wait. So a submission may say that it has time: alone, it is kept but not
//! yet written through to the disk, which the next commit of somebody else does, or one of its own after [`UNHURRIED`].

use super::{Storage, StoreError};
use crate::{graph::Node, value::Soul};
use dig_types::Timestamp;
use std::{
    collections::VecDeque,
    fmt, io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long what has time waits to be made durable at most: a tenth of a second, so that its commits are rare beside those that
/// somebody waits for.
pub const UNHURRIED: Duration = Duration::from_millis(100);

/// What is to be done when a submission is durable, or is not going to be. Runs on the writer's thread, all others waiting:
/// it should do no more than pass the word on.
pub type Done = Box<dyn FnOnce(Result<(), Arc<StoreError>>) + Send>;

/// How much may wait for a [`Writer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterLimits {
    /// Submissions waiting or being written. Default: 65,536.
    pub waiting: usize,
    /// Bytes of memory they take, about. Default: 16 MiB, some 20,000 nodes of one field: half a second's work.
    pub waiting_bytes: usize,
    /// Bytes of memory of what goes in one transaction; what is longer goes alone. Default: 4 MiB, some 5,000 such nodes, so
    /// that nobody waits long for others.
    pub batch_bytes: usize,
}

impl Default for WriterLimits {
    fn default() -> Self {
        Self {
            waiting: 1 << 16,
            waiting_bytes: 16 << 20,
            batch_bytes: 4 << 20,
        }
    }
}

/// How much waits for a [`Writer`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Submissions.
    pub submissions: usize,
    /// Bytes of memory they take, about.
    pub bytes: usize,
}

/// A thread that writes to a [`Storage`]. Dropped or closed, it first writes what waits.
pub struct Writer {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where submissions are left and fetched.
struct Desk {
    limits: WriterLimits,
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    submissions: VecDeque<Submission>,
    /// With what is just being written.
    waiting: Waiting,
    expire: Option<Timestamp>,
    closed: bool,
}

struct Submission {
    changes: Vec<Node>,
    bytes: usize,
    at: Timestamp,
    has_time: bool,
    answer: Answer,
}

/// Calls its [`Done`] in any event: a submitter whose word is lost would wait for ever.
struct Answer(Option<Done>);

/// What the thread does next.
enum Turn {
    Write(Vec<Submission>),
    Expire(Timestamp),
    /// Make durable what was kept.
    Flush,
}

/// Souls forgotten in one go: a transaction of some milliseconds, between which others may write.
const EXPIRE_AT_ONCE: usize = 1000;

impl Writer {
    /// Starts the thread. `forgotten` is told of souls that the store let go of for want of room or for their age, before
    /// those whose writes made it do so.
    pub fn start(
        storage: Arc<dyn Storage>,
        limits: WriterLimits,
        forgotten: impl Fn(Vec<Soul>) + Send + 'static,
    ) -> io::Result<Self> {
        let desk = Arc::new(Desk {
            limits,
            queue: Mutex::default(),
            work: Condvar::new(),
        });
        let worker = Worker {
            desk: Arc::clone(&desk),
            storage,
            forgotten: Box::new(forgotten),
            owed: Owed::default(),
        };
        let thread = thread::Builder::new()
            .name("gun-writer".to_owned())
            .spawn(move || worker.run())?;
        Ok(Self {
            desk,
            thread: Some(thread),
        })
    }

    /// Writes these fields, in the order of submission, and calls `done` when they are durable. Never blocks: with too much
    /// waiting, `done` hears [`StoreError::Busy`] at once.
    pub fn submit(&self, changes: Vec<Node>, at: Timestamp, done: Done) {
        self.leave(changes, at, false, done);
    }

    /// The same for what has time: it may become durable [`UNHURRIED`] later, so that it holds up nobody else.
    pub fn submit_unhurried(&self, changes: Vec<Node>, at: Timestamp, done: Done) {
        self.leave(changes, at, true, done);
    }

    fn leave(&self, changes: Vec<Node>, at: Timestamp, has_time: bool, done: Done) {
        let submission = Submission {
            bytes: bytes_of(&changes),
            changes,
            at,
            has_time,
            answer: Answer(Some(done)),
        };
        if let Err((submission, why)) = self.desk.leave(submission) {
            submission.answer.give(Err(Arc::new(why)));
        }
    }

    /// Lets the store forget what nobody wrote for long, between writes.
    pub fn expire(&self, now: Timestamp) {
        self.desk.queue().expire = Some(now);
        self.desk.work.notify_one();
    }

    /// How much waits.
    pub fn waiting(&self) -> Waiting {
        self.desk.queue().waiting
    }

    /// Writes what waits and ends the thread. Blocks until that is done.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.desk.queue().closed = true;
        self.desk.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // It panicked if this fails; every submitter was told.
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("limits", &self.desk.limits)
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Desk {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave(&self, submission: Submission) -> Result<(), (Submission, StoreError)> {
        let mut queue = self.queue();
        if queue.closed {
            return Err((submission, StoreError::Closed));
        }
        let Waiting { submissions, bytes } = queue.waiting;
        let full = submissions >= self.limits.waiting
            || (submissions > 0 && bytes + submission.bytes > self.limits.waiting_bytes);
        if full {
            return Err((submission, StoreError::Busy));
        }
        queue.waiting.submissions += 1;
        queue.waiting.bytes += submission.bytes;
        queue.submissions.push_back(submission);
        self.work.notify_one();
        Ok(())
    }

    /// What is next, waited for; `None` when it is closed and all is written. `owed` is how long something has been kept and not yet
    /// made durable.
    fn next(&self, owed: &Owed) -> Option<Turn> {
        let mut queue = self.queue();
        loop {
            if !queue.submissions.is_empty() {
                return Some(Turn::Write(queue.batch(self.limits.batch_bytes)));
            }
            if queue.closed {
                return owed.left().map(|_| Turn::Flush);
            }
            if let Some(now) = queue.expire.take() {
                return Some(Turn::Expire(now));
            }
            queue = match owed.left() {
                Some(left) if left.is_zero() => return Some(Turn::Flush),
                Some(left) => {
                    let waited = self.work.wait_timeout(queue, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => (self.work.wait(queue)).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Queue {
    /// The oldest submissions, as many as fit, at least one.
    fn batch(&mut self, max_bytes: usize) -> Vec<Submission> {
        let mut bytes = 0_usize;
        let fitting = self
            .submissions
            .iter()
            .take_while(|submission| {
                let first = bytes == 0;
                bytes += submission.bytes;
                first || bytes <= max_bytes
            })
            .count();
        self.submissions.drain(..fitting).collect()
    }
}

struct Worker {
    desk: Arc<Desk>,
    storage: Arc<dyn Storage>,
    forgotten: Box<dyn Fn(Vec<Soul>) + Send>,
    owed: Owed,
}

/// Who is to be told when what was kept is durable.
#[derive(Default)]
struct Owed {
    answers: Vec<Answer>,
    /// When the first of it was kept, and by the clock of the submitters.
    since: Option<(Instant, Timestamp)>,
}

impl Owed {
    /// How long it may still wait; `None` if there is nothing.
    fn left(&self) -> Option<Duration> {
        let (since, _) = self.since?;
        Some(UNHURRIED.saturating_sub(since.elapsed()))
    }

    /// Tells all of them, in their order.
    fn settle(&mut self, outcome: &Result<(), Arc<StoreError>>) {
        self.since = None;
        for answer in self.answers.drain(..) {
            answer.give(outcome.clone());
        }
    }
}

impl Worker {
    fn run(mut self) {
        while let Some(turn) = self.desk.next(&self.owed) {
            match turn {
                Turn::Write(batch) => self.write(batch),
                Turn::Expire(now) => self.expire(now),
                Turn::Flush => self.flush(),
            }
        }
    }

    fn write(&mut self, batch: Vec<Submission>) {
        let mut changes = Vec::with_capacity(batch.len());
        let mut written = Waiting::default();
        let mut at = Timestamp::from_millis(0);
        // What has time does not wait for ever.
        let mut durable = self.owed.left().is_some_and(|left| left.is_zero());
        for submission in batch {
            written.submissions += 1;
            written.bytes += submission.bytes;
            at = at.max(submission.at);
            durable |= !submission.has_time;
            changes.extend(submission.changes);
            self.owed.answers.push(submission.answer);
        }
        let outcome = match durable {
            true => self.storage.commit(&changes, at),
            false => self.storage.keep(&changes, at),
        };
        drop(changes);
        {
            let waiting = &mut self.desk.queue().waiting;
            waiting.submissions -= written.submissions;
            waiting.bytes -= written.bytes;
        }
        match outcome {
            Ok(gone) => {
                self.tell(gone);
                if durable {
                    self.owed.settle(&Ok(()));
                } else {
                    self.owed.since.get_or_insert_with(|| (Instant::now(), at));
                }
            }
            // It may have undone what was kept before.
            Err(error) => self.owed.settle(&Err(Arc::new(error))),
        }
    }

    fn flush(&mut self) {
        let Some((_, at)) = self.owed.since else {
            return;
        };
        let outcome = self.storage.commit(&[], at).map_err(Arc::new);
        let outcome = outcome.map(|gone| self.tell(gone));
        self.owed.settle(&outcome);
    }

    fn expire(&mut self, now: Timestamp) {
        match self.storage.expire(now, EXPIRE_AT_ONCE) {
            Ok(gone) => {
                if gone.len() == EXPIRE_AT_ONCE {
                    self.desk.queue().expire.get_or_insert(now);
                }
                self.tell(gone);
            }
            Err(error) => {
                tracing::warn!(%error, "nothing could be forgotten for its age");
                self.owed.settle(&Err(Arc::new(error)));
            }
        }
    }

    fn tell(&self, gone: Vec<Soul>) {
        if !gone.is_empty() {
            (self.forgotten)(gone);
        }
    }
}

impl Drop for Worker {
    /// Whatever ended it: nobody is left waiting, and nobody new is let in.
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!(
                "the database failed; nothing is stored until this program is started anew"
            );
        }
        let left = {
            let mut queue = self.desk.queue();
            queue.closed = true;
            queue.waiting = Waiting::default();
            mem::take(&mut queue.submissions)
        };
        drop(left);
    }
}

impl Answer {
    fn give(mut self, outcome: Result<(), Arc<StoreError>>) {
        if let Some(done) = self.0.take() {
            done(outcome);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Arc::new(StoreError::Closed)));
        }
    }
}

/// What the smallest node takes in memory beside its texts: a leaf of its map, of which 11 fields fill one.
const LEAF: usize = 600;

/// About how many bytes of memory these take.
fn bytes_of(changes: &[Node]) -> usize {
    changes
        .iter()
        .map(|node| node.weight() + LEAF * (1 + node.fields.len() / 8))
        .sum()
}
