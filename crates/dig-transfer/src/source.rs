//! Shared files and folders.

use crate::{
    cache::HashCache,
    chunk::{Digest, GROUP_CHUNKS, Run},
    header::ContentHeader,
    index::IndexWarning,
    layout::Layout,
    manifest::{Manifest, ManifestBuilder},
    store::{ContentStore, Holding, Proof, ReadError},
    table::Table,
    tree::{PathBuilder, root_of_entries},
};
use bytes::Bytes;
use dig_types::{ContentHash, Sha256Hash};
use origin::Origin;
use std::{
    io,
    ops::Range,
    sync::{Arc, OnceLock, atomic::AtomicU64},
};
use tokio::sync::watch;

pub(crate) mod disk;
pub(crate) mod entries;
pub(crate) mod files;
pub(crate) mod fingerprint;
pub(crate) mod origin;
mod whole;

pub use whole::WholeHashError;

/// A file or folder that was hashed and can be served; [`crate::index::index_path`] makes it.
///
/// Files are read when asked for, in pieces of up to 1 MiB, and each read checks before and after that the file
/// is the one that was hashed: same device, inode, size and times. Where that proves too little (the file was
/// modified just before it was hashed, or its change time moved without its modification time) what was read is
/// hashed as well. A file that is no longer the same is [`ReadError::Changed`].
#[derive(Debug)]
pub struct SharedContent {
    origin: Arc<Origin>,
    /// The content's first chunk among those of the origin.
    first: u64,
    /// The content's files among those of the origin.
    files: Range<usize>,
    layout: Arc<Layout>,
    header: ContentHeader,
    hash: ContentHash,
    manifest: Manifest,
    paths: PathBuilder,
    table: Option<Arc<Table>>,
    name: String,
    warnings: Vec<IndexWarning>,
    holding: watch::Sender<Holding>,
    sha256: OnceLock<Sha256Hash>,
    sha256_done: AtomicU64,
    cache: Option<HashCache>,
}

/// What is known of a content beside its bytes and entries.
pub(crate) struct About {
    pub(crate) table: Option<Table>,
    pub(crate) name: String,
    pub(crate) warnings: Vec<IndexWarning>,
    pub(crate) sha256: Option<Sha256Hash>,
    pub(crate) cache: Option<HashCache>,
}

impl SharedContent {
    /// The whole of an origin, whose entries are all there.
    pub(crate) fn new(origin: Origin, about: About) -> io::Result<Self> {
        let (layout, files) = (origin.layout.clone(), 0..origin.files.members().len());
        Self::of(Arc::new(origin), 0, files, layout, about)
    }

    fn of(
        origin: Arc<Origin>,
        first: u64,
        files: Range<usize>,
        layout: Layout,
        about: About,
    ) -> io::Result<Self> {
        let mut builder = ManifestBuilder::new(layout.shape());
        origin
            .entries
            .for_each(first..first + layout.chunks(), |entries| {
                builder.push(entries);
                Ok(())
            })?;
        let manifest = builder.finish();
        let header = layout.header(manifest.root());
        let sha256 = OnceLock::new();
        if let Some(known) = about.sha256 {
            _ = sha256.set(known);
        }
        Ok(Self {
            origin,
            first,
            files,
            hash: header.hash(),
            header,
            layout: Arc::new(layout),
            paths: PathBuilder::new(manifest.nodes().clone()),
            manifest,
            table: about.table.map(Arc::new),
            name: about.name,
            warnings: about.warnings,
            holding: watch::Sender::new(Holding::Complete),
            sha256,
            sha256_done: AtomicU64::new(0),
            cache: about.cache,
        })
    }

    /// The hash by which the content is asked for.
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Where its chunks lie.
    pub const fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The table of a folder; `None` for a file.
    pub const fn table(&self) -> Option<&Arc<Table>> {
        self.table.as_ref()
    }

    /// What was left out or may surprise a receiver, for people to read.
    pub fn warnings(&self) -> &[IndexWarning] {
        &self.warnings
    }

    /// A folder's file as a content of its own, by its index in the table; [`ReadError::Missing`] for a directory
    /// or an index beyond the end. Its bytes and entries are this content's: nothing is hashed again.
    pub fn file_store(&self, file: usize) -> Result<Self, ReadError> {
        let entry = self
            .table
            .as_ref()
            .and_then(|table| table.entries().get(file));
        let entry = entry
            .filter(|entry| !entry.directory)
            .ok_or(ReadError::Missing)?;
        let about = About {
            table: None,
            name: entry.path.rsplit('/').next().unwrap_or_default().to_owned(),
            warnings: Vec::new(),
            sha256: None,
            cache: self.cache.clone(),
        };
        let first = self.first + self.layout.file_chunks(file).start;
        let layout = Layout::file(entry.size);
        Ok(Self::of(
            self.origin.clone(),
            first,
            file..file + 1,
            layout,
            about,
        )?)
    }

    /// Whether every file is still at its path and looks as it did when it was hashed. It asks the system once a file and reads
    /// nothing, so it may be asked now and then while the content is shared.
    pub fn fingerprint_ok(&self) -> bool {
        let is_file = |file: &usize| {
            self.table
                .as_ref()
                .is_none_or(|table| !table.entries()[*file].directory)
        };
        self.files
            .clone()
            .filter(is_file)
            .all(|file| self.origin.files.is_in_place(file))
    }

    fn chunks_of(&self, chunks: Range<u64>) -> Range<u64> {
        self.first + chunks.start..self.first + chunks.end
    }
}

impl ContentStore for SharedContent {
    fn header(&self) -> ContentHeader {
        self.header
    }

    fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError> {
        let Some(run) = self.layout.shape().clip(run) else {
            return Ok(Vec::new());
        };
        self.origin.read(self.chunks_of(run.chunks()))
    }

    fn entries(&self, group: u64) -> Result<Vec<Digest>, ReadError> {
        let chunks = self.layout.shape().group_chunks(group);
        if chunks.is_empty() {
            return Err(ReadError::Missing);
        }
        Ok(self.origin.entries.get(self.chunks_of(chunks))?)
    }

    fn path(&self, group: u64, proof: Proof) -> Result<Vec<Digest>, ReadError> {
        let shape = self.layout.shape();
        if group >= shape.groups() {
            return Err(ReadError::Missing);
        }
        let node = shape.node_of_group(group);
        let below = shape.node_groups(node);
        let mut path = Vec::new();
        if below.end - below.start > 1 {
            let chunks = below.start * GROUP_CHUNKS..shape.group_chunks(below.end - 1).end;
            let entries = self.origin.entries.get(self.chunks_of(chunks))?;
            let nodes: Vec<Digest> = entries
                .chunks(GROUP_CHUNKS as usize)
                .map(root_of_entries)
                .collect();
            let inner = PathBuilder::new(nodes.into()).path((group - below.start) as usize);
            path.extend(inner.ok_or(ReadError::Missing)?);
        }
        if proof == Proof::ToRoot {
            path.extend(self.paths.path(node as usize).ok_or(ReadError::Missing)?);
        }
        Ok(path)
    }

    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError> {
        Ok(self.manifest.nodes().clone())
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

#[cfg(test)]
mod tests;
