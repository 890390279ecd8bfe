//! Targets known to be complete: remembered from an earlier run, or hashed.

use super::{
    ChunkReader, SinkError,
    directory::{Directory, Kind, Stat, read_exact_at},
    folder::{Folder, Missing},
    place::Place,
    verify,
};
use crate::{layout::Layout, table::Table};
use bytes::Bytes;
use dig_types::ContentHash;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Targets remembered; the oldest are forgotten first.
const MAX_REMEMBERED: usize = 1_000;
/// Files of a folder that are looked at; a folder of more is hashed.
const MAX_FILES: usize = 1_000_000;

/// A file that was complete before it was asked for.
#[derive(Debug)]
pub(super) struct FinishedFile {
    file: fs::File,
    layout: Arc<Layout>,
}

impl FinishedFile {
    pub(super) fn open(place: &Place, layout: &Arc<Layout>) -> Result<Self, SinkError> {
        let file = place.directory.file_to_read(&place.name);
        Ok(Self {
            file: file.map_err(|error| place.error(error))?,
            layout: Arc::clone(layout),
        })
    }
}

impl ChunkReader for FinishedFile {
    fn read(&self, chunk: u64) -> io::Result<Bytes> {
        let at = self.layout.locate(chunk);
        let mut buffer = vec![0; at.len];
        read_exact_at(&self.file, &mut buffer, at.offset)?;
        Ok(buffer.into())
    }
}

/// Whether the target is a file of this content.
pub(super) fn is_file(
    place: &Place,
    there: &Stat,
    hash: &ContentHash,
    cancel: &CancellationToken,
) -> Result<bool, SinkError> {
    if there.kind != Kind::File {
        return Ok(false);
    }
    let file = place
        .directory
        .file_to_read(&place.name)
        .map_err(|error| place.error(error))?;
    let found = verify::file_hash(&file, there.len, cancel).map_err(|_| SinkError::Cancelled)?;
    Ok(found == Some(*hash))
}

/// Whether the target is a folder that has all these files of the table.
pub(super) fn is_folder(
    place: &Place,
    there: &Stat,
    table: &Arc<Table>,
    wanted: &dyn Fn(usize) -> bool,
    cancel: &CancellationToken,
) -> Result<bool, SinkError> {
    if there.kind != Kind::Directory {
        return Ok(false);
    }
    let Ok(root) = place.directory.directory(&place.name) else {
        return Ok(false);
    };
    let folder = Folder::new(root, Arc::clone(table));
    let entries = || {
        table
            .entries()
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(*index))
    };
    // Sizes first: they cost nothing and say no most of the time.
    for (index, entry) in entries() {
        let expected = if entry.directory {
            Kind::Directory
        } else {
            Kind::File
        };
        let fits =
            |stat: Stat| stat.kind == expected && (entry.directory || stat.len == entry.size);
        if !folder.stat(index).is_ok_and(|stat| stat.is_some_and(fits)) {
            return Ok(false);
        }
    }
    for (index, entry) in entries().filter(|(_, entry)| !entry.directory) {
        let Ok((file, _)) = folder.file(index, Missing::Fail) else {
            return Ok(false);
        };
        let found =
            verify::file_hash(&file, entry.size, cancel).map_err(|_| SinkError::Cancelled)?;
        if found != Some(entry.hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A list of complete targets in a folder of the program's own. It only saves work: whatever goes
/// wrong with it, the target is hashed.
#[derive(Debug)]
pub(super) struct Memory<'a> {
    folder: &'a Path,
}

impl<'a> Memory<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    fn list(&self) -> PathBuf {
        self.folder.join("complete")
    }

    /// Whether the target was this content when it was remembered, and has not been touched since.
    pub(super) fn recalls(&self, target: &Path, hash: &ContentHash) -> bool {
        let Ok(list) = fs::read_to_string(self.list()) else {
            return false;
        };
        line(target, hash).is_ok_and(|wanted| list.lines().any(|line| line == wanted))
    }

    /// Remembers that the target is this content.
    pub(super) fn remember(&self, target: &Path, hash: &ContentHash) {
        if let Err(error) = self.add(target, hash) {
            tracing::debug!(%error, "cannot remember a complete target");
        }
    }

    fn add(&self, target: &Path, hash: &ContentHash) -> io::Result<()> {
        let new = line(target, hash)?;
        fs::create_dir_all(self.folder)?;
        let list = fs::read_to_string(self.list()).unwrap_or_default();
        let path = new.split(' ').next().unwrap_or_default();
        let mut lines: Vec<&str> = list
            .lines()
            .filter(|line| !line.starts_with(path))
            .collect();
        lines.push(&new);
        let kept = &lines[lines.len().saturating_sub(MAX_REMEMBERED)..];
        let beside = self
            .folder
            .join(format!("complete.{}.new", std::process::id()));
        fs::write(&beside, kept.join("\n") + "\n")?;
        fs::rename(beside, self.list())
    }
}

/// One target in one line: hashes of its path and of its fingerprint, and the content hash.
fn line(target: &Path, hash: &ContentHash) -> io::Result<String> {
    let target = std::path::absolute(target)?;
    let path = Sha256::digest(target.as_os_str().as_encoded_bytes());
    let mut fingerprint = Sha256::new();
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = Directory::open(target.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
    let stat = parent.stat(name)?.ok_or(io::ErrorKind::NotFound)?;
    take(&stat, &mut fingerprint);
    if stat.kind == Kind::Directory {
        let mut budget = MAX_FILES;
        take_directory(
            &parent.directory(name)?,
            &target,
            &mut fingerprint,
            &mut budget,
        )?;
    }
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    Ok(format!(
        "{} {hash} {}",
        hex(&path),
        hex(&fingerprint.finalize())
    ))
}

fn take(stat: &Stat, into: &mut Sha256) {
    into.update(stat.id.device.to_be_bytes());
    into.update(stat.id.inode.to_be_bytes());
    into.update(stat.len.to_be_bytes());
    into.update(stat.modified.to_be_bytes());
    into.update(stat.changed.to_be_bytes());
}

fn take_directory(
    directory: &Directory,
    path: &Path,
    into: &mut Sha256,
    budget: &mut usize,
) -> io::Result<()> {
    let names: io::Result<Vec<_>> = fs::read_dir(path)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect();
    let mut names = names?;
    names.sort();
    *budget = budget
        .checked_sub(names.len())
        .ok_or(io::ErrorKind::FileTooLarge)?;
    for name in names {
        let name: &OsStr = &name;
        let stat = directory.stat(name)?.ok_or(io::ErrorKind::NotFound)?;
        into.update((name.len() as u64).to_be_bytes());
        into.update(name.as_encoded_bytes());
        take(&stat, into);
        if stat.kind == Kind::Directory {
            take_directory(&directory.directory(name)?, &path.join(name), into, budget)?;
        }
    }
    Ok(())
}
