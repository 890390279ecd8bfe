//! Hashing what is to be shared: a file, or a folder as one content.

use crate::{
    cache::HashCache,
    chunk::Digest,
    header::ContentHeader,
    layout::Layout,
    source::{About, SharedContent, entries::EntryList, files::SharedFiles, origin::Origin},
    store::ReadError,
    table::{Collision, PathError, Table, TableError},
    tree::{RootStack, leaf},
};
use bytes::Bytes;
use dig_types::Sha256Hash;
use std::{
    fmt, io,
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;
use walk::Found;

mod pool;
mod walk;

/// How to index; the default hashes everything, on every CPU.
#[derive(Debug, Clone, Default)]
pub struct IndexOptions {
    /// Folder of the hash cache. Default none: files are hashed each time, and entries of contents above 4 GiB go to
    /// the system's folder for temporary files.
    pub cache: Option<PathBuf>,
    /// What the content is called. Default: the base name of the path.
    pub name: Option<String>,
    /// Threads that hash. Default: as many as there are CPUs, at most 16, since each keeps 1 MiB in memory and storage is the limit above.
    pub threads: Option<usize>,
}

/// How far indexing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IndexProgress {
    /// Files found so far; while it grows, the other numbers are 0.
    pub files: u64,
    /// Bytes hashed, or found in the cache.
    pub hashed: u64,
    /// Bytes in all, once they are known.
    pub total: u64,
}

/// Something that was left out, or may surprise a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexWarning {
    /// A symbolic link, which is never followed.
    Symlink(PathBuf),
    /// A pipe, socket or device.
    Special(PathBuf),
    /// Two paths of which one overwrites the other where case or normal form makes no difference.
    Collision(Collision),
}

impl fmt::Display for IndexWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Symlink(path) => write!(f, "{path:?} is a symbolic link and was left out"),
            Self::Special(path) => write!(f, "{path:?} is no regular file and was left out"),
            Self::Collision(Collision { first, second }) => {
                write!(
                    f,
                    "{first:?} and {second:?} cannot both be written on systems that ignore case"
                )
            }
        }
    }
}

/// Why something cannot be shared. Names are printed escaped, as they may hold anything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// It cannot be read.
    #[error("{path:?}: {error}")]
    Io {
        /// What was being read.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is neither a regular file nor a folder.
    #[error("{0:?} is neither a file nor a folder; only these can be shared")]
    Special(PathBuf),
    /// A name is not UTF-8, so that it would not be the same elsewhere.
    #[error("the name {0:?} is not UTF-8; rename it to share it")]
    NotUtf8(PathBuf),
    /// A name is not allowed in a folder.
    #[error("{path:?} cannot be shared as it is named: {error}; rename it to share it")]
    Name {
        /// The path below the folder.
        path: PathBuf,
        /// What is wrong with it.
        error: PathError,
    },
    /// Two names are the same text in two encodings.
    #[error("{0:?} and {1:?} have the same name in two Unicode forms; rename one of them")]
    SameName(PathBuf, PathBuf),
    /// It changed or vanished while it was being hashed.
    #[error(
        "{0:?} changed or vanished while it was being read; share it again when nothing writes to it"
    )]
    Changed(PathBuf),
    /// Too many files, or sizes or names that no table can hold.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The entries cannot be kept on disk.
    #[error("cannot keep hashes in {folder:?}: {error}; make room there")]
    Entries {
        /// Where they go.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It was told to stop.
    #[error("stopped before everything was hashed")]
    Cancelled,
}

/// Hashes a file or folder and opens it for sharing. Blocks, hashing on several threads.
///
/// A path that is itself a symbolic link is followed; links below a folder are left out with a warning, as are pipes, sockets and
/// devices. Memory stays below a few MiB a thread whatever the size of a file; a folder takes some 300 bytes a file.
/// `progress` is called on this thread, every few MiB.
pub fn index_path(
    path: &Path,
    options: &IndexOptions,
    progress: &dyn Fn(IndexProgress),
    cancel: &CancellationToken,
) -> Result<SharedContent, IndexError> {
    let found = walk::walk(path, progress, cancel)?;
    let name = options.name.clone().unwrap_or_else(|| found.name.clone());
    let cache = options.cache.clone().map(HashCache::new);
    let folder = options.cache.clone().unwrap_or_else(std::env::temp_dir);
    let Found {
        table,
        mut warnings,
        files,
        size,
        ..
    } = found;
    if let Some(table) = &table {
        warnings.extend(table.collisions().into_iter().map(IndexWarning::Collision));
    }
    let layout = match &table {
        Some(table) => Layout::folder(table.encoded_len(), table),
        None => Layout::file(size),
    };
    if options.cache.is_some() {
        // Best effort: where it fails, making a file there fails too, and says why.
        _ = std::fs::create_dir_all(&folder);
    }
    let entries = EntryList::new(layout.chunks(), &folder);
    let entries = entries.map_err(|error| IndexError::Entries {
        folder: folder.clone(),
        error,
    })?;
    let mut indexing = Indexing {
        layout,
        files,
        entries,
        folder,
    };
    let sha256 = indexing.hash(cache.as_ref(), options.threads, progress, cancel)?;
    let (table, bytes) = match table {
        Some(table) => indexing
            .finish_table(table)
            .map(|(table, bytes)| (Some(table), bytes))?,
        None => (None, Bytes::new()),
    };
    let Indexing {
        layout,
        files,
        entries,
        folder,
    } = indexing;
    let origin = Origin {
        layout,
        table: bytes,
        files,
        entries,
    };
    let about = About {
        table,
        name,
        warnings,
        sha256,
        cache,
    };
    SharedContent::new(origin, about).map_err(|error| IndexError::Entries { folder, error })
}

