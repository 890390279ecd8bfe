//! Directory handles of Unix.

use super::{FileId, Kind, Replace, Space, Stat};
use bytes::Bytes;
use rustix::{
    fs::{self, AtFlags, FileType, Mode, OFlags},
    io::Errno,
};
use std::{
    ffi::OsStr,
    fs::File,
    io::{self, IoSlice},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::Path,
};

/// Slices given to the system at a time; it takes at most 1,024.
const SLICES: usize = 256;

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory(OwnedFd);

impl Directory {
    /// Opens a directory by its path, which the user chose: symlinks in it are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory of this one.
    pub(crate) fn directory(&self, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(fs::openat(&self.0, name, flags, Mode::empty())?))
    }

    /// Makes a directory; the umask applies.
    pub(crate) fn make_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o777))?)
    }

    /// Makes a file that does not exist, to be read and written; the umask applies.
    pub(crate) fn create(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = fs::openat(&self.0, name, flags, Mode::from_raw_mode(0o666))?;
        Ok(file.into())
    }

    /// Opens a regular file to be read and written.
    pub(crate) fn file(&self, name: &OsStr) -> io::Result<File> {
        self.open_regular(name, OFlags::RDWR)
    }

    /// Opens a regular file to be read.
    pub(crate) fn file_to_read(&self, name: &OsStr) -> io::Result<File> {
        self.open_regular(name, OFlags::RDONLY)
    }

    fn open_regular(&self, name: &OsStr, access: OFlags) -> io::Result<File> {
        // NONBLOCK: a pipe in the way must not be waited for.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(fs::openat(&self.0, name, flags, Mode::empty())?);
        if !file.metadata()?.is_file() {
            return Err(Errno::OPNOTSUPP.into());
        }
        Ok(file)
    }

    /// What a name stands for; `None` if there is nothing.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(convert(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What an open file is.
    pub(crate) fn stat_file(file: &File) -> io::Result<Stat> {
        Ok(convert(&fs::fstat(file)?))
    }

    /// Lets everybody execute a file who may read it.
    pub(crate) fn make_executable(file: &File) -> io::Result<()> {
        let mode = fs::fstat(file)?.st_mode & 0o777;
        Ok(fs::fchmod(
            file,
            Mode::from_raw_mode(mode | (mode & 0o444) >> 2),
        )?)
    }

    pub(crate) fn remove_file(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?)
    }

    /// Removes an empty directory.
    pub(crate) fn remove_directory(&self, name: &OsStr) -> io::Result<()> {
        Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr, replace: Replace) -> io::Result<()> {
        if replace == Replace::File {
            return Ok(fs::renameat(&self.0, from, &self.0, to)?);
        }
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            let flags = fs::RenameFlags::NOREPLACE;
            match fs::renameat_with(&self.0, from, &self.0, to, flags) {
                // Some network and user-space file systems do not know the flag.
                Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
                result => return Ok(result?),
            }
        }
        self.link_and_unlink(from, to)
    }

    /// A rename that cannot replace: a hard link is made only where nothing is. Directories and file systems
    /// without hard links have no such thing; there it is look, then rename.
    fn link_and_unlink(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        match fs::linkat(&self.0, from, &self.0, to, AtFlags::empty()) {
            Ok(()) => self.remove_file(from),
            Err(Errno::EXIST) => Err(Errno::EXIST.into()),
            Err(_) if self.stat(to)?.is_some() => Err(Errno::EXIST.into()),
            Err(_) => Ok(fs::renameat(&self.0, from, &self.0, to)?),
        }
    }

    /// Makes the directory's names durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match fs::fsync(&self.0) {
            // A file system that cannot do this for directories keeps names its own way.
            Err(Errno::INVAL | Errno::NOTSUP) => Ok(()),
            result => Ok(result?),
        }
    }

    pub(crate) fn space(&self) -> io::Result<Space> {
        let stat = fs::fstatvfs(&self.0)?;
        let block = stat.f_frsize.max(1);
        Ok(Space {
            free: (stat.f_blocks > 0).then(|| stat.f_bavail.saturating_mul(block)),
            total: (stat.f_blocks > 0).then(|| stat.f_blocks.saturating_mul(block)),
            block,
            name_max: usize::try_from(stat.f_namemax).map_or(255, |max| max.clamp(32, 255)),
        })
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the widths of these fields differ between systems"
)]
fn convert(stat: &fs::Stat) -> Stat {
    let time =
        |seconds: i128, nanoseconds: i128| seconds.saturating_mul(1_000_000_000) + nanoseconds;
    Stat {
        kind: match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        },
        id: FileId {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
        },
        len: u64::try_from(stat.st_size).unwrap_or(0),
        empty: stat.st_blocks == 0,
        modified: time(stat.st_mtime as i128, stat.st_mtime_nsec as i128),
        changed: time(stat.st_ctime as i128, stat.st_ctime_nsec as i128),
    }
}

/// Makes everything durable that was written on the file system of this directory, at once for thousands of
/// files; `false` where the system has no such call, and the files are to be synced one by one.
pub(crate) fn sync_tree(directory: &Directory) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        fs::syncfs(&directory.0)?;
        Ok(true)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = directory;
        Ok(false)
    }
}

/// Makes a range of a file a hole, which reads as zeros; `false` where that cannot be done.
pub(crate) fn punch(file: &File, offset: u64, len: u64) -> io::Result<bool> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use fs::FallocateFlags;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fs::fallocate(file, flags, offset, len) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        let _ = (file, offset, len);
        Ok(false)
    }
}

pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Writes pieces one behind the other.
pub(crate) fn write_all_at(file: &File, pieces: &[Bytes], mut offset: u64) -> io::Result<()> {
    for pieces in pieces.chunks(SLICES) {
        // An empty slice at the end would look like a disk that takes nothing.
        let pieces = pieces.iter().filter(|piece| !piece.is_empty());
        let mut slices: Vec<IoSlice<'_>> = pieces.map(|piece| IoSlice::new(piece)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match rustix::io::pwritev(file, rest, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    IoSlice::advance_slices(&mut rest, written);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}
