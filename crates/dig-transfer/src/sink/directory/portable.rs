//! Directories by path, with the standard library alone.

use super::{FileId, Kind, Replace, Space, Stat};
use bytes::Bytes;
use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory(PathBuf);

impl Directory {
    /// Opens a directory by its path, which the user chose: symlinks in it are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        if !fs::metadata(path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(path.to_owned()))
    }

    /// Opens a directory of this one.
    pub(crate) fn directory(&self, name: &OsStr) -> io::Result<Self> {
        let path = self.0.join(name);
        if !fs::symlink_metadata(&path)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self(path))
    }

    pub(crate) fn make_directory(&self, name: &OsStr) -> io::Result<()> {
        fs::create_dir(self.0.join(name))
    }

    /// Makes a file that does not exist, to be read and written.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        options.open(self.0.join(name))
    }

    /// Opens a regular file to be read and written.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        self.open_regular(name, OpenOptions::new().read(true).write(true))
    }

    /// Opens a regular file to be read.
    pub(crate) fn file_to_read(&self, name: &OsStr) -> io::Result<File> {
        self.open_regular(name, OpenOptions::new().read(true))
    }

    fn open_regular(&self, name: &OsStr, options: &OpenOptions) -> io::Result<File> {
        let path = self.0.join(name);
        if !fs::symlink_metadata(&path)?.is_file() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        options.open(path)
    }

    /// What a name stands for; `None` if there is nothing.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match fs::symlink_metadata(self.0.join(name)) {
            Ok(metadata) => Ok(Some(convert(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What an open file is.
    pub(crate) fn stat_file(file: &File) -> io::Result<Stat> {
        Ok(convert(&file.metadata()?))
    }

    /// Systems without these handles have no such bit.
    #[allow(clippy::unnecessary_wraps, reason = "the other systems' form can fail")]
    pub(crate) fn make_executable(_file: &File) -> io::Result<()> {
        Ok(())
    }

    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        fs::remove_dir(self.0.join(name))
    }

    /// The standard library's rename replaces; where it must not, a hard link takes the name first.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr, replace: Replace) -> io::Result<()> {
        let (from, to) = (self.0.join(from), self.0.join(to));
        if replace == Replace::File {
            return fs::rename(from, to);
        }
        match fs::hard_link(&from, &to) {
            Ok(()) => fs::remove_file(from),
            Err(_) if fs::symlink_metadata(&to).is_ok() => Err(io::ErrorKind::AlreadyExists.into()),
            Err(_) => fs::rename(from, to),
        }
    }

    /// Names are as durable as the system makes them.
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the other systems' form can fail"
    )]
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    /// Free space is not asked for; a full disk shows when it is full.
    #[allow(
        clippy::unnecessary_wraps,
        clippy::unused_self,
        reason = "the other systems' form can fail"
    )]
    pub(crate) fn space(&self) -> io::Result<Space> {
        Ok(Space {
            free: None,
            total: None,
            block: 4_096,
            name_max: 255,
        })
    }
}

/// The time of creation stands in for the inode.
fn convert(metadata: &Metadata) -> Stat {
    let nanoseconds = |time: io::Result<SystemTime>| {
        let since = time
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since.map_or(0, |since| since.as_nanos())
    };
    let modified = i128::try_from(nanoseconds(metadata.modified())).unwrap_or(0);
    Stat {
        kind: if metadata.is_file() {
            Kind::File
        } else if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_symlink() {
            Kind::Symlink
        } else {
            Kind::Other
        },
        id: FileId {
            device: 0,
            inode: u64::try_from(nanoseconds(metadata.created())).unwrap_or(0),
        },
        len: metadata.len(),
        empty: metadata.len() == 0,
        modified,
        changed: modified,
    }
}

/// There is no such call: files are synced one by one.
#[allow(clippy::unnecessary_wraps, reason = "the other systems' form can fail")]
pub(crate) fn sync_tree(_directory: &Directory) -> io::Result<bool> {
    Ok(false)
}

/// There is no such call: zeros are written.
#[allow(clippy::unnecessary_wraps, reason = "the other systems' form can fail")]
pub(crate) fn punch(_file: &File, _offset: u64, _len: u64) -> io::Result<bool> {
    Ok(false)
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    #[cfg(windows)]
    {
        std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
    }
    #[cfg(not(windows))]
    {
        use std::io::{Read as _, Seek as _};
        let mut file = file;
        file.seek(io::SeekFrom::Start(offset))?;
        file.read(buffer)
    }
}

/// Writes pieces one behind the other.
pub(crate) fn write_all_at(file: &File, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
    for piece in pieces {
        let mut rest = &piece[..];
        while !rest.is_empty() {
            match write_at(file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    rest = &rest[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    #[cfg(windows)]
    {
        std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
    }
    #[cfg(not(windows))]
    {
        use std::io::{Seek as _, Write as _};
        let mut file = file;
        file.seek(io::SeekFrom::Start(offset))?;
        file.write(bytes)
    }
}
