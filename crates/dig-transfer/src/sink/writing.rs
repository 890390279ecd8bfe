//! A `.part` that is being written, and its journal.
//!
//! One thread writes; another may sync at the same time; any number reads. A sync takes what was written so
//! far, makes it durable without holding a lock that a writer needs, and only then lets the journal say so.

use super::{
    ChunkReader, SinkError, Syncer,
    directory::Replace,
    journal::{Journal, Masks, Record, mark, synced_records},
    part::{Files, Part},
    place::Place,
    target::PartNames,
};
use crate::{layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use dig_types::ContentKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes by which a journal may outgrow what it was when it was last rewritten; little in tests, which would
/// have to write 170,000 records otherwise.
const MAX_GROWTH: u64 = if cfg!(test) { 480 } else { 4 << 20 };

/// The open state of a file sink, shared with its readers and its syncer.
#[derive(Debug)]
pub(super) struct Writing {
    pub(super) place: Place,
    pub(super) names: PartNames,
    pub(super) layout: Arc<Layout>,
    /// A folder's table.
    pub(super) table: Option<Arc<Table>>,
    /// Whether this run made the `.part`.
    pub(super) fresh: bool,
    pub(super) part: Part,
    pub(super) wanted: NumberSet,
    pub(super) progress: Mutex<Progress>,
    pub(super) log: Mutex<Log>,
    /// Whether the sink was closed; held during a sync.
    pub(super) closed: Mutex<bool>,
}

/// What was written.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) have: NumberSet,
    /// Bytes of wanted chunks that are not there.
    pub(super) remaining: u64,
    /// Chunks that no sync has covered yet.
    pub(super) pending: Masks,
    /// Files that no sync has covered yet.
    pub(super) touched: BTreeSet<usize>,
    /// A sync failed. The system may have dropped what it could not write and report success the next
    /// time, so nothing after it is believed; the next run hashes again.
    pub(super) failed: bool,
}

