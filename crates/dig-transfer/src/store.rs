//! Contents that can be read: shared files, and downloads that are still under way.

use crate::{
    chunk::{Digest, Run},
    header::ContentHeader,
    set::NumberSet,
};
use bytes::Bytes;
use std::{fmt, io, sync::Arc};
use tokio::sync::watch;

/// Why chunks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file is no longer what was hashed.
    #[error("the file changed after it was hashed")]
    Changed,
    /// This holder does not have them (yet).
    #[error("not here yet")]
    Missing,
    /// The disk failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What of a content a holder has.
#[derive(Debug, Clone)]
pub enum Holding {
    /// All of it.
    Complete,
    /// These groups.
    Groups(Arc<NumberSet>),
}

/// How the entries of a group are proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// By the path to their manifest node.
    ToManifest,
    /// By the path to the root.
    ToRoot,
}

/// A content that can be read, such as a shared file. Reading blocks: call it where blocking is allowed.
pub trait ContentStore: Send + Sync + fmt::Debug {
    /// Kind, size and root.
    fn header(&self) -> ContentHeader;

    /// What is here, and news of it.
    fn holding(&self) -> watch::Receiver<Holding>;

    /// The bytes of the chunks of a run, in order, checked to be those that were hashed as far as the system can tell.
    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError>;

    /// The entries of a group.
    fn entries(&self, group: u64) -> Result<Vec<Digest>, ReadError>;

    /// The path from a group's node, lowest first.
    fn path(&self, group: u64, proof: Proof) -> Result<Vec<Digest>, ReadError>;

    /// The manifest's nodes.
    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError>;

    /// What its owner calls it; empty if nothing.
    fn name(&self) -> String;
}
