//! What is shared, and how.

use dig_discovery::AnnounceLevel;
use dig_transfer::index::IndexError;
use dig_types::{ContentHash, ContentKind, ContentName, NameError};
use std::path::PathBuf;

/// How to share a path.
#[derive(Debug, Clone, Default)]
pub struct ShareOptions {
    /// The name by which others may get it (the whitepaper's `contentId`). Default: the path's last component.
    pub name: Option<ContentName>,
    /// How widely it is announced. Default: by every mechanism.
    pub announce_level: AnnounceLevel,
    /// Whether name and SHA-256 are announced beyond the local network too. Default: no, so that only who was given the hash finds it.
    pub public: bool,
}

/// Something that is shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// By what it is fetched.
    pub hash: ContentHash,
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes, of all files together.
    pub size: u64,
    /// Number of files.
    pub files: u64,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// What was left out, and why (symbolic links, say).
    pub warnings: Vec<String>,
}

/// Why a path cannot be shared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// It cannot be read or hashed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Its last component cannot be a name.
    #[error("{}: {error}; give it another name with --name", .path.display())]
    Name {
        /// The path.
        path: PathBuf,
        /// What is wrong with its name.
        error: NameError,
    },
    /// The host stopped while it was hashing.
    #[error("interrupted")]
    Stopped,
}

impl ShareError {
    /// Whether it was the caller who gave up.
    pub const fn is_cancelled(&self) -> bool {
        matches!(self, Self::Stopped | Self::Index(IndexError::Cancelled))
    }
}