/// The journal and what it must say again when it is rewritten.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) journal: Journal,
    pub(super) files: BTreeMap<u64, u64>,
    /// Bytes of records when it was last rewritten.
    pub(super) compact: u64,
    /// Whether the names of `.part` and journal are durable.
    pub(super) named: bool,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writing {
    /// Refuses what the disk has no room for.
    pub(super) fn check_space(&self) -> Result<(), SinkError> {
        let remaining = lock(&self.progress).remaining;
        let Some(free) = self.place.space.free.filter(|_| remaining > 0) else {
            return Ok(());
        };
        // A file takes whole blocks.
        let files = self.layout.files() as u64;
        let needed = remaining.saturating_add(files.saturating_mul(self.place.space.block));
        if needed > free {
            return Err(SinkError::NoSpace {
                path: self.place.path.clone(),
                needed,
                free,
            });
        }
        Ok(())
    }

    /// Refuses a folder of names that are one and the same here.
    pub(super) fn check_collisions(&self) -> Result<(), SinkError> {
        let Some(table) = &self.table else {
            return Ok(());
        };
        let folds = self.place.folds_case(&self.names.journal);
        if !folds.map_err(|error| self.place.error(error))? {
            return Ok(());
        }
        match table.collisions().first() {
            Some(clash) => Err(SinkError::Name(format!(
                "{:?} and {:?} are the same name on this disk",
                clash.first, clash.second
            ))),
            None => Ok(()),
        }
    }

    /// What a failure of the `.part` or its journal means.
    pub(super) fn error(&self, error: io::Error) -> SinkError {
        if is_no_space(&error) {
            return SinkError::NoSpace {
                path: self.place.path.clone(),
                needed: lock(&self.progress).remaining,
                free: self
                    .place
                    .directory
                    .space()
                    .ok()
                    .and_then(|space| space.free)
                    .unwrap_or(0),
            };
        }
        SinkError::io(&self.place.beside(&self.names.part), error)
    }

    /// Writes what is wanted of these chunks and is not there yet.
    pub(super) fn write(&self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        let missing: Vec<bool> = {
            let progress = lock(&self.progress);
            let is_missing =
                |chunk: u64| self.wanted.contains(chunk) && !progress.have.contains(chunk);
            (first..).take(chunks.len()).map(is_missing).collect()
        };
        let mut at = 0;
        for run in missing.chunk_by(|one, other| one == other) {
            let end = at + run.len();
            if run[0] {
                self.write_run(first + at as u64, &chunks[at..end])?;
            }
            at = end;
        }
        Ok(())
    }

    fn write_run(&self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        let mut touched = BTreeSet::new();
        let written = self.part.write(first, chunks, &mut touched);
        // Files may have been made even if not all was written.
        let files = self.part.take_unrecorded();
        let mut masks = Masks::new();
        if written.is_ok() {
            let mut progress = lock(&self.progress);
            progress.touched.append(&mut touched);
            for (chunk, bytes) in (first..).zip(chunks) {
                progress.have.insert(chunk);
                progress.remaining = progress.remaining.saturating_sub(bytes.len() as u64);
                mark(&mut progress.pending, chunk);
                mark(&mut masks, chunk);
            }
        }
        let mut records = Vec::with_capacity(files.len() + masks.len());
        let mut log = lock(&self.log);
        for (file, id) in files {
            log.files.insert(file as u64, id.inode);
            records.push(Record::File {
                file: file as u64,
                inode: id.inode,
            });
        }
        records.extend(
            masks
                .into_iter()
                .map(|(group, mask)| Record::Written { group, mask }),
        );
        let recorded = log.journal.append(&records);
        drop(log);
        written.and(recorded).map_err(|error| self.error(error))
    }

    /// Makes durable what was written before the call, and then records it.
    pub(super) fn sync(&self) -> Result<(), SinkError> {
        let closed = lock(&self.closed);
        if *closed {
            return Ok(());
        }
        let Some(pending) = self.sync_data(false)? else {
            return Ok(());
        };
        let (file, named) = {
            let mut log = lock(&self.log);
            self.record_synced(&mut log, pending)
                .map_err(|error| self.error(error))?;
            (log.journal.file(), std::mem::replace(&mut log.named, true))
        };
        let synced = file.sync_data();
        let synced = if named {
            synced
        } else {
            synced.and_then(|()| self.place.directory.sync())
        };
        synced.map_err(|error| self.error(error))
    }

    /// Makes the data durable; the chunks that no sync had covered before, or `None` if there are none.
    fn sync_data(&self, all: bool) -> Result<Option<Masks>, SinkError> {
        let (pending, touched) = {
            let mut progress = lock(&self.progress);
            if progress.failed {
                let error = io::Error::other("an earlier write did not reach the disk");
                drop(progress);
                return Err(self.error(error));
            }
            (
                std::mem::take(&mut progress.pending),
                std::mem::take(&mut progress.touched),
            )
        };
        if pending.is_empty() && touched.is_empty() && !all {
            return Ok(None);
        }
        let synced = if all {
            self.part.sync_all(&touched)
        } else {
            self.part.sync(&touched)
        };
        if let Err(error) = synced {
            let mut progress = lock(&self.progress);
            progress.failed = true;
            for (group, mask) in pending {
                *progress.pending.entry(group).or_default() |= mask;
            }
            drop(progress);
            return Err(self.error(error));
        }
        Ok(Some(pending))
    }

    fn record_synced(&self, log: &mut Log, pending: Masks) -> io::Result<()> {
        log.journal.append(&synced_records(pending))?;
        if log.journal.len() > log.compact + MAX_GROWTH {
            self.rewrite(log)?;
        }
        Ok(())
    }

    /// Replaces the journal by one that says the same in fewer records. Call it while nothing is being synced.
    pub(super) fn rewrite(&self, log: &mut Log) -> io::Result<()> {
        let directory = &self.place.directory;
        match directory.remove_file(&self.names.next_journal) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = Arc::new(directory.create(&self.names.next_journal)?);
        let mut journal = Journal::start(file, log.journal.binding().clone(), &self.layout)?;
        if let Some(nodes) = log.journal.manifest()? {
            journal.keep_manifest(&nodes)?;
        }
        journal.append(&self.records(&log.files))?;
        journal.file().sync_all()?;
        // A contender that opens the new journal meets its lock, one that has opened the old one meets that.
        let _ = self.place.lock(&journal.file());
        directory.rename(&self.names.next_journal, &self.names.journal, Replace::File)?;
        directory.sync()?;
        log.compact = journal.len();
        log.journal = journal;
        Ok(())
    }

    /// All that is known: files, durable chunks, written chunks.
    fn records(&self, files: &BTreeMap<u64, u64>) -> Vec<Record> {
        let progress = lock(&self.progress);
        let mut masks = Masks::new();
        let table = self.layout.table_chunks();
        for chunk in progress.have.iter().filter(|chunk| !table.contains(chunk)) {
            mark(&mut masks, chunk);
        }
        for (group, mask) in &progress.pending {
            if let Some(synced) = masks.get_mut(group) {
                *synced &= !mask;
            }
        }
        let synced = synced_records(masks.into_iter().filter(|(_, mask)| *mask != 0));
        let written = progress
            .pending
            .iter()
            .map(|(group, mask)| Record::Written {
                group: *group,
                mask: *mask,
            });
        let files = files.iter().map(|(file, inode)| Record::File {
            file: *file,
            inode: *inode,
        });
        files.chain(synced).chain(written).collect()
    }
}

