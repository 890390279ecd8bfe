//! Files below an open directory, reached without ever following a symlink.
//!
//! On Unix every step is relative to a directory handle with `O_NOFOLLOW`, so nobody can swap a
//! component for a symlink between check and use. The portable form does the same by path and
//! checks each component first; it leaves that race open and is used where there are no such handles.

use std::{fs::File, io};

#[cfg(any(test, not(unix)))]
#[cfg_attr(
    test,
    allow(dead_code, reason = "the tests compare what the two forms share")
)]
pub(super) mod portable;
#[cfg(unix)]
pub(super) mod unix;

#[cfg(not(unix))]
pub(super) use portable::{Directory, punch, read_at, sync_tree, write_all_at};
#[cfg(unix)]
pub(super) use unix::{Directory, punch, read_at, sync_tree, write_all_at};

/// What tells one file from another that has the same name later: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
    Symlink,
    /// A device, a pipe, a socket.
    Other,
}

/// What is known of a file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) kind: Kind,
    pub(super) id: FileId,
    pub(super) len: u64,
    /// Whether any block is allocated to it.
    pub(super) empty: bool,
    /// Nanoseconds since 1970.
    pub(super) modified: i128,
    /// Nanoseconds since 1970: the last change of content, name or mode.
    pub(super) changed: i128,
}

/// The room of a file system.
#[derive(Debug, Clone, Copy)]
pub(super) struct Space {
    /// Bytes free to this user; `None` if the file system does not say.
    pub(super) free: Option<u64>,
    /// Bytes that the file system has in all, if it says so.
    pub(super) total: Option<u64>,
    /// Bytes of a block, what a small file takes at least.
    pub(super) block: u64,
    /// The most bytes of a name.
    pub(super) name_max: usize,
}

/// Whether a rename may take the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replace {
    /// Fails with [`io::ErrorKind::AlreadyExists`] instead.
    Never,
    File,
}

/// Fills `buffer` from `offset` on.
pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match read_at(file, buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer = &mut buffer[read..];
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
