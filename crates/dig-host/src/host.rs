//! The host itself.

use crate::{
    background,
    config::HostConfig,
    event::HostEvent,
    listener::Listener,
    registry::{Entry, HostStatistics, Registry, WholeHash},
    share::{Share, ShareError, ShareOptions},
};
use dig_discovery::{Announcement, Claim, Discovery as _, Lookup, PeerDiscoveryManager};
use dig_transfer::{
    index::{IndexOptions, IndexProgress, index_path},
    link::Link,
    serve::Server,
    source::SharedContent,
    store::ContentStore,
};
use dig_types::{ContentHash, ContentKind, ContentName};
use futures::{Stream, StreamExt as _};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events that wait for a slow listener; the oldest go first.
const EVENT_QUEUE: usize = 1024;
/// Files of a folder that can be fetched alone too, by their own hash. Each takes about a kilobyte, so it ends somewhere.
const MAX_SINGLE_FILES: usize = 10_000;

/// Shares files and folders (whitepaper 7).
#[derive(Debug, Clone)]
pub struct FileHost(Arc<Inner>);

/// What the tasks of a host have in common.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: HostConfig,
    pub(crate) server: Arc<Server>,
    pub(crate) discovery: Arc<PeerDiscoveryManager>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) statistics: Mutex<HostStatistics>,
    pub(crate) events: broadcast::Sender<HostEvent>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl FileHost {
    /// A host that serves through `server` and announces through `discovery`.
    pub fn new(
        config: HostConfig,
        server: Arc<Server>,
        discovery: Arc<PeerDiscoveryManager>,
    ) -> Self {
        let registry = Arc::new(Registry::default());
        server.set_resolver(registry.clone());
        let inner = Arc::new(Inner {
            config,
            server,
            discovery,
            registry,
            statistics: Mutex::default(),
            events: broadcast::Sender::new(EVENT_QUEUE),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        background::start(&inner);
        Self(inner)
    }

    /// Serves the peers that this listener gives, until [`stop`](Self::stop).
    pub fn listen(&self, listener: Arc<dyn Listener>) {
        let inner = self.0.clone();
        self.0.tasks.spawn(async move {
            loop {
                let lane = tokio::select! {
                    lane = listener.accept() => lane,
                    () = inner.stop.cancelled() => return,
                };
                let Some(lane) = lane else { return };
                Link::start(lane, inner.server.clone());
            }
        });
    }

    /// Hashes a file or folder, announces it and serves it. Dropping the future gives up.
    pub async fn add_file(
        &self,
        path: impl Into<PathBuf>,
        options: ShareOptions,
        progress: impl Fn(IndexProgress) + Send + 'static,
    ) -> Result<Share, ShareError> {
        let path = path.into();
        let name = match &options.name {
            Some(name) => name.clone(),
            None => name_of(&path)?,
        };
        let content = Arc::new(self.index(path.clone(), &name, progress).await?);
        let share = describe(&content, &name, path);
        self.register(content, &share, name, &options).await;
        Ok(share)
    }

    async fn index(
        &self,
        path: PathBuf,
        name: &ContentName,
        progress: impl Fn(IndexProgress) + Send + 'static,
    ) -> Result<SharedContent, ShareError> {
        let cancel = self.0.stop.child_token();
        let given_up = cancel.clone().drop_guard();
        let index = IndexOptions {
            cache: self.0.config.cache.clone(),
            name: Some(name.as_str().to_owned()),
            ..IndexOptions::default()
        };
        let hashing =
            tokio::task::spawn_blocking(move || index_path(&path, &index, &progress, &cancel));
        let content = hashing.await.map_err(|_| ShareError::Stopped)?;
        drop(given_up);
        Ok(content?)
    }

    async fn register(
        &self,
        content: Arc<SharedContent>,
        share: &Share,
        name: ContentName,
        options: &ShareOptions,
    ) {
        let inner = &self.0;
        let wants_sha256 = share.kind == ContentKind::File && inner.config.background_sha256;
        let entry = Entry {
            share: share.clone(),
            name,
            content: content.clone(),
            sha256: if wants_sha256 {
                WholeHash::Pending {
                    since: Instant::now(),
                }
            } else {
                WholeHash::None
            },
            public: options.public,
            level: options.announce_level,
        };
        inner.registry.insert(entry.clone());
        inner.server.add(content.clone());
        for file in 0..content
            .table()
            .map_or(0, |table| table.entries().len().min(MAX_SINGLE_FILES))
        {
            if let Ok(store) = content.file_store(file) {
                inner.server.add(Arc::new(store));
            }
        }
        inner.announce(&entry).await;
        if wants_sha256 {
            background::hash_whole(inner, share.hash, content);
        }
    }

    /// Withdraws a content everywhere; whether it was shared.
    pub async fn remove_file(&self, hash: &ContentHash) -> bool {
        self.0.withdraw(hash, "it was removed", false).await
    }

    /// What is shared.
    pub fn shares(&self) -> Vec<Share> {
        self.0
            .registry
            .all()
            .into_iter()
            .map(|entry| entry.share)
            .collect()
    }

    /// Counts since the host started.
    pub fn statistics(&self) -> HostStatistics {
        let shares = self.0.registry.all().len();
        HostStatistics {
            shares,
            ..*self.0.statistics()
        }
    }

    /// News from now on. A listener that falls far behind misses the oldest.
    pub fn events(&self) -> impl Stream<Item = HostEvent> + Send + Unpin + use<> {
        let receiver = self.0.events.subscribe();
        let events = futures::stream::unfold(receiver, |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(event) => return Some((event, receiver)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        Box::pin(events.fuse())
    }

    /// Withdraws everything and stops serving.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        self.0.server.shut_down();
        for entry in self.0.registry.all() {
            self.0.registry.remove(&entry.share.hash);
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    pub(crate) fn statistics(&self) -> std::sync::MutexGuard<'_, HostStatistics> {
        self.statistics
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn emit(&self, event: HostEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }

    /// Announces a content by every mechanism of its level. On the local network nodes are asked for
    /// names, so the content key is enough there; beyond it, names and SHA-256 are announced for public shares only.
    pub(crate) async fn announce(&self, entry: &Entry) {
        if self.config.port == 0 {
            return;
        }
        let mut lookups = vec![Lookup::Content(entry.share.hash)];
        if entry.public {
            lookups.push(Lookup::Name(entry.name.clone()));
            if let WholeHash::Known(sha256) = entry.sha256 {
                lookups.push(Lookup::Sha256(sha256));
            }
        }
        for lookup in lookups {
            let key = lookup.key();
            let announcement = Announcement {
                level: entry.level,
                claim: Some(Claim {
                    hash: Some(entry.share.hash),
                    kind: entry.share.kind,
                    size: entry.share.size,
                    name: Some(entry.name.clone()),
                }),
                ..Announcement::of(lookup, self.config.port)
            };
            if let Err(error) = self.discovery.announce(key, announcement).await {
                tracing::info!(%error, "not announced");
            }
        }
    }

    /// Serves a content and its single files no longer; who asks is told whether it changed or is merely gone.
    fn stop_serving(&self, entry: &Entry, changed: bool) {
        let table = entry.content.table().map(|table| table.entries());
        let files = table
            .into_iter()
            .flatten()
            .take(MAX_SINGLE_FILES)
            .map(|file| file.hash);
        for hash in files.chain([entry.share.hash]) {
            if changed {
                self.server.withdraw(&hash);
            } else {
                self.server.remove(&hash);
            }
        }
    }

    pub(crate) async fn withdraw(&self, hash: &ContentHash, reason: &str, changed: bool) -> bool {
        let Some(entry) = self.registry.remove(hash) else {
            return false;
        };
        self.stop_serving(&entry, changed);
        self.emit(HostEvent::Withdrawn {
            hash: *hash,
            reason: reason.to_owned(),
        });
        let mut lookups = vec![Lookup::Content(*hash)];
        if entry.public {
            lookups.push(Lookup::Name(entry.name));
            if let WholeHash::Known(sha256) = entry.sha256 {
                lookups.push(Lookup::Sha256(sha256));
            }
        }
        for lookup in lookups {
            if let Err(error) = self.discovery.withdraw(lookup.key()).await {
                tracing::info!(%error, "not withdrawn");
            }
        }
        true
    }
}

fn describe(content: &SharedContent, name: &ContentName, path: PathBuf) -> Share {
    let header = content.header();
    let files = content.table().map_or(1, |table| {
        table
            .entries()
            .iter()
            .filter(|entry| !entry.directory)
            .count() as u64
    });
    Share {
        hash: header.hash(),
        kind: header.kind,
        size: header.size,
        files,
        name: name.as_str().to_owned(),
        path,
        warnings: content.warnings().iter().map(ToString::to_string).collect(),
    }
}

/// The last component of a path, also of `.` and `..`, which say it only once they are resolved.
fn name_of(path: &Path) -> Result<ContentName, ShareError> {
    let resolved = path
        .file_name()
        .is_none()
        .then(|| path.canonicalize().ok())
        .flatten();
    let component = resolved
        .as_deref()
        .unwrap_or(path)
        .file_name()
        .unwrap_or_default();
    ContentName::new(&component.to_string_lossy()).map_err(|error| ShareError::Name {
        path: path.to_owned(),
        error,
    })
}
