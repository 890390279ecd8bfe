//! Where verified chunks go: files and folders, a stream, memory.
//!
//! What comes in here has been verified, so what a sink has written needs no second look; what an
//! earlier run wrote and a crash may have spoilt is hashed again by [`FileSink`].

use crate::{chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table};
use bytes::Bytes;
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

mod directory;
mod file;
mod finished;
mod folder;
mod journal;
mod memory;
mod opening;
mod part;
mod place;
mod resume;
mod stream;
mod target;
mod verify;
mod writing;

pub use file::{FileSink, MAX_SIZE};
pub use memory::{MemoryContent, MemorySink};
pub use stream::{STREAM_WINDOW, StreamSink};
pub use target::{Select, Target, file_name_from_hint};

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
    /// More than [`MAX_SIZE`].
    #[error(
        "the content is said to have {size} bytes, which is more than is taken here ({MAX_SIZE})"
    )]
    TooLarge {
        /// Bytes of the content.
        size: u64,
    },
    /// A name of the content cannot be written here.
    #[error("the content has a name that cannot be written here: {0}")]
    Name(String),
    /// None of the folder's files is selected.
    #[error(
        "nothing in the folder matches --select and --exclude; list its files with `dignet ls`"
    )]
    NothingSelected,
    /// A folder cannot be written to a stream.
    #[error("a folder cannot be written to a stream; give a folder to write to with -o")]
    FolderToStream,
    /// Who reads the stream went away.
    #[error("the output was closed by the program that reads it")]
    OutputClosed,
    /// A chunk came that lies too far ahead of what a stream could write so far.
    #[error("chunk {chunk} is ahead of the window of {window} chunks behind chunk {next}")]
    OutOfWindow {
        /// The chunk.
        chunk: u64,
        /// The first chunk that was not written yet.
        next: u64,
        /// Chunks from `next` on that are taken.
        window: u64,
    },
    /// Committed before all of it was written.
    #[error("{missing} bytes are still missing")]
    Incomplete {
        /// Bytes that were not written yet.
        missing: u64,
    },
    /// Hashing of what is already there was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The disk or the file system refuses.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl SinkError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// What a sink has of a content from an earlier run.
#[derive(Debug, Clone)]
pub struct Resumed {
    /// Chunks that are there and trusted: synced before they were recorded, or hashed again. A sink that can make
    /// a folder's table from what it was given has its chunks from the start.
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

    /// Writes verified chunks that follow each other, from `first` on. Chunks that are there already or that are
    /// not wanted are passed over.
    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError>;

    /// Makes durable what was written, and records it. To be called before a download is left unfinished, and, where
    /// there is no [`syncer`](Self::syncer), every 64 MiB or 5 s.
    fn sync(&mut self) -> Result<(), SinkError>;

    /// All is written: syncs, and gives the content its final name. Returns where it is, if it is a path.
    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError>;

    /// Reads back verified chunks, to serve them to others; `None` where that cannot be done.
    fn reader(&self) -> Option<Arc<dyn ChunkReader>>;

    /// Syncs from another thread, so that writing does not wait for the disk; `None` if there is nothing to sync.
    ///
    /// Whoever drives an open sink calls it every 64 MiB or 5 s on a second blocking thread, one call at a time, and
    /// goes on writing meanwhile. What is written during the call is for the next.
    fn syncer(&self) -> Option<Arc<dyn Syncer>> {
        None
    }

    /// The chunks of an open sink that are to be written before it can be committed; `None`: all.
    fn wanted_chunks(&self) -> Option<NumberSet> {
        None
    }

    /// How many chunks, counted from the first that was not written, may be written; `None`: any, in any order.
    fn window(&self) -> Option<u64> {
        None
    }
}

/// Makes durable what a sink has written, while it goes on writing.
pub trait Syncer: Send + Sync + fmt::Debug {
    /// As [`ContentSink::sync`]; does nothing after the sink was committed or dropped. Blocks.
    fn sync(&self) -> Result<(), SinkError>;
}

/// Reads chunks of a content that is still being written.
pub trait ChunkReader: Send + Sync + fmt::Debug {
    /// The bytes of a chunk; call it for written chunks only.
    fn read(&self, chunk: u64) -> io::Result<Bytes>;
}
