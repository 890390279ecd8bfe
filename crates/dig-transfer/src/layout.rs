//! Where the chunks of a content lie: chunk, group and manifest-node numbers, files and offsets.

use crate::{
    chunk::{CHUNK_LEN, Digest, GROUP_CHUNKS, Run},
    header::{ContentHeader, chunks_of},
    table::Table,
};
use dig_types::ContentKind;
use std::ops::Range;

/// The most nodes that a manifest has (4 MiB of hashes).
pub const MAX_NODES: u64 = 131_072;
/// The smallest level of a manifest: its nodes stand over a group each.
const MIN_LEVEL: u32 = 4;

/// The shape of the tree over a number of chunks. It depends on nothing else, so it is known
/// before a folder's table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    chunks: u64,
    level: u32,
}

impl Shape {
    /// The shape of the tree over `chunks` chunks.
    pub const fn new(chunks: u64) -> Self {
        let mut level = MIN_LEVEL;
        while chunks.div_ceil(1 << level) > MAX_NODES {
            level += 1;
        }
        Self { chunks, level }
    }

    /// Number of chunks.
    pub const fn chunks(&self) -> u64 {
        self.chunks
    }

    /// Number of groups.
    pub const fn groups(&self) -> u64 {
        self.chunks.div_ceil(GROUP_CHUNKS)
    }

    /// *k*: a manifest node stands over 2^k chunks (`docs/protocol.md` §5).
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Number of manifest nodes; at most [`MAX_NODES`].
    pub const fn nodes(&self) -> u64 {
        self.chunks.div_ceil(1 << self.level)
    }

    /// The chunks of a group; empty beyond the end.
    pub fn group_chunks(&self, group: u64) -> Range<u64> {
        let first = group.saturating_mul(GROUP_CHUNKS).min(self.chunks);
        first..first.saturating_add(GROUP_CHUNKS).min(self.chunks)
    }

    /// The manifest node above a group.
    pub const fn node_of_group(&self, group: u64) -> u64 {
        group >> (self.level - MIN_LEVEL)
    }

    /// The groups below a manifest node; empty beyond the end.
    pub fn node_groups(&self, node: u64) -> Range<u64> {
        let (groups, width) = (self.groups(), 1 << (self.level - MIN_LEVEL));
        let first = node.saturating_mul(width).min(groups);
        first..first.saturating_add(width).min(groups)
    }

    /// The run without what it has beyond the end or beyond its first chunk's group; `None` if nothing is left.
    pub fn clip(&self, run: Run) -> Option<Run> {
        let group = self.group_chunks(run.group());
        let end = run.first.saturating_add(run.count.into()).min(group.end);
        let count = u8::try_from(end.checked_sub(run.first)?).ok()?;
        (count > 0).then_some(Run {
            first: run.first,
            count,
        })
    }
}

/// Where the bytes of a chunk lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// The file: its index in the folder's table, 0 for a content that is one file. `None`: the table itself.
    pub file: Option<usize>,
    /// Where in the file or table the chunk begins.
    pub offset: u64,
    /// Bytes of the chunk; 0 for a chunk beyond the end.
    pub len: usize,
}

/// Where every chunk of a content lies. A folder's table comes first; it and each file start a new chunk.
///
/// Looking up a chunk is a binary search; a folder of a million files takes 16 MB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    kind: ContentKind,
    size: u64,
    table_len: u64,
    shape: Shape,
    /// First chunk and size of each file, in the order of the table.
    files: Vec<(u64, u64)>,
}

impl Layout {
    /// The layout of one file.
    pub fn file(size: u64) -> Self {
        Self {
            kind: ContentKind::File,
            size,
            table_len: 0,
            shape: Shape::new(chunks_of(size)),
            files: vec![(0, size)],
        }
    }

    /// The layout of a folder whose table has `table_len` bytes.
    pub fn folder(table_len: u64, table: &Table) -> Self {
        let mut chunks = chunks_of(table_len);
        let files = table
            .entries()
            .iter()
            .map(|entry| {
                let first = chunks;
                // A table's sizes add up to a u64, so chunks of 64 KiB cannot overflow one.
                chunks = chunks.saturating_add(chunks_of(entry.size));
                (first, entry.size)
            })
            .collect();
        Self {
            kind: ContentKind::Folder,
            size: table.total_size(),
            table_len,
            shape: Shape::new(chunks),
            files,
        }
    }

    /// What the content's hash binds, given its root.
    pub const fn header(&self, root: Digest) -> ContentHeader {
        ContentHeader {
            kind: self.kind,
            size: self.size,
            table_len: self.table_len,
            chunks: self.shape.chunks,
            root,
        }
    }

    /// File or folder.
    pub const fn kind(&self) -> ContentKind {
        self.kind
    }

    /// Bytes of the file, or of all files together.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the table; 0 for a file.
    pub const fn table_len(&self) -> u64 {
        self.table_len
    }

    /// The shape of the tree.
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of chunks.
    pub const fn chunks(&self) -> u64 {
        self.shape.chunks
    }

    /// Number of groups.
    pub const fn groups(&self) -> u64 {
        self.shape.groups()
    }

    /// *k*: a manifest node stands over 2^k chunks.
    pub const fn level(&self) -> u32 {
        self.shape.level
    }

    /// Number of manifest nodes.
    pub const fn nodes(&self) -> u64 {
        self.shape.nodes()
    }

    /// Number of files and empty directories: entries of the table, or 1.
    pub const fn files(&self) -> usize {
        self.files.len()
    }

    /// The chunks of the table; empty for a file.
    pub const fn table_chunks(&self) -> Range<u64> {
        0..chunks_of(self.table_len)
    }

    /// The chunks of a file, by its index in the table; empty for an empty one, a directory and an index beyond the end.
    pub fn file_chunks(&self, file: usize) -> Range<u64> {
        let Some((first, size)) = self.files.get(file) else {
            return 0..0;
        };
        *first..first.saturating_add(chunks_of(*size))
    }

    /// Where a chunk lies.
    pub fn locate(&self, chunk: u64) -> Location {
        let at = |file, first: u64, size: u64| {
            let offset = (chunk - first).saturating_mul(CHUNK_LEN as u64);
            let len = size.saturating_sub(offset).min(CHUNK_LEN as u64) as usize;
            Location { file, offset, len }
        };
        if chunk >= self.shape.chunks {
            return Location {
                file: None,
                offset: 0,
                len: 0,
            };
        }
        if chunk < chunks_of(self.table_len) {
            return at(None, 0, self.table_len);
        }
        // Empty files share their first chunk with the file behind them; the last of equals is the one that has it.
        let file = self.files.partition_point(|(first, _)| *first <= chunk) - 1;
        let (first, size) = self.files[file];
        at(Some(file), first, size)
    }

    /// Bytes of a chunk; 0 beyond the end.
    pub fn chunk_len(&self, chunk: u64) -> usize {
        self.locate(chunk).len
    }
}

#[cfg(test)]
mod tests;
