//! Finding the files of a folder.

use super::{IndexError, IndexProgress, IndexWarning};
use crate::{
    source::{
        disk::{Root, stat},
        files::{Member, SharedFiles},
        fingerprint::{Kind, Stat},
    },
    table::{MAX_RECORDS, Table, TableEntry, TableError, check_path},
};
use dig_types::ContentHash;
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use tokio_util::sync::CancellationToken;
use unicode_normalization::UnicodeNormalization as _;

/// Files found between two calls of progress.
const PROGRESS_FILES: usize = 1_000;

/// What is to be hashed.
pub(super) struct Found {
    /// Base name of the path.
    pub(super) name: String,
    /// The table of a folder, with zeros for hashes.
    pub(super) table: Option<Table>,
    pub(super) files: SharedFiles,
    pub(super) size: u64,
    pub(super) warnings: Vec<IndexWarning>,
}

pub(super) fn walk(
    path: &Path,
    progress: &dyn Fn(IndexProgress),
    cancel: &CancellationToken,
) -> Result<Found, IndexError> {
    let failed = |error| IndexError::Io {
        path: path.to_owned(),
        error,
    };
    let real = path.canonicalize().map_err(failed)?;
    let name = path
        .file_name()
        .or_else(|| real.file_name())
        .unwrap_or(OsStr::new("root"));
    let name = name
        .to_str()
        .ok_or_else(|| IndexError::NotUtf8(path.to_owned()))?
        .nfc()
        .collect();
    if real.is_dir() {
        let root = Root::open(&real).map_err(failed)?;
        let mut walk = Walk {
            root,
            base: real,
            started: SystemTime::now(),
            found: Vec::new(),
            warnings: Vec::new(),
            progress,
            cancel,
        };
        walk.directory("", Path::new(""))?;
        return walk.finish(name);
    }
    let (Some(parent), Some(file)) = (real.parent(), real.file_name()) else {
        return Err(IndexError::Special(path.to_owned()));
    };
    // Opening a device could have effects.
    if !real.is_file() {
        return Err(IndexError::Special(path.to_owned()));
    }
    let root = Root::open(parent).map_err(failed)?;
    let now = SystemTime::now();
    let stat = root
        .open_file(Path::new(file))
        .and_then(|file| stat(&file))
        .map_err(failed)?;
    if stat.kind != Kind::File {
        return Err(IndexError::Special(path.to_owned()));
    }
    let member = Member::new(
        Path::new(file).into(),
        stat.fingerprint,
        stat.fingerprint.is_racy(now),
    );
    let files = SharedFiles::new(root, vec![member]);
    Ok(Found {
        name,
        table: None,
        files,
        size: stat.fingerprint.size,
        warnings: Vec::new(),
    })
}

struct Walk<'a> {
    root: Root,
    /// Where the root is, for errors.
    base: PathBuf,
    /// Before anything was looked at.
    started: SystemTime,
    found: Vec<(TableEntry, Member)>,
    warnings: Vec<IndexWarning>,
    progress: &'a dyn Fn(IndexProgress),
    cancel: &'a CancellationToken,
}

impl Walk<'_> {
    /// Takes in a directory: `name` is its path in the table, `path` the same on disk. Not deeper than a table's paths may be.
    fn directory(&mut self, name: &str, path: &Path) -> Result<(), IndexError> {
        let list = self.root.list(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                IndexError::Changed(self.base.join(path))
            }
            _ => IndexError::Io {
                path: self.base.join(path),
                error,
            },
        })?;
        let before = self.found.len();
        for (file_name, stat) in list {
            if self.cancel.is_cancelled() {
                return Err(IndexError::Cancelled);
            }
            let path = path.join(&file_name);
            match stat.kind {
                Kind::Symlink => self.warnings.push(IndexWarning::Symlink(path)),
                Kind::Special => self.warnings.push(IndexWarning::Special(path)),
                Kind::Directory => self.directory(&table_path(name, &file_name, &path)?, &path)?,
                Kind::File => self.push(table_path(name, &file_name, &path)?, &path, Some(stat))?,
            }
        }
        if self.found.len() == before && !name.is_empty() {
            self.push(name.to_owned(), path, None)?;
        }
        Ok(())
    }

    /// Takes in a file, or without a stat an empty directory.
    fn push(&mut self, name: String, path: &Path, stat: Option<Stat>) -> Result<(), IndexError> {
        if self.found.len() == MAX_RECORDS {
            return Err(TableError::TooLarge.into());
        }
        let fingerprint = stat.map(|stat| stat.fingerprint).unwrap_or_default();
        let entry = TableEntry {
            path: name,
            size: fingerprint.size,
            executable: stat.is_some_and(|stat| stat.executable),
            directory: stat.is_none(),
            hash: ContentHash::from_bytes([0; 32]),
        };
        let member = Member::new(path.into(), fingerprint, fingerprint.is_racy(self.started));
        self.found.push((entry, member));
        if self.found.len().is_multiple_of(PROGRESS_FILES) {
            (self.progress)(IndexProgress {
                files: self.found.len() as u64,
                ..IndexProgress::default()
            });
        }
        Ok(())
    }

    fn finish(mut self, name: String) -> Result<Found, IndexError> {
        self.found.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
        self.warnings.sort_by_key(ToString::to_string);
        let mut neighbours = self.found.windows(2);
        if let Some([(_, a), (_, b)]) = neighbours.find(|pair| pair[0].0.path == pair[1].0.path) {
            return Err(IndexError::SameName(
                a.path.to_path_buf(),
                b.path.to_path_buf(),
            ));
        }
        let (entries, members) = self.found.into_iter().unzip();
        let table = Table::new(entries)?;
        Ok(Found {
            name,
            size: table.total_size(),
            table: Some(table),
            files: SharedFiles::new(self.root, members),
            warnings: self.warnings,
        })
    }
}

/// The path in the table of what is called `file_name` on disk; `path` is for the error.
fn table_path(directory: &str, file_name: &OsStr, path: &Path) -> Result<String, IndexError> {
    let file_name = file_name
        .to_str()
        .ok_or_else(|| IndexError::NotUtf8(path.to_owned()))?;
    let mut name = String::with_capacity(directory.len() + 1 + file_name.len());
    if !directory.is_empty() {
        name.push_str(directory);
        name.push('/');
    }
    name.extend(file_name.nfc());
    match check_path(&name) {
        Ok(()) => Ok(name),
        Err(error) => Err(IndexError::Name {
            path: path.to_owned(),
            error,
        }),
    }
}
