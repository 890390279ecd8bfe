//! The files behind a shared content, opened as they are needed and checked at every read.

use super::{
    disk::{Root, append_at, is_gone, is_out_of_handles, next_data, stat},
    fingerprint::{Fingerprint, Kind, Likeness, Stat},
};
use crate::store::ReadError;
use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Files held open at a time: of a process's usual 1,024 handles, what leaves room for connections.
const OPEN_FILES: usize = 256;

/// A file of the content, or an empty directory.
#[derive(Debug)]
pub(crate) struct Member {
    /// Its path below the root, as the disk has it.
    pub(crate) path: Box<Path>,
    pub(crate) fingerprint: Fingerprint,
    /// Whether its fingerprint may stay the same while its bytes change.
    doubtful: AtomicBool,
}

impl Member {
    pub(crate) fn new(path: Box<Path>, fingerprint: Fingerprint, doubtful: bool) -> Self {
        Self {
            path,
            fingerprint,
            doubtful: AtomicBool::new(doubtful),
        }
    }

    /// Whether what is read must be hashed to be sure of it.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Relaxed)
    }

    /// All of the file was found to be as hashed at a time when its fingerprint could not miss a change any more.
    pub(crate) fn settle(&self) {
        self.doubtful.store(false, Ordering::Relaxed);
    }
}

/// Files below one root, by their index in the table.
#[derive(Debug)]
pub(crate) struct SharedFiles {
    root: Root,
    members: Vec<Member>,
    pub(super) open: Mutex<OpenFiles>,
}

impl SharedFiles {
    pub(crate) fn new(root: Root, members: Vec<Member>) -> Self {
        Self {
            root,
            members,
            open: Mutex::default(),
        }
    }

    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Appends bytes of a file to `buffer`, after checking that it is the file that was listed, and that it still is afterwards.
    pub(crate) fn append(
        &self,
        file: usize,
        offset: u64,
        len: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<(), ReadError> {
        let (member, open) = self.open(file)?;
        member.check(&stat(&open)?)?;
        append_at(&open, buffer, len, offset).map_err(changed_if_short)?;
        member.check(&stat(&open)?)
    }

    /// Whether these bytes of a file lie in a hole, so that they are zeros without being read.
    pub(crate) fn is_hole(&self, file: usize, bytes: Range<u64>) -> Result<bool, ReadError> {
        let (member, open) = self.open(file)?;
        let hole = next_data(&open, bytes.start).is_none_or(|data| data >= bytes.end);
        member.check(&stat(&open)?)?;
        Ok(hole)
    }

    /// Whether a file is still at its path, and looks as it did.
    pub(crate) fn is_in_place(&self, file: usize) -> bool {
        let Some(member) = self.members.get(file) else {
            return false;
        };
        let now = self
            .root
            .open_file(&member.path)
            .and_then(|file| stat(&file));
        now.is_ok_and(|now| member.check(&now).is_ok())
    }

    fn open(&self, file: usize) -> Result<(&Member, Arc<File>), ReadError> {
        let member = self.members.get(file).ok_or(ReadError::Missing)?;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = open.get(file) {
            return Ok((member, handle));
        }
        let mut opened = self.root.open_file(&member.path);
        if opened.as_ref().is_err_and(is_out_of_handles) {
            open.handles.clear();
            opened = self.root.open_file(&member.path);
        }
        let handle = Arc::new(opened.map_err(changed_if_gone)?);
        open.insert(file, handle.clone());
        Ok((member, handle))
    }
}

impl Member {
    fn check(&self, now: &Stat) -> Result<(), ReadError> {
        if now.kind != Kind::File || now.unlinked {
            return Err(ReadError::Changed);
        }
        match self.fingerprint.compare(&now.fingerprint) {
            Likeness::Same => Ok(()),
            Likeness::Doubtful => {
                self.doubtful.store(true, Ordering::Relaxed);
                Ok(())
            }
            Likeness::Changed => Err(ReadError::Changed),
        }
    }
}

/// Open files; the one not used for longest makes room.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    handles: HashMap<usize, (Arc<File>, u64)>,
    uses: u64,
}

impl OpenFiles {
    fn get(&mut self, file: usize) -> Option<Arc<File>> {
        self.uses += 1;
        let (handle, used) = self.handles.get_mut(&file)?;
        *used = self.uses;
        Some(handle.clone())
    }

    fn insert(&mut self, file: usize, handle: Arc<File>) {
        if self.handles.len() >= OPEN_FILES {
            let oldest = self
                .handles
                .iter()
                .min_by_key(|(_, (_, used))| *used)
                .map(|(file, _)| *file);
            oldest.and_then(|oldest| self.handles.remove(&oldest));
        }
        self.uses += 1;
        self.handles.insert(file, (handle, self.uses));
    }
}

fn changed_if_short(error: io::Error) -> ReadError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ReadError::Changed,
        _ => ReadError::Io(error),
    }
}

/// A path that no longer leads to a file, or now leads through a link.
fn changed_if_gone(error: io::Error) -> ReadError {
    if is_gone(&error) {
        ReadError::Changed
    } else {
        ReadError::Io(error)
    }
}
