//! The directory of a target, the claim on its `.part`, and the final rename.

use super::{
    SinkError,
    directory::{Directory, Kind, Replace, Space, Stat},
    journal::Binding,
    target::PartNames,
};
use crate::header::ContentHeader;
use dig_types::{ContentHash, ContentKind};
use std::{
    ffi::{OsStr, OsString},
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How often a journal that vanishes or changes under us is looked at again.
const TRIES: usize = 16;

/// The directory of a target, and its name there.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) directory: Directory,
    pub(super) name: OsString,
    pub(super) path: PathBuf,
    pub(super) space: Space,
}

/// A journal whose lock is ours, and what it says it belongs to.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) names: PartNames,
    pub(super) journal: Arc<File>,
    pub(super) found: Found,
}

/// What lies beside the target.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing of use: the `.part` is to be made.
    Nothing,
    /// A `.part` of this content, which its journal knows by device and inode.
    Part(Binding, Stat),
    /// A `.part` that fits the journal but is another file than it was, such as a copy: nothing in it is trusted.
    Copy(Binding, Stat),
}

/// What lies under one pair of names.
enum Beside {
    Claimed(Arc<File>, Found),
    /// Something that is not ours.
    Foreign,
    /// It changed while it was looked at.
    Moved,
}

impl Place {
    pub(super) fn open(path: &Path) -> Result<Self, SinkError> {
        let Some(name) = path.file_name() else {
            return Err(SinkError::Name(format!("{} names no file", path.display())));
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = Directory::open(parent).map_err(|error| SinkError::io(parent, error))?;
        let space = directory
            .space()
            .map_err(|error| SinkError::io(parent, error))?;
        if name.len() > space.name_max {
            return Err(SinkError::Name(format!(
                "{name:?} has {} bytes, and this disk takes {}; choose another name with -o",
                name.len(),
                space.name_max
            )));
        }
        Ok(Self {
            directory,
            name: name.to_owned(),
            path: path.to_owned(),
            space,
        })
    }

    pub(super) fn error(&self, error: io::Error) -> SinkError {
        SinkError::io(&self.path, error)
    }

    /// The path of a name beside the target.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        self.path.with_file_name(name)
    }

    /// What has the target's name.
    pub(super) fn existing(&self) -> Result<Option<Stat>, SinkError> {
        self.directory
            .stat(&self.name)
            .map_err(|error| self.error(error))
    }

    /// Takes the lock of the first pair of names that is free or ours.
    pub(super) fn claim(
        &self,
        hash: &ContentHash,
        header: &ContentHeader,
    ) -> Result<Claim, SinkError> {
        for names in PartNames::candidates(&self.name, hash, self.space.name_max) {
            for _ in 0..TRIES {
                match self.look(&names, hash, header)? {
                    Beside::Claimed(journal, found) => {
                        return Ok(Claim {
                            names,
                            journal,
                            found,
                        });
                    }
                    Beside::Foreign => break,
                    Beside::Moved => {}
                }
            }
        }
        let [_, last] = PartNames::candidates(&self.name, hash, self.space.name_max);
        Err(SinkError::Exists(self.beside(&last.part)))
    }

