//! The identity of a home folder, in a file that only its owner may read.
//!
//! The file is JSON: `{"v": 1, "algorithm": "ed25519", "private": HEX}`, the private key as
//! [`CryptoIdentity::private_hex`] writes it. It is created once and never rewritten: written beside, synced, and
//! renamed without replacing. So it is whole or absent, and of several processes that create
//! it at once one wins and all use its key.

use crate::{Algorithm, CryptoIdentity, GenerateError, PrivateKeyError};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

#[cfg(test)]
mod tests;

/// Version of the file's form.
const VERSION: u32 = 1;

/// Largest file read, in bytes; a 4096-bit RSA key needs about 5,000.
const MAX_LEN: u64 = 16 * 1024;

/// Reads and creates identity files. Blocking.
#[derive(Debug, Clone, Copy)]
pub struct IdentityFile;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a> {
    v: u32,
    algorithm: &'a str,
    private: &'a str,
}

impl IdentityFile {
    /// The identity in the file at `path`. If there is none, a new one of `algorithm` is made and kept there; its
    /// folder is created, for the owner only. A file that is there keeps its own algorithm.
    pub fn load_or_create(
        path: &Path,
        algorithm: Algorithm,
    ) -> Result<CryptoIdentity, IdentityFileError> {
        match Self::load(path) {
            Err(IdentityFileError::Missing { .. }) => {}
            result => return result,
        }
        let identity = CryptoIdentity::generate(algorithm)?;
        if create(path, &identity).map_err(|error| IdentityFileError::write(path, error))? {
            return Ok(identity);
        }
        // Another process was faster: its key is the node's.
        Self::load(path)
    }

    /// The identity in the file at `path`.
    pub fn load(path: &Path) -> Result<CryptoIdentity, IdentityFileError> {
        let file = File::open(path).map_err(|error| IdentityFileError::read(path, error))?;
        // Asked of the open file, so that it is about what is read.
        let metadata = file
            .metadata()
            .map_err(|error| IdentityFileError::read(path, error))?;
        if !metadata.is_file() || metadata.len() > MAX_LEN {
            return Err(IdentityFileError::Malformed { path: path.into() });
        }
        if let Some(mode) = shared_mode(&metadata) {
            return Err(IdentityFileError::Exposed {
                path: path.into(),
                mode,
            });
        }
        // Room for all of it at once: growing would leave copies of the key behind.
        let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize));
        file.take(MAX_LEN)
            .read_to_end(&mut text)
            .map_err(|error| IdentityFileError::read(path, error))?;
        parse(&text, path)
    }
}

fn parse(text: &[u8], path: &Path) -> Result<CryptoIdentity, IdentityFileError> {
    let malformed = || IdentityFileError::Malformed { path: path.into() };
    let content: Content<'_> = serde_json::from_slice(text).map_err(|_| malformed())?;
    if content.v != VERSION {
        return Err(IdentityFileError::Version {
            path: path.into(),
            version: content.v,
        });
    }
    let algorithm = content.algorithm.parse().map_err(|_| malformed())?;
    CryptoIdentity::from_private_hex(algorithm, content.private).map_err(|source| {
        IdentityFileError::Key {
            path: path.into(),
            source,
        }
    })
}

/// Writes a new file; `false` if there is one by now, which is left as it is.
fn create(path: &Path, identity: &CryptoIdentity) -> io::Result<bool> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    create_private_folder(folder)?;
    let private = identity.private_hex().ok_or(io::ErrorKind::InvalidInput)?;
    let content = Content {
        v: VERSION,
        algorithm: identity.algorithm().name(),
        private: &private,
    };
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_LEN as usize));
    serde_json::to_writer(&mut *text, &content)?;
    text.push(b'\n');

    // Created with mode 0600, and removed again unless it is renamed.
    let mut file = tempfile::Builder::new()
        .prefix(".identity-")
        .tempfile_in(folder)?;
    file.write_all(&text)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(error.error),
    }
    sync_folder(folder)?;
    Ok(true)
}

#[cfg(unix)]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}

#[cfg(not(unix))]
fn create_private_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Makes the new name durable.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder cannot be opened for this.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The permission bits, if they let others in.
#[cfg(unix)]
fn shared_mode(metadata: &fs::Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Elsewhere the user's profile folder is private by its access list.
#[cfg(not(unix))]
fn shared_mode(_: &fs::Metadata) -> Option<u32> {
    None
}

/// Why there is no identity from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFileError {
    /// There is no such file.
    #[error("there is no identity file {path:?}")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the identity file {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot create the identity file {path:?}: the folder must be writable")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "others may access the private key in {path:?} (mode {mode:03o}). Run: chmod 600 {path:?}. If somebody may have \
         read it, delete the file for a new identity"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not an identity file.
    #[error(
        "{path:?} is not an identity file. Move it away for a new identity, or restore it from a backup"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A later program wrote the file.
    #[error(
        "the identity file {path:?} has version {version}; this program knows version 1. Use the program that wrote it"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        version: u32,
    },
    /// The private key in the file is refused.
    #[error("the private key in {path:?} is refused")]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PrivateKeyError,
    },
    /// No new key was generated.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

impl IdentityFileError {
    fn read(path: &Path, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Read { path, source },
        }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write {
            path: path.into(),
            source,
        }
    }
}
