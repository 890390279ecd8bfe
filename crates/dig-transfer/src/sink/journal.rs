//! What is known of a `.part` file: the journal beside it.
//!
//! A header binds the journal to one content and one `.part`; behind it is room for the manifest, then
//! records of a fixed size follow, appended only:
//!
//! - `written`: these chunks were verified and handed to the system. A hint: after a crash they are hashed again.
//! - `synced`: these chunks were made durable *before* the record was written. Trusted.
//! - `file`: a file of a folder, and its inode. A file that is another one now is not trusted.
//!
//! Every record carries a CRC-32 that also covers the content hash, so that a torn or stale record does not
//! count; what does not count is skipped. The manifest needs no checksum: it leads to the root or it is not used.
//! A journal that says too little costs a download, never correctness.

use super::directory::{FileId, read_exact_at, write_all_at};
use crate::{
    chunk::{Digest, GROUP_CHUNKS},
    header::ContentHeader,
    layout::Layout,
    set::NumberSet,
};
use bytes::Bytes;
use dig_types::{ContentHash, ContentKind};
use std::{collections::BTreeMap, fs::File, io, sync::Arc};

const MAGIC: &[u8; 8] = b"digjrnl1";
const HEADER_LEN: usize = 128;
pub(super) const RECORD_LEN: usize = 24;
/// Bytes read at a time.
const READ_LEN: usize = 2_048 * RECORD_LEN;
/// Bytes of records that are read; a journal of ours is rewritten long before it is so long.
const MAX_RECORDS_LEN: u64 = 256 << 20;

const WRITTEN: u8 = 1;
const SYNCED: u8 = 2;
const FILE: u8 = 3;

/// What a journal belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) hash: ContentHash,
    pub(super) header: ContentHeader,
    /// The `.part` file or folder; `None` while it is not made yet.
    pub(super) part: Option<FileId>,
}

impl Binding {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.hash.as_bytes());
        out.extend_from_slice(&[self.header.kind.code(), u8::from(self.part.is_some())]);
        for number in [
            self.header.size,
            self.header.table_len,
            self.header.chunks,
            self.part.map_or(0, |part| part.device),
            self.part.map_or(0, |part| part.inode),
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&self.header.root.0);
        out.resize(HEADER_LEN - 4, 0);
        out.extend_from_slice(&crc32fast::hash(&out).to_be_bytes());
        let mut header = [0; HEADER_LEN];
        header.copy_from_slice(&out);
        header
    }

    fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        let hash = ContentHash::from_bytes(take(&mut rest)?);
        let [kind, has_part] = take(&mut rest)?;
        let mut number = || Some(u64::from_be_bytes(take(&mut rest)?));
        let (size, table_len, chunks) = (number()?, number()?, number()?);
        let (device, inode) = (number()?, number()?);
        let header = ContentHeader {
            kind: ContentKind::from_code(kind)?,
            size,
            table_len,
            chunks,
            root: Digest(take(&mut rest)?),
        };
        let part = (has_part == 1).then_some(FileId { device, inode });
        Some(Self { hash, header, part })
    }

    /// Reads what a journal belongs to; `None` if the file is no journal.
    pub(super) fn read(file: &File) -> io::Result<Option<Self>> {
        let mut bytes = [0; HEADER_LEN];
        match read_exact_at(file, &mut bytes, 0) {
            Ok(()) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (value, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*value)
}

/// One thing that a journal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record {
    /// These chunks of a group were written.
    Written { group: u64, mask: u16 },
    /// These chunks of each of `groups` groups are durable.
    Synced { group: u64, groups: u64, mask: u16 },
    /// A file of the folder has this inode.
    File { file: u64, inode: u64 },
}