    fn look(
        &self,
        names: &PartNames,
        hash: &ContentHash,
        header: &ContentHeader,
    ) -> Result<Beside, SinkError> {
        let failed = |error| SinkError::io(&self.beside(&names.journal), error);
        let journal = match self.directory.stat(&names.journal).map_err(failed)? {
            Some(stat) if stat.kind != Kind::File => return Ok(Beside::Foreign),
            Some(_) => self.directory.file(&names.journal),
            None if self.directory.stat(&names.part).map_err(failed)?.is_some() => {
                return Ok(Beside::Foreign);
            }
            None => self.directory.create(&names.journal),
        };
        let journal = match journal {
            Ok(journal) => journal,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                ) =>
            {
                return Ok(Beside::Moved);
            }
            Err(error) => return Err(failed(error)),
        };
        self.lock(&journal)?;
        // Whoever held the lock may have replaced or removed the journal meanwhile.
        let opened = Directory::stat_file(&journal).map_err(failed)?;
        let named = self.directory.stat(&names.journal).map_err(failed)?;
        if named.is_none_or(|named| named.id != opened.id) {
            return Ok(Beside::Moved);
        }
        let binding = Binding::read(&journal).map_err(failed)?;
        let part = self.directory.stat(&names.part).map_err(failed)?;
        let found = match (binding, part) {
            // Empty: its writer ended before the first byte.
            (None, None) if opened.len == 0 => Found::Nothing,
            // Of any content: its `.part` is gone, so there is nothing that it could tell.
            (Some(_), None) => Found::Nothing,
            (Some(binding), Some(part)) if binding.hash == *hash && binding.header == *header => {
                match fits(&binding, &part) {
                    Some(found) => found,
                    None => return Ok(Beside::Foreign),
                }
            }
            _ => return Ok(Beside::Foreign),
        };
        Ok(Beside::Claimed(Arc::new(journal), found))
    }

    /// Removes the journal that a run left which ended between the final rename and its removal.
    pub(super) fn tidy(&self, hash: &ContentHash, header: &ContentHeader) {
        let [names, _] = PartNames::candidates(&self.name, hash, self.space.name_max);
        if !matches!(self.directory.stat(&names.journal), Ok(Some(_))) {
            return;
        }
        if let Ok(Beside::Claimed(_lock, Found::Nothing)) = self.look(&names, hash, header) {
            let _ = self.directory.remove_file(&names.journal);
        }
    }

    pub(super) fn lock(&self, journal: &File) -> Result<(), SinkError> {
        match journal.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(SinkError::InUse(self.path.clone())),
            // Without locks, two getters of one target still verify all that they write.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, "this file system has no locks");
                Ok(())
            }
        }
    }

    /// Whether names that differ in case only are the same here; asked of a name that exists.
    pub(super) fn folds_case(&self, existing: &OsStr) -> io::Result<bool> {
        let swapped = existing.to_string_lossy().replace(".part", ".PART");
        let (one, other) = (
            self.directory.stat(existing)?,
            self.directory.stat(swapped.as_ref())?,
        );
        Ok(one
            .zip(other)
            .is_some_and(|(one, other)| one.id == other.id))
    }

    /// Refuses what lies under the target's name, if it may not be replaced.
    pub(super) fn check_replaceable(&self, there: &Stat, force: bool) -> Result<(), SinkError> {
        match there.kind {
            Kind::File | Kind::Directory | Kind::Symlink if force => Ok(()),
            // A device or a pipe is never replaced.
            _ => Err(SinkError::Exists(self.path.clone())),
        }
    }

    /// Gives the `.part` its final name.
    pub(super) fn finish(
        &self,
        part: &OsStr,
        kind: ContentKind,
        force: bool,
    ) -> Result<(), SinkError> {
        let mut replace = Replace::Never;
        if let Some(there) = self.existing()? {
            self.check_replaceable(&there, force)?;
            if kind == ContentKind::File && there.kind != Kind::Directory {
                replace = Replace::File;
            } else {
                self.move_aside()?;
            }
        }
        match self.directory.rename(part, &self.name, replace) {
            Ok(()) => self.directory.sync().map_err(|error| self.error(error)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(SinkError::Exists(self.path.clone()))
            }
            Err(error) => Err(self.error(error)),
        }
    }

    /// Renames what has the target's name to the first free of `NAME.old`, `NAME.old2`, …
    fn move_aside(&self) -> Result<(), SinkError> {
        for number in 1..1_000 {
            let mut aside = self.name.clone();
            aside.push(if number == 1 {
                ".old".to_owned()
            } else {
                format!(".old{number}")
            });
            match self.directory.rename(&self.name, &aside, Replace::Never) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.error(error)),
            }
        }
        Err(SinkError::Exists(self.path.clone()))
    }
}

/// Whether a `.part` is what the journal of this content is about.
fn fits(binding: &Binding, part: &Stat) -> Option<Found> {
    let kind = match binding.header.kind {
        ContentKind::File => Kind::File,
        ContentKind::Folder => Kind::Directory,
    };
    if part.kind != kind {
        return None;
    }
    match binding.part {
        Some(id) if id == part.id => Some(Found::Part(binding.clone(), *part)),
        // Files that moved to another disk, or whose device has another number since the last start.
        Some(_) if kind == Kind::Directory || part.len == binding.header.size => {
            Some(Found::Copy(binding.clone(), *part))
        }
        // Made, but not yet entered in the journal: then nothing is in it.
        None if part.empty => Some(Found::Copy(binding.clone(), *part)),
        _ => None,
    }
}
