//! The sink that writes a file or a folder: `NAME.part` first, `NAME` when all of it is there.

use super::{
    ChunkReader, ContentSink, Resumed, SinkError, Syncer,
    directory::{Directory, FileId, Stat},
    finished::{self, Memory},
    folder::Folder,
    journal::{Binding, Journal, Masks, Replay, mark, synced_records},
    part::{Files, Part, one_file},
    place::{Claim, Found, Place},
    resume::{Remains, Trusted},
    target::{PartNames, Target},
    writing::{Log, Progress, Writing, lock},
};
use crate::{
    chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table,
    tree::root_of_nodes,
};
use bytes::Bytes;
use dig_types::{ContentHash, ContentKind};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

/// Writes a content to the file system.
///
/// Data goes to `NAME.part` beside the target (a folder is built in the folder of that name), and
/// `NAME.part.journal` says which chunks are there. The journal is locked while the sink lives, bound to the
/// content hash (any peer and any ticket may continue it) and survives a crash. [`commit`](ContentSink::commit)
/// makes all of it durable before the target gets its name. A `NAME.part` of somebody else is left alone; then
/// `NAME.<hash8>.part` is used.
///
/// The file is sparse: free space is checked when it is opened, but not reserved, so that chunks of zeros can stay
/// holes. A full disk in the middle is [`SinkError::NoSpace`], and what was written is kept.
///
/// Dropping the sink releases the lock and keeps what was written; call [`sync`](ContentSink::sync) before, or
/// the next run hashes the last of it again. A sink that was dropped empty leaves nothing behind.
#[derive(Debug)]
pub struct FileSink {
    target: Target,
    hash: ContentHash,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    /// The target was there already.
    Complete,
    Open(Open),
}

#[derive(Debug)]
struct Open {
    writing: Arc<Writing>,
    header: ContentHeader,
    /// Whether this run made the `.part`.
    fresh: bool,
    table: Option<Arc<Table>>,
}

impl FileSink {
    /// A sink for this content; nothing is touched before it is opened.
    pub fn new(target: Target, hash: ContentHash) -> Self {
        Self {
            target,
            hash,
            state: State::Closed,
        }
    }

    /// Whether the target is this content already, as far as can be told before any peer was asked: it is remembered
    /// to be, or it is a file that hashes to it. Blocks while it hashes.
    pub fn is_complete(&self) -> Result<bool, SinkError> {
        let place = Place::open(&self.target.path)?;
        let Some(there) = place.existing()? else {
            return Ok(false);
        };
        if self.recalls() {
            return Ok(true);
        }
        let complete = finished::is_file(&place, &there, &self.hash, &self.target.cancel)?;
        if complete {
            self.remember();
        }
        Ok(complete)
    }

    fn recalls(&self) -> bool {
        let memory = self.target.memory.as_deref().map(Memory::new);
        memory.is_some_and(|memory| memory.recalls(&self.target.path, &self.hash))
    }

    /// Remembers the target as complete, if all of the content was wanted.
    fn remember(&self) {
        if let (Some(folder), None) = (&self.target.memory, &self.target.select) {
            Memory::new(folder).remember(&self.target.path, &self.hash);
        }
    }

    fn wants(&self, table: Option<&Table>, file: usize) -> bool {
        match (
            &self.target.select,
            table.and_then(|table| table.entries().get(file)),
        ) {
            (Some(select), Some(entry)) => select(&entry.path),
            _ => true,
        }
    }

    /// The chunks of the files that are wanted, and the table's.
    fn wanted(&self, layout: &Layout, table: Option<&Table>) -> Result<NumberSet, SinkError> {
        if self.target.select.is_none() {
            return Ok(NumberSet::full(layout.chunks()));
        }
        let mut wanted = NumberSet::empty(layout.chunks());
        let files: Vec<usize> = (0..layout.files())
            .filter(|file| self.wants(table, *file))
            .collect();
        if files.is_empty() {
            return Err(SinkError::NothingSelected);
        }
        let of_files = files.into_iter().flat_map(|file| layout.file_chunks(file));
        for chunk in layout.table_chunks().chain(of_files) {
            wanted.insert(chunk);
        }
        Ok(wanted)
    }

