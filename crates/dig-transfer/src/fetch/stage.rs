//! The chunks that are being fetched: those of a folder's table, then those of the content.

use super::{
    FetchConfig,
    sources::{Holds, Source},
};
use crate::{
    chunk::{CHUNK_LEN, GROUP_CHUNKS},
    header::chunks_of,
    layout::Layout,
    scheduler::{Now, Scheduler, SchedulerConfig},
    set::NumberSet,
};
use std::{collections::HashSet, ops::Range, sync::Arc};

/// The part of the budget that may be asked for and not verified; the rest may wait to be written.
const IN_FLIGHT: (u64, u64) = (2, 3);

/// Whose bytes are fetched.
#[derive(Debug, Clone)]
pub(super) enum Subject {
    /// A folder's table of so many bytes.
    Table(u64),
    /// The content.
    Content(Arc<Layout>),
}

impl Subject {
    /// Number of chunks.
    pub(super) fn chunks(&self) -> u64 {
        match self {
            Self::Table(len) => chunks_of(*len),
            Self::Content(layout) => layout.chunks(),
        }
    }

    /// Whether a chunk of the content is one of its table, which no figure counts.
    pub(super) fn is_table(&self, chunk: u64) -> bool {
        matches!(self, Self::Content(layout) if layout.table_chunks().contains(&chunk))
    }

    /// Bytes of a chunk; 0 beyond the end.
    pub(super) fn chunk_len(&self, chunk: u64) -> usize {
        match self {
            Self::Table(len) => {
                let offset = chunk.saturating_mul(CHUNK_LEN as u64);
                len.saturating_sub(offset).min(CHUNK_LEN as u64) as usize
            }
            Self::Content(layout) => layout.chunk_len(chunk),
        }
    }
}

/// Chunks wanted, and how far they are.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) subject: Subject,
    pub(super) scheduler: Scheduler,
    /// Chunks that this fetch is for.
    pub(super) wanted: NumberSet,
    /// Chunks verified, in this run or an earlier one.
    pub(super) done: NumberSet,
    /// Chunks on their way through hashing.
    pub(super) hashing: HashSet<u64>,
    /// Wanted chunks that are not done.
    pub(super) left: u64,
}

impl Stage {
    /// Fetches `wanted` without what is `done`. What is in `expected` is coming anyway and is not asked for.
    pub(super) fn new(
        config: &FetchConfig,
        subject: Subject,
        wanted: NumberSet,
        done: NumberSet,
        expected: &Range<u64>,
        max_ahead: Option<u64>,
    ) -> Self {
        let mut missing = wanted.clone();
        let mut left = wanted.count();
        for chunk in done.iter() {
            left -= u64::from(missing.remove(chunk));
        }
        for chunk in expected.clone() {
            missing.remove(chunk);
        }
        let scheduler = SchedulerConfig {
            strategy: config.strategy,
            request_chunks: config.request_chunks,
            max_in_flight: config.budget.max(2 << 20) * IN_FLIGHT.0 / IN_FLIGHT.1,
            concurrency: config.concurrency,
            peer_concurrency: config.peer_concurrency,
            rate_limit: config.limit,
            max_ahead,
            seed: config.seed,
            ..SchedulerConfig::default()
        };
        let lengths = subject.clone();
        let chunk_len = Arc::new(move |chunk| u32::try_from(lengths.chunk_len(chunk)).unwrap_or(0));
        let scheduler = Scheduler::new(scheduler, &missing, chunk_len);
        Self {
            subject,
            scheduler,
            wanted,
            done,
            hashing: HashSet::new(),
            left,
        }
    }

    /// Asks this source too.
    pub(super) fn join(&mut self, now: Now, source: &Source) {
        let holds = match &source.holds {
            Holds::Unknown => return,
            Holds::All => None,
            Holds::Some(groups) => Some(groups.clone()),
        };
        self.scheduler
            .lane_up(now, source.lane(), source.peer, source.traits());
        self.scheduler.peer_holds(now, source.peer, holds);
    }

    /// Takes note of a verified chunk; whether it is new.
    pub(super) fn finish(&mut self, chunk: u64) -> bool {
        let new = self.done.insert(chunk);
        self.left -= u64::from(new && self.wanted.contains(chunk));
        new
    }

    /// Whether nothing of a group is missing.
    pub(super) fn has_group(&self, group: u64) -> bool {
        let first = group * GROUP_CHUNKS;
        (first..first + GROUP_CHUNKS)
            .all(|chunk| self.done.contains(chunk) || !self.wanted.contains(chunk))
    }

    /// Bytes of the wanted chunks; the table is not counted.
    pub(super) fn bytes(&self) -> u64 {
        match &self.subject {
            Subject::Content(layout) if self.wanted.is_full() => layout.size(),
            _ => self.bytes_of(self.wanted.iter()),
        }
    }

    /// Bytes of the wanted chunks that are done; the table is not counted.
    pub(super) fn bytes_done(&self) -> u64 {
        self.bytes_of(
            self.done
                .iter()
                .filter(|chunk| self.wanted.contains(*chunk)),
        )
    }

    fn bytes_of(&self, chunks: impl Iterator<Item = u64>) -> u64 {
        let chunks = chunks.filter(|chunk| !self.subject.is_table(*chunk));
        chunks
            .map(|chunk| self.subject.chunk_len(chunk) as u64)
            .sum()
    }
}
