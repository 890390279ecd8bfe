//! What the database says when it fails, in our words.

use crate::store::StoreError;
use redb::Error;
use std::{io, path::Path};

/// The error for a user of the file at `path`.
pub(super) fn of_file(path: &Path, error: Error) -> StoreError {
    let path = path.to_owned();
    match error {
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => StoreError::Locked { path },
        // A file of something else is reported as an input or output error of this kind, a cut one as one of the other.
        Error::Io(source)
            if matches!(
                source.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            StoreError::Damaged {
                path,
                reason: source.to_string(),
            }
        }
        Error::Io(source) => StoreError::Io { path, source },
        Error::PreviousIo | Error::DatabaseClosed => StoreError::Io {
            path,
            source: io::Error::other("an earlier operation on the file failed"),
        },
        other => StoreError::Damaged {
            path,
            reason: other.to_string(),
        },
    }
}

/// What is in the file cannot have been written by us.
pub(super) fn nonsense(what: &str) -> Error {
    Error::Corrupted(format!("a {what} in it makes no sense"))
}
