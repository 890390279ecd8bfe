//! The stage that writes: a thread that owns the sink.

use super::{MakeSink, Opened, driver::Event, whole::InOrder};
use crate::{
    chunk::Digest,
    header::ContentHeader,
    layout::Layout,
    set::NumberSet,
    sink::{ChunkReader, ContentSink, Resumed, SinkError},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, mpsc as threads},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Bytes after which what was written is made durable: 35 ms for each on an ordinary SSD.
const SYNC_BYTES: u64 = 64 << 20;
/// Time after which what was written is made durable.
const SYNC_TIME: Duration = Duration::from_secs(5);
/// Chunks of one write: 1 MiB, which hard disks want.
const WRITE_CHUNKS: usize = 16;

enum Job {
    Open {
        make: MakeSink,
        opened: Opened,
        header: ContentHeader,
        layout: Arc<Layout>,
    },
    Manifest(Arc<[Digest]>),
    Write {
        first: u64,
        chunks: Vec<Bytes>,
    },
    Commit,
    Sha256,
}

/// On what terms a sink takes a content.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) reader: Option<Arc<dyn ChunkReader>>,
    pub(super) wanted: Option<NumberSet>,
    pub(super) window: Option<u64>,
}

/// What the thread has done.
#[derive(Debug)]
pub(super) enum Written {
    Opened(Resumed, Terms),
    Chunks {
        first: u64,
        count: u64,
        bytes: u64,
    },
    Committed(Option<PathBuf>),
    Failed(SinkError),
    /// All is synced and the sink closed.
    Closed,
}

/// Chunks that are verified and not written yet.
#[derive(Debug)]
pub(super) struct Writing {
    jobs: Option<threads::Sender<Job>>,
    waiting: BTreeMap<u64, Bytes>,
    /// Writes that the thread has not done yet.
    in_hand: usize,
    /// Bytes waiting or in the thread's hands.
    backlog: u64,
}

impl Writing {
    /// Starts the thread. `in_order`: the SHA-256 of the whole will be asked for.
    pub(super) fn start(results: mpsc::UnboundedSender<Event>, in_order: bool) -> Self {
        let (jobs, queue) = threads::channel();
        let spawned = thread::Builder::new()
            .name("dig-write".into())
            .spawn(move || work(&queue, &results, in_order));
        if let Err(error) = &spawned {
            tracing::error!(%error, "no thread for writing");
        }
        Self {
            jobs: spawned.is_ok().then_some(jobs),
            waiting: BTreeMap::new(),
            in_hand: 0,
            backlog: 0,
        }
    }

    pub(super) fn open(
        &self,
        make: MakeSink,
        opened: Opened,
        header: ContentHeader,
        layout: Arc<Layout>,
    ) {
        self.send(Job::Open {
            make,
            opened,
            header,
            layout,
        });
    }

    pub(super) fn keep_manifest(&self, nodes: Arc<[Digest]>) {
        self.send(Job::Manifest(nodes));
    }

    pub(super) fn push(&mut self, chunk: u64, bytes: Bytes) {
        self.backlog += bytes.len() as u64;
        self.waiting.insert(chunk, bytes);
    }

    /// Hands over what is long enough to be worth a call, and everything if the thread has nothing to do.
    pub(super) fn pump(&mut self) {
        while self.in_hand == 0 || self.waiting.len() >= WRITE_CHUNKS {
            let Some((first, bytes)) = self.waiting.pop_first() else {
                return;
            };
            let mut chunks = vec![bytes];
            while chunks.len() < WRITE_CHUNKS
                && let Some(bytes) = self.waiting.remove(&(first + chunks.len() as u64))
            {
                chunks.push(bytes);
            }
            self.in_hand += 1;
            self.send(Job::Write { first, chunks });
        }
    }

    /// A write has come back.
    pub(super) fn finished(&mut self, bytes: u64) {
        self.in_hand = self.in_hand.saturating_sub(1);
        self.backlog = self.backlog.saturating_sub(bytes);
    }

    /// Bytes verified and not written.
    pub(super) const fn backlog(&self) -> u64 {
        self.backlog
    }

    pub(super) fn commit(&self) {
        self.send(Job::Commit);
    }

    /// Asks for the SHA-256 of all that was written, by a sink that cannot be read.
    pub(super) fn whole_sha256(&self) {
        self.send(Job::Sha256);
    }

    /// Lets the thread write what it has, sync, and end; `false` if it has ended already.
    pub(super) fn close(&mut self) -> bool {
        while !self.waiting.is_empty() {
            self.in_hand = 0;
            self.pump();
        }
        self.jobs.take().is_some()
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // A thread that is gone has said why.
            let _ = jobs.send(job);
        }
    }
}

