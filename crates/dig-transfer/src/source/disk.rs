//! Files as this system has them: the one place here that knows the operating system.
//!
//! Paths below a [`Root`] are opened without following symbolic links, so that what is swapped in while a
//! folder is shared never leads out of it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

#[cfg(any(test, not(unix)))]
#[cfg_attr(unix, allow(dead_code, reason = "compiled here for its tests only"))]
mod portable;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub(crate) use portable::{
    Root, append_at, is_gone, is_out_of_handles, next_data, stat, temporary, write_at,
};
#[cfg(unix)]
pub(crate) use unix::{
    Root, append_at, is_gone, is_out_of_handles, next_data, stat, temporary, write_at,
};

/// Makes a file of a new name in `folder`, readable by its owner only.
fn create_new(folder: &Path) -> io::Result<(File, PathBuf)> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    loop {
        let path = folder.join(format!("dig-{:016x}.tmp", fastrand::u64(..)));
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return opened.map(|file| (file, path)),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
