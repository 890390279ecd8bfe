//! Whole lives of a file sink.

use super::super::{
    directory::read_exact_at,
    journal::{RECORD_LEN, Record},
};
use super::*;
use crate::{
    chunk::CHUNK_LEN,
    hashing::hasher,
    table::TableEntry,
    tree::{root_of_entries, root_of_nodes},
};
use std::{fs, path::Path};
use tempfile::TempDir;

mod crash;
mod folders;
mod neighbours;

/// A content and where it goes.
struct Sample {
    temp: TempDir,
    header: ContentHeader,
    layout: Arc<Layout>,
    table: Option<Arc<Table>>,
    chunks: Vec<Bytes>,
    nodes: Vec<Digest>,
}

fn noise(rng: &mut fastrand::Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}

fn entries(chunks: &[Bytes]) -> Vec<Digest> {
    let slices: Vec<&[u8]> = chunks.iter().map(|chunk| &chunk[..]).collect();
    let mut entries = Vec::new();
    hasher().hash(&slices, &mut entries);
    entries
}

fn split(bytes: &[u8]) -> Vec<Bytes> {
    bytes
        .chunks(CHUNK_LEN)
        .map(Bytes::copy_from_slice)
        .collect()
}

impl Sample {
    fn of(layout: Layout, table: Option<Table>, chunks: Vec<Bytes>) -> Self {
        let entries = entries(&chunks);
        let width = 1 << layout.level();
        let nodes = entries.chunks(width).map(root_of_entries).collect();
        Self {
            temp: TempDir::new().unwrap(),
            header: layout.header(root_of_entries(&entries)),
            layout: Arc::new(layout),
            table: table.map(Arc::new),
            chunks,
            nodes,
        }
    }

    /// A file of random bytes.
    fn file(seed: u64, size: usize) -> Self {
        let bytes = noise(&mut fastrand::Rng::with_seed(seed), size);
        Self::of(Layout::file(size as u64), None, split(&bytes))
    }