impl Writing {
    /// Makes all of it durable, gives it its final name and removes the journal.
    pub(super) fn commit(
        &self,
        wants: &dyn Fn(usize) -> bool,
        force: bool,
    ) -> Result<(), SinkError> {
        let missing = lock(&self.progress).remaining;
        if missing > 0 {
            return Err(SinkError::Incomplete { missing });
        }
        let mut closed = lock(&self.closed);
        if let Files::Many(folder) = self.part.files() {
            folder.finish(wants).map_err(|error| self.error(error))?;
        }
        let pending = self.sync_data(true)?;
        let mut log = lock(&self.log);
        if let Some(pending) = pending {
            // In case the name is taken, so that nothing is hashed again after all.
            let recorded = log.journal.append(&synced_records(pending));
            recorded.map_err(|error| self.error(error))?;
        }
        self.place
            .finish(&self.names.part, self.layout.kind(), force)?;
        *closed = true;
        if let Err(error) = self.place.directory.remove_file(&self.names.journal) {
            tracing::debug!(%error, "a journal that is no longer needed stays");
        }
        let _ = log.journal.file().unlock();
        Ok(())
    }

    /// Ends writing, and removes a `.part` in which there is nothing.
    pub(super) fn close(&self) {
        let mut closed = lock(&self.closed);
        if std::mem::replace(&mut *closed, true) {
            return;
        }
        let first = self.layout.table_chunks().end;
        let empty = lock(&self.progress).have.next_present(first).is_none();
        let log = lock(&self.log);
        if self.fresh && empty {
            let directory = &self.place.directory;
            let removed = match self.layout.kind() {
                ContentKind::File => directory.remove_file(&self.names.part),
                ContentKind::Folder => directory.remove_directory(&self.names.part),
            };
            if removed.is_ok() {
                let _ = directory.remove_file(&self.names.journal);
            }
        }
        let _ = log.journal.file().unlock();
    }
}

fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Syncer for Writing {
    fn sync(&self) -> Result<(), SinkError> {
        Self::sync(self)
    }
}

impl ChunkReader for Writing {
    fn read(&self, chunk: u64) -> io::Result<Bytes> {
        if !lock(&self.progress).have.contains(chunk) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.part.read(chunk)
    }
}
