//! Hashes of files hashed before, so that sharing one again is instant.
//!
//! One plain file for each, written beside and renamed; any number of processes share the folder, and
//! anything in it may be deleted at any time. What is found is believed only for a file whose device, inode, size, modification and
//! change time are those of then.

use crate::source::{
    disk::append_at,
    entries::{EntryList, bytes_of, entries_of},
    fingerprint::Fingerprint,
};
use crate::{chunk::Digest, header::chunks_of, tree::sha256};
use data_encoding::HEXLOWER;
use dig_types::Sha256Hash;
use std::{
    fs::{self, File},
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// Files smaller than this are hashed in less time than their entry is looked up.
pub(crate) const SMALLEST: u64 = 1 << 20;
/// The most bytes that the cache keeps: entries of about 2 TiB of files.
const MOST_BYTES: u64 = 1 << 30;
/// The most files that the cache keeps.
const MOST_FILES: usize = 10_000;

const MAGIC: &[u8; 8] = b"digent1\n";
/// Magic, fingerprint (5 times 8 bytes), whether the SHA-256 is known, SHA-256.
const HEAD: usize = 8 + 40 + 1 + 32;
const EXTENSION: &str = "entries";
const UNFINISHED: &str = "tmp";
/// Nothing takes this long to write.
const STALE: Duration = Duration::from_secs(86_400);
/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// A folder of hashes of files.
#[derive(Debug, Clone)]
pub struct HashCache {
    folder: PathBuf,
}

impl HashCache {
    /// The cache in this folder, which is made when it is first written to.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Hands over the entries of a file in pieces (with the number of the first), if they are known; returns its SHA-256 if that is
    /// known too. `None`: not known, and what was handed over is void.
    pub(crate) fn load(
        &self,
        fingerprint: &Fingerprint,
        mut each: impl FnMut(u64, &[Digest]) -> io::Result<()>,
    ) -> Option<Option<Sha256Hash>> {
        let path = self.path_of(fingerprint);
        let file = File::open(&path).ok()?;
        match read(&file, fingerprint, &mut each) {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "not using cached hashes");
                None
            }
        }
    }

    /// Keeps the entries of a file. That this may fail is no concern of the caller: the file is hashed again next time.
    pub(crate) fn store(
        &self,
        fingerprint: &Fingerprint,
        entries: &EntryList,
        chunks: Range<u64>,
        sha256: Option<Sha256Hash>,
    ) {
        // A file modified a moment ago could be modified once more without its times showing it.
        if fingerprint.size < SMALLEST || fingerprint.is_fresh(SystemTime::now()) {
            return;
        }
        if let Err(error) = self.try_store(fingerprint, entries, chunks, sha256) {
            tracing::debug!(folder = %self.folder.display(), %error, "cannot keep hashes");
        }
    }

    /// Removes what was written longest ago until the cache is within its bounds.
    pub(crate) fn trim(&self) {
        if let Err(error) = trim(&self.folder, MOST_BYTES, MOST_FILES) {
            tracing::debug!(folder = %self.folder.display(), %error, "cannot trim the hash cache");
        }
    }

    fn try_store(
        &self,
        fingerprint: &Fingerprint,
        entries: &EntryList,
        chunks: Range<u64>,
        sha256: Option<Sha256Hash>,
    ) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let beside = self
            .folder
            .join(format!("{:016x}.{UNFINISHED}", fastrand::u64(..)));
        let written = write(&beside, fingerprint, entries, chunks, sha256)
            .and_then(|()| fs::rename(&beside, self.path_of(fingerprint)));
        if written.is_err() {
            _ = fs::remove_file(&beside);
        }
        written
    }

    /// By device and inode only, so that a newer version of a file takes the place of the older one.
    fn path_of(&self, fingerprint: &Fingerprint) -> PathBuf {
        let key = [
            fingerprint.device.to_be_bytes(),
            fingerprint.inode.to_be_bytes(),
        ]
        .concat();
        let name = HEXLOWER.encode(&sha256(&key).0[..16]);
        self.folder.join(name).with_extension(EXTENSION)
    }
}

