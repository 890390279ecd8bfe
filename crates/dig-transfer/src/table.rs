//! The table of a folder: its paths, sizes and hashes, in the one encoding that they have.

use dig_types::ContentHash;
use std::collections::HashSet;

mod collision;
mod path;

pub use collision::Collision;
pub use path::{MAX_COMPONENT, MAX_DEPTH, MAX_PATH, PathError, check_path};

/// The most bytes that a table has (64 MiB).
pub const MAX_TABLE_LEN: usize = 64 << 20;
/// The most records that a table has.
pub const MAX_RECORDS: usize = 1_000_000;

const MAGIC: &[u8; 8] = b"digdir1\n";
/// Bytes of a record without its path.
const RECORD_LEN: usize = 1 + 8 + 32 + 2;
const EXECUTABLE: u8 = 1;
const DIRECTORY: u8 = 2;

/// A file or an empty directory of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Relative path, `/` between components, in Unicode normal form C (see [`check_path`]).
    pub path: String,
    /// Bytes of the file; 0 for a directory.
    pub size: u64,
    /// Whether the file may be executed.
    pub executable: bool,
    /// Whether this is an empty directory.
    pub directory: bool,
    /// The hash of the file as a content of its own; zeros for a directory.
    pub hash: ContentHash,
}

/// The table of a folder. One that breaks a rule of `docs/protocol.md` §5 does not exist, so its paths
/// may be joined to a root directory (symlinks there are the writer's concern).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    entries: Vec<TableEntry>,
    total_size: u64,
}

/// Why something is no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// It does not begin as a table does.
    #[error("this is no folder table")]
    Magic,
    /// It ends in the middle of a record.
    #[error("the folder table is cut short")]
    Truncated,
    /// Something follows the last record.
    #[error("the folder table has bytes behind its end")]
    Trailing,
    /// More than [`MAX_TABLE_LEN`] bytes or [`MAX_RECORDS`] records.
    #[error("the folder is too large: at most {MAX_RECORDS} files, and 64 MiB of names")]
    TooLarge,
    /// The sizes of the files do not add up to 64 bits.
    #[error("the files of the folder are larger than any disk")]
    Size,
    /// A record has flags that do not exist.
    #[error("the folder table has unknown flags at record {0}")]
    Flags(usize),
    /// A directory has a size, a hash or an executable bit.
    #[error("{0:?} is listed as a directory and as a file at once")]
    Directory(String),
    /// A path is not allowed.
    #[error("{path:?} cannot be a path in a folder: {error}")]
    Path {
        /// The path.
        path: String,
        /// What is wrong with it.
        error: PathError,
    },
    /// A path that is not UTF-8, at this record.
    #[error("the path of record {0} of the folder table is not UTF-8")]
    Encoding(usize),
    /// Paths are not strictly ascending: this one is not above the one before it.
    #[error("{0:?} is out of order or doubled in the folder table")]
    Order(String),
    /// A path leads through something that the table lists as a file or as an empty directory.
    #[error("{path:?} lies below {parent:?}, which is a file or an empty directory")]
    Conflict {
        /// The path.
        path: String,
        /// The file or empty directory.
        parent: String,
    },
}

impl Table {
    /// A table of these entries, which must be sorted by the bytes of their paths.
    pub fn new(entries: Vec<TableEntry>) -> Result<Self, TableError> {
        if entries.len() > MAX_RECORDS || encoded_len(&entries) > MAX_TABLE_LEN {
            return Err(TableError::TooLarge);
        }
        let mut total_size = 0_u64;
        let mut previous: Option<&str> = None;
        for entry in &entries {
            check_entry(entry)?;
            if previous.is_some_and(|previous| previous >= entry.path.as_str()) {
                return Err(TableError::Order(entry.path.clone()));
            }
            previous = Some(&entry.path);
            total_size = total_size.checked_add(entry.size).ok_or(TableError::Size)?;
        }
        check_parents(&entries)?;
        Ok(Self {
            entries,
            total_size,
        })
    }

