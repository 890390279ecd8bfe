//! Fetching one content: sources come and go, the fetch takes what they give, patience ends.

use super::{Teller, links::Links, plan::Wanted, serving::Serving};
use crate::{
    client::Inner,
    connector::{Dial, DialFailure, DialFailureClass, Method, Timing},
    destination,
    error::DownloadError,
    event::{DownloadEvent, Downloaded, Progress, Verified},
    options::{Destination, DownloadOptions},
    sources::{SourceNews, Sources},
};
use dig_discovery::{Discovery as _, Lookup};
use dig_transfer::{
    fetch::{self, Fetch, FetchConfig, FetchDone, FetchError, FetchEvent, MakeSink, Opened},
    link::Link,
};
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How long a first source is looked for at least, so that the local network has time to answer: on an interface that has just
/// come up it takes six seconds.
pub(crate) const SEARCH: Duration = Duration::from_secs(10);
/// Why an address of a ticket is passed over.
const NOT_DIALLED: &str = "inside this machine or a network that it is not on, where no ticket may lead; if you mean it, name it with --peer";
/// How often patience is judged.
const TICK: Duration = Duration::from_millis(100);

/// A content that is being fetched.
pub(crate) struct Fetching {
    client: Arc<Inner>,
    wanted: Wanted,
    options: DownloadOptions,
    tell: Teller,
    sources: Sources,
    links: Links,
    started: Instant,
    last_progress: Instant,
    /// Verified bytes at the last progress.
    bytes: u64,
    /// Whether any byte came in this run.
    moved: bool,
    /// Whether the fetch has a link to ask.
    linked: bool,
    ever_linked: bool,
    exhausted: bool,
    said_waiting: bool,
    /// Whether all is here and only hashed once more, for however long that takes.
    hashing: bool,
    gave_up: bool,
}

impl Fetching {
    pub(crate) fn new(
        client: Arc<Inner>,
        wanted: Wanted,
        options: DownloadOptions,
        tell: Teller,
    ) -> Self {
        let sources = Sources::new(client.connector.clone(), options.trusted.clone());
        let now = Instant::now();
        Self {
            client,
            wanted,
            options,
            tell,
            sources,
            links: Links::default(),
            started: now,
            last_progress: now,
            bytes: 0,
            moved: false,
            linked: false,
            ever_linked: false,
            exhausted: false,
            said_waiting: false,
            hashing: false,
            gave_up: false,
        }
    }

    /// Fetches into the destination that the options name, unless it is there already.
    pub(crate) async fn run(
        mut self,
        cancel: &CancellationToken,
    ) -> Result<Downloaded, DownloadError> {
        if let Some(downloaded) = self.find_complete().await? {
            return Ok(downloaded);
        }
        let config = self.config();
        let make_sink = self.make_sink();
        let started = self.started;
        let done = self.drive(config, make_sink, cancel).await?;
        Ok(Downloaded {
            hash: done.opened.hash,
            path: done.path,
            bytes: done.bytes,
            fetched: done.fetched,
            wasted: done.wasted,
            paths: done.paths,
            elapsed: started.elapsed(),
            verified: match done.verified {
                fetch::Verified::Tree => Verified::Tree,
                fetch::Verified::Sha256 => Verified::Sha256,
            },
        })
    }

    /// What is at the destination, if it is what is wanted. A content of unknown name cannot be looked for, and one
    /// whose SHA-256 is asked for must be read anyway.
    async fn find_complete(&mut self) -> Result<Option<Downloaded>, DownloadError> {
        let named = !self.wanted.name.is_empty()
            || matches!(self.options.destination, Destination::Path(_));
        if !named || self.wanted.sha256.is_some() {
            return Ok(None);
        }
        let (options, wanted) = (self.options.clone(), self.wanted.clone());
        let cache = self.client.config.cache.clone();
        let look = move || {
            destination::find_complete(&options, wanted.hash, &wanted.name, cache.as_deref())
        };
        let found = tokio::task::spawn_blocking(look).await.unwrap_or(Ok(None));
        let found =
            found.map_err(|error| DownloadError::Fetch(FetchError::Sink(Arc::new(error))))?;
        Ok(found.map(|(path, bytes)| Downloaded {
            hash: self.wanted.hash,
            path: Some(path),
            bytes,
            fetched: 0,
            wasted: 0,
            paths: Vec::new(),
            elapsed: self.started.elapsed(),
            verified: Verified::Tree,
        }))
    }

