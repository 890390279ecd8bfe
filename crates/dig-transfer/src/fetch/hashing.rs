//! The stage that hashes chunks, many at a time, where blocking is allowed.

use super::driver::Event;
use crate::{
    chunk::Digest,
    hashing::{BATCH, hasher},
    link::LinkId,
};
use bytes::Bytes;
use dig_types::NodeId;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// How long a chunk waits for others: 16 chunks in 2 ms are 500 MB/s, and hashing alone costs twice 2 ms a chunk at the very most.
const FILL: Duration = Duration::from_millis(2);
/// Batches at a time: two CPUs' worth, the network and the disk need the others.
const JOBS: usize = 2;

/// A chunk whose entry is known.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) chunk: u64,
    pub(super) bytes: Bytes,
    pub(super) entry: Digest,
    pub(super) from: LinkId,
    pub(super) node: NodeId,
}

/// A batch after hashing.
#[derive(Debug, Default)]
pub(super) struct Hashed {
    /// Chunks that have their entry.
    pub(super) right: Vec<(u64, Bytes, LinkId)>,
    /// Chunks that do not, and who sent them.
    pub(super) wrong: Vec<(u64, NodeId)>,
}

/// Chunks that wait to be hashed.
#[derive(Debug)]
pub(super) struct Hashing {
    ready: VecDeque<Arrived>,
    oldest: Option<Instant>,
    jobs: usize,
    results: mpsc::UnboundedSender<Event>,
}

impl Hashing {
    pub(super) fn new(results: mpsc::UnboundedSender<Event>) -> Self {
        Self {
            ready: VecDeque::new(),
            oldest: None,
            jobs: 0,
            results,
        }
    }

    pub(super) fn push(&mut self, now: Instant, chunk: Arrived) {
        self.oldest.get_or_insert(now);
        self.ready.push_back(chunk);
    }

    /// Starts what is due.
    pub(super) fn pump(&mut self, now: Instant) {
        while self.jobs < JOBS && self.is_due(now) {
            let count = self.ready.len().min(BATCH);
            let batch: Vec<Arrived> = self.ready.drain(..count).collect();
            self.oldest = (!self.ready.is_empty()).then_some(now);
            self.jobs += 1;
            let results = self.results.clone();
            tokio::task::spawn_blocking(move || {
                // The task is there until all it started has ended.
                let _ = results.send(Event::Hashed(check(batch)));
            });
        }
    }

    /// A batch has come back.
    pub(super) fn finished(&mut self) {
        self.jobs = self.jobs.saturating_sub(1);
    }

    /// When to call [`pump`](Self::pump) again if nothing happens before.
    pub(super) fn wake(&self) -> Option<Instant> {
        (self.jobs < JOBS).then_some(self.oldest? + FILL)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.ready.len() >= BATCH || self.oldest.is_some_and(|oldest| now >= oldest + FILL)
    }
}

fn check(batch: Vec<Arrived>) -> Hashed {
    let chunks: Vec<&[u8]> = batch.iter().map(|arrived| &arrived.bytes[..]).collect();
    let mut digests = Vec::with_capacity(batch.len());
    hasher().hash(&chunks, &mut digests);
    let mut hashed = Hashed::default();
    for (arrived, digest) in batch.into_iter().zip(digests) {
        if digest == arrived.entry {
            hashed
                .right
                .push((arrived.chunk, arrived.bytes, arrived.from));
        } else {
            hashed.wrong.push((arrived.chunk, arrived.node));
        }
    }
    hashed
}
