//! The hashes that a folder's table gives for its files, checked as the files come.
//!
//! The folder's own hash proves the table as it stands and every byte behind it, but not that the two fit: who goes by the hash
//! of one file would be misled. A table with a false hash is its maker's lie, not that of whoever sends it.

use super::driver::Event;
use crate::{
    chunk::{CHUNK_LEN, Digest, GROUP_CHUNKS},
    hashing::hasher,
    header::ContentHeader,
    layout::Layout,
    set::NumberSet,
    sink::ChunkReader,
    table::{Table, TableEntry},
    tree::{empty_root, leaf, node},
};
use std::{
    collections::{BTreeMap, HashMap},
    io,
    sync::Arc,
};
use tokio::sync::mpsc;

/// What looking at the files has shown.
#[derive(Debug)]
pub(super) enum Checked {
    /// What an earlier run left is right as well.
    Right,
    /// The table gives a false hash for the file of this path.
    False(String),
    /// What an earlier run left cannot be read.
    Unreadable(io::Error),
}

/// The files of a folder that are not complete yet.
#[derive(Debug)]
pub(super) struct Members {
    layout: Arc<Layout>,
    table: Arc<Table>,
    /// Chunks of an earlier run, of which only the bytes are here.
    left: NumberSet,
    open: HashMap<usize, Subtrees>,
}

impl Members {
    /// Nothing is known but that these chunks are here from an earlier run.
    pub(super) fn new(layout: Arc<Layout>, table: Arc<Table>, mut left: NumberSet) -> Self {
        for chunk in layout.table_chunks() {
            left.remove(chunk);
        }
        Self {
            layout,
            table,
            left,
            open: HashMap::new(),
        }
    }

    /// A verified chunk has this entry. `Err` names the file whose hash that shows to be false.
    pub(super) fn add(&mut self, chunk: u64, entry: &Digest) -> Result<(), String> {
        let place = self.layout.locate(chunk);
        let Some((file, member)) = place
            .file
            .and_then(|file| Some((file, self.table.entries().get(file)?)))
        else {
            return Ok(());
        };
        let chunks = self.layout.file_chunks(file);
        let tree = self.open.entry(file).or_default();
        tree.add(place.offset / CHUNK_LEN as u64, entry);
        if tree.leaves < chunks.end - chunks.start {
            return Ok(());
        }
        let root = tree.root();
        self.open.remove(&file);
        check(member, root)
    }

    /// Whether there is anything of an earlier run to be looked at.
    pub(super) fn has_left(&self) -> bool {
        self.left.next_present(0).is_some()
    }

    /// Hashes what an earlier run left, where blocking is allowed, and reports what it shows.
    pub(super) fn read_back(
        mut self,
        reader: Arc<dyn ChunkReader>,
        results: mpsc::UnboundedSender<Event>,
    ) {
        tokio::task::spawn_blocking(move || {
            let checked = self.check_left(&*reader, || results.is_closed());
            let _ = results.send(Event::Members(checked));
        });
    }

    fn check_left(&mut self, reader: &dyn ChunkReader, given_up: impl Fn() -> bool) -> Checked {
        let left: Vec<u64> = self.left.iter().collect();
        let mut entries = Vec::new();
        for chunks in left.chunks(GROUP_CHUNKS as usize) {
            if given_up() {
                return Checked::Unreadable(io::ErrorKind::Interrupted.into());
            }
            let bytes = chunks.iter().map(|chunk| reader.read(*chunk));
            let bytes = match bytes.collect::<io::Result<Vec<_>>>() {
                Ok(bytes) => bytes,
                Err(error) => return Checked::Unreadable(error),
            };
            let bytes: Vec<&[u8]> = bytes.iter().map(|bytes| &bytes[..]).collect();
            entries.clear();
            hasher().hash(&bytes, &mut entries);
            for (chunk, entry) in chunks.iter().zip(&entries) {
                if let Err(path) = self.add(*chunk, entry) {
                    return Checked::False(path);
                }
            }
        }
        Checked::Right
    }
}

/// Checks the hashes of empty files, which have no chunks to come. `Err` names one that is false.
pub(super) fn check_empty(table: &Table) -> Result<(), String> {
    let mut entries = table.entries().iter();
    let empty = |entry: &&TableEntry| entry.size == 0 && !entry.directory;
    entries.try_for_each(|entry| match empty(&entry) {
        true => check(entry, empty_root()),
        false => Ok(()),
    })
}

fn check(member: &TableEntry, root: Digest) -> Result<(), String> {
    if ContentHeader::file(member.size, root).hash() == member.hash {
        Ok(())
    } else {
        Err(member.path.clone())
    }
}

/// Roots of the finished subtrees of a file, by level and place: neighbours become one node of the level above, so what is kept
/// depends on the gaps, not on the size.
#[derive(Debug, Default)]
struct Subtrees {
    nodes: BTreeMap<(u32, u64), Digest>,
    leaves: u64,
}

