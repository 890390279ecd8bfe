//! The SHA-256 of a whole file, for who asked for the file by it.

use super::driver::Event;
use crate::sink::ChunkReader;
use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use dig_types::Sha256Hash;
use std::{collections::BTreeMap, fmt, io, sync::Arc};
use tokio::sync::mpsc;

/// Hashes what was written, where blocking is allowed, and reports it.
pub(super) fn hash(
    reader: Arc<dyn ChunkReader>,
    chunks: u64,
    results: mpsc::UnboundedSender<Event>,
) {
    tokio::task::spawn_blocking(move || {
        let _ = results.send(Event::Sha256(read_all(&*reader, chunks, || {
            results.is_closed()
        })));
    });
}

fn read_all(
    reader: &dyn ChunkReader,
    chunks: u64,
    given_up: impl Fn() -> bool,
) -> io::Result<Sha256Hash> {
    let mut context = Context::new(&SHA256);
    for chunk in 0..chunks {
        if given_up() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        context.update(&reader.read(chunk)?);
    }
    Ok(finish(context))
}

fn finish(context: Context) -> Sha256Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    Sha256Hash::from_bytes(hash)
}

/// Hashes chunks in their order as they come; those that come early are kept, which a sink that cannot be read does too.
pub(super) struct InOrder {
    context: Context,
    next: u64,
    early: BTreeMap<u64, Bytes>,
}

impl Default for InOrder {
    fn default() -> Self {
        Self {
            context: Context::new(&SHA256),
            next: 0,
            early: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for InOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InOrder")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl InOrder {
    pub(super) fn add(&mut self, first: u64, chunks: &[Bytes]) {
        self.early.extend((first..).zip(chunks.iter().cloned()));
        while let Some(bytes) = self.early.remove(&self.next) {
            self.context.update(&bytes);
            self.next += 1;
        }
    }

    pub(super) fn finish(self) -> Sha256Hash {
        finish(self.context)
    }
}
