//! What of an earlier run can be trusted.
//!
//! Durable chunks of a file that is still the same one, and that nobody has written to since the journal was last
//! written, count as they are. All else that the journal names is hashed again and counts if it
//! leads to the manifest; what cannot be checked is fetched again.

use super::{
    directory::{Kind, Stat},
    journal::Replay,
    part::{Files, Part},
    verify::{self, Cancelled},
};
use crate::{chunk::Digest, layout::Layout, set::NumberSet};
use std::{collections::BTreeMap, io};
use tokio_util::sync::CancellationToken;

/// How much later than the journal a file may have changed, if the journal ends in the middle of writing: a record
/// follows its data at once, and clocks of file systems tick every 1 to 10 ms.
const TOLERANCE: i128 = 10_000_000;

/// What an earlier run left.
#[derive(Debug)]
pub(super) struct Remains<'a> {
    pub(super) layout: &'a Layout,
    pub(super) part: &'a Part,
    pub(super) replay: &'a Replay,
    /// The `.part` as it was found.
    pub(super) found: Stat,
    /// Whether it is another file than the journal knew.
    pub(super) copy: bool,
    /// When the journal was last written, in nanoseconds since 1970.
    pub(super) journal_modified: i128,
    /// The manifest, which leads to the root.
    pub(super) nodes: Option<&'a [Digest]>,
    pub(super) wanted: &'a NumberSet,
}

/// What of it counts.
#[derive(Debug)]
pub(super) struct Trusted {
    pub(super) chunks: NumberSet,
    /// Those that were hashed again, and may not be durable.
    pub(super) rehashed: Vec<u64>,
    /// Files of a folder that are there, with their inodes.
    pub(super) files: BTreeMap<u64, u64>,
}

impl Trusted {
    /// A folder's table, which needs no disk.
    pub(super) fn table_only(layout: &Layout) -> Self {
        let mut chunks = NumberSet::empty(layout.chunks());
        for chunk in layout.table_chunks() {
            chunks.insert(chunk);
        }
        Self {
            chunks,
            rehashed: Vec::new(),
            files: BTreeMap::new(),
        }
    }
}

/// What is thought of a file before looking into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The same file, unchanged.
    Intact,
    /// It may have been changed.
    Suspect,
    Gone,
}

impl Remains<'_> {
    pub(super) fn examine(&self, cancel: &CancellationToken) -> Result<Trusted, Cancelled> {
        let mut trusted = Trusted::table_only(self.layout);
        let mut candidates = NumberSet::empty(self.layout.chunks());
        let mut last: Option<(usize, Standing)> = None;
        let mut chunk = 0;
        while let Some(next) = self.next_named(chunk) {
            chunk = next + 1;
            let Some(file) = self.layout.locate(next).file else {
                continue;
            };
            if !self.wanted.contains(next) {
                continue;
            }
            let standing = match last {
                Some((same, standing)) if same == file => standing,
                _ => self.standing(file, &mut trusted.files),
            };
            last = Some((file, standing));
            match standing {
                Standing::Intact if self.replay.synced.contains(next) => {
                    trusted.chunks.insert(next);
                }
                Standing::Intact | Standing::Suspect => {
                    candidates.insert(next);
                }
                Standing::Gone => {}
            }
        }
        self.check_candidates(&candidates, &mut trusted, cancel)?;
        Ok(trusted)
    }

    /// The next chunk that the journal names.
    fn next_named(&self, from: u64) -> Option<u64> {
        let (synced, written) = (
            self.replay.synced.next_present(from),
            self.replay.written.next_present(from),
        );
        synced.into_iter().chain(written).min()
    }

    fn standing(&self, file: usize, files: &mut BTreeMap<u64, u64>) -> Standing {
        let (stat, known) = match self.part.files() {
            Files::One { .. } => (
                self.found,
                !self.copy && self.found.len == self.layout.size(),
            ),
            Files::Many(folder) => {
                let (Ok(Some(stat)), Some(entry)) =
                    (folder.stat(file), folder.table().entries().get(file))
                else {
                    return Standing::Gone;
                };
                if stat.kind != Kind::File {
                    return Standing::Gone;
                }
                files.insert(file as u64, stat.id.inode);
                let recorded = self.replay.files.get(&(file as u64));
                let same = recorded == Some(&stat.id.inode) && stat.len == entry.size;
                (stat, !self.copy && same)
            }
        };
        // After a sync nothing was written, so nothing may be newer than the record of it.
        let tolerance = if self.replay.ends_synced {
            0
        } else {
            TOLERANCE
        };
        if known && stat.modified <= self.journal_modified + tolerance {
            Standing::Intact
        } else {
            Standing::Suspect
        }
    }

    /// Hashes every manifest node again that is all there and has a candidate below it.
    fn check_candidates(
        &self,
        candidates: &NumberSet,
        trusted: &mut Trusted,
        cancel: &CancellationToken,
    ) -> Result<(), Cancelled> {
        let Some(nodes) = self.nodes else {
            return Ok(());
        };
        let shape = self.layout.shape();
        let mut wanted = Vec::new();
        let mut chunk = 0;
        while let Some(next) = candidates.next_present(chunk) {
            let node = next >> shape.level();
            let end = ((node + 1) << shape.level()).min(shape.chunks());
            let mut below = (node << shape.level())..end;
            if below.all(|chunk| candidates.contains(chunk) || trusted.chunks.contains(chunk)) {
                wanted.push(node);
            }
            chunk = end;
        }
        let read = |chunk| -> io::Result<_> { self.part.read(chunk) };
        let digests = verify::nodes(shape, &wanted, &read, cancel)?;
        for (node, digest) in wanted.into_iter().zip(digests) {
            let expected = usize::try_from(node).ok().and_then(|node| nodes.get(node));
            if digest.is_none() || digest.as_ref() != expected {
                continue;
            }
            for chunk in node << shape.level()..(node + 1) << shape.level() {
                if candidates.contains(chunk) {
                    trusted.chunks.insert(chunk);
                    trusted.rehashed.push(chunk);
                }
            }
        }
        Ok(())
    }
}