/// A content whose entries are being computed.
struct Indexing {
    layout: Layout,
    files: SharedFiles,
    entries: EntryList,
    /// Where the entries may lie, for errors.
    folder: PathBuf,
}

impl Indexing {
    /// Computes the entries of all files, or takes them from the cache; returns the SHA-256 of a single file if the cache knows it.
    fn hash(
        &mut self,
        cache: Option<&HashCache>,
        threads: Option<usize>,
        progress: &dyn Fn(IndexProgress),
        cancel: &CancellationToken,
    ) -> Result<Option<Sha256Hash>, IndexError> {
        let mut state = IndexProgress {
            files: self.layout.files() as u64,
            hashed: 0,
            total: self.layout.size(),
        };
        progress(state);
        let (mut todo, mut new, mut sha256) = (Vec::new(), Vec::new(), None);
        for (file, member) in self.files.members().iter().enumerate() {
            let chunks = self.layout.file_chunks(file);
            if chunks.is_empty() {
                continue;
            }
            let entries = &mut self.entries;
            let put = |first, part: &[Digest]| entries.put(chunks.start + first, part);
            let size = member.fingerprint.size;
            let cache = cache.filter(|_| size >= crate::cache::SMALLEST);
            // The file must still be the one that the fingerprint is of.
            let known = cache
                .and_then(|cache| cache.load(&member.fingerprint, put))
                .filter(|_| self.files.is_in_place(file));
            if let Some(known) = known {
                state.hashed += size;
                sha256 = known;
                continue;
            }
            if cache.is_some() {
                new.push(file);
            }
            todo.push(chunks);
        }
        pool::hash(
            &self.layout,
            &self.files,
            todo,
            &mut self.entries,
            threads,
            cancel,
            &mut |bytes| {
                state.hashed += bytes;
                progress(state);
            },
        )
        .map_err(|error| error.at(&self.files, &self.folder))?;
        if let Some(cache) = cache.filter(|_| !new.is_empty()) {
            for file in new {
                let member = &self.files.members()[file];
                if !member.is_doubtful() {
                    cache.store(
                        &member.fingerprint,
                        &self.entries,
                        self.layout.file_chunks(file),
                        None,
                    );
                }
            }
            cache.trim();
        }
        Ok(sha256)
    }

    /// Fills in the files' own hashes, and computes the entries of the table itself.
    fn finish_table(&mut self, table: Table) -> Result<(Table, Bytes), IndexError> {
        let broken = |error| IndexError::Entries {
            folder: self.folder.clone(),
            error,
        };
        let mut entries = table.into_entries();
        for (file, entry) in entries
            .iter_mut()
            .enumerate()
            .filter(|(_, entry)| !entry.directory)
        {
            let mut stack = RootStack::default();
            let add = |part: &[Digest]| {
                part.iter().for_each(|entry| stack.push(leaf(entry)));
                Ok(())
            };
            self.entries
                .for_each(self.layout.file_chunks(file), add)
                .map_err(broken)?;
            entry.hash = ContentHeader::file(entry.size, stack.root()).hash();
        }
        let table = Table::new(entries)?;
        let bytes = Bytes::from(table.encode());
        let chunks: Vec<Bytes> = (0..self.layout.table_chunks().end)
            .map(|chunk| {
                let at = self.layout.locate(chunk);
                bytes.slice(at.offset as usize..at.offset as usize + at.len)
            })
            .collect();
        let computed = crate::source::origin::entries_of_chunks(&chunks);
        self.entries
            .put(0, &computed)
            .map_err(|error| IndexError::Entries {
                folder: self.folder.clone(),
                error,
            })?;
        Ok((table, bytes))
    }
}

/// Why hashing stopped.
#[derive(Debug)]
enum HashError {
    Read(usize, ReadError),
    Entries(io::Error),
    Cancelled,
}

impl HashError {
    fn at(self, files: &SharedFiles, folder: &Path) -> IndexError {
        match self {
            Self::Read(file, error) => {
                let path = files.members()[file].path.to_path_buf();
                match error {
                    ReadError::Io(error) => IndexError::Io { path, error },
                    ReadError::Changed | ReadError::Missing => IndexError::Changed(path),
                }
            }
            Self::Entries(error) => IndexError::Entries {
                folder: folder.to_owned(),
                error,
            },
            Self::Cancelled => IndexError::Cancelled,
        }
    }
}

#[cfg(test)]
mod tests;
