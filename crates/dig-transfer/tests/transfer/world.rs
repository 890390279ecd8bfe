//! Nodes, contents and lanes for tests.

use bytes::Bytes;
use dig_transfer::{
    chunk::{Digest, Run},
    fetch::{self, Fetch, FetchConfig, FetchDone, FetchError, FetchEvent},
    header::ContentHeader,
    index::{IndexOptions, index_path},
    lane::{FrameSender, Lane, LaneClosed, memory_lanes},
    link::Link,
    serve::{Server, ServerConfig},
    set::NumberSet,
    sink::{MemoryContent, MemorySink},
    store::{ContentStore, Holding, Proof, ReadError},
};
use dig_types::{ContentHash, Frame, NodeId};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture};
use std::{fmt, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A test that takes longer than this hangs.
pub(crate) const TOO_LONG: Duration = Duration::from_secs(30);

/// A shared file or folder.
pub(crate) struct Content {
    pub(crate) store: Arc<dyn ContentStore>,
    pub(crate) hash: ContentHash,
    pub(crate) files: Vec<Vec<u8>>,
    pub(crate) dir: TempDir,
}

pub(crate) fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes
}

fn index(path: &Path) -> Arc<dyn ContentStore> {
    let options = IndexOptions::default();
    Arc::new(index_path(path, &options, &|_| {}, &CancellationToken::new()).unwrap())
}

/// A file of random bytes.
pub(crate) fn file(seed: u64, len: usize) -> Content {
    let dir = TempDir::new().unwrap();
    let (path, bytes) = (dir.path().join("file.bin"), random_bytes(seed, len));
    std::fs::write(&path, &bytes).unwrap();
    let store = index(&path);
    Content {
        hash: store.header().hash(),
        store,
        files: vec![bytes],
        dir,
    }
}

/// A folder of files of these sizes, `f00000` and so on.
pub(crate) fn folder(seed: u64, sizes: &[usize]) -> Content {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("folder");
    std::fs::create_dir(&root).unwrap();
    let mut files = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let bytes = random_bytes(seed + number as u64, *size);
        std::fs::write(root.join(format!("f{number:05}")), &bytes).unwrap();
        files.push(bytes);
    }
    let store = index(&root);
    Content {
        hash: store.header().hash(),
        store,
        files,
        dir,
    }
}

pub(crate) fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

/// Changes frames on their way out: `None` drops one.
pub(crate) type Tamper = Arc<dyn Fn(Frame) -> Option<Frame> + Send + Sync>;

struct Tampered {
    inner: Box<dyn FrameSender>,
    tamper: Tamper,
}

impl fmt::Debug for Tampered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tampered")
    }
}

impl FrameSender for Tampered {
    fn send(&self, frame: Frame) -> BoxFuture<'_, Result<(), LaneClosed>> {
        async move {
            match (self.tamper)(frame) {
                Some(frame) => self.inner.send(frame).await,
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn close(&self, code: u16, text: &str) {
        self.inner.close(code, text);
    }

    fn rtt(&self) -> Option<Duration> {
        None
    }
}

/// A node that serves.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) server: Arc<Server>,
    pub(crate) tamper: Option<Tamper>,
}

impl Node {
    pub(crate) fn new(number: u8) -> Self {
        Self::limited(number, None)
    }

    /// A node that sends so many bytes a second.
    pub(crate) fn limited(number: u8, rate: Option<u64>) -> Self {
        let mut config = ServerConfig::default();
        config.upload_limit = rate;
        Self {
            id: id(number),
            server: Server::new(config),
            tamper: None,
        }
    }

    pub(crate) fn with(self, store: &Arc<dyn ContentStore>) -> Self {
        self.server.add(store.clone());
        self
    }

    pub(crate) fn tampering(
        mut self,
        tamper: impl Fn(Frame) -> Option<Frame> + Send + Sync + 'static,
    ) -> Self {
        self.tamper = Some(Arc::new(tamper));
        self
    }

