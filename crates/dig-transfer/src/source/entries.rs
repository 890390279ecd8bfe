//! The entries of a shared content: in memory, or beside it on disk where they are many.

use super::disk::{append_at, temporary, write_at};
use crate::chunk::Digest;
use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

/// Entries kept in memory (2 MiB: contents of up to 4 GiB); more go to a temporary file.
const IN_MEMORY: u64 = 65_536;
/// Entries read at a time from the file (64 KiB).
const PIECE: u64 = 2_048;
/// Bytes of an entry.
const LEN: u64 = 32;

/// As many entries as a content has chunks, by number.
#[derive(Debug)]
pub(crate) struct EntryList {
    place: Place,
    count: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<Digest>),
    /// The file, and its name where it must be removed at the end.
    File(Option<File>, Option<PathBuf>),
}

impl EntryList {
    /// Room for `count` entries; a temporary file goes to `folder`.
    pub(crate) fn new(count: u64, folder: &Path) -> io::Result<Self> {
        let place = if count <= IN_MEMORY {
            Place::Memory(vec![Digest([0; 32]); count as usize])
        } else {
            let (file, path) = temporary(folder)?;
            Place::File(Some(file), path)
        };
        Ok(Self { place, count })
    }

    /// Sets the entries from `first` on.
    pub(crate) fn put(&mut self, first: u64, entries: &[Digest]) -> io::Result<()> {
        match &mut self.place {
            Place::Memory(list) => {
                let end = first
                    .checked_add(entries.len() as u64)
                    .filter(|end| *end <= self.count);
                let end = end.ok_or(io::ErrorKind::InvalidInput)?;
                list[first as usize..end as usize].copy_from_slice(entries);
                Ok(())
            }
            Place::File(Some(file), _) => write_at(file, &bytes_of(entries), first * LEN),
            Place::File(None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The entries of these chunks.
    pub(crate) fn get(&self, chunks: Range<u64>) -> io::Result<Vec<Digest>> {
        if chunks.end > self.count {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &self.place {
            Place::Memory(list) => Ok(list[chunks.start as usize..chunks.end as usize].to_vec()),
            Place::File(Some(file), _) => {
                let mut bytes = Vec::new();
                append_at(
                    file,
                    &mut bytes,
                    ((chunks.end - chunks.start) * LEN) as usize,
                    chunks.start * LEN,
                )?;
                Ok(entries_of(&bytes))
            }
            Place::File(None, _) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Hands over the entries of these chunks in order, a piece at a time.
    pub(crate) fn for_each(
        &self,
        chunks: Range<u64>,
        mut each: impl FnMut(&[Digest]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut next = chunks.start;
        while next < chunks.end {
            let end = chunks.end.min(next + PIECE);
            each(&self.get(next..end)?)?;
            next = end;
        }
        Ok(())
    }
}

impl Drop for EntryList {
    fn drop(&mut self) {
        if let Place::File(file, Some(path)) = &mut self.place {
            // Some systems do not remove open files.
            drop(file.take());
            if let Err(error) = std::fs::remove_file(&*path) {
                tracing::debug!(path = %path.display(), %error, "cannot remove a temporary file");
            }
        }
    }
}

/// Entries one after the other.
pub(crate) fn bytes_of(entries: &[Digest]) -> Vec<u8> {
    entries.iter().flat_map(|entry| entry.0).collect()
}

/// Entries from bytes; what is left over is dropped.
pub(crate) fn entries_of(bytes: &[u8]) -> Vec<Digest> {
    let (whole, _) = bytes.as_chunks::<32>();
    whole.iter().map(|entry| Digest(*entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_file_behave_alike() {
        let folder = tempfile::tempdir().unwrap();
        for count in [100, IN_MEMORY + 5000] {
            let mut list = EntryList::new(count, folder.path()).unwrap();
            let entry = |i: u64| Digest([(i % 251) as u8; 32]);
            let all: Vec<Digest> = (0..count).map(entry).collect();
            list.put(50, &all[50..]).unwrap();
            list.put(0, &all[..50]).unwrap();
            assert_eq!(list.get(3..77).unwrap(), all[3..77]);
            let mut seen = Vec::new();
            list.for_each(1..count, |part| {
                seen.extend_from_slice(part);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, all[1..]);
            assert!(list.get(count - 1..count + 1).is_err());
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
    }
}