fn head(fingerprint: &Fingerprint, sha256: Option<Sha256Hash>) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..8].copy_from_slice(MAGIC);
    let Fingerprint {
        device,
        inode,
        size,
        modified,
        changed,
    } = *fingerprint;
    let numbers = [
        device,
        inode,
        size,
        modified.cast_unsigned(),
        changed.cast_unsigned(),
    ];
    for (at, number) in head[8..48].as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
        *at = number.to_be_bytes();
    }
    if let Some(sha256) = sha256 {
        head[48] = 1;
        head[49..].copy_from_slice(sha256.as_bytes());
    }
    head
}

fn write(
    path: &Path,
    fingerprint: &Fingerprint,
    entries: &EntryList,
    chunks: Range<u64>,
    sha256: Option<Sha256Hash>,
) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut checksum = crc32fast::Hasher::new();
    let mut put = |bytes: &[u8]| {
        checksum.update(bytes);
        file.write_all(bytes)
    };
    put(&head(fingerprint, sha256))?;
    entries.for_each(chunks, |entries| put(&bytes_of(entries)))?;
    file.write_all(&checksum.finalize().to_be_bytes())
}

fn read(
    file: &File,
    fingerprint: &Fingerprint,
    each: &mut dyn FnMut(u64, &[Digest]) -> io::Result<()>,
) -> io::Result<Option<Sha256Hash>> {
    let invalid = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let chunks = chunks_of(fingerprint.size);
    if file.metadata()?.len() != HEAD as u64 + chunks * 32 + 4 {
        return Err(invalid("another size"));
    }
    let mut checksum = crc32fast::Hasher::new();
    let mut bytes = Vec::with_capacity(PIECE);
    append_at(file, &mut bytes, HEAD, 0)?;
    checksum.update(&bytes);
    let sha256 = match bytes[48] {
        0 => None,
        _ => bytes[49..].try_into().ok().map(Sha256Hash::from_bytes),
    };
    if bytes != head(fingerprint, sha256) {
        return Err(invalid("another file, or an older version of it"));
    }
    let mut next = 0;
    while next < chunks {
        let count = (chunks - next).min(PIECE as u64 / 32);
        bytes.clear();
        append_at(
            file,
            &mut bytes,
            count as usize * 32,
            HEAD as u64 + next * 32,
        )?;
        checksum.update(&bytes);
        each(next, &entries_of(&bytes))?;
        next += count;
    }
    bytes.clear();
    append_at(file, &mut bytes, 4, HEAD as u64 + chunks * 32)?;
    if bytes != checksum.finalize().to_be_bytes() {
        return Err(invalid("wrong checksum"));
    }
    Ok(sha256)
}

fn trim(folder: &Path, most_bytes: u64, most_files: usize) -> io::Result<()> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == UNFINISHED)
            && is_stale(&entry)
        {
            _ = fs::remove_file(&path);
        }
        if path
            .extension()
            .is_some_and(|extension| extension == EXTENSION)
        {
            // Another process may have removed it.
            if let Ok(metadata) = entry.metadata() {
                kept.push((metadata.modified()?, metadata.len(), path));
            }
        }
    }
    kept.sort();
    let mut bytes: u64 = kept.iter().map(|(_, len, _)| len).sum();
    let mut files = kept.len();
    for (_, len, path) in kept {
        if bytes <= most_bytes && files <= most_files {
            break;
        }
        fs::remove_file(path)?;
        bytes -= len;
        files -= 1;
    }
    Ok(())
}

/// Whether a file was left behind by a process that was killed while it wrote.
fn is_stale(entry: &fs::DirEntry) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > STALE))
}

#[cfg(test)]
mod tests;