    /// Links of `client` to this node and of this node to `client`.
    pub(crate) fn link(&self, client: &Node) -> (Arc<Link>, Arc<Link>) {
        let (to_server, to_client) = memory_lanes(client.id, self.id);
        let to_client = match self.tamper.clone() {
            Some(tamper) => Lane {
                sender: Box::new(Tampered {
                    inner: to_client.sender,
                    tamper,
                }),
                ..to_client
            },
            None => to_client,
        };
        (
            Link::start(to_server, client.server.clone()),
            Link::start(to_client, self.server.clone()),
        )
    }

    pub(crate) fn connect(&self, client: &Node) -> Arc<Link> {
        self.link(client).0
    }

    /// The bare end of a lane to this node.
    pub(crate) fn raw_lane(&self) -> Lane {
        let (to_server, to_client) = memory_lanes(id(200), self.id);
        Link::start(to_client, self.server.clone());
        to_server
    }
}

/// A fetch into memory and what it said.
pub(crate) struct Fetched {
    pub(crate) result: Result<FetchDone, FetchError>,
    pub(crate) content: Arc<MemoryContent>,
    pub(crate) events: Vec<FetchEvent>,
}

impl Fetched {
    pub(crate) fn banned(&self) -> Vec<(NodeId, String)> {
        let banned = self.events.iter().filter_map(|event| match event {
            FetchEvent::Banned { node, reason } => Some((*node, reason.clone())),
            _ => None,
        });
        banned.collect()
    }

    pub(crate) fn assert_is(&self, content: &Content) {
        if let Err(error) = &self.result {
            panic!("{error}: {:?}", self.events);
        }
        assert!(self.content.is_committed());
        for (number, file) in content.files.iter().enumerate() {
            assert!(
                self.content.file(number).as_ref() == Some(file),
                "file {number} differs"
            );
        }
    }
}

pub(crate) fn config() -> FetchConfig {
    let mut config = FetchConfig::default();
    config.patience = Some(Duration::from_secs(10));
    config
}

/// Fetches from these nodes until the end.
pub(crate) async fn fetch_from(content: &Content, config: FetchConfig, nodes: &[&Node]) -> Fetched {
    let client = Node::new(100);
    let sink = MemorySink::new();
    let memory = sink.content();
    let fetch = Fetch::start(content.hash, config, fetch::to(sink));
    for node in nodes {
        fetch.add_link(node.connect(&client));
    }
    finish(fetch, memory).await
}

pub(crate) async fn finish(fetch: Fetch, content: Arc<MemoryContent>) -> Fetched {
    let events = fetch.events();
    let result = tokio::time::timeout(TOO_LONG, fetch.finished())
        .await
        .expect("the fetch hangs");
    let events = events.collect().await;
    Fetched {
        result,
        content,
        events,
    }
}

/// A store that holds only some groups.
#[derive(Debug)]
pub(crate) struct Part {
    inner: Arc<dyn ContentStore>,
    groups: NumberSet,
    holding: watch::Sender<Holding>,
}

impl Part {
    pub(crate) fn of(
        inner: &Arc<dyn ContentStore>,
        has: impl Fn(u64) -> bool,
    ) -> Arc<dyn ContentStore> {
        let mut groups = NumberSet::empty(inner.header().chunks.div_ceil(16));
        for group in 0..groups.bound() {
            if has(group) {
                groups.insert(group);
            }
        }
        let holding = watch::Sender::new(Holding::Groups(Arc::new(groups.clone())));
        Arc::new(Self {
            inner: inner.clone(),
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
        self.inner.header()
    }

    fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    fn read(&self, run: Run) -> Result<Vec<Bytes>, ReadError> {
        self.check(run.group())?;
        self.inner.read(run)
    }

    fn entries(&self, group: u64) -> Result<Vec<Digest>, ReadError> {
        self.check(group)?;
        self.inner.entries(group)
    }

    fn path(&self, group: u64, proof: Proof) -> Result<Vec<Digest>, ReadError> {
        self.inner.path(group, proof)
    }

    fn manifest(&self) -> Result<Arc<[Digest]>, ReadError> {
        self.inner.manifest()
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}