    /// Finds out what the content is, and for a folder what it holds, without getting it.
    pub(crate) async fn describe(
        self,
        cancel: &CancellationToken,
    ) -> Result<FetchDone, DownloadError> {
        let mut config = self.config();
        config.describe_only = true;
        let make_sink = self.make_sink();
        self.drive(config, make_sink, cancel).await
    }

    fn config(&self) -> FetchConfig {
        let mut config = FetchConfig::default();
        config.strategy = self.options.strategy;
        config.concurrency = self.options.concurrency;
        config.peer_concurrency = self.options.peer_concurrency;
        config.request_chunks = self.options.request_chunks;
        config.limit = self.options.limit;
        config.select = self.options.filter.clone();
        config.verify_sha256 = self.wanted.sha256;
        config.eager = !destination::may_resume(&self.options, self.wanted.hash, &self.wanted.name);
        config
    }

    fn make_sink(&self) -> MakeSink {
        let (options, hash, name) = (
            self.options.clone(),
            self.wanted.hash,
            self.wanted.name.clone(),
        );
        let cache = self.client.config.cache.clone();
        Box::new(move |opened: &Opened| {
            let hint = opened.name.as_ref().map(|name| name.as_str().to_owned());
            let name = if name.is_empty() {
                hint.unwrap_or_default()
            } else {
                name
            };
            Ok(destination::sink(&options, hash, &name, cache.as_deref()))
        })
    }

    async fn drive(
        mut self,
        config: FetchConfig,
        make_sink: MakeSink,
        cancel: &CancellationToken,
    ) -> Result<FetchDone, DownloadError> {
        let fetch = Fetch::start(self.wanted.hash, config, make_sink);
        let mut events = fetch.events().fuse();
        self.search().await;
        let mut serving = None;
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut finished = Box::pin(fetch.finished());
        let mut cancelled = false;
        let outcome = loop {
            tokio::select! {
                Some(event) = events.next() => self.on_event(event),
                news = self.sources.next() => self.on_news(news, &fetch),
                outcome = &mut finished => break outcome,
                () = cancel.cancelled(), if !cancelled => {
                    cancelled = true;
                    fetch.cancel();
                }
                _ = ticks.tick() => {
                    self.judge(&fetch);
                    if serving.is_none() && self.options.serve {
                        serving = fetch.store().and_then(|store| Serving::start(&self.client, store));
                    }
                }
            }
        };
        while let Some(Some(event)) = futures::FutureExt::now_or_never(events.next()) {
            self.on_event(event);
        }
        if let Some(serving) = serving {
            serving.stop().await;
        }
        outcome.map_err(|error| self.explain(error))
    }

    async fn search(&mut self) {
        for addr in self.wanted.refused.clone() {
            self.sources.note(DialFailure {
                node: None,
                addr: Some(addr),
                class: DialFailureClass::NotDialled,
                reason: NOT_DIALLED.to_owned(),
            });
        }
        for peer in self.wanted.peers.clone() {
            self.sources.add(peer);
        }
        let mut explicit = self.client.explicit(&self.options);
        while let Some(peer) = explicit.next().await {
            self.sources.add(peer);
        }
        self.sources.search(
            self.client
                .discovery
                .find(Lookup::Content(self.wanted.hash)),
        );
    }

    fn on_news(&mut self, news: SourceNews, fetch: &Fetch) {
        match news {
            SourceNews::Found => {}
            SourceNews::Dial(Dial::Attempt { node, addr, method }) => {
                self.tell
                    .tell(DownloadEvent::Attempt { node, addr, method });
            }
            SourceNews::Dial(Dial::Failed(failure)) => {
                self.tell.tell(DownloadEvent::DialFailed(failure))
            }
            SourceNews::Dial(Dial::Up {
                link,
                method,
                timing,
            }) => self.link_up(link, method, timing, fetch),
            SourceNews::Dial(Dial::Settled) => {}
            SourceNews::Exhausted => self.exhausted = true,
        }
    }

    fn link_up(&mut self, link: Arc<Link>, method: Method, timing: Timing, fetch: &Fetch) {
        let info = link.info();
        if self.sources.has_dismissed(&info.node) {
            return;
        }
        self.links.up(&link, method, timing, &self.tell);
        self.sources.link_is_up(info.node, info.remote);
        (self.linked, self.ever_linked) = (true, true);
        self.said_waiting = false;
        fetch.add_link(link);
    }

