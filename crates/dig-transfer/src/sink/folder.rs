//! The files of a folder that is being written.

use super::directory::{Directory, FileId, Kind, Stat};
use crate::table::{Table, TableEntry};
use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Files kept open at a time. More would meet the usual limit of 1,024 together with connections.
const MAX_OPEN: usize = 256;

/// The folder `NAME.part/`. Files are made when their first chunk comes, and kept open while they are used.
#[derive(Debug)]
pub(super) struct Folder {
    root: Directory,
    table: Arc<Table>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: HashMap<usize, Open>,
    /// Counts uses, to find what was not used for longest.
    uses: u64,
    /// Files made by this run: what was not written in them is a hole.
    fresh: HashSet<usize>,
    /// Files that have their size and can be written.
    prepared: HashSet<usize>,
    /// Files that the journal does not know yet.
    unrecorded: Vec<(usize, FileId)>,
    /// The directory of the last file; a table lists the files of a directory together.
    parent: Option<(String, Arc<Directory>)>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    used: u64,
}

/// Whether a file that is not there is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Fail,
}

impl Folder {
    pub(super) fn new(root: Directory, table: Arc<Table>) -> Self {
        Self {
            root,
            table,
            state: Mutex::default(),
        }
    }

    pub(super) fn root(&self) -> &Directory {
        &self.root
    }

    pub(super) fn table(&self) -> &Arc<Table> {
        &self.table
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, index: usize) -> io::Result<&TableEntry> {
        self.table
            .entries()
            .get(index)
            .ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// The file of an entry, and whether what was not written in it is a hole.
    pub(super) fn file(&self, index: usize, missing: Missing) -> io::Result<(Arc<File>, bool)> {
        let mut state = self.state();
        state.uses += 1;
        let uses = state.uses;
        if missing == Missing::Fail || state.prepared.contains(&index) {
            let fresh = state.fresh.contains(&index);
            if let Some(open) = state.open.get_mut(&index) {
                open.used = uses;
                return Ok((Arc::clone(&open.file), fresh));
            }
        }
        if state.open.len() >= MAX_OPEN {
            state.close_oldest();
        }
        let file = match self.open(&mut state, index, missing) {
            // Other parts of the program may hold all the descriptors that there are.
            Err(error) if error.raw_os_error().is_some_and(is_too_many_files) => {
                state.open.clear();
                self.open(&mut state, index, missing)
            }
            result => result,
        }?;
        let file = Arc::new(file);
        state.open.insert(
            index,
            Open {
                file: Arc::clone(&file),
                used: uses,
            },
        );
        Ok((file, state.fresh.contains(&index)))
    }

    fn open(&self, state: &mut State, index: usize, missing: Missing) -> io::Result<File> {
        let entry = self.entry(index)?;
        let (parent, name) = self.parent(state, &entry.path, missing)?;
        if state.prepared.contains(&index) {
            return parent.file(name);
        }
        if missing == Missing::Fail {
            return parent.file_to_read(name);
        }
        let file = match parent.create(name) {
            Ok(file) => {
                state.fresh.insert(index);
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => parent.file(name)?,
            Err(error) => return Err(error),
        };
        let stat = Directory::stat_file(&file)?;
        if stat.len != entry.size {
            file.set_len(entry.size)?;
        }
        state.unrecorded.push((index, stat.id));
        state.prepared.insert(index);
        Ok(file)
    }

    /// The directory of a path, made where it is not there, and the last component.
    fn parent<'a>(
        &self,
        state: &mut State,
        path: &'a str,
        missing: Missing,
    ) -> io::Result<(Arc<Directory>, &'a OsStr)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if let Some((last, directory)) = &state.parent
            && last == parent
        {
            return Ok((Arc::clone(directory), name.as_ref()));
        }
        let directory = Arc::new(self.walk(parent, missing)?);
        state.parent = Some((parent.to_owned(), Arc::clone(&directory)));
        Ok((directory, name.as_ref()))
    }

    fn walk(&self, path: &str, missing: Missing) -> io::Result<Directory> {
        let mut at: Option<Directory> = None;
        for component in path.split('/').filter(|component| !component.is_empty()) {
            let from = at.as_ref().unwrap_or(&self.root);
            let component = component.as_ref();
            at = Some(match from.directory(component) {
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && missing == Missing::Make =>
                {
                    from.make_directory(component)?;
                    from.directory(component)?
                }
                result => result?,
            });
        }
        at.map_or_else(|| self.root.directory(".".as_ref()), Ok)
    }

    /// Files that were opened to be written and that the journal does not know yet.
    pub(super) fn take_unrecorded(&self) -> Vec<(usize, FileId)> {
        std::mem::take(&mut self.state().unrecorded)
    }

    /// What an entry is on the disk; `None` if it is not there.
    pub(super) fn stat(&self, index: usize) -> io::Result<Option<Stat>> {
        let mut state = self.state();
        let entry = self.entry(index)?;
        match self.parent(&mut state, &entry.path, Missing::Fail) {
            Ok((parent, name)) => parent.stat(name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes what has no chunks and sets executable bits; removes what an earlier run wanted and this one does not.
    pub(super) fn finish(&self, wanted: &dyn Fn(usize) -> bool) -> io::Result<()> {
        for (index, entry) in self.table.entries().iter().enumerate() {
            if !wanted(index) {
                self.remove(index)?;
            } else if entry.directory {
                self.walk(&entry.path, Missing::Make)?;
            } else if entry.size == 0 || entry.executable {
                let (file, _) = self.file(index, Missing::Make)?;
                if entry.executable {
                    Directory::make_executable(&file)?;
                }
            }
        }
        Ok(())
    }

    fn remove(&self, index: usize) -> io::Result<()> {
        let Some(stat) = self.stat(index)? else {
            return Ok(());
        };
        let mut state = self.state();
        state.open.remove(&index);
        let (parent, name) = self.parent(&mut state, &self.entry(index)?.path, Missing::Fail)?;
        match stat.kind {
            Kind::Directory => {
                // Not ours if something is in it.
                let _ = parent.remove_directory(name);
                Ok(())
            }
            _ => parent.remove_file(name),
        }
    }
}

impl State {
    fn close_oldest(&mut self) {
        let oldest = self
            .open
            .iter()
            .min_by_key(|(_, open)| open.used)
            .map(|(index, _)| *index);
        if let Some(index) = oldest {
            self.open.remove(&index);
        }
    }
}

/// `EMFILE` and `ENFILE`.
fn is_too_many_files(code: i32) -> bool {
    cfg!(unix) && matches!(code, 23 | 24)
}
