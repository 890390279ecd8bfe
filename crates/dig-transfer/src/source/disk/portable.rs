//! Systems without directory handles: paths are joined, and symbolic links looked for on the way.

use crate::source::fingerprint::{Fingerprint, Kind, Stat};
use std::{
    ffi::OsString,
    fs::{self, File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Component, Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

/// A handle has one position, shared by whoever uses it.
static POSITION: Mutex<()> = Mutex::new(());

/// A directory by its path.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        if !path.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self { path })
    }

    /// What the directory at the relative path `path` (empty: the root) holds, in no order.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
        let entries = fs::read_dir(self.resolve(path)?)?;
        entries
            .map(|entry| {
                let entry = entry?;
                Ok((
                    entry.file_name(),
                    stat_of(&entry.path().symlink_metadata()?),
                ))
            })
            .collect()
    }

    /// Opens a file for reading. That it is a regular one is the caller's to check.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        let path = self.resolve(path)?;
        // Opening a pipe would wait for its writer.
        if !path.symlink_metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        File::open(path)
    }

    fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut full = self.path.clone();
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            full.push(name);
            if full.symlink_metadata()?.is_symlink() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        Ok(full)
    }
}

/// What the system says of an open file.
pub(crate) fn stat(file: &File) -> io::Result<Stat> {
    Ok(stat_of(&file.metadata()?))
}

fn stat_of(metadata: &Metadata) -> Stat {
    let kind = if metadata.is_symlink() {
        Kind::Symlink
    } else if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_file() {
        Kind::File
    } else {
        Kind::Special
    };
    let time = |time: io::Result<SystemTime>| {
        let since = time
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since
            .and_then(|since| i64::try_from(since.as_nanos()).ok())
            .unwrap_or(0)
    };
    Stat {
        kind,
        fingerprint: Fingerprint {
            device: 0,
            // There is no number for a file here; its creation time takes the place.
            inode: time(metadata.created()).unsigned_abs(),
            size: metadata.len(),
            modified: time(metadata.modified()),
            changed: 0,
        },
        executable: false,
        unlinked: false,
    }
}

/// Appends exactly `len` bytes from `offset` on; a file that ends before is an error of kind `UnexpectedEof`.
pub(crate) fn append_at(
    file: &File,
    buffer: &mut Vec<u8>,
    len: usize,
    offset: u64,
) -> io::Result<()> {
    let _alone = POSITION.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = file;
    file.seek(SeekFrom::Start(offset))?;
    let read = file.take(len as u64).read_to_end(buffer)?;
    if read < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Writes all bytes at `offset`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let _alone = POSITION.lock().unwrap_or_else(PoisonError::into_inner);
    let mut file = file;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Holes of sparse files are not known here: every byte counts as written.
pub(crate) fn next_data(_file: &File, offset: u64) -> Option<u64> {
    Some(offset)
}

/// A new file in `folder`, and its path, to be removed when the file is closed.
pub(crate) fn temporary(folder: &Path) -> io::Result<(File, Option<PathBuf>)> {
    super::create_new(folder).map(|(file, path)| (file, Some(path)))
}

/// Whether opening failed because the path no longer leads to a file, or leads through a link.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound};
    matches!(
        error.kind(),
        NotFound | NotADirectory | IsADirectory | InvalidInput
    )
}

/// Too many open files have no portable name.
pub(crate) fn is_out_of_handles(_error: &io::Error) -> bool {
    false
}
