//! Chunks of a shared content, from its table and its files.

use super::{entries::EntryList, files::SharedFiles};
use crate::{
    chunk::{CHUNK_LEN, Digest},
    hashing::hasher,
    layout::Layout,
    store::ReadError,
};
use bytes::Bytes;
use std::ops::Range;

/// Where the chunks of a content come from, by number.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) layout: Layout,
    pub(crate) table: Bytes,
    pub(crate) files: SharedFiles,
    pub(crate) entries: EntryList,
}

/// Chunks that lie one after the other in one file or in the table.
pub(crate) struct Stretch {
    pub(crate) file: Option<usize>,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    pub(crate) chunks: Range<u64>,
}

/// Cuts chunks into stretches.
pub(crate) fn stretches(layout: &Layout, chunks: Range<u64>) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for chunk in chunks {
        let at = layout.locate(chunk);
        match found.last_mut() {
            Some(last) if last.file == at.file => {
                last.len += at.len;
                last.chunks.end += 1;
            }
            _ => found.push(Stretch {
                file: at.file,
                offset: at.offset,
                len: at.len,
                chunks: chunk..chunk + 1,
            }),
        }
    }
    found
}

impl Origin {
    /// The bytes of these chunks. Where the file's fingerprint is no proof, they are hashed.
    pub(crate) fn read(&self, chunks: Range<u64>) -> Result<Vec<Bytes>, ReadError> {
        let mut read = Vec::with_capacity((chunks.end - chunks.start) as usize);
        for stretch in stretches(&self.layout, chunks) {
            let (bytes, doubtful) = self.read_stretch(&stretch)?;
            let first = read.len();
            read.extend(
                (0..bytes.len())
                    .step_by(CHUNK_LEN)
                    .map(|at| bytes.slice(at..bytes.len().min(at + CHUNK_LEN))),
            );
            if doubtful && entries_of_chunks(&read[first..]) != self.entries.get(stretch.chunks)? {
                return Err(ReadError::Changed);
            }
        }
        Ok(read)
    }

    fn read_stretch(&self, stretch: &Stretch) -> Result<(Bytes, bool), ReadError> {
        let Some(file) = stretch.file else {
            let start = usize::try_from(stretch.offset).map_err(|_| ReadError::Missing)?;
            let end = start
                .checked_add(stretch.len)
                .filter(|end| *end <= self.table.len());
            return Ok((
                self.table.slice(start..end.ok_or(ReadError::Missing)?),
                false,
            ));
        };
        let mut bytes = Vec::with_capacity(stretch.len);
        self.files
            .append(file, stretch.offset, stretch.len, &mut bytes)?;
        Ok((bytes.into(), self.files.members()[file].is_doubtful()))
    }
}

/// The entries of chunks.
pub(crate) fn entries_of_chunks(chunks: &[Bytes]) -> Vec<Digest> {
    let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let mut entries = Vec::with_capacity(chunks.len());
    hasher().hash(&chunks, &mut entries);
    entries
}
