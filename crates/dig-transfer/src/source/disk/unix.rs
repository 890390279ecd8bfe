//! Unix: everything goes through directory handles.

use crate::source::fingerprint::{Fingerprint, Kind, Stat};
use rustix::{
    buffer::spare_capacity,
    fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, fstat, openat, seek, statat},
    io::Errno,
};
use std::{
    ffi::{CStr, OsString},
    fs::File,
    io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStringExt as _, fs::FileExt as _},
    },
    path::{Path, PathBuf},
};

/// Never waits for a writer of a pipe, never follows a link.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);
const READ_DIRECTORY: OFlags = READ.union(OFlags::DIRECTORY);
/// Only the way through the directory is needed, not its list.
#[cfg(target_os = "linux")]
const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// An open directory; files and directories beneath it are opened from it.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let directory = openat(CWD, path, PASS, Mode::empty())?;
        Ok(Self { directory })
    }

    /// What the directory at the relative path `path` (empty: the root) holds, in no order.
    pub(crate) fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let directory = self.open_beneath(path, READ_DIRECTORY)?;
        let mut found = Vec::new();
        for entry in Dir::read_from(&directory)? {
            let entry = entry?;
            let name: &CStr = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                found.push((OsString::from_vec(name.to_bytes().to_vec()), stat_of(&stat)));
            }
        }
        Ok(found)
    }

    /// Opens a file for reading. That it is a regular one is the caller's to check.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<File> {
        Ok(self.open_beneath(path, READ)?.into())
    }

    #[cfg(target_os = "linux")]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        use rustix::fs::{ResolveFlags, openat2};
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match openat2(&self.directory, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6, sandboxes that do not know the call, and a rename in just that moment.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => self.open_step_by_step(path, flags),
            opened => opened,
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn open_beneath(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_step_by_step(path, flags)
    }

    /// One directory after the other, each from the handle of the one above.
    pub(super) fn open_step_by_step(
        &self,
        path: &Path,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let mut components = path
            .components()
            .map(|component| component.as_os_str())
            .peekable();
        let mut directory = None;
        while let Some(name) = components.next() {
            if name == ".." || path.is_absolute() {
                return Err(Errno::XDEV);
            }
            let above = directory.as_ref().unwrap_or(&self.directory);
            if components.peek().is_none() {
                return openat(above, name, flags, Mode::empty());
            }
            let next = openat(above, name, PASS | OFlags::NOFOLLOW, Mode::empty())?;
            directory = Some(next);
        }
        Err(Errno::NOENT)
    }
}

/// What the system says of an open file.
pub(crate) fn stat(file: &File) -> io::Result<Stat> {
    Ok(stat_of(&fstat(file)?))
}

// The types of the fields differ between systems.
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the fields have other types on other systems"
)]
fn stat_of(stat: &rustix::fs::Stat) -> Stat {
    let time =
        |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    let file_type = FileType::from_raw_mode(stat.st_mode);
    Stat {
        kind: match file_type {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Special,
        },
        fingerprint: Fingerprint {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: time(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: time(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        },
        executable: stat.st_mode & 0o100 != 0,
        unlinked: stat.st_nlink == 0,
    }
}

/// Appends exactly `len` bytes from `offset` on; a file that ends before is an error of kind `UnexpectedEof`.
///
/// Fills what room the buffer has left, so it wants to be called with as much as is to be read.
pub(crate) fn append_at(
    file: &File,
    buffer: &mut Vec<u8>,
    len: usize,
    offset: u64,
) -> io::Result<()> {
    let start = buffer.len();
    buffer.reserve_exact(len);
    while buffer.len() < start + len {
        let at = offset + (buffer.len() - start) as u64;
        match rustix::io::pread(file, spare_capacity(buffer), at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    buffer.truncate(start + len);
    Ok(())
}

/// Where the first byte from `offset` on lies that is not in a hole of a sparse file; `None` if only
/// a hole follows. Where that cannot be told, every byte counts as written.
pub(crate) fn next_data(file: &File, offset: u64) -> Option<u64> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(data) => Some(data),
        Err(Errno::NXIO) => None,
        Err(_) => Some(offset),
    }
}

/// Writes all bytes at `offset`.
pub(crate) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    file.write_all_at(bytes, offset)
}

/// A new file in `folder` that is gone when it is closed; where the system cannot do that, its path, to be removed.
pub(crate) fn temporary(folder: &Path) -> io::Result<(File, Option<PathBuf>)> {
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match openat(CWD, folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok((file.into(), None)),
            // File systems and kernels that have no nameless files.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOSYS | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (file, path) = super::create_new(folder)?;
    std::fs::remove_file(path)?;
    Ok((file, None))
}

/// Whether opening failed because the path no longer leads to a file, or leads through a link.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    let gone = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NXIO,
    ];
    Errno::from_io_error(error).is_some_and(|error| gone.contains(&error))
}

/// Whether opening failed because too many files are open.
pub(crate) fn is_out_of_handles(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}
