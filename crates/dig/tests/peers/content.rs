//! Contents for tests: real files, parts of them, and folders that no honest host would make.

use bytes::Bytes;
use dig::{
    transfer::{
        chunk::{CHUNK_LEN, Digest, Run},
        header::ContentHeader,
        index::{IndexOptions, index_path},
        set::NumberSet,
        store::{ContentStore, Holding, Proof, ReadError},
        tree::root_of_entries,
    },
    types::{ContentHash, ContentKind},
};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A shared file.
pub(crate) struct Content {
    pub(crate) store: Arc<dyn ContentStore>,
    pub(crate) hash: ContentHash,
    pub(crate) bytes: Vec<u8>,
    _dir: TempDir,
}

impl Content {
    /// A file of noise; the seed is its size.
    pub(crate) fn noise(size: usize) -> Self {
        let mut bytes = vec![0; size];
        fastrand::Rng::with_seed(size as u64).fill(&mut bytes);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, &bytes).unwrap();
        let content = index_path(
            &path,
            &IndexOptions::default(),
            &|_| {},
            &CancellationToken::new(),
        )
        .unwrap();
        Self {
            hash: content.hash(),
            store: Arc::new(content),
            bytes,
            _dir: dir,
        }
    }
}

/// A store that holds only some groups of another.
#[derive(Debug)]
pub(crate) struct Part {
    whole: Arc<dyn ContentStore>,
    groups: Arc<NumberSet>,
    holding: watch::Sender<Holding>,
}

impl Part {
    pub(crate) fn of(
        whole: &Arc<dyn ContentStore>,
        has: impl Fn(u64) -> bool,
    ) -> Arc<dyn ContentStore> {
        let mut groups = NumberSet::empty(whole.header().chunks.div_ceil(16));
        for group in (0..groups.bound()).filter(|group| has(*group)) {
            groups.insert(group);
        }
        let groups = Arc::new(groups);
        let holding = watch::Sender::new(Holding::Groups(groups.clone()));
        Arc::new(Self {
            whole: whole.clone(),
            groups,
            holding,
        })
    }

    fn check(&self, group: u64) -> Result<(), ReadError> {
        if self.groups.contains(group) {
            Ok(())
        } else {
            Err(ReadError::Missing)
        }
    }
}

impl ContentStore for Part {
    fn header(&self) -> ContentHeader {
        self.whole.header()
    }

    fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError> {
        self.check(run.group())?;
        self.whole.read(run)
    }

    fn entries(&self, group: u64) -> Result<Vec<Digest>, ReadError> {
        self.check(group)?;
        self.whole.entries(group)
    }

    fn path(&self, group: u64, proof: Proof) -> Result<Vec<Digest>, ReadError> {
        self.whole.path(group, proof)
    }

    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError> {
        self.whole.manifest()
    }

    fn name(&self) -> String {
        self.whole.name()
    }
}

/// A record of a folder's table, of any bytes.
pub(crate) struct Record {
    pub(crate) flags: u8,
    pub(crate) size: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) path: Vec<u8>,
}

impl Record {
    /// A file of these bytes, as an honest host would list it but for the path.
    pub(crate) fn file(path: impl Into<Vec<u8>>, bytes: &[u8]) -> Self {
        let entries: Vec<Digest> = bytes.chunks(CHUNK_LEN).map(entry).collect();
        let header = ContentHeader::file(bytes.len() as u64, root_of_entries(&entries));
        Self {
            flags: 0,
            size: bytes.len() as u64,
            hash: *header.hash().as_bytes(),
            path: path.into(),
        }
    }
}

/// A folder of at most 16 chunks whose hash fits its bytes, whatever they are: only who looks into the table sees what it is.
#[derive(Debug)]
pub(crate) struct Forged {
    header: ContentHeader,
    chunks: Vec<Bytes>,
    entries: Vec<Digest>,
    name: String,
    holding: watch::Sender<Holding>,
}

impl Forged {
    /// A folder of this table, of these files, and of what the header says besides.
    pub(crate) fn folder(
        table: &[u8],
        files: &[&[u8]],
        name: &str,
        change: impl Fn(&mut ContentHeader),
    ) -> Arc<Self> {
        let parts = std::iter::once(table).chain(files.iter().copied());
        let chunks: Vec<Bytes> = parts
            .flat_map(|part| part.chunks(CHUNK_LEN))
            .map(Bytes::copy_from_slice)
            .collect();
        assert!(chunks.len() <= 16, "one group");
        let entries: Vec<Digest> = chunks.iter().map(entry).collect();
        let mut header = ContentHeader {
            kind: ContentKind::Folder,
            size: files.iter().map(|file| file.len() as u64).sum(),
            table_len: table.len() as u64,
            chunks: chunks.len() as u64,
            root: root_of_entries(&entries),
        };
        change(&mut header);
        let holding = watch::Sender::new(Holding::Complete);
        Arc::new(Self {
            header,
            chunks,
            entries,
            name: name.to_owned(),
            holding,
        })
    }

    pub(crate) fn hash(&self) -> ContentHash {
        self.header.hash()
    }

    /// The bytes of a table.
    pub(crate) fn table(records: &[Record]) -> Vec<u8> {
        let mut table = b"digdir1\n".to_vec();
        table.extend((records.len() as u32).to_be_bytes());
        for record in records {
            table.push(record.flags);
            table.extend(record.size.to_be_bytes());
            table.extend(record.hash);
            table.extend((record.path.len() as u16).to_be_bytes());
            table.extend(&record.path);
        }
        table
    }
}

impl ContentStore for Forged {
    fn header(&self) -> ContentHeader {
        self.header
    }

    fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError> {
        let chunks = self
            .chunks
            .get(run.first as usize..(run.first + u64::from(run.count)) as usize);
        Ok(chunks.ok_or(ReadError::Missing)?.to_vec())
    }

    fn entries(&self, _group: u64) -> Result<Vec<Digest>, ReadError> {
        Ok(self.entries.clone())
    }

    fn path(&self, _group: u64, _proof: Proof) -> Result<Vec<Digest>, ReadError> {
        Ok(Vec::new())
    }

    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError> {
        Ok([self.header.root].into())
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

fn entry(chunk: impl AsRef<[u8]>) -> Digest {
    Digest(Sha256::digest(chunk).into())
}