    /// Whether what has the target's name is the content; an error if it is something that must not be replaced.
    fn check_existing(
        &self,
        place: &Place,
        there: &Stat,
        header: &ContentHeader,
        table: Option<&Arc<Table>>,
    ) -> Result<bool, SinkError> {
        let cancel = &self.target.cancel;
        let complete = self.recalls()
            || match table {
                Some(table) => {
                    let wants = |file| self.wants(Some(table), file);
                    finished::is_folder(place, there, table, &wants, cancel)?
                }
                None => {
                    there.len == header.size && finished::is_file(place, there, &self.hash, cancel)?
                }
            };
        if complete {
            self.remember();
        } else {
            place.check_replaceable(there, self.target.force)?;
        }
        Ok(complete)
    }

    /// Makes or continues the `.part`.
    fn start(
        &self,
        place: Place,
        claim: Claim,
        header: &ContentHeader,
        layout: &Arc<Layout>,
        table: Option<&Arc<Table>>,
    ) -> Result<(Open, Option<Vec<Digest>>), SinkError> {
        let wanted = self.wanted(layout, table.map(AsRef::as_ref))?;
        let part_path = place.beside(&claim.names.part);
        let failed = |error| SinkError::io(&part_path, error);
        let binding = Binding {
            hash: self.hash,
            header: *header,
            part: None,
        };
        let fresh = matches!(claim.found, Found::Nothing);
        let modified = Directory::stat_file(&claim.journal)
            .map_err(failed)?
            .modified;
        let (mut journal, replay, found) = match claim.found {
            Found::Nothing => {
                let journal = Journal::start(claim.journal, binding, layout).map_err(failed)?;
                (journal, Replay::nothing(layout), None)
            }
            Found::Part(binding, stat) | Found::Copy(binding, stat) => {
                let known = binding.part == Some(stat.id);
                let (journal, replay) =
                    Journal::resume(claim.journal, binding, layout).map_err(failed)?;
                (journal, replay, Some((stat, !known)))
            }
        };
        let (files, id) =
            open_files(&place.directory, &claim.names, layout, table, fresh).map_err(failed)?;
        let part = Part::new(Arc::clone(layout), files);
        let nodes = known_nodes(&journal, layout, header).map_err(failed)?;
        journal.bind(id).map_err(failed)?;
        let trusted = match found {
            None => Trusted::table_only(layout),
            Some((found, copy)) => Remains {
                layout,
                part: &part,
                replay: &replay,
                found,
                copy,
                journal_modified: modified,
                nodes: nodes.as_deref(),
                wanted: &wanted,
            }
            .examine(&self.target.cancel)
            .map_err(|_| SinkError::Cancelled)?,
        };
        let writing = Writing {
            place,
            names: claim.names,
            layout: Arc::clone(layout),
            part,
            progress: Mutex::new(progress(layout, &wanted, &trusted)),
            wanted,
            log: Mutex::new(Log {
                journal,
                files: trusted.files,
                compact: 0,
                named: false,
            }),
            closed: Mutex::new(false),
        };
        if !fresh {
            // What is no longer trusted must not come back from the old journal.
            writing
                .rewrite(&mut lock(&writing.log))
                .map_err(|error| writing.error(error))?;
        }
        let open = Open {
            writing: Arc::new(writing),
            header: *header,
            fresh,
            table: table.cloned(),
        };
        Ok((open, nodes.filter(|_| !fresh)))
    }

    fn open_state(&self) -> Result<&Open, SinkError> {
        match &self.state {
            State::Open(open) => Ok(open),
            _ => Err(SinkError::io(
                &self.target.path,
                io::Error::other("the sink is not open"),
            )),
        }
    }
}

/// The manifest, if it was kept or is the root itself.
fn known_nodes(
    journal: &Journal,
    layout: &Layout,
    header: &ContentHeader,
) -> io::Result<Option<Vec<Digest>>> {
    if layout.nodes() == 1 {
        return Ok(Some(vec![header.root]));
    }
    let nodes = journal.manifest()?;
    Ok(nodes.filter(|nodes| root_of_nodes(nodes) == header.root))
}

