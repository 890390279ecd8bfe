//! Where verified chunks go.

use crate::{chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use std::{fmt, io, path::PathBuf, sync::Arc};

/// Why a content cannot be written. Each text says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Something of that name is there already.
    #[error("{} exists; choose another name with -o, or replace it with --force", .0.display())]
    Exists(PathBuf),
    /// Another process writes the same target.
    #[error("{} is being written by another process; wait for it, or choose another name with -o", .0.display())]
    InUse(PathBuf),
    /// The disk has too little room.
    #[error("{} needs {needed} bytes, but its disk has {free} free; make room and run the command again, what is there is kept", .path.display())]
    NoSpace {
        /// The target.
        path: PathBuf,
        /// Bytes still to be written.
        needed: u64,
        /// Bytes free.
        free: u64,
    },
    /// A name of the content cannot be written here.
    #[error("the content has a name that cannot be written here: {0}")]
    Name(String),
    /// The disk or the file system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// What a sink has of a content from an earlier run.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Chunks that are there and trusted: synced before they were recorded, or hashed again.
    pub chunks: NumberSet,
    /// The manifest, if it was kept; it has been checked against the root.
    pub manifest: Option<Arc<[Digest]>>,
    /// The target itself is complete and verified: nothing is to be fetched.
    pub complete: bool,
}

/// Where verified chunks go, such as a `.part` file. Its methods block: call them where blocking is allowed.
pub trait ContentSink: Send + fmt::Debug {
    /// Opens what is there of this content, or makes room for it. For a folder it is called once its table is verified.
    fn open(
        &mut self,
        header: &ContentHeader,
        layout: &Arc<Layout>,
        table: Option<&Arc<Table>>,
    ) -> Result<Resumed, SinkError>;

    /// Remembers the verified manifest, so that a later run can check chunks without asking for it.
    fn keep_manifest(&mut self, manifest: &[Digest]) -> Result<(), SinkError>;

    /// Writes verified chunks that follow each other, from `first` on.
    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError>;

    /// Makes durable what was written, and records it.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// All is written: syncs, and gives the content its final name. Returns where it is, if it is a path.
    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError>;

    /// Reads back verified chunks, to serve them to others; `None` where that cannot be done.
    fn reader(&self) -> Option<Arc<dyn ChunkReader>>;
}

/// Reads chunks of a content that is still being written.
pub trait ChunkReader: Send + Sync + fmt::Debug {
    /// The bytes of a chunk; call it for written chunks only.
    fn read(&self, chunk: u64) -> io::Result<Bytes>;
}