    fn target(&self) -> Target {
        Target::new(self.path("it"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.temp.path()).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn try_open(&self, target: Target) -> Result<(FileSink, Resumed), SinkError> {
        let mut sink = FileSink::new(target, self.header.hash());
        let resumed = sink.open(&self.header, &self.layout, self.table.as_ref())?;
        Ok((sink, resumed))
    }

    fn open(&self) -> (FileSink, Resumed) {
        self.try_open(self.target()).unwrap()
    }

    fn bytes(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    fn write(&self, sink: &mut FileSink, chunks: std::ops::Range<u64>) {
        let range = chunks.start as usize..chunks.end as usize;
        sink.write(chunks.start, &self.chunks[range]).unwrap();
    }

    /// Writes what is missing, and commits.
    fn finish(&self, mut sink: FileSink, resumed: &Resumed) {
        let wanted = sink.wanted_chunks();
        for chunk in 0..self.layout.chunks() {
            let wanted = wanted.as_ref().is_none_or(|wanted| wanted.contains(chunk));
            if wanted && !resumed.chunks.contains(chunk) {
                self.write(&mut sink, chunk..chunk + 1);
            }
        }
        assert_eq!(sink.commit().unwrap(), Some(self.path("it")));
    }

    fn check_finished(&self) {
        assert!(fs::read(self.path("it")).unwrap() == self.bytes());
        assert_eq!(self.names(), ["it"]);
    }
}

fn list(set: &NumberSet) -> Vec<u64> {
    set.iter().collect()
}

/// Changes bytes without letting the file's times show it.
fn tamper(path: &Path, offset: u64, bytes: &[u8]) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    super::super::directory::write_all_at(&file, &[Bytes::copy_from_slice(bytes)], offset).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn any_order_gives_the_file() {
    for (seed, size) in [
        0,
        1,
        CHUNK_LEN - 1,
        CHUNK_LEN,
        CHUNK_LEN + 1,
        40 * CHUNK_LEN + 5,
    ]
    .into_iter()
    .enumerate()
    {
        let sample = Sample::file(seed as u64, size);
        let (mut sink, resumed) = sample.open();
        assert_eq!((resumed.chunks.count(), resumed.complete), (0, false));
        assert!(!sample.path("it").exists());
        sink.keep_manifest(&sample.nodes).unwrap();
        let mut order: Vec<u64> = (0..sample.layout.chunks()).collect();
        fastrand::Rng::with_seed(seed as u64).shuffle(&mut order);
        for chunk in order {
            assert!(matches!(sink.commit(), Err(SinkError::Incomplete { .. })));
            sample.write(&mut sink, chunk..chunk + 1);
        }
        let reader = sink.reader().unwrap();
        sink.commit().unwrap();
        sample.check_finished();
        for (chunk, bytes) in (0..).zip(&sample.chunks) {
            assert_eq!(
                reader.read(chunk).unwrap(),
                bytes,
                "serves after the rename"
            );
        }
    }
}

#[test]
fn serves_what_is_written_and_nothing_else() {
    let sample = Sample::file(1, 20 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 3..7);
    let reader = sink.reader().unwrap();
    for chunk in 0..21 {
        match reader.read(chunk) {
            Ok(bytes) => assert_eq!(bytes, sample.chunks[chunk as usize]),
            Err(error) => {
                assert!(!(3..7).contains(&chunk));
                assert_eq!(error.kind(), io::ErrorKind::NotFound);
            }
        }
    }
}

#[test]
fn wrong_lengths_are_refused() {
    let sample = Sample::file(1, 2 * CHUNK_LEN + 7);
    let (mut sink, _) = sample.open();
    for (chunk, len) in [
        (0, CHUNK_LEN - 1),
        (0, CHUNK_LEN + 1),
        (2, 8),
        (2, CHUNK_LEN),
    ] {
        assert!(
            sink.write(chunk, &[vec![1; len].into()]).is_err(),
            "{chunk} {len}"
        );
    }
    // Beyond the end nothing is wanted.
    sink.write(3, &[Bytes::from_static(b"x")]).unwrap();
    assert_eq!(
        fs::metadata(sample.path("it.part")).unwrap().len(),
        sample.header.size
    );
}

#[test]
fn another_content_is_not_taken() {
    let (one, other) = (Sample::file(1, 10), Sample::file(2, 10));
    let mut sink = FileSink::new(one.target(), one.header.hash());
    assert!(sink.open(&other.header, &other.layout, None).is_err());
    assert!(
        sink.open(&one.header, &Arc::new(Layout::file(11)), None)
            .is_err()
    );
    assert!(sink.write(0, &[Bytes::from_static(b"0123456789")]).is_err());
    assert!(sink.commit().is_err());
    assert_eq!(one.names(), Vec::<String>::new());
}

#[test]
fn what_was_synced_is_not_fetched_again() {
    let sample = Sample::file(1, 40 * CHUNK_LEN + 9);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    sample.write(&mut sink, 0..5);
    sample.write(&mut sink, 38..41);
    sink.sync().unwrap();
    drop(sink);
    let (sink, resumed) = sample.open();
    assert_eq!(list(&resumed.chunks), [0, 1, 2, 3, 4, 38, 39, 40]);
    assert_eq!(resumed.manifest.as_deref(), Some(&sample.nodes[..]));
    sample.finish(sink, &resumed);
    sample.check_finished();
}

#[test]
fn an_empty_sink_leaves_nothing_behind() {
    let sample = Sample::file(1, 40);
    drop(sample.open());
    assert_eq!(sample.names(), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn zeros_become_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let mut chunks = vec![Bytes::from(vec![0; CHUNK_LEN]); 64];
    chunks[20] = vec![7; CHUNK_LEN].into();
    let sample = Sample::of(Layout::file(64 * CHUNK_LEN as u64), None, chunks);
    let (mut sink, _) = sample.open();
    sample.write(&mut sink, 0..40);
    sink.sync().unwrap();
    drop(sink);
    // An earlier run may have left anything where nothing is recorded.
    tamper(&sample.path("it.part"), 50 * CHUNK_LEN as u64, b"old bytes");
    let (sink, resumed) = sample.open();
    assert_eq!(resumed.chunks.count(), 40);
    sample.finish(sink, &resumed);
    sample.check_finished();
    let blocks = fs::metadata(sample.path("it")).unwrap().blocks();
    assert!(blocks * 512 <= 4 * CHUNK_LEN as u64, "{blocks} blocks");
}

#[test]
fn syncs_while_it_writes() {
    let sample = Sample::file(5, 160 * CHUNK_LEN);
    let (mut sink, _) = sample.open();
    sink.keep_manifest(&sample.nodes).unwrap();
    let syncer = sink.syncer().unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                syncer.sync().unwrap();
            }
        });
        let mut order: Vec<u64> = (0..160).collect();
        fastrand::Rng::with_seed(5).shuffle(&mut order);
        for chunk in order {
            sample.write(&mut sink, chunk..chunk + 1);
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    syncer.sync().unwrap();
    drop(sink);
    // Nothing is left to be hashed again: with the manifest gone, all is trusted still.
    tamper(&sample.path("it.part.journal"), 128, &[0; 32]);
    let (sink, resumed) = sample.open();
    assert!(resumed.chunks.is_full() && resumed.manifest.is_none());
    drop(sink);
    syncer.sync().unwrap();
}

#[test]
fn long_hashing_can_be_cancelled() {
    let sample = Sample::file(1, 40 * CHUNK_LEN);
    fs::write(sample.path("it"), sample.bytes()).unwrap();
    let target = sample.target();
    target.cancel.cancel();
    assert!(matches!(sample.try_open(target), Err(SinkError::Cancelled)));
}