/// The thread. It ends when its handle is gone.
fn work(jobs: &threads::Receiver<Job>, results: &mpsc::UnboundedSender<Event>, in_order: bool) {
    let mut desk = Desk {
        sink: None,
        complete: false,
        whole: in_order.then(InOrder::default),
        unsynced: 0,
        synced: Instant::now(),
        syncing: None,
    };
    loop {
        let result = match jobs.recv_timeout(SYNC_TIME) {
            Ok(job) => desk.take(job),
            Err(threads::RecvTimeoutError::Timeout) => desk.sync_aside().map(|()| None),
            Err(threads::RecvTimeoutError::Disconnected) => break,
        };
        let event = match result {
            Ok(Some(event)) => event,
            Ok(None) => continue,
            Err(error) => Event::Written(Written::Failed(error)),
        };
        // Whoever asked may be gone; then nothing more will come, and the loop ends.
        let _ = results.send(event);
    }
    let closed = match desk.sync() {
        Ok(()) => Written::Closed,
        Err(error) => Written::Failed(error),
    };
    drop(desk);
    let _ = results.send(Event::Written(closed));
}

/// What the thread works at.
struct Desk {
    sink: Option<Box<dyn ContentSink>>,
    /// The sink had all of it already and takes nothing.
    complete: bool,
    /// For the SHA-256 of what cannot be read back.
    whole: Option<InOrder>,
    unsynced: u64,
    synced: Instant,
    syncing: Option<JoinHandle<Result<(), Box<SinkError>>>>,
}

impl Desk {
    fn take(&mut self, job: Job) -> Result<Option<Event>, SinkError> {
        if let Job::Open {
            make,
            opened,
            header,
            layout,
        } = job
        {
            let mut sink = make(&opened)?;
            let resumed = sink.open(&header, &layout, opened.table.as_ref())?;
            let terms = Terms {
                reader: sink.reader(),
                wanted: sink.wanted_chunks(),
                window: sink.window(),
            };
            self.whole = self.whole.take().filter(|_| terms.reader.is_none());
            self.complete = resumed.complete;
            self.sink = Some(sink);
            return Ok(Some(Event::Written(Written::Opened(resumed, terms))));
        }
        let Some(sink) = &mut self.sink else {
            return Ok(None);
        };
        match job {
            Job::Open { .. } => Ok(None),
            Job::Manifest(_) if self.complete => Ok(None),
            Job::Manifest(nodes) => sink.keep_manifest(&nodes).map(|()| None),
            Job::Write { first, chunks } => {
                sink.write(first, &chunks)?;
                if let Some(whole) = &mut self.whole {
                    whole.add(first, &chunks);
                }
                let (count, bytes) = (
                    chunks.len() as u64,
                    chunks.iter().map(|chunk| chunk.len() as u64).sum(),
                );
                self.unsynced += bytes;
                if self.unsynced >= SYNC_BYTES || self.synced.elapsed() >= SYNC_TIME {
                    self.sync_aside()?;
                }
                Ok(Some(Event::Written(Written::Chunks {
                    first,
                    count,
                    bytes,
                })))
            }
            Job::Sha256 => {
                let whole = self.whole.take().unwrap_or_default();
                Ok(Some(Event::Sha256(Ok(whole.finish()))))
            }
            Job::Commit => {
                self.join()?;
                self.unsynced = 0;
                let path = self.sink.as_mut().map_or(Ok(None), |sink| sink.commit())?;
                Ok(Some(Event::Written(Written::Committed(path))))
            }
        }
    }

    /// Syncs on a thread of its own if the sink can, so that writing goes on.
    fn sync_aside(&mut self) -> Result<(), SinkError> {
        if self
            .syncing
            .as_ref()
            .is_some_and(|syncing| !syncing.is_finished())
        {
            return Ok(());
        }
        self.join()?;
        let Some(syncer) = self
            .sink
            .as_ref()
            .filter(|_| self.unsynced > 0)
            .and_then(|sink| sink.syncer())
        else {
            return self.sync();
        };
        (self.unsynced, self.synced) = (0, Instant::now());
        let spawned = thread::Builder::new()
            .name("dig-sync".into())
            .spawn(move || syncer.sync().map_err(Box::new));
        match spawned {
            Ok(syncing) => self.syncing = Some(syncing),
            Err(error) => tracing::warn!(%error, "no thread for syncing; the next sync covers it"),
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.join()?;
        if let Some(sink) = self.sink.as_mut().filter(|_| self.unsynced > 0) {
            sink.sync()?;
        }
        (self.unsynced, self.synced) = (0, Instant::now());
        Ok(())
    }

    fn join(&mut self) -> Result<(), SinkError> {
        match self.syncing.take().map(JoinHandle::join) {
            Some(Ok(result)) => result.map_err(|error| *error),
            Some(Err(_)) | None => Ok(()),
        }
    }
}