    fn on_event(&mut self, event: FetchEvent) {
        match event {
            FetchEvent::Opened(opened) => self.on_opened(&opened),
            FetchEvent::Resumed { bytes } => self.tell.tell(DownloadEvent::Resumed { bytes }),
            FetchEvent::Progress(fetch::Progress {
                bytes,
                total,
                rate,
                peers,
                ..
            }) => {
                if bytes > self.bytes {
                    (self.bytes, self.last_progress, self.moved) = (bytes, Instant::now(), true);
                }
                self.tell.tell(DownloadEvent::Progress(Progress {
                    bytes,
                    total,
                    rate,
                    peers,
                }));
            }
            FetchEvent::Banned { node, reason } => {
                self.sources.dismiss(node);
                self.tell.tell(DownloadEvent::Banned { node, reason });
            }
            FetchEvent::LinkLost {
                node,
                reason,
                refused,
            } => {
                // Whoever waits asks again: what is not there now may be there later.
                if refused && !self.options.wait {
                    self.sources.dismiss(node);
                }
                if !refused {
                    self.links.suspect(node);
                }
                self.sources.note(DialFailure {
                    node: Some(node),
                    addr: None,
                    class: DialFailureClass::Unreachable,
                    reason,
                });
            }
            FetchEvent::NoPeers { reasons } => {
                self.linked = false;
                self.say_waiting(reasons.join("; "));
            }
            FetchEvent::Active { node, link } => self.links.active(node, link, &self.tell),
            FetchEvent::Redial { node } => self.links.close(node),
            FetchEvent::Hashing => self.hashing = true,
            _ => {}
        }
    }

    fn on_opened(&mut self, opened: &Opened) {
        let hint = opened.name.as_ref().map(ToString::to_string);
        let name = match self.wanted.name.as_str() {
            "" => hint.unwrap_or_default(),
            known => known.to_owned(),
        };
        let (kind, size, files) = (opened.kind, opened.size, opened.files);
        self.tell.tell(DownloadEvent::Opened {
            kind,
            name,
            size,
            files,
        });
        self.last_progress = Instant::now();
    }

    fn say_waiting(&mut self, reason: String) {
        if !self.said_waiting && (self.moved || self.options.wait) {
            self.said_waiting = true;
            self.tell.tell(DownloadEvent::Waiting { reason });
        }
    }

    /// Dials again, or gives up.
    fn judge(&mut self, fetch: &Fetch) {
        if self.gave_up || self.hashing {
            return;
        }
        self.links.judge(self.last_progress);
        let again = !self.linked && (self.moved || self.options.wait || self.ever_linked);
        if again && self.sources.retry() {
            self.exhausted = false;
        }
        if self.options.wait {
            return;
        }
        let patience = if !self.linked && self.sources.are_all_dismissed() {
            // Somebody else may still be found, but nobody who is known is asked again.
            self.exhausted || self.last_progress.elapsed() >= SEARCH.min(self.options.timeout)
        } else if self.moved || self.linked {
            self.last_progress.elapsed() >= self.options.timeout
        } else {
            let nothing_left = self.exhausted || self.sources.is_hopeless();
            let searched = self.started.elapsed() >= SEARCH.min(self.options.timeout);
            self.sources.is_idle() && (nothing_left || searched)
                || self.started.elapsed() >= self.options.timeout
        };
        if patience {
            self.gave_up = true;
            fetch.give_up();
        }
    }

    /// The fetch knows why it failed; without any link only the sources do.
    fn explain(&self, error: FetchError) -> DownloadError {
        let failures = self.sources.failures();
        match error {
            FetchError::Cancelled => DownloadError::Cancelled,
            FetchError::NotFound | FetchError::NoPeers { .. } | FetchError::Stalled(_)
                if !self.ever_linked =>
            {
                if failures.is_empty() {
                    DownloadError::NotFound {
                        what: self.wanted.title(),
                    }
                } else {
                    DownloadError::NoConnection {
                        failures: failures.to_vec(),
                    }
                }
            }
            FetchError::NotFound => DownloadError::NotFound {
                what: self.wanted.title(),
            },
            FetchError::Changed => DownloadError::Changed,
            FetchError::Stalled(_) => DownloadError::Stalled {
                seconds: self.options.timeout.as_secs(),
                reason: "the hosts are connected, but send nothing".to_owned(),
            },
            other => DownloadError::Fetch(other),
        }
    }
}

impl Wanted {
    fn title(&self) -> String {
        if self.name.is_empty() {
            self.hash.to_string()
        } else {
            self.name.clone()
        }
    }
}
