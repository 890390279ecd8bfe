//! The sink that writes a file or a folder: `NAME.part` first, `NAME` when all of it is there.

use super::{
    ChunkReader, ContentSink, Resumed, SinkError, Syncer,
    directory::Stat,
    finished::{self, FinishedFile, Memory},
    opening::Opening,
    place::{Found, Place},
    target::Target,
    writing::{Writing, lock},
};
use crate::{chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use dig_types::{ContentHash, ContentKind};
use std::{io, path::PathBuf, sync::Arc};

/// The most bytes of a content that is taken: 16 TiB, the largest file of ext4. What is kept in memory grows with
/// the content (32 MiB a bitmap at this size), and its size is a stranger's to say.
pub const MAX_SIZE: u64 = 1 << 44;

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
    /// The target was there already; a file can be read.
    Complete(Option<Arc<FinishedFile>>),
    Open(Arc<Writing>),
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

    /// Refuses what can never fit, before memory is taken in proportion to it.
    fn check_size(&self, place: &Place, header: &ContentHeader) -> Result<(), SinkError> {
        let size = header.size.saturating_add(header.table_len);
        if size > MAX_SIZE {
            return Err(SinkError::TooLarge { size });
        }
        match place.space.total {
            Some(total)
                if self.target.check_space && self.target.select.is_none() && size > total =>
            {
                let free = place.space.free.unwrap_or(0);
                Err(SinkError::NoSpace {
                    path: place.path.clone(),
                    needed: size,
                    free,
                })
            }
            _ => Ok(()),
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

    /// The target is the content: nothing is written.
    fn complete(
        &mut self,
        place: &Place,
        header: &ContentHeader,
        layout: &Arc<Layout>,
    ) -> Result<Resumed, SinkError> {
        place.tidy(&self.hash, header);
        let file = match header.kind {
            ContentKind::File => Some(Arc::new(FinishedFile::open(place, layout)?)),
            ContentKind::Folder => None,
        };
        self.state = State::Complete(file);
        Ok(Resumed {
            chunks: NumberSet::full(layout.chunks()),
            manifest: None,
            complete: true,
        })
    }

    fn writing(&self) -> Result<&Arc<Writing>, SinkError> {
        match &self.state {
            State::Open(writing) => Ok(writing),
            _ => Err(SinkError::io(
                &self.target.path,
                io::Error::other("the sink is not open"),
            )),
        }
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
        self.check_size(&place, header)?;
        if let Some(table) = table {
            check_names(&place, table)?;
        }
        let before = place.existing()?;
        if let Some(there) = &before
            && self.check_existing(&place, there, header, table)?
        {
            return self.complete(&place, header, layout);
        }
        let wanted = self.wanted(layout, table.map(AsRef::as_ref))?;
        let claim = place.claim(&self.hash, header)?;
        if before.is_none() && place.existing()?.is_some() {
            // Another getter finished between the two looks.
            if matches!(claim.found, Found::Nothing) {
                let _ = place.directory.remove_file(&claim.names.journal);
            }
            drop(claim);
            return self.open(header, layout, table);
        }
        let opening = Opening {
            hash: self.hash,
            header,
            layout,
            table,
            wanted,
            cancel: &self.target.cancel,
        };
        let (writing, nodes) = opening.start(place, claim)?;
        let checked = writing
            .check_collisions()
            .and_then(|()| match self.target.check_space {
                true => writing.check_space(),
                false => Ok(()),
            });
        if let Err(error) = checked {
            writing.close();
            return Err(error);
        }
        let chunks = lock(&writing.progress).have.clone();
        self.state = State::Open(Arc::new(writing));
        Ok(Resumed {
            chunks,
            manifest: nodes.map(Into::into),
            complete: false,
        })
    }

    fn keep_manifest(&mut self, manifest: &[Digest]) -> Result<(), SinkError> {
        let writing = self.writing()?;
        let kept = lock(&writing.log).journal.keep_manifest(manifest);
        kept.map_err(|error| writing.error(error))
    }

    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        self.writing()?.write(first, chunks)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        match &self.state {
            State::Open(writing) => writing.sync(),
            State::Closed | State::Complete(_) => Ok(()),
        }
    }

    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError> {
        if !matches!(self.state, State::Complete(_)) {
            let writing = self.writing()?;
            let wants = |file| self.wants(writing.table.as_deref(), file);
            writing.commit(&wants, self.target.force)?;
            self.remember();
        }
        Ok(Some(self.target.path.clone()))
    }

    fn reader(&self) -> Option<Arc<dyn ChunkReader>> {
        match &self.state {
            State::Open(writing) => Some(Arc::clone(writing) as Arc<dyn ChunkReader>),
            State::Complete(file) => Some(Arc::clone(file.as_ref()?) as Arc<dyn ChunkReader>),
            State::Closed => None,
        }
    }

    fn syncer(&self) -> Option<Arc<dyn Syncer>> {
        Some(Arc::clone(self.writing().ok()?) as Arc<dyn Syncer>)
    }

    fn wanted_chunks(&self) -> Option<NumberSet> {
        let writing = self.writing().ok()?;
        self.target.select.as_ref().map(|_| writing.wanted.clone())
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let State::Open(writing) = &self.state {
            writing.close();
        }
    }
}

#[cfg(test)]
mod tests;
