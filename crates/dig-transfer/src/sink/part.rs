//! The bytes of a `.part`, by chunk.

use super::{
    directory::{Directory, FileId, punch, read_exact_at, sync_tree, write_all_at},
    folder::{Folder, Missing},
};
use crate::{chunk::CHUNK_LEN, layout::Layout};
use bytes::Bytes;
use std::{borrow::Cow, collections::BTreeSet, ffi::OsStr, fs::File, io, sync::Arc};

/// Files that are synced one by one; beyond it one call syncs the file system.
const SYNC_ONE_BY_ONE: usize = 8;

static ZEROS: [u8; CHUNK_LEN] = [0; CHUNK_LEN];

/// A `.part` file or folder. It is verified chunks that are written; all-zero chunks become holes.
#[derive(Debug)]
pub(super) struct Part {
    layout: Arc<Layout>,
    /// A folder's table, which is served but not written: it can be made again from what it says.
    table: Bytes,
    files: Files,
}

#[derive(Debug)]
pub(super) enum Files {
    One {
        file: Arc<File>,
        /// Whether this run made it: what was not written in it is a hole.
        fresh: bool,
    },
    Many(Box<Folder>),
}

/// Pieces that lie behind each other in one file.
struct Stretch<'a> {
    file: usize,
    offset: u64,
    pieces: &'a [Bytes],
    zero: bool,
}

impl Part {
    pub(super) fn new(layout: Arc<Layout>, files: Files) -> Self {
        let table = match &files {
            Files::One { .. } => Bytes::new(),
            Files::Many(folder) => folder.table().encode().into(),
        };
        Self {
            layout,
            table,
            files,
        }
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    pub(super) fn read(&self, chunk: u64) -> io::Result<Bytes> {
        let at = self.layout.locate(chunk);
        let Some(file) = at.file else {
            let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
            let in_table = start
                .checked_add(at.len)
                .is_some_and(|end| end <= self.table.len());
            if at.len == 0 || !in_table {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            return Ok(self.table.slice(start..start + at.len));
        };
        let mut buffer = vec![0; at.len];
        read_exact_at(&self.file(file, Missing::Fail)?.0, &mut buffer, at.offset)?;
        Ok(buffer.into())
    }

    fn file(&self, index: usize, missing: Missing) -> io::Result<(Cow<'_, Arc<File>>, bool)> {
        match &self.files {
            Files::One { file, fresh } => Ok((Cow::Borrowed(file), *fresh)),
            Files::Many(folder) => {
                let (file, fresh) = folder.file(index, missing)?;
                Ok((Cow::Owned(file), fresh))
            }
        }
    }

    /// Writes chunks that follow each other; adds the files written to.
    pub(super) fn write(
        &self,
        first: u64,
        chunks: &[Bytes],
        touched: &mut BTreeSet<usize>,
    ) -> io::Result<()> {
        let mut rest = chunks;
        let mut next = first;
        while !rest.is_empty() {
            let (stretch, taken) = self.stretch(next, rest)?;
            if let Some(stretch) = stretch {
                self.write_stretch(&stretch)?;
                touched.insert(stretch.file);
            }
            rest = &rest[taken..];
            next += taken as u64;
        }
        Ok(())
    }

    /// The first chunks that can be written at once, and how many they are; `None` for those of the table.
    fn stretch<'a>(
        &self,
        first: u64,
        chunks: &'a [Bytes],
    ) -> io::Result<(Option<Stretch<'a>>, usize)> {
        let start = self.layout.locate(first);
        let zero = is_zero(&chunks[0]);
        let mut taken = 0;
        for (chunk, bytes) in (first..).zip(chunks) {
            let at = self.layout.locate(chunk);
            if at.len == 0 || at.len != bytes.len() {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "not the length of this chunk",
                ));
            }
            if at.file != start.file || (taken > 0 && is_zero(bytes) != zero) {
                break;
            }
            taken += 1;
        }
        let stretch = start.file.map(|file| Stretch {
            file,
            offset: start.offset,
            pieces: &chunks[..taken],
            zero,
        });
        Ok((stretch, taken))
    }

    fn write_stretch(&self, stretch: &Stretch<'_>) -> io::Result<()> {
        let (file, fresh) = self.file(stretch.file, Missing::Make)?;
        if stretch.zero {
            let len = stretch.pieces.iter().map(|piece| piece.len() as u64).sum();
            if fresh || punch(&file, stretch.offset, len)? {
                return Ok(());
            }
        }
        write_all_at(&file, stretch.pieces, stretch.offset)
    }

    /// Files that the journal does not know yet.
    pub(super) fn take_unrecorded(&self) -> Vec<(usize, FileId)> {
        match &self.files {
            Files::One { .. } => Vec::new(),
            Files::Many(folder) => folder.take_unrecorded(),
        }
    }

    /// Makes durable what was written to these files: a few one by one, many (or new ones, whose names must
    /// last too) by one call for the whole file system.
    pub(super) fn sync(&self, touched: &BTreeSet<usize>) -> io::Result<()> {
        let folder = match &self.files {
            Files::One { file, .. } => return file.sync_data(),
            Files::Many(folder) => folder,
        };
        if touched.len() > SYNC_ONE_BY_ONE && sync_tree(folder.root())? {
            return Ok(());
        }
        for index in touched {
            folder.file(*index, Missing::Fail)?.0.sync_all()?;
        }
        Ok(())
    }

    /// The same for all there is, at the end.
    pub(super) fn sync_all(&self, touched: &BTreeSet<usize>) -> io::Result<()> {
        match &self.files {
            Files::One { file, .. } => file.sync_all(),
            Files::Many(folder) if sync_tree(folder.root())? => Ok(()),
            Files::Many(_) => self.sync(touched),
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    ZEROS.get(..bytes.len()).is_some_and(|zeros| zeros == bytes)
}

/// Opens or makes the single file of a `.part`.
pub(super) fn one_file(
    directory: &Directory,
    name: &OsStr,
    size: u64,
    fresh: bool,
) -> io::Result<(Files, FileId)> {
    let file = if fresh {
        directory.create(name)?
    } else {
        directory.file(name)?
    };
    let stat = Directory::stat_file(&file)?;
    if stat.len != size
        && let Err(error) = file.set_len(size)
    {
        // Such as a size that this file system does not have.
        if fresh {
            let _ = directory.remove_file(name);
        }
        return Err(error);
    }
    Ok((
        Files::One {
            file: Arc::new(file),
            fresh,
        },
        stat.id,
    ))
}
