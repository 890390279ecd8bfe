//! A host over in-memory lanes: what it shares, answers, announces and withdraws.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use dig_discovery::{Discovery as _, DiscoveryConfig, Lookup, MemoryNetwork, PeerDiscoveryManager};
use dig_host::{FileHost, HostConfig, HostEvent, MemoryListener, ShareOptions};
use dig_transfer::{
    fetch::{self, Fetch, FetchConfig, FetchError},
    lane::{Lane, memory_lanes},
    link::Link,
    serve::{Server, ServerConfig},
    sink::MemorySink,
    wire::{Query, Resolved},
};
use dig_types::{ContentHash, DiscoveryKey, NodeId, PeerSource};
use futures::StreamExt as _;
use std::{fs, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::sync::mpsc;

const PORT: u16 = 4433;

struct World {
    dir: TempDir,
    network: MemoryNetwork,
    host: FileHost,
    lanes: mpsc::Sender<Lane>,
}

impl World {
    fn new(config: HostConfig) -> Self {
        let network = MemoryNetwork::new();
        let mut discovery = PeerDiscoveryManager::new(DiscoveryConfig::default());
        let own = network.join(node(1), [10, 0, 0, 1].into());
        discovery.register(PeerSource::Local, Box::new(own));
        let server = Server::new(ServerConfig::default());
        let host = FileHost::new(
            HostConfig {
                port: PORT,
                ..config
            },
            server,
            Arc::new(discovery),
        );
        let (lanes, listener) = MemoryListener::new();
        host.listen(Arc::new(listener));
        let dir = tempfile::tempdir().unwrap();
        Self {
            dir,
            network,
            host,
            lanes,
        }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    async fn share(&self, name: &str, bytes: &[u8], options: ShareOptions) -> ContentHash {
        let path = self.file(name, bytes);
        self.host
            .add_file(path, options, |_| {})
            .await
            .unwrap()
            .hash
    }

    async fn link(&self) -> Arc<Link> {
        let (near, far) = memory_lanes(node(2), node(1));
        self.lanes.send(far).await.unwrap();
        Link::start(near, Server::new(ServerConfig::default()))
    }

    async fn get(&self, hash: ContentHash) -> Result<Vec<u8>, FetchError> {
        let sink = MemorySink::new();
        let content = sink.content();
        let fetch = Fetch::start(hash, FetchConfig::default(), fetch::to(sink));
        fetch.add_link(self.link().await);
        let mut events = fetch.events();
        while let Some(event) = events.next().await {
            if matches!(event, fetch::FetchEvent::NoPeers { .. }) {
                fetch.give_up();
            }
        }
        fetch.finished().await?;
        Ok(content.file(0).unwrap())
    }

    /// Whether somebody else on the network finds it.
    async fn is_announced(&self, lookup: Lookup) -> bool {
        let mut found = self
            .network
            .join(node(3), [10, 0, 0, 3].into())
            .find(lookup);
        tokio::time::timeout(Duration::from_millis(50), found.next())
            .await
            .is_ok_and(|found| found.is_some())
    }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn named(name: &str, public: bool) -> ShareOptions {
    ShareOptions {
        name: Some(name.parse().unwrap()),
        public,
        ..ShareOptions::default()
    }
}

#[tokio::test]
async fn serves_announces_and_withdraws() {
    let world = World::new(HostConfig::default());
    let bytes = vec![7; 200_000];
    let hash = world.share("file", &bytes, named("movie", false)).await;
    assert!(world.is_announced(Lookup::Content(hash)).await);
    assert!(
        !world
            .is_announced(Lookup::Name("movie".parse().unwrap()))
            .await,
        "names are not public by default"
    );
    assert!(world.get(hash).await.unwrap() == bytes);
    assert_eq!(world.host.statistics().shares, 1);

    assert!(world.host.remove_file(&hash).await);
    assert!(!world.host.remove_file(&hash).await);
    assert!(!world.is_announced(Lookup::Content(hash)).await);
    assert!(matches!(world.get(hash).await, Err(FetchError::NotFound)));
    assert!(world.host.shares().is_empty());
}

#[tokio::test]
async fn answers_names_hashes_and_keys() {
    let world = World::new(HostConfig::default());
    let mut events = world.host.events();
    let hash = world.share("file", b"hello", named("movie", true)).await;
    let sha256 = loop {
        if let HostEvent::Sha256 { sha256, .. } = events.next().await.unwrap() {
            break sha256;
        }
    };
    let link = world.link().await;
    for (query, tells_hash) in [
        (Query::Name("movie".parse().unwrap()), true),
        (Query::Sha256(sha256), true),
        // Whoever only knows the key, from the DHT say, must not learn the hash.
        (Query::Content(DiscoveryKey::content(&hash)), false),
    ] {
        let Ok(Resolved::Found(claims)) = link.resolve(query.clone()).await else {
            panic!("no answer to {query:?}");
        };
        assert_eq!(claims[0].hash, tells_hash.then_some(hash), "{query:?}");
    }
    assert!(
        link.resolve(Query::Name("other".parse().unwrap()))
            .await
            .is_err()
    );
    assert!(
        world
            .is_announced(Lookup::Name("movie".parse().unwrap()))
            .await
    );
    assert!(world.is_announced(Lookup::Sha256(sha256)).await);
}

#[tokio::test]
async fn an_edited_file_is_withdrawn_though_nobody_reads_it() {
    let config = HostConfig {
        watch: Duration::from_millis(20),
        ..HostConfig::default()
    };
    let world = World::new(config);
    let mut events = world.host.events();
    let hash = world
        .share("file", &[1; 100_000], named("movie", false))
        .await;
    world.file("file", &[2; 100_001]);
    let withdrawn = async {
        while let Some(event) = events.next().await {
            if let HostEvent::Withdrawn { hash, .. } = event {
                return Some(hash);
            }
        }
        None
    };
    let withdrawn = tokio::time::timeout(Duration::from_secs(10), withdrawn)
        .await
        .unwrap();
    assert_eq!(withdrawn, Some(hash));
    assert!(matches!(world.get(hash).await, Err(FetchError::Changed)));
}

#[tokio::test]
async fn announcements_are_repeated() {
    let config = HostConfig {
        reannounce: Duration::from_millis(50),
        ..HostConfig::default()
    };
    let world = World::new(config);
    let hash = world.share("file", b"x", named("movie", false)).await;
    // Somebody else takes the word back; it comes again.
    let own = world.network.join(node(1), [10, 0, 0, 1].into());
    own.withdraw(Lookup::Content(hash).key()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while !world.is_announced(Lookup::Content(hash)).await {}
    })
    .await
    .unwrap();
}