impl Subtrees {
    fn add(&mut self, index: u64, entry: &Digest) {
        let (mut level, mut place, mut digest) = (0, index, leaf(entry));
        while let Some(sibling) = self.nodes.remove(&(level, place ^ 1)) {
            digest = match place % 2 {
                0 => node(&digest, &sibling),
                _ => node(&sibling, &digest),
            };
            (level, place) = (level + 1, place / 2);
        }
        self.nodes.insert((level, place), digest);
        self.leaves += 1;
    }

    /// The root, once all leaves are there: what is left are the peaks, the lowest at the right end.
    fn root(&self) -> Digest {
        let mut peaks = self.nodes.values();
        let Some(last) = peaks.next() else {
            return empty_root();
        };
        peaks.fold(*last, |right, left| node(left, &right))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::root_of_entries;
    use bytes::Bytes;

    #[test]
    fn any_order_gives_the_root() {
        let mut random = fastrand::Rng::with_seed(7);
        for count in 0..70_u8 {
            let entries: Vec<Digest> = (0..count).map(|i| Digest([i; 32])).collect();
            let mut order: Vec<usize> = (0..entries.len()).collect();
            random.shuffle(&mut order);
            let mut tree = Subtrees::default();
            for index in order {
                tree.add(index as u64, &entries[index]);
            }
            assert_eq!(tree.root(), root_of_entries(&entries), "{count}");
            assert_eq!(tree.nodes.len() as u32, count.count_ones());
        }
    }

    /// A folder of two files whose chunks are all zeros, and what reads it back.
    fn folder(hash_of_second: impl Fn(&mut [u8; 32])) -> (Arc<Layout>, Arc<Table>, Zeros) {
        let zeros = Zeros(vec![CHUNK_LEN, 5, CHUNK_LEN, CHUNK_LEN, 9]);
        let entry = |path: &str, lens: &[usize]| {
            let entries: Vec<Digest> = lens.iter().map(|len| zeros.entry(*len)).collect();
            let size = lens.iter().sum::<usize>() as u64;
            TableEntry {
                path: path.into(),
                size,
                executable: false,
                directory: false,
                hash: ContentHeader::file(size, root_of_entries(&entries)).hash(),
            }
        };
        let mut second = entry("b", &zeros.0[2..]);
        let mut hash = *second.hash.as_bytes();
        hash_of_second(&mut hash);
        second.hash = dig_types::ContentHash::from_bytes(hash);
        let table = Table::new(vec![entry("a", &zeros.0[..2]), second]).unwrap();
        let layout = Layout::folder(table.encoded_len(), &table);
        (Arc::new(layout), Arc::new(table), zeros)
    }

    #[derive(Debug)]
    struct Zeros(Vec<usize>);

    impl Zeros {
        fn entry(&self, len: usize) -> Digest {
            crate::tree::sha256(&vec![0; len])
        }
    }

    impl ChunkReader for Zeros {
        fn read(&self, chunk: u64) -> io::Result<Bytes> {
            // The table is one chunk.
            Ok(vec![0; self.0[chunk as usize - 1]].into())
        }
    }

    #[test]
    fn a_false_hash_is_found_by_the_last_chunk() {
        for (flip, expected) in [(0, Ok(())), (1, Err("b".to_owned()))] {
            let (layout, table, zeros) = folder(|hash| hash[0] ^= flip);
            let left = NumberSet::empty(layout.chunks());
            let mut members = Members::new(layout, table, left);
            for chunk in [5, 2, 0, 4, 1] {
                let len = if chunk == 0 { 1 } else { zeros.0[chunk - 1] };
                let entry = zeros.entry(len);
                assert_eq!(members.add(chunk as u64, &entry), Ok(()), "{chunk}");
            }
            assert_eq!(members.add(3, &zeros.entry(CHUNK_LEN)), expected);
        }
    }

    #[test]
    fn what_an_earlier_run_left_counts() {
        for flip in [0, 1] {
            let (layout, table, zeros) = folder(|hash| hash[31] ^= flip);
            let mut left = NumberSet::empty(layout.chunks());
            for chunk in [0, 1, 3, 5] {
                left.insert(chunk);
            }
            let mut members = Members::new(layout, table, left);
            assert!(members.has_left());
            for chunk in [2, 4] {
                assert_eq!(
                    members.add(chunk as u64, &zeros.entry(zeros.0[chunk - 1])),
                    Ok(())
                );
            }
            let checked = members.check_left(&zeros, || false);
            match flip {
                0 => assert!(matches!(checked, Checked::Right), "{checked:?}"),
                _ => assert!(matches!(checked, Checked::False(path) if path == "b")),
            }
        }
    }

    #[test]
    fn empty_files_have_one_hash() {
        let entry = |hash| TableEntry {
            path: "empty".into(),
            size: 0,
            executable: false,
            directory: false,
            hash,
        };
        let right = ContentHeader::file(0, empty_root()).hash();
        assert!(check_empty(&Table::new(vec![entry(right)]).unwrap()).is_ok());
        let wrong = dig_types::ContentHash::from_bytes([1; 32]);
        assert!(check_empty(&Table::new(vec![entry(wrong)]).unwrap()).is_err());
    }
}