impl Record {
    fn encode(self, seed: u32) -> [u8; RECORD_LEN] {
        let (kind, mask, number, value) = match self {
            Self::Written { group, mask } => (WRITTEN, mask, group, 1),
            Self::Synced {
                group,
                groups,
                mask,
            } => (SYNCED, mask, group, groups),
            Self::File { file, inode } => (FILE, 0, file, inode),
        };
        let mut out = [0; RECORD_LEN];
        out[0] = kind;
        out[2..4].copy_from_slice(&mask.to_be_bytes());
        out[4..12].copy_from_slice(&number.to_be_bytes());
        out[12..20].copy_from_slice(&value.to_be_bytes());
        let crc = checksum(seed, &out[..20]);
        out[20..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(seed: u32, bytes: &[u8; RECORD_LEN]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if checksum(seed, body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = body;
        let [kind, _] = take(&mut rest)?;
        let mask = u16::from_be_bytes(take(&mut rest)?);
        let number = u64::from_be_bytes(take(&mut rest)?);
        let value = u64::from_be_bytes(take(&mut rest)?);
        match kind {
            WRITTEN => Some(Self::Written {
                group: number,
                mask,
            }),
            SYNCED => Some(Self::Synced {
                group: number,
                groups: value,
                mask,
            }),
            FILE => Some(Self::File {
                file: number,
                inode: value,
            }),
            _ => None,
        }
    }
}

fn checksum(seed: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(seed);
    hasher.update(bytes);
    hasher.finalize()
}

/// Chunks by group: which of its 16 are meant.
pub(super) type Masks = BTreeMap<u64, u16>;

/// Adds chunks to masks.
pub(super) fn mark(masks: &mut Masks, chunk: u64) {
    *masks.entry(chunk / GROUP_CHUNKS).or_default() |= 1 << (chunk % GROUP_CHUNKS);
}

/// The chunks of a mask.
pub(super) fn marked(group: u64, mask: u16) -> impl Iterator<Item = u64> {
    let first = group.saturating_mul(GROUP_CHUNKS);
    (0..GROUP_CHUNKS)
        .filter(move |bit| mask >> bit & 1 == 1)
        .map(move |bit| first.saturating_add(bit))
}

/// Records that say of these chunks that they are durable, few where groups that follow each other are alike.
pub(super) fn synced_records(masks: impl IntoIterator<Item = (u64, u16)>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for (next, mask) in masks {
        match records.last_mut() {
            Some(Record::Synced {
                group,
                groups,
                mask: same,
            }) if *same == mask && *group + *groups == next => {
                *groups += 1;
            }
            _ => records.push(Record::Synced {
                group: next,
                groups: 1,
                mask,
            }),
        }
    }
    records
}

/// What all records of a journal say together.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) synced: NumberSet,
    pub(super) written: NumberSet,
    /// Inodes by index of the file.
    pub(super) files: BTreeMap<u64, u64>,
    /// Whether the last record says that all before it is durable.
    pub(super) ends_synced: bool,
}

impl Replay {
    pub(super) fn nothing(layout: &Layout) -> Self {
        Self {
            synced: NumberSet::empty(layout.chunks()),
            written: NumberSet::empty(layout.chunks()),
            files: BTreeMap::new(),
            ends_synced: false,
        }
    }

    fn add(&mut self, record: Record, layout: &Layout) {
        self.ends_synced = matches!(record, Record::Synced { .. });
        match record {
            Record::Written { group, mask } => {
                for chunk in marked(group, mask) {
                    self.written.insert(chunk);
                }
            }
            Record::Synced {
                group,
                groups,
                mask,
            } => {
                let end = group.saturating_add(groups).min(layout.groups());
                for chunk in (group..end).flat_map(|group| marked(group, mask)) {
                    self.synced.insert(chunk);
                }
            }
            Record::File { file, inode } => {
                if file < layout.files() as u64 {
                    self.files.insert(file, inode);
                }
            }
        }
    }
}

/// An open journal; whoever holds it holds its lock.
#[derive(Debug)]
pub(super) struct Journal {
    file: Arc<File>,
    binding: Binding,
    /// Where the records begin.
    records: u64,
    end: u64,
    seed: u32,
}

impl Journal {
    /// Starts a journal in this file, from nothing.
    pub(super) fn start(file: Arc<File>, binding: Binding, layout: &Layout) -> io::Result<Self> {
        file.set_len(0)?;
        let journal = Self::of(file, binding, layout);
        journal.write_binding()?;
        Ok(journal)
    }

    /// Opens the journal of this content in this file, and says what its records say.
    pub(super) fn resume(
        file: Arc<File>,
        binding: Binding,
        layout: &Layout,
    ) -> io::Result<(Self, Replay)> {
        let mut journal = Self::of(file, binding, layout);
        let replay = journal.replay(layout)?;
        Ok((journal, replay))
    }

    fn of(file: Arc<File>, binding: Binding, layout: &Layout) -> Self {
        let records = HEADER_LEN as u64 + 32 * layout.nodes();
        let seed = crc32fast::hash(binding.hash.as_bytes());
        Self {
            file,
            binding,
            records,
            end: records,
            seed,
        }
    }

    fn replay(&mut self, layout: &Layout) -> io::Result<Replay> {
        let mut replay = Replay::nothing(layout);
        let len = self
            .file
            .metadata()?
            .len()
            .saturating_sub(self.records)
            .min(MAX_RECORDS_LEN);
        let whole = len - len % RECORD_LEN as u64;
        let mut buffer = vec![0; READ_LEN];
        let mut at = 0;
        while at < whole {
            let wanted = usize::try_from(whole - at).map_or(READ_LEN, |rest| rest.min(READ_LEN));
            read_exact_at(&self.file, &mut buffer[..wanted], self.records + at)?;
            for bytes in buffer[..wanted].as_chunks::<RECORD_LEN>().0 {
                if let Some(record) = Record::decode(self.seed, bytes) {
                    replay.add(record, layout);
                }
            }
            at += wanted as u64;
        }
        self.end = self.records + whole;
        Ok(replay)
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    /// The file, to be synced without holding up who appends.
    pub(super) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// Bytes of records so far.
    pub(super) fn len(&self) -> u64 {
        self.end - self.records
    }

    /// Binds the journal to its `.part`.
    pub(super) fn bind(&mut self, part: FileId) -> io::Result<()> {
        self.binding.part = Some(part);
        self.write_binding()
    }

    fn write_binding(&self) -> io::Result<()> {
        let header = Bytes::copy_from_slice(&self.binding.encode());
        write_all_at(&self.file, &[header], 0)
    }

    /// Appends records. A torn one at the end is written over.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let bytes: Vec<u8> = records
            .iter()
            .flat_map(|record| record.encode(self.seed))
            .collect();
        let len = bytes.len() as u64;
        write_all_at(&self.file, &[bytes.into()], self.end)?;
        self.end += len;
        Ok(())
    }

    /// Keeps the manifest's nodes; as many as the layout says.
    pub(super) fn keep_manifest(&self, nodes: &[Digest]) -> io::Result<()> {
        let bytes: Vec<u8> = nodes.iter().flat_map(|node| node.0).collect();
        if HEADER_LEN as u64 + bytes.len() as u64 != self.records {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        write_all_at(&self.file, &[bytes.into()], HEADER_LEN as u64)
    }

    /// The nodes that were kept; whoever uses them checks that they lead to the root.
    pub(super) fn manifest(&self) -> io::Result<Option<Vec<Digest>>> {
        let Ok(len) = usize::try_from(self.records - HEADER_LEN as u64) else {
            return Ok(None);
        };
        let mut bytes = vec![0; len];
        match read_exact_at(&self.file, &mut bytes, HEADER_LEN as u64) {
            Ok(()) => Ok(Some(
                bytes
                    .as_chunks::<32>()
                    .0
                    .iter()
                    .map(|node| Digest(*node))
                    .collect(),
            )),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests;
