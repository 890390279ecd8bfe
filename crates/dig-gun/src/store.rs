//! Where nodes are kept: [`Storage`], in memory or on disk, and the [`Writer`] that commits to it in groups.
//!
//! A store holds what it is told: conflicts were resolved by whoever commits ([`crate::graph`]). It forgets on its own only
//! as its [`StoreConfig`] says: what nobody wrote for long ([`Storage::expire`]), and what was written longest ago when
//! there is no room ([`Storage::commit`]); it then names the souls, so that nobody goes on with a copy.
//!
//! Everything here blocks and belongs on threads that may: [`Writer`] has one of its own.

mod config;
mod disk;
mod find;
mod memory;
mod size;
mod writer;

pub use self::{
    config::StoreConfig,
    disk::DiskStorage,
    find::Found,
    memory::MemoryStorage,
    writer::{Done, UNHURRIED, Waiting, Writer, WriterLimits},
};

use crate::{
    graph::{Field, Node},
    lex::{Lex, Query},
    value::{Key, Soul},
};
use dig_types::Timestamp;
use std::{fmt, io, ops::ControlFlow, path::PathBuf};

/// Keeps nodes. All methods may block; the implementers are [`MemoryStorage`] and [`DiskStorage`].
///
/// What is handed to a closure must not be waited for by it: it runs while the store is being read, and must not use the
/// store itself.
pub trait Storage: Send + Sync + fmt::Debug {
    /// Hands out the fields of a node whose keys are in this range, in order or from the last to the first, until told to
    /// stop. Whether anything of the node is kept, in the range or not.
    fn scan(
        &self,
        soul: &Soul,
        keys: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Key, Field) -> ControlFlow<()>,
    ) -> Result<bool, StoreError>;

    /// Hands out the souls in this range, in order or from the last to the first, until told to stop.
    fn souls(
        &self,
        range: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Soul) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// Keeps these fields, all of them or none, over whatever was there: durable when this returns. Of a field that is named
    /// twice the later one stays. A node without fields changes nothing.
    ///
    /// If there is now more than [`StoreConfig::max_bytes`] or [`StoreConfig::max_souls`], the souls written longest ago are
    /// forgotten, whole, and are returned; never one that is in `changes`.
    fn commit(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError>;

    /// Does the same, but durable only when a later [`commit`](Self::commit) is, which may be one of nothing: until then the end of
    /// the machine or the process may undo it, from any change on, and so does a failure. It is there for whoever reads.
    fn keep(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        self.commit(changes, at)
    }

    /// Forgets at most `budget` souls that nobody wrote for [`StoreConfig::expire_after`], the oldest first, and names them.
    fn expire(&self, now: Timestamp, budget: usize) -> Result<Vec<Soul>, StoreError>;

    /// How much is kept.
    fn usage(&self) -> Usage;

    /// The whole node; `None` if nothing of it is kept. Whoever commits sets how long a node can be, and so the memory this
    /// takes; [`Self::find`] has a bound of its own.
    fn load(&self, soul: &Soul) -> Result<Option<Node>, StoreError> {
        find::load(self, soul)
    }

    /// These fields of a node, as far as there are any; `None` if nothing of the node is kept.
    fn load_fields(&self, soul: &Soul, keys: &[Key]) -> Result<Option<Node>, StoreError> {
        find::load_fields(self, soul, keys)
    }

    /// What a query asks for: nodes with at least one field each, in order of their souls (the other way round if it is
    /// asked for from the end). Stops when the fields found weigh `max_bytes` in memory.
    fn find(&self, query: &Query, max_bytes: usize) -> Result<Found, StoreError> {
        find::find(self, query, max_bytes)
    }
}

/// How much a store keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nodes.
    pub souls: u64,
    /// Bytes of souls, keys and values, with what it takes to keep them ([`StoreConfig::max_bytes`]).
    pub bytes: u64,
}

/// Why a store did not do it. Texts name the file where there is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process, or another part of this one, has the file open.
    #[error(
        "{} is in use by another relay; stop that one, or name another file",
        .path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged, or is no database of ours.
    #[error(
        "{} is damaged or no Gun database ({reason}); restore it from a copy, or move it away to begin with an empty one",
        .path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file is of a version that this program does not read.
    #[error(
        "{} was written by a version of this program that keeps its data otherwise (format {found}, not {expected}); use \
         that version, or move the file away to begin with an empty one",
        .path.display()
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// Ours.
        expected: u64,
    },
    /// The file cannot be read or written: no such folder, no permission, no space.
    #[error("cannot use {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More is waiting to be written than [`WriterLimits`] allows.
    #[error("too much is waiting to be written; try again in a moment")]
    Busy,
    /// The writer was closed, or its store failed in a way that none should.
    #[error(
        "nothing is stored any more, for this relay is ending or its database failed; if it goes on, start it anew"
    )]
    Closed,
}

#[cfg(test)]
mod tests;
