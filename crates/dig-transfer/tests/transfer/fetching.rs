//! One fetch, one honest source.

use crate::world::{Node, TOO_LONG, config, fetch_from, file, finish, folder};
use bytes::Bytes;
use dig_transfer::{
    chunk::Digest,
    fetch::{self, Fetch, FetchError, FetchEvent, Verified},
    header::ContentHeader,
    layout::Layout,
    sink::{
        ChunkReader, ContentSink, FileSink, MemorySink, Resumed, SinkError, StreamSink, Target,
    },
    table::Table,
};
use dig_types::{ContentKind, Sha256Hash};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};
use std::{
    io::Write,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_shape_arrive() {
    for len in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        5 << 20,
        (17 << 20) + 3,
    ] {
        let content = file(len as u64, len);
        let source = Node::new(1).with(&content.store);
        let mut eager = config();
        eager.eager = len % 2 == 0;
        let fetched = fetch_from(&content, eager, &[&source]).await;
        fetched.assert_is(&content);
        let done = fetched.result.unwrap();
        assert_eq!(
            (done.bytes, done.fetched, done.wasted),
            (len as u64, len as u64, 0),
            "{len} bytes"
        );
        assert_eq!(done.opened.name.unwrap().as_str(), "file.bin");
        assert_eq!(source.server.statistics().bytes, len as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_arrive() {
    for sizes in [
        &[][..],
        &[0],
        &[10, 0, 70_000, 65_536],
        &[3 << 20, 1, 1, 1, 2_000_000],
    ] {
        let content = folder(7, sizes);
        let source = Node::new(1).with(&content.store);
        let fetched = fetch_from(&content, config(), &[&source]).await;
        fetched.assert_is(&content);
        let done = fetched.result.unwrap();
        assert_eq!(done.opened.kind, ContentKind::Folder);
        assert_eq!(done.opened.files, sizes.len() as u64);
        assert_eq!(done.bytes, sizes.iter().sum::<usize>() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_with_a_long_table_arrives() {
    let content = folder(8, &[100; 1_500]);
    let source = Node::new(1).with(&content.store);
    assert!(content.store.header().table_len > 65_536);
    fetch_from(&content, config(), &[&source])
        .await
        .assert_is(&content);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_selected_files_are_fetched() {
    let content = folder(9, &[3 << 20, 2 << 20, 5]);
    let (source, client) = (Node::new(1).with(&content.store), Node::new(100));
    let dir = tempfile::TempDir::new().unwrap();
    let mut target = Target::new(dir.path().join("got"));
    target.select = Some(Arc::new(|path| path != "f00000"));
    let mut some = config();
    some.eager = false;
    let fetch = Fetch::start(
        content.hash,
        some,
        fetch::to(FileSink::new(target.clone(), content.hash)),
    );
    fetch.add_link(source.connect(&client));
    let done = finish(fetch, MemorySink::new().content())
        .await
        .result
        .unwrap();
    assert_eq!(done.bytes, (2 << 20) + 5);
    for (number, wanted) in [(0, false), (1, true), (2, true)] {
        let got = std::fs::read(target.path.join(format!("f{number:05}")));
        assert_eq!(
            got.ok().as_ref(),
            wanted.then_some(&content.files[number]),
            "file {number}"
        );
    }
    assert!(source.server.statistics().bytes < (2 << 20) + 5 + 65_536);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_needs_no_sink() {
    for content in [file(1, 3 << 20), folder(1, &[5, 6, 7])] {
        let source = Node::new(1).with(&content.store);
        let mut describe = config();
        describe.describe_only = true;
        let fetched = fetch_from(&content, describe, &[&source]).await;
        let opened = fetched.result.unwrap().opened;
        assert_eq!(opened.files, content.files.len() as u64);
        assert!(!fetched.content.is_committed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_file_is_checked_against_its_sha256() {
    let content = file(3, 3_000_000);
    let right = Sha256Hash::from_bytes(Sha256::digest(&content.files[0]).into());
    let wrong = Sha256Hash::from_bytes([1; 32]);
    let source = Node::new(1).with(&content.store);
    for expected in [right, wrong] {
        let mut checked = config();
        checked.verify_sha256 = Some(expected);
        let fetched = fetch_from(&content, checked, &[&source]).await;
        assert_eq!(fetched.content.is_committed(), expected == right);
        match fetched.result {
            Ok(done) => assert_eq!((done.verified, expected), (Verified::Sha256, right)),
            Err(FetchError::WrongSha256 {
                expected: asked,
                found,
            }) => assert_eq!((asked, found), (wrong, Some(right))),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A stream that others can look at.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gets_the_bytes_in_order() {
    let content = file(4, 50 << 20);
    let sources = [1, 2, 3].map(|number| Node::new(number).with(&content.store));
    let (output, client) = (Output::default(), Node::new(100));
    let mut checked = config();
    checked.verify_sha256 = Some(Sha256Hash::from_bytes(
        Sha256::digest(&content.files[0]).into(),
    ));
    let fetch = Fetch::start(
        content.hash,
        checked,
        fetch::to(StreamSink::new(output.clone())),
    );
    sources
        .iter()
        .for_each(|source| fetch.add_link(source.connect(&client)));
    tokio::time::timeout(TOO_LONG, fetch.finished())
        .await
        .unwrap()
        .unwrap();
    assert!(*output.0.lock().unwrap() == content.files[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_verified_is_not_fetched_again() {
    let content = file(5, 40 << 20);
    let dir = tempfile::TempDir::new().unwrap();
    let target = dir.path().join("got.bin");
    let sink = || fetch::to(FileSink::new(Target::new(&target), content.hash));
    let (source, client) = (
        Node::limited(1, Some(40 << 20)).with(&content.store),
        Node::new(100),
    );
    let mut resuming = config();
    resuming.eager = false;
    let fetch = Fetch::start(content.hash, resuming.clone(), sink());
    fetch.add_link(source.connect(&client));
    let mut events = fetch.events();
    while let Some(event) = events.next().await {
        if matches!(event, FetchEvent::Progress(progress) if progress.bytes > 10 << 20) {
            break;
        }
    }
    let cancelled = Instant::now();
    fetch.cancel();
    assert!(matches!(fetch.finished().await, Err(FetchError::Cancelled)));
    assert!(
        cancelled.elapsed() < Duration::from_millis(300),
        "{:?}",
        cancelled.elapsed()
    );
    assert!(!target.exists());

    source.server.set_upload_limit(None);
    let before = source.server.statistics().bytes;
    let fetch = Fetch::start(content.hash, resuming.clone(), sink());
    fetch.add_link(source.connect(&client));
    let fetched = finish(fetch, MemorySink::new().content()).await;
    let done = fetched.result.unwrap();
    let resumed = fetched.events.iter().find_map(|event| match event {
        FetchEvent::Resumed { bytes } => Some(*bytes),
        _ => None,
    });
    assert!(resumed.unwrap() > 10 << 20);
    assert_eq!(done.fetched + resumed.unwrap(), 40 << 20);
    assert_eq!(source.server.statistics().bytes - before, done.fetched);
    assert_eq!(done.path.as_deref(), Some(&*target));
    assert!(std::fs::read(&target).unwrap() == content.files[0]);

    // Once more: it is there.
    let fetch = Fetch::start(content.hash, resuming, sink());
    fetch.add_link(source.connect(&client));
    let done = finish(fetch, MemorySink::new().content())
        .await
        .result
        .unwrap();
    assert_eq!((done.fetched, done.path.as_deref()), (0, Some(&*target)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_without_sources_ends_when_it_is_given_up() {
    let content = file(6, 100);
    let fetch = Fetch::start(content.hash, config(), fetch::to(MemorySink::new()));
    let mut events = fetch.events();
    assert!(matches!(
        events.next().await,
        Some(FetchEvent::NoPeers { .. })
    ));
    fetch.give_up();
    assert!(matches!(
        fetch.finished().await,
        Err(FetchError::NoPeers { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_have_it_says_so() {
    let (content, nothing) = (file(7, 100), Node::new(1));
    let mut patience = config();
    patience.patience = Some(Duration::from_millis(500));
    let fetched = fetch_from(&content, patience, &[&nothing]).await;
    assert!(
        matches!(fetched.result, Err(FetchError::NotFound)),
        "{:?}",
        fetched.result
    );
}

/// Takes some, then the disk is full.
#[derive(Debug)]
struct SmallDisk {
    inner: MemorySink,
    left: u64,
}

impl ContentSink for SmallDisk {
    fn open(
        &mut self,
        header: &ContentHeader,
        layout: &Arc<Layout>,
        table: Option<&Arc<Table>>,
    ) -> Result<Resumed, SinkError> {
        self.inner.open(header, layout, table)
    }

    fn keep_manifest(&mut self, manifest: &[Digest]) -> Result<(), SinkError> {
        self.inner.keep_manifest(manifest)
    }

    fn write(&mut self, first: u64, chunks: &[Bytes]) -> Result<(), SinkError> {
        self.left = self
            .left
            .checked_sub(chunks.len() as u64)
            .ok_or(SinkError::NoSpace {
                path: "disk".into(),
                needed: 1,
                free: 0,
            })?;
        self.inner.write(first, chunks)
    }

    fn sync(&mut self) -> Result<(), SinkError> {
        self.inner.sync()
    }

    fn commit(&mut self) -> Result<Option<PathBuf>, SinkError> {
        self.inner.commit()
    }

    fn reader(&self) -> Option<Arc<dyn ChunkReader>> {
        self.inner.reader()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_fetch_with_its_error() {
    let content = file(10, 20 << 20);
    let (source, client) = (Node::new(1).with(&content.store), Node::new(100));
    let sink = SmallDisk {
        inner: MemorySink::new(),
        left: 100,
    };
    let memory = sink.inner.content();
    let fetch = Fetch::start(content.hash, config(), fetch::to(sink));
    fetch.add_link(source.connect(&client));
    let fetched = finish(fetch, memory).await;
    match fetched.result {
        Err(FetchError::Sink(error)) => assert!(matches!(*error, SinkError::NoSpace { .. })),
        other => panic!("{other:?}"),
    }
    assert!(!fetched.content.is_committed() && fetched.content.chunks().len() <= 100);
}