    /// Reads a table; every rule is checked, so that equal tables have equal bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, TableError> {
        if bytes.len() > MAX_TABLE_LEN {
            return Err(TableError::TooLarge);
        }
        let bytes = bytes.strip_prefix(MAGIC).ok_or(TableError::Magic)?;
        let (count, mut rest) = bytes.split_first_chunk().ok_or(TableError::Truncated)?;
        let count = u32::from_be_bytes(*count) as usize;
        if count > MAX_RECORDS {
            return Err(TableError::TooLarge);
        }
        // Room for what the bytes at hand can hold, whatever they say.
        let mut entries = Vec::with_capacity(count.min(rest.len() / RECORD_LEN));
        for index in 0..count {
            entries.push(decode_record(index, &mut rest)?);
        }
        if !rest.is_empty() {
            return Err(TableError::Trailing);
        }
        Self::new(entries)
    }

    /// The bytes of the table: the first bytes of the folder's content.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(encoded_len(&self.entries));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(self.entries.len() as u32).to_be_bytes());
        for entry in &self.entries {
            let flags =
                u8::from(entry.executable) * EXECUTABLE + u8::from(entry.directory) * DIRECTORY;
            out.push(flags);
            out.extend_from_slice(&entry.size.to_be_bytes());
            out.extend_from_slice(entry.hash.as_bytes());
            out.extend_from_slice(&(entry.path.len() as u16).to_be_bytes());
            out.extend_from_slice(entry.path.as_bytes());
        }
        out
    }

    /// Files and empty directories, ascending by the bytes of their paths.
    pub fn entries(&self) -> &[TableEntry] {
        &self.entries
    }

    /// The entries, to be changed and checked again.
    pub fn into_entries(self) -> Vec<TableEntry> {
        self.entries
    }

    /// Bytes of the encoded table.
    pub fn encoded_len(&self) -> u64 {
        encoded_len(&self.entries) as u64
    }

    /// Bytes of all files together.
    pub const fn total_size(&self) -> u64 {
        self.total_size
    }

    /// The index of a path.
    pub fn find(&self, path: &str) -> Option<usize> {
        self.entries
            .binary_search_by(|entry| entry.path.as_str().cmp(path))
            .ok()
    }
}

fn encoded_len(entries: &[TableEntry]) -> usize {
    MAGIC.len()
        + 4
        + entries
            .iter()
            .map(|entry| RECORD_LEN + entry.path.len())
            .sum::<usize>()
}

fn check_entry(entry: &TableEntry) -> Result<(), TableError> {
    check_path(&entry.path).map_err(|error| TableError::Path {
        path: entry.path.clone(),
        error,
    })?;
    let bare = entry.size == 0 && !entry.executable && *entry.hash.as_bytes() == [0; 32];
    if entry.directory && !bare {
        return Err(TableError::Directory(entry.path.clone()));
    }
    Ok(())
}

/// No path may lead through another entry.
fn check_parents(entries: &[TableEntry]) -> Result<(), TableError> {
    let listed: HashSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    for entry in entries {
        if let Some(parent) = path::parents(&entry.path).find(|parent| listed.contains(parent)) {
            return Err(TableError::Conflict {
                path: entry.path.clone(),
                parent: parent.to_owned(),
            });
        }
    }
    Ok(())
}

fn decode_record(index: usize, rest: &mut &[u8]) -> Result<TableEntry, TableError> {
    let flags = u8::from_be_bytes(take(rest)?);
    if flags & !(EXECUTABLE | DIRECTORY) != 0 {
        return Err(TableError::Flags(index));
    }
    let size = u64::from_be_bytes(take(rest)?);
    let hash = ContentHash::from_bytes(take(rest)?);
    let len = usize::from(u16::from_be_bytes(take(rest)?));
    let (path, tail) = rest.split_at_checked(len).ok_or(TableError::Truncated)?;
    *rest = tail;
    Ok(TableEntry {
        path: std::str::from_utf8(path)
            .map_err(|_| TableError::Encoding(index))?
            .to_owned(),
        size,
        executable: flags & EXECUTABLE != 0,
        directory: flags & DIRECTORY != 0,
        hash,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], TableError> {
    let (value, tail) = rest.split_first_chunk().ok_or(TableError::Truncated)?;
    *rest = tail;
    Ok(*value)
}

#[cfg(test)]
mod tests;
