//! Opening a `.part`: making it, or finding out what of it can be trusted.

use super::{
    SinkError,
    directory::{Directory, FileId, Stat},
    folder::Folder,
    journal::{Binding, Journal, Masks, Replay, mark},
    part::{Files, Part, one_file},
    place::{Claim, Found, Place},
    resume::{Remains, Trusted},
    target::PartNames,
    writing::{Log, Progress, Writing, lock},
};
use crate::{
    chunk::Digest, header::ContentHeader, layout::Layout, set::NumberSet, table::Table,
    tree::root_of_nodes,
};
use dig_types::ContentHash;
use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex},
};
use tokio_util::sync::CancellationToken;

/// What is to be opened.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) hash: ContentHash,
    pub(super) header: &'a ContentHeader,
    pub(super) layout: &'a Arc<Layout>,
    pub(super) table: Option<&'a Arc<Table>>,
    pub(super) wanted: NumberSet,
    pub(super) cancel: &'a CancellationToken,
}

/// The journal of a `.part`, and what was found.
struct Opened {
    journal: Journal,
    replay: Replay,
    /// The `.part` as it was, and whether it is another file than the journal knew; `None`: there was none.
    before: Option<(Stat, bool)>,
    /// When the journal was last written.
    modified: i128,
}

impl Opening<'_> {
    /// Makes or continues the `.part`; the manifest, if it is known. A failure leaves what was there, and nothing new.
    pub(super) fn start(
        self,
        place: Place,
        claim: Claim,
    ) -> Result<(Writing, Option<Vec<Digest>>), SinkError> {
        let (names, lock_file) = (claim.names.clone(), Arc::clone(&claim.journal));
        let fresh = matches!(claim.found, Found::Nothing);
        let begun = self.begin(&place, claim);
        let (part, opened, id) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if fresh {
                    let _ = place.directory.remove_file(&names.journal);
                }
                let _ = lock_file.unlock();
                return Err(SinkError::io(&place.beside(&names.part), error));
            }
        };
        self.resume(place, names, part, opened, id)
    }

    /// Opens journal and data.
    fn begin(&self, place: &Place, claim: Claim) -> io::Result<(Part, Opened, FileId)> {
        let modified = Directory::stat_file(&claim.journal)?.modified;
        let (journal, replay, before) = match claim.found {
            Found::Nothing => {
                let binding = Binding {
                    hash: self.hash,
                    header: *self.header,
                    part: None,
                };
                let journal = Journal::start(claim.journal, binding, self.layout)?;
                (journal, Replay::nothing(self.layout), None)
            }
            Found::Part(binding, stat) => {
                let (journal, replay) = Journal::resume(claim.journal, binding, self.layout)?;
                (journal, replay, Some((stat, false)))
            }
            Found::Copy(binding, stat) => {
                let (journal, replay) = Journal::resume(claim.journal, binding, self.layout)?;
                (journal, replay, Some((stat, true)))
            }
        };
        let (files, id) = self.open_files(&place.directory, &claim.names, before.is_none())?;
        let part = Part::new(Arc::clone(self.layout), files);
        Ok((
            part,
            Opened {
                journal,
                replay,
                before,
                modified,
            },
            id,
        ))
    }

    fn open_files(
        &self,
        directory: &Directory,
        names: &PartNames,
        fresh: bool,
    ) -> io::Result<(Files, FileId)> {
        let Some(table) = self.table else {
            return one_file(directory, &names.part, self.layout.size(), fresh);
        };
        if fresh {
            directory.make_directory(&names.part)?;
        }
        let root = directory.directory(&names.part)?;
        let id = directory
            .stat(&names.part)?
            .ok_or(io::ErrorKind::NotFound)?
            .id;
        Ok((
            Files::Many(Box::new(Folder::new(root, Arc::clone(table)))),
            id,
        ))
    }

    /// Decides what counts, and makes the journal say that and no more.
    fn resume(
        self,
        place: Place,
        names: PartNames,
        part: Part,
        opened: Opened,
        id: FileId,
    ) -> Result<(Writing, Option<Vec<Digest>>), SinkError> {
        let Opened {
            mut journal,
            replay,
            before,
            modified,
        } = opened;
        let part_path = place.beside(&names.part);
        let failed = |error| SinkError::io(&part_path, error);
        let nodes = self.known_nodes(&journal).map_err(failed)?;
        let trusted = match before {
            None => Trusted::table_only(self.layout),
            Some((found, copy)) => Remains {
                layout: self.layout,
                part: &part,
                replay: &replay,
                found,
                copy,
                journal_modified: modified,
                nodes: nodes.as_deref(),
                wanted: &self.wanted,
            }
            .examine(self.cancel)
            .map_err(|_| SinkError::Cancelled)?,
        };
        journal.bind(id).map_err(failed)?;
        let progress = self.progress(&trusted);
        let writing = Writing {
            place,
            names,
            layout: Arc::clone(self.layout),
            table: self.table.cloned(),
            fresh: before.is_none(),
            part,
            progress: Mutex::new(progress),
            wanted: self.wanted,
            log: Mutex::new(Log {
                journal,
                files: trusted.files,
                compact: 0,
                named: false,
            }),
            closed: Mutex::new(false),
        };
        if writing.fresh {
            return Ok((writing, None));
        }
        // What is no longer trusted must not come back from the old journal.
        writing
            .rewrite(&mut lock(&writing.log))
            .map_err(|error| writing.error(error))?;
        Ok((writing, nodes))
    }

    /// The manifest, if it was kept or is the root itself.
    fn known_nodes(&self, journal: &Journal) -> io::Result<Option<Vec<Digest>>> {
        if self.layout.nodes() == 1 {
            return Ok(Some(vec![self.header.root]));
        }
        let nodes = journal.manifest()?;
        Ok(nodes.filter(|nodes| root_of_nodes(nodes) == self.header.root))
    }

    fn progress(&self, trusted: &Trusted) -> Progress {
        let mut pending = Masks::new();
        let mut touched = BTreeSet::new();
        for chunk in &trusted.rehashed {
            mark(&mut pending, *chunk);
            touched.extend(self.layout.locate(*chunk).file);
        }
        let missing = self
            .wanted
            .iter()
            .filter(|chunk| !trusted.chunks.contains(*chunk));
        Progress {
            have: trusted.chunks.clone(),
            remaining: missing
                .map(|chunk| self.layout.chunk_len(chunk) as u64)
                .sum(),
            pending,
            touched,
            failed: false,
        }
    }
}