fn open_files(
    directory: &Directory,
    names: &PartNames,
    layout: &Layout,
    table: Option<&Arc<Table>>,
    fresh: bool,
) -> io::Result<(Files, FileId)> {
    let Some(table) = table else {
        return one_file(directory, &names.part, layout.size(), fresh);
    };
    if fresh {
        directory.make_directory(&names.part)?;
    }
    let root = directory.directory(&names.part)?;
    let id = directory
        .stat(&names.part)?
        .ok_or(io::ErrorKind::NotFound)?
        .id;
    Ok((Files::Many(Folder::new(root, Arc::clone(table))), id))
}

fn progress(layout: &Layout, wanted: &NumberSet, trusted: &Trusted) -> Progress {
    let mut pending = Masks::new();
    let mut touched = BTreeSet::new();
    for chunk in &trusted.rehashed {
        mark(&mut pending, *chunk);
        touched.extend(layout.locate(*chunk).file);
    }
    let missing = wanted
        .iter()
        .filter(|chunk| !trusted.chunks.contains(*chunk));
    Progress {
        have: trusted.chunks.clone(),
        remaining: missing.map(|chunk| layout.chunk_len(chunk) as u64).sum(),
        pending,
        touched,
        failed: false,
    }
}

impl Open {
    fn check_space(&self) -> Result<(), SinkError> {
        let writing = &self.writing;
        let Some(free) = writing.place.space.free else {
            return Ok(());
        };
        // A file takes whole blocks.
        let files = self
            .table
            .as_ref()
            .map_or(1, |table| table.entries().len() as u64);
        let remaining = lock(&writing.progress).remaining;
        let slack = if remaining == 0 {
            0
        } else {
            files.saturating_mul(writing.place.space.block)
        };
        let needed = remaining.saturating_add(slack);
        if needed > free {
            return Err(SinkError::NoSpace {
                path: writing.place.path.clone(),
                needed,
                free,
            });
        }
        Ok(())
    }

