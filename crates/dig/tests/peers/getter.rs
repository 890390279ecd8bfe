//! A whole node that gets, and what it said meanwhile.

use crate::peer::Peer;
use dig::{
    DownloadError, DownloadErrorKind, DownloadEvent, DownloadOptions, Downloaded, Home, Identity,
    Node, NodeBuilder,
    types::{ContentHash, NodeId, PeerRecord},
};
use futures::StreamExt as _;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A test that takes longer than this hangs.
const TOO_LONG: Duration = Duration::from_secs(60);

/// A node with a home and a place for what it gets.
pub(crate) struct Getter {
    pub(crate) node: Node,
    dir: TempDir,
}

/// A download that has ended.
pub(crate) struct Fetched {
    pub(crate) outcome: Result<Downloaded, DownloadError>,
    /// When, since the start, and what.
    pub(crate) events: Vec<(Duration, DownloadEvent)>,
    pub(crate) elapsed: Duration,
}

impl Getter {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = builder(&dir.path().join("home")).start().await.unwrap();
        std::fs::create_dir(dir.path().join("around")).unwrap();
        Self { node, dir }
    }

    /// Where downloads go.
    pub(crate) fn target(&self) -> PathBuf {
        self.around().join("target")
    }

    /// The folder in which the target is.
    fn around(&self) -> PathBuf {
        self.dir.path().join("around")
    }

    /// Gets a content from these peers.
    pub(crate) async fn get(&self, hash: ContentHash, peers: &[&Peer]) -> Fetched {
        let peers: Vec<PeerRecord> = peers.iter().map(|peer| peer.record()).collect();
        self.get_with(hash, &peers, |_| {}).await
    }

    /// Gets a content and looks at each event as it comes.
    pub(crate) async fn get_with(
        &self,
        hash: ContentHash,
        peers: &[PeerRecord],
        mut look: impl FnMut(&DownloadEvent),
    ) -> Fetched {
        let started = Instant::now();
        let options = DownloadOptions::default();
        let mut download =
            self.node
                .client()
                .download_file_from_peers(peers, hash, self.target(), options);
        let (mut stream, finished) = (download.events(), download.finished());
        let mut events = Vec::new();
        let listening = async {
            while let Some(event) = stream.next().await {
                look(&event);
                events.push((started.elapsed(), event));
            }
        };
        let both = futures::future::join(finished, listening);
        let (outcome, ()) = tokio::time::timeout(TOO_LONG, both)
            .await
            .expect("the download hangs");
        Fetched {
            outcome,
            events,
            elapsed: started.elapsed(),
        }
    }

    /// Nothing has a final name; what is left lies beside the target and is called after it.
    pub(crate) fn assert_nothing_released(&self, what: &str) {
        for entry in self.around().read_dir().unwrap() {
            let name = entry.unwrap().file_name();
            assert!(
                name.to_string_lossy().starts_with("target.part"),
                "{what}: {name:?}"
            );
        }
    }

    /// The content is there, and no traces of its making.
    pub(crate) fn assert_got(&self, bytes: &[u8]) {
        assert!(
            std::fs::read(self.target()).unwrap() == bytes,
            "the bytes differ"
        );
        assert_eq!(
            self.around().read_dir().unwrap().count(),
            1,
            "something is left beside the target"
        );
    }

    pub(crate) async fn stop(self) {
        self.node.stop().await;
    }
}

/// A node on loopback that meets nobody by itself.
pub(crate) fn builder(home: &Path) -> NodeBuilder {
    let listen = Some("127.0.0.1:0".parse().unwrap());
    Node::builder()
        .home(Home::new(home))
        .identity(Identity::Fresh)
        .local_discovery(false)
        .listen(listen)
}

impl Fetched {
    /// Who was banned, and why.
    pub(crate) fn banned(&self) -> Vec<(NodeId, &str)> {
        let banned = self.events.iter().filter_map(|(_, event)| match event {
            DownloadEvent::Banned { node, reason } => Some((*node, reason.as_str())),
            _ => None,
        });
        banned.collect()
    }

    /// It failed in this way: what it says.
    pub(crate) fn failure(&self, kind: DownloadErrorKind, what: &str) -> String {
        match &self.outcome {
            Err(error) => {
                assert_eq!(error.kind(), kind, "{what}: {error}");
                let said = error.to_string();
                assert!(
                    !said.contains(char::is_control),
                    "{what}: {said:?} fools terminals"
                );
                said
            }
            Ok(done) => panic!("{what}: {done:?}"),
        }
    }

    /// It ended well.
    pub(crate) fn done(&self) -> &Downloaded {
        match &self.outcome {
            Ok(done) => done,
            Err(error) => panic!("{error}: {:?}", self.events),
        }
    }

    /// The longest time without a new verified byte.
    pub(crate) fn longest_stall(&self) -> Duration {
        let (mut bytes, mut since, mut longest) = (0, Duration::ZERO, Duration::ZERO);
        for (time, event) in &self.events {
            if let DownloadEvent::Progress(progress) = event
                && progress.bytes > bytes
            {
                longest = longest.max(*time - since);
                (bytes, since) = (progress.bytes, *time);
            }
        }
        longest.max(self.elapsed - since)
    }
}
