//! The SHA-256 of a whole shared file, as `sha256sum` prints it.

use super::{SharedContent, origin::entries_of_chunks};
use crate::{
    chunk::{CHUNK_LEN, GROUP_CHUNKS},
    store::ReadError,
};
use aws_lc_rs::digest::{Context, SHA256};
use dig_types::{ContentKind, Sha256Hash};
use std::{
    sync::atomic::Ordering,
    time::{Duration, SystemTime},
};
use tokio_util::sync::CancellationToken;

/// How often a paused pass asks whether it may go on.
const PAUSE: Duration = Duration::from_millis(50);

/// Why the SHA-256 of a whole content is not known.
#[derive(Debug, thiserror::Error)]
pub enum WholeHashError {
    /// It was told to stop.
    #[error("stopped before all of the file was hashed")]
    Cancelled,
    /// A folder has none: it is no single run of bytes.
    #[error("a folder has no SHA-256 of its own; ask for one of its files")]
    Folder,
    /// The file cannot be read, or is no longer what was shared.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl SharedContent {
    /// The SHA-256, if it is already known: from an earlier pass or from the hash cache.
    pub fn known_sha256(&self) -> Option<Sha256Hash> {
        self.sha256.get().copied()
    }

    /// Bytes that the running or last [`Self::whole_sha256`] has hashed, to estimate how long it will take.
    pub fn sha256_progress(&self) -> u64 {
        self.sha256_done.load(Ordering::Relaxed)
    }

    /// Computes the SHA-256 of the whole file, and on the way checks every chunk against its entry, so that a file
    /// edited since it was hashed is [`ReadError::Changed`] whatever its times say. Blocks; while `pause` says so it waits. What it finds is kept in the
    /// hash cache.
    pub fn whole_sha256(
        &self,
        pause: &dyn Fn() -> bool,
        cancel: &CancellationToken,
    ) -> Result<Sha256Hash, WholeHashError> {
        if self.header.kind == ContentKind::Folder {
            return Err(WholeHashError::Folder);
        }
        if let Some(known) = self.known_sha256() {
            return Ok(known);
        }
        let started = SystemTime::now();
        let mut whole = Context::new(&SHA256);
        for group in 0..self.layout.groups() {
            while pause() && !cancel.is_cancelled() {
                std::thread::sleep(PAUSE);
            }
            if cancel.is_cancelled() {
                return Err(WholeHashError::Cancelled);
            }
            let chunks = self.chunks_of(self.layout.shape().group_chunks(group));
            let bytes = self.origin.read(chunks.clone())?;
            let entries = self.origin.entries.get(chunks).map_err(ReadError::from)?;
            if entries_of_chunks(&bytes) != entries {
                return Err(ReadError::Changed.into());
            }
            for chunk in &bytes {
                whole.update(chunk);
            }
            let done = (group + 1).saturating_mul(GROUP_CHUNKS * CHUNK_LEN as u64);
            self.sha256_done
                .store(done.min(self.header.size), Ordering::Relaxed);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(whole.finish().as_ref());
        let hash = *self.sha256.get_or_init(|| Sha256Hash::from_bytes(hash));
        self.settle(started, hash);
        Ok(hash)
    }

    /// Every chunk was what it should be, from `started` on: keeps that, unless the file could still change unnoticed.
    fn settle(&self, started: SystemTime, hash: Sha256Hash) {
        let Some(member) = self.origin.files.members().get(self.files.start) else {
            return;
        };
        if member.fingerprint.is_racy(started) {
            return;
        }
        member.settle();
        // A change time that moved makes it doubtful again.
        if !self.fingerprint_ok() || member.is_doubtful() {
            return;
        }
        if let Some(cache) = &self.cache {
            let chunks = self.chunks_of(0..self.layout.chunks());
            cache.store(
                &member.fingerprint,
                &self.origin.entries,
                chunks,
                Some(hash),
            );
        }
    }
}
