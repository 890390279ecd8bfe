//! A store in a file.
//!
//! The file is a redb database: a copy-on-write B-tree whose transactions are whole or not at all, whatever ends the process
//! or the machine, and which one process at a time can open. Fields lie in order, so that a query reads what it asks for
//! and no more; [`layout`] says how.
//!
//! Memory: pages within [`StoreConfig::cache_bytes`], some KiB of the database's own, and what is being read.

mod change;
mod failure;
mod layout;

use super::{Storage, StoreConfig, StoreError, Usage};
use crate::{
    graph::{Field, Node},
    lex::{Lex, Range},
    value::{Key, Soul},
};
use change::Change;
use dig_types::Timestamp;
use failure::{nonsense, of_file};
use redb::{Builder, Database, Durability, Error, ReadTransaction, ReadableDatabase};
#[cfg(unix)]
use std::fs::File;
use std::{
    fmt, io,
    ops::{Bound, ControlFlow},
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

/// Time between two attempts to open a file again that failed: each reads all of it.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// Keeps nodes in a file.
///
/// A transaction is durable when [`Storage::commit`] returns: the system has written it through to the disk. If the disk fails (it
/// is full, say), that commit fails, and so does all reading, until a later commit finds that it works again.
pub struct DiskStorage {
    path: PathBuf,
    config: StoreConfig,
    /// `None` while the file cannot be opened again.
    database: RwLock<Option<Database>>,
    usage: Mutex<Usage>,
    /// When the file was last opened again.
    opened_again: Mutex<Option<Timestamp>>,
}

impl DiskStorage {
    /// Opens a file, or makes it. Its folder must be there.
    ///
    /// Reads all of it, for whether it is as it was written: two to three seconds for a GiB that the system has in memory.
    pub fn open(path: impl Into<PathBuf>, config: StoreConfig) -> Result<Self, StoreError> {
        let path = path.into();
        let (database, usage) = open(&path, &config)?;
        Ok(Self {
            path,
            config,
            database: RwLock::new(Some(database)),
            usage: Mutex::new(usage),
            opened_again: Mutex::default(),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.database.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, Error>,
    ) -> Result<T, StoreError> {
        let database = self.database();
        let transaction = match &*database {
            Some(database) => database.begin_read().map_err(Error::from),
            None => Err(Error::DatabaseClosed),
        };
        transaction
            .and_then(|transaction| read(&transaction))
            .map_err(|error| of_file(&self.path, error))
    }

    /// Writes in one transaction; `write` says what it forgot.
    fn write(
        &self,
        at: Timestamp,
        durability: Durability,
        write: impl Fn(&mut Change<'_>) -> Result<Vec<Soul>, Error>,
    ) -> Result<Vec<Soul>, StoreError> {
        let mut outcome = self.try_to_write(durability, &write);
        if let Err(Error::PreviousIo | Error::DatabaseClosed) = outcome
            && self.may_open_again(at)
        {
            self.open_again()?;
            outcome = self.try_to_write(durability, &write);
        }
        outcome.map_err(|error| of_file(&self.path, error))
    }

    fn try_to_write(
        &self,
        durability: Durability,
        write: impl Fn(&mut Change<'_>) -> Result<Vec<Soul>, Error>,
    ) -> Result<Vec<Soul>, Error> {
        let database = self.database();
        let database = database.as_ref().ok_or(Error::DatabaseClosed)?;
        let mut transaction = database.begin_write()?;
        transaction.set_durability(durability)?;
        let mut change = Change::begin(&transaction)?;
        let gone = write(&mut change)?;
        let usage = change.finish()?;
        transaction.commit()?;
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        Ok(gone)
    }

    fn keep_as(
        &self,
        durability: Durability,
        changes: &[Node],
        at: Timestamp,
    ) -> Result<Vec<Soul>, StoreError> {
        self.write(at, durability, |change| {
            change.keep(changes, at)?;
            change.make_room(&self.config)
        })
    }

    fn may_open_again(&self, at: Timestamp) -> bool {
        let mut last = self
            .opened_again
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A clock that was set back must not keep it shut.
        let may = last.is_none_or(|last| at < last || at >= last + OPEN_AGAIN);
        if may {
            *last = Some(at);
        }
        may
    }

    fn open_again(&self) -> Result<(), StoreError> {
        let mut database = self
            .database
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        // Closed first, or it were in use.
        *database = None;
        let (opened, usage) = open(&self.path, &self.config)?;
        *database = Some(opened);
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
        Ok(())
    }
}

/// Opens a file, whole and of our layout.
fn open(path: &Path, config: &StoreConfig) -> Result<(Database, Usage), StoreError> {
    let open = || -> Result<(Database, Usage, u64), Error> {
        let database = Builder::new()
            .set_cache_size(config.cache_bytes)
            .set_check_integrity_on_open(true)
            .create(path)?;
        keep_name(path)?;
        let transaction = database.begin_write()?;
        let change = Change::begin(&transaction)?;
        let format = change.format()?;
        if !matches!(format, 0 | layout::THIS_FORMAT) {
            drop(change);
            return Ok((database, Usage::default(), format));
        }
        let usage = change.finish()?;
        transaction.commit()?;
        Ok((database, usage, format))
    };
    // Of a file that is not as it wrote it, the database mostly says so; it also has assertions.
    let outcome = panic::catch_unwind(AssertUnwindSafe(open)).map_err(|_| StoreError::Damaged {
        path: path.to_owned(),
        reason: "it cannot be read".to_owned(),
    })?;
    match outcome.map_err(|error| of_file(path, error))? {
        (database, usage, 0 | layout::THIS_FORMAT) => Ok((database, usage)),
        (.., found) => Err(StoreError::Format {
            path: path.to_owned(),
            found,
            expected: layout::THIS_FORMAT,
        }),
    }
}

/// Has the name of a new file written to the disk too: without it, the file could be gone after a power cut.
#[cfg(unix)]
fn keep_name(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Elsewhere a folder is nothing that could be written through.
#[cfg(not(unix))]
fn keep_name(_path: &Path) -> io::Result<()> {
    Ok(())
}

impl Storage for DiskStorage {
    fn scan(
        &self,
        soul: &Soul,
        keys: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Key, Field) -> ControlFlow<()>,
    ) -> Result<bool, StoreError> {
        self.read(|transaction| {
            let souls = transaction.open_table(layout::SOULS)?;
            let Some(record) = souls.get(&*layout::to_ordered(soul.as_str()))? else {
                return Ok(false);
            };
            let (id, ..) = record.value();
            let Some([from, to]) = bounds(keys) else {
                return Ok(true);
            };
            let from = match &from {
                Bound::Included(from) => Bound::Included((id, from.as_slice())),
                Bound::Excluded(from) => Bound::Excluded((id, from.as_slice())),
                Bound::Unbounded => Bound::Included((id, [].as_slice())),
            };
            let to = match &to {
                Bound::Included(to) => Bound::Included((id, to.as_slice())),
                Bound::Excluded(to) => Bound::Excluded((id, to.as_slice())),
                Bound::Unbounded => Bound::Excluded((id + 1, [].as_slice())),
            };
            let fields = transaction.open_table(layout::FIELDS)?;
            let mut range = fields.range::<(u64, &[u8])>((from, to))?;
            while let Some(entry) = if reverse {
                range.next_back()
            } else {
                range.next()
            } {
                let (place, field) = entry?;
                let (_, key) = place.value();
                let key = layout::read_key(key).ok_or_else(|| nonsense("key"))?;
                let field = layout::read_field(field.value()).ok_or_else(|| nonsense("field"))?;
                if take(key, field).is_break() {
                    break;
                }
            }
            Ok(true)
        })
    }

    fn souls(
        &self,
        range: &Lex,
        reverse: bool,
        take: &mut dyn FnMut(Soul) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let Some([from, to]) = bounds(range) else {
            return Ok(());
        };
        self.read(|transaction| {
            let souls = transaction.open_table(layout::SOULS)?;
            let bounds = (
                from.as_ref().map(Vec::as_slice),
                to.as_ref().map(Vec::as_slice),
            );
            let mut range = souls.range::<&[u8]>(bounds)?;
            while let Some(entry) = if reverse {
                range.next_back()
            } else {
                range.next()
            } {
                let (soul, _) = entry?;
                let soul = layout::read_soul(soul.value()).ok_or_else(|| nonsense("soul"))?;
                if take(soul).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    fn commit(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        self.keep_as(Durability::Immediate, changes, at)
    }

    fn keep(&self, changes: &[Node], at: Timestamp) -> Result<Vec<Soul>, StoreError> {
        self.keep_as(Durability::None, changes, at)
    }

    fn expire(&self, now: Timestamp, budget: usize) -> Result<Vec<Soul>, StoreError> {
        let until = self.config.expire_after.and_then(|after| {
            let after = u64::try_from(after.as_millis()).ok()?;
            now.as_millis().checked_sub(after)
        });
        let Some(until) = until else {
            return Ok(Vec::new());
        };
        let due = self.read(|transaction| {
            let ages = transaction.open_table(layout::AGES)?;
            let first = ages.range(..=(until, u64::MAX))?.next().transpose()?;
            Ok(first.is_some())
        })?;
        if !due {
            return Ok(Vec::new());
        }
        self.write(now, Durability::Immediate, |change| {
            change.expire(Timestamp::from_millis(until), budget)
        })
    }

    fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The range's bounds as they lie in the file; `None` if nothing can be between them.
fn bounds(range: &Lex) -> Option<[Bound<Vec<u8>>; 2]> {
    let Range { from, to } = range.range()?;
    let ordered = |text: String| layout::to_ordered(&text).into_owned();
    Some([from.map(ordered), to.map(ordered)])
}

impl fmt::Debug for DiskStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStorage")
            .field("path", &self.path)
            .field("config", &self.config)
            .field("usage", &self.usage())
            .finish_non_exhaustive()
    }
}
