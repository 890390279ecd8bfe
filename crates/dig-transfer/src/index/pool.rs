//! Hashing on several threads.

use super::HashError;
use crate::{
    chunk::{CHUNK_LEN, Digest, GROUP_CHUNKS},
    hashing::hasher,
    layout::Layout,
    source::{entries::EntryList, files::SharedFiles, origin::stretches},
};
use std::{
    ops::Range,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};
use tokio_util::sync::CancellationToken;

/// The most threads: beyond it, storage is the limit.
const MOST_THREADS: usize = 16;
/// Pieces between two calls of progress (8 MiB).
const PROGRESS_PIECES: u64 = 8;

/// The entry of 64 KiB of zeros.
static ZEROS: LazyLock<Digest> = LazyLock::new(|| crate::tree::sha256(&[0; CHUNK_LEN]));

/// Computes the entries of the chunks in `todo` (ascending), a piece of at most 16 chunks at a time, and puts them into `entries`.
/// `progress` is given bytes on the calling thread. What is in memory is one piece a thread.
pub(super) fn hash(
    layout: &Layout,
    files: &SharedFiles,
    todo: Vec<Range<u64>>,
    entries: &mut EntryList,
    threads: Option<usize>,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HashError> {
    let cpus = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(MOST_THREADS);
    let threads = threads.unwrap_or(cpus).max(1);
    let pieces = Mutex::new(Pieces {
        todo: todo.into_iter(),
        rest: 0..0,
    });
    let stop = AtomicBool::new(false);
    let (results, done) = mpsc::sync_channel(threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let results = results.clone();
            let worker = Worker {
                layout,
                files,
                pieces: &pieces,
                stop: &stop,
                buffer: Vec::new(),
            };
            scope.spawn(move || worker.run(&results));
        }
        drop(results);
        let outcome = collect(&done, entries, cancel, progress);
        stop.store(true, Ordering::Relaxed);
        // Workers that wait to hand over a result find the channel closed.
        drop(done);
        outcome
    })
}

fn collect(
    done: &mpsc::Receiver<Result<Hashed, HashError>>,
    entries: &mut EntryList,
    cancel: &CancellationToken,
    progress: &mut dyn FnMut(u64),
) -> Result<(), HashError> {
    let (mut bytes, mut pieces) = (0, 0_u64);
    for hashed in done {
        if cancel.is_cancelled() {
            return Err(HashError::Cancelled);
        }
        let hashed = hashed?;
        entries
            .put(hashed.first, &hashed.entries)
            .map_err(HashError::Entries)?;
        bytes += hashed.bytes;
        pieces += 1;
        if pieces.is_multiple_of(PROGRESS_PIECES) {
            progress(std::mem::take(&mut bytes));
        }
    }
    progress(bytes);
    Ok(())
}

/// What is left to be hashed.
struct Pieces {
    todo: std::vec::IntoIter<Range<u64>>,
    rest: Range<u64>,
}

impl Iterator for Pieces {
    type Item = Range<u64>;

    /// Up to 16 chunks that end at a multiple of 16, so that large files are read in whole MiB; neighbouring files go together.
    fn next(&mut self) -> Option<Range<u64>> {
        if self.rest.is_empty() {
            self.rest = self.todo.next()?;
        }
        let limit = (self.rest.start / GROUP_CHUNKS + 1) * GROUP_CHUNKS;
        while self.rest.end < limit
            && self
                .todo
                .as_slice()
                .first()
                .is_some_and(|next| next.start == self.rest.end)
        {
            self.rest.end = self.todo.next()?.end;
        }
        let piece = self.rest.start..self.rest.end.min(limit);
        self.rest.start = piece.end;
        Some(piece)
    }
}

/// The entries of a piece.
struct Hashed {
    first: u64,
    entries: Vec<Digest>,
    bytes: u64,
}

struct Worker<'a> {
    layout: &'a Layout,
    files: &'a SharedFiles,
    pieces: &'a Mutex<Pieces>,
    stop: &'a AtomicBool,
    buffer: Vec<u8>,
}

impl Worker<'_> {
    fn run(mut self, results: &mpsc::SyncSender<Result<Hashed, HashError>>) {
        while !self.stop.load(Ordering::Relaxed) {
            let piece = self
                .pieces
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next();
            let Some(piece) = piece else { return };
            if results.send(self.hash(piece)).is_err() {
                return;
            }
        }
    }

    fn hash(&mut self, piece: Range<u64>) -> Result<Hashed, HashError> {
        let first = piece.start;
        // Chunks in holes keep the entry of zeros; the others get theirs below.
        let mut entries = vec![*ZEROS; (piece.end - piece.start) as usize];
        let (mut read, mut bytes) = (Vec::new(), 0);
        self.buffer.clear();
        for stretch in stretches(self.layout, piece) {
            let Some(file) = stretch.file else { continue };
            let failed = |error| HashError::Read(file, error);
            bytes += stretch.len as u64;
            let whole = stretch.len.is_multiple_of(CHUNK_LEN);
            let end = stretch.offset + stretch.len as u64;
            if whole
                && self
                    .files
                    .is_hole(file, stretch.offset..end)
                    .map_err(failed)?
            {
                continue;
            }
            let mut at = self.buffer.len();
            self.files
                .append(file, stretch.offset, stretch.len, &mut self.buffer)
                .map_err(failed)?;
            for chunk in stretch.chunks {
                let end = self.buffer.len().min(at + CHUNK_LEN);
                read.push(((chunk - first) as usize, at..end));
                at = end;
            }
        }
        let chunks: Vec<&[u8]> = read
            .iter()
            .map(|(_, range)| &self.buffer[range.clone()])
            .collect();
        let mut hashed = Vec::with_capacity(chunks.len());
        hasher().hash(&chunks, &mut hashed);
        for ((index, _), entry) in read.into_iter().zip(hashed) {
            entries[index] = entry;
        }
        Ok(Hashed {
            first,
            entries,
            bytes,
        })
    }
}