    /// Refuses a folder of names that are one and the same here.
    fn check_collisions(&self) -> Result<(), SinkError> {
        let (place, names) = (&self.writing.place, &self.writing.names);
        let Some(table) = &self.table else {
            return Ok(());
        };
        if !place
            .folds_case(&names.journal)
            .map_err(|error| place.error(error))?
        {
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

    /// Ends writing, and removes a `.part` in which there is nothing.
    fn close(&self) {
        let writing = &self.writing;
        let mut closed = lock(&writing.closed);
        if *closed {
            return;
        }
        *closed = true;
        let table = self.writing.layout.table_chunks();
        let empty = lock(&writing.progress)
            .have
            .next_present(table.end)
            .is_none();
        let log = lock(&writing.log);
        if self.fresh && empty {
            let directory = &writing.place.directory;
            let removed = match self.header.kind {
                ContentKind::File => directory.remove_file(&writing.names.part),
                ContentKind::Folder => directory.remove_directory(&writing.names.part),
            };
            if removed.is_ok() {
                let _ = directory.remove_file(&writing.names.journal);
            }
        }
        let _ = log.journal.file().unlock();
    }
}

/// Names that this system or this disk cannot write.
fn check_names(place: &Place, table: &Table) -> Result<(), SinkError> {
    if let Some(path) = table.unwritable_here().first() {
        return Err(SinkError::Name(format!("{path:?}")));
    }
    let too_long = |path: &str| {
        path.split('/')
            .any(|name| name.len() > place.space.name_max)
    };
    match table.entries().iter().find(|entry| too_long(&entry.path)) {
        Some(entry) => Err(SinkError::Name(format!(
            "{:?} is too long for this disk",
            entry.path
        ))),
        None => Ok(()),
    }
}

impl ContentSink for FileSink {
    fn open(
        &mut self,
        header: &ContentHeader,
        layout: &Arc<Layout>,
        table: Option<&Arc<Table>>,
    ) -> Result<Resumed, SinkError> {
        let fits = header.hash() == self.hash
            && layout.header(header.root) == *header
            && table.is_some() == (header.kind == ContentKind::Folder);
        if !fits || matches!(self.state, State::Open(_)) {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "not the content of this sink");
            return Err(SinkError::io(&self.target.path, error));
        }
        let place = Place::open(&self.target.path)?;
        if let Some(table) = table {
            check_names(&place, table)?;
        }
        let before = place.existing()?;
        if let Some(there) = &before
            && self.check_existing(&place, there, header, table)?
        {
            place.tidy(&self.hash, header);
            self.state = State::Complete;
            let chunks = NumberSet::full(layout.chunks());
            return Ok(Resumed {
                chunks,
                manifest: None,
                complete: true,
            });
        }
        let claim = place.claim(&self.hash, header)?;
        if before.is_none() && place.existing()?.is_some() {
            // Another getter finished between the two looks.
            if matches!(claim.found, Found::Nothing) {
                let _ = place.directory.remove_file(&claim.names.journal);
            }
            drop(claim);
            return self.open(header, layout, table);
        }
        let journal = claim.names.journal.clone();
        let unmade = matches!(claim.found, Found::Nothing);
        let lock_file = Arc::clone(&claim.journal);
        let started = self.start(place, claim, header, layout, table);
        let (open, nodes) = match started {
            Ok(started) => started,
            Err(error) => {
                if let (true, Ok(place)) = (unmade, Place::open(&self.target.path)) {
                    let _ = place.directory.remove_file(&journal);
                }
                let _ = lock_file.unlock();
                return Err(error);
            }
        };
        let checked = open
            .check_collisions()
            .and_then(|()| match self.target.check_space {
                true => open.check_space(),
                false => Ok(()),
            });
        if let Err(error) = checked {
            open.close();
            return Err(error);
        }
        let chunks = lock(&open.writing.progress).have.clone();
        self.state = State::Open(open);
        Ok(Resumed {
            chunks,
            manifest: nodes.map(Into::into),
            complete: false,
        })
    }

    fn keep_manifest(&mut self, manifest: &[Digest]) -> Result<(), SinkError> {
        let writing = &self.open_state()?.writing;
        let kept = lock(&writing.log).journal.keep_manifest(manifest);
        kept.map_err(|error| writing.error(error))
    }

    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        self.open_state()?.writing.write(first, chunks)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        match &self.state {
            State::Open(open) => open.writing.sync(),
            State::Closed | State::Complete => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError> {
        if let State::Complete = self.state {
            return Ok(Some(self.target.path.clone()));
        }
        let open = self.open_state()?;
        let writing = &open.writing;
        let missing = lock(&writing.progress).remaining;
        if missing > 0 {
            return Err(SinkError::Incomplete { missing });
        }
        let mut closed = lock(&writing.closed);
        if let Files::Many(folder) = writing.part.files() {
            let wants = |file| self.wants(open.table.as_deref(), file);
            folder
                .finish(&wants)
                .map_err(|error| writing.error(error))?;
        }
        let pending = writing.sync_data(true)?;
        let mut log = lock(&writing.log);
        if let Some(pending) = pending {
            // In case the name is taken, so that nothing is hashed again after all.
            let recorded = log.journal.append(&synced_records(pending));
            recorded.map_err(|error| writing.error(error))?;
        }
        writing
            .place
            .finish(&writing.names.part, open.header.kind, self.target.force)?;
        *closed = true;
        drop(closed);
        if let Err(error) = writing.place.directory.remove_file(&writing.names.journal) {
            tracing::debug!(%error, "a journal that is no longer needed stays");
        }
        let _ = log.journal.file().unlock();
        log.files = BTreeMap::new();
        drop(log);
        self.remember();
        Ok(Some(self.target.path.clone()))
    }

    fn reader(&self) -> Option<Arc<dyn ChunkReader>> {
        let open = self.open_state().ok()?;
        Some(Arc::clone(&open.writing) as Arc<dyn ChunkReader>)
    }

    fn syncer(&self) -> Option<Arc<dyn Syncer>> {
        let open = self.open_state().ok()?;
        Some(Arc::clone(&open.writing) as Arc<dyn Syncer>)
    }

    fn wanted_chunks(&self) -> Option<NumberSet> {
        let open = self.open_state().ok()?;
        self.target
            .select
            .as_ref()
            .map(|_| open.writing.wanted.clone())
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let State::Open(open) = &self.state {
            open.close();
        }
    }
}

#[cfg(test)]
mod tests;
