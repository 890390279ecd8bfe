//! The task of a fetch: one loop that all news go through.

use super::{
    Command, FetchConfig, FetchDone, FetchError, FetchEvent, MakeSink, Opened, Progress, Verified,
    flight::Flights,
    hashing::{Hashed, Hashing},
    manifest::ManifestState,
    members::{Checked, Members},
    meter::Meter,
    sources::{Loss, Sources},
    stage::Stage,
    swarm::SwarmStore,
    writing::{Writing, Written},
};
use crate::{
    chunk::Digest,
    header::ContentHeader,
    layout::Layout,
    link::{Answer, AnswerTo, Link, LinkEnd, LinkId, Reply},
    manifest::{Manifest, ManifestError},
    scheduler::Now,
    sink::ChunkReader,
    store::ContentStore,
    table::Table,
    wire::Message,
};
use bytes::Bytes;
use dig_types::{ContentHash, NodeId, Sha256Hash};
use std::{collections::HashMap, io, sync::Arc, time::Duration};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep_until},
};

/// Time between two looks at what only time tells, and between two [`FetchEvent::Progress`].
const TICK: Duration = Duration::from_millis(150);
/// Without a verified byte for this long, it is said to be stalled.
const STALLED: Duration = Duration::from_secs(3);
/// Data within this time counts as coming from a peer.
const RECENT: Duration = Duration::from_secs(2);
/// Answers looked at before anything else is done.
const BURST: usize = 64;

/// What the stages report.
#[derive(Debug)]
pub(super) enum Event {
    Hashed(Hashed),
    Written(Written),
    Manifest(Result<Manifest, ManifestError>),
    Table(Result<Table, String>),
    Sha256(io::Result<Sha256Hash>),
    Members(Checked),
}

/// What is being done.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nobody has said yet what the content is.
    Describing,
    /// A folder's table is being fetched, chunk by chunk.
    Table(Vec<Bytes>),
    /// The table is being read, or the sink opened.
    Opening,
    /// The content is being fetched.
    Fetching,
    /// All is written; the whole file is being hashed.
    Hashing,
    /// The sink gives the content its name.
    Committing,
}

/// The end of the loop.
pub(super) type End = Result<FetchDone, FetchError>;

/// All state of a fetch.
pub(super) struct Driver {
    pub(super) hash: ContentHash,
    pub(super) config: FetchConfig,
    pub(super) make_sink: Option<MakeSink>,
    pub(super) phase: Phase,
    pub(super) sources: Sources,
    pub(super) flights: Flights,
    pub(super) stage: Option<Stage>,
    /// Verified entries of the groups that are under way.
    pub(super) entries: HashMap<u64, Vec<Digest>>,
    pub(super) header: Option<ContentHeader>,
    pub(super) opened: Option<Opened>,
    /// The same, as long as a folder's table is missing.
    pub(super) opened_later: Option<Opened>,
    pub(super) layout: Option<Arc<Layout>>,
    pub(super) reader: Option<Arc<dyn ChunkReader>>,
    /// How far ahead of the first missing chunk the sink takes others.
    pub(super) max_ahead: Option<u64>,
    /// Chunks of the table, until the sink is open.
    pub(super) table_chunks: Vec<Bytes>,
    pub(super) manifest: ManifestState,
    /// The files of a folder, as far as their own hashes are not checked.
    pub(super) members: Option<Members>,
    pub(super) hashing: Hashing,
    pub(super) writing: Writing,
    pub(super) swarm: Option<Arc<SwarmStore>>,
    pub(super) answers: AnswerTo,
    pub(super) results: mpsc::UnboundedSender<Event>,
    pub(super) fetched: u64,
    pub(super) wasted: u64,
    pub(super) total: u64,
    pub(super) resumed: u64,
    pub(super) verified: Verified,
    pub(super) start: Instant,
    pub(super) last_progress: Instant,
    stalled: bool,
    alone: bool,
    told: Option<Progress>,
    meter: Meter,
    commands: mpsc::UnboundedReceiver<Command>,
    answers_in: mpsc::UnboundedReceiver<Answer>,
    pub(super) results_in: mpsc::UnboundedReceiver<Event>,
    events: broadcast::Sender<FetchEvent>,
    pub(super) store: watch::Sender<Option<Arc<dyn ContentStore>>>,
}

impl Driver {
    pub(super) fn new(
        hash: ContentHash,
        config: FetchConfig,
        make_sink: MakeSink,
        commands: mpsc::UnboundedReceiver<Command>,
        events: broadcast::Sender<FetchEvent>,
        store: watch::Sender<Option<Arc<dyn ContentStore>>>,
    ) -> Self {
        let (answers, answers_in) = mpsc::unbounded_channel();
        let (results, results_in) = mpsc::unbounded_channel();
        let start = Instant::now();
        Self {
            hash,
            make_sink: Some(make_sink),
            phase: Phase::Describing,
            sources: Sources::default(),
            flights: Flights::default(),
            stage: None,
            entries: HashMap::new(),
            header: None,
            opened: None,
            opened_later: None,
            layout: None,
            reader: None,
            max_ahead: None,
            table_chunks: Vec::new(),
            manifest: ManifestState::Missing,
            members: None,
            hashing: Hashing::new(results.clone()),
            writing: Writing::start(results.clone(), config.verify_sha256.is_some()),
            swarm: None,
            answers,
            results,
            fetched: 0,
            wasted: 0,
            total: 0,
            resumed: 0,
            verified: Verified::Tree,
            start,
            last_progress: start,
            stalled: false,
            alone: false,
            told: None,
            meter: Meter::default(),
            commands,
            answers_in,
            results_in,
            events,
            store,
            config,
        }
    }

    /// Runs to the end, and leaves nothing open.
    pub(super) async fn run(mut self) -> End {
        let end = self.turn().await;
        self.close(end.is_ok()).await;
        end
    }

    async fn turn(&mut self) -> End {
        let mut answers = Vec::with_capacity(BURST);
        let mut tick = Instant::now() + TICK;
        loop {
            let now = Instant::now();
            self.pump(now);
            let wake = self.wake().map_or(tick, |wake| wake.min(tick));
            tokio::select! {
                command = self.commands.recv() => self.obey(command.unwrap_or(Command::Cancel))?,
                _ = self.answers_in.recv_many(&mut answers, BURST) => {
                    for answer in answers.drain(..) {
                        self.answer(answer)?;
                    }
                    if self.config.describe_only && self.opened.is_some() && let Some(done) = self.described() {
                        return Ok(done);
                    }
                }
                Some(event) = self.results_in.recv() => {
                    if let Some(done) = self.take(event)? {
                        return Ok(done);
                    }
                }
                () = sleep_until(wake) => {}
            }
            while let Ok(event) = self.results_in.try_recv() {
                if let Some(done) = self.take(event)? {
                    return Ok(done);
                }
            }
            let now = Instant::now();
            if now >= tick {
                tick = now + TICK;
                self.tick(now)?;
            }
        }
    }

    /// Lets the stages do what is due.
    fn pump(&mut self, now: Instant) {
        self.hashing.pump(now);
        self.writing.pump();
        if !self.is_held_up() {
            self.schedule();
        }
    }

    /// Whether the disk is so far behind that nothing more may be asked for.
    fn is_held_up(&self) -> bool {
        self.writing.backlog() > self.config.budget / 3
    }

    fn wake(&self) -> Option<Instant> {
        let stage = self.stage.as_ref().filter(|_| !self.is_held_up());
        let scheduler = stage
            .and_then(|stage| stage.scheduler.next_wake())
            .map(|now| self.start + now);
        [scheduler, self.hashing.wake()].into_iter().flatten().min()
    }

    /// The scheduler's time.
    pub(super) fn now(&self) -> Now {
        self.start.elapsed()
    }

    fn obey(&mut self, command: Command) -> Result<(), FetchError> {
        match command {
            Command::Link(link) => self.add_link(&link),
            Command::Cancel => return Err(FetchError::Cancelled),
            Command::GiveUp => return Err(self.failure()),
            Command::Limit(rate) => {
                self.config.limit = rate;
                let now = self.now();
                if let Some(stage) = &mut self.stage {
                    stage.scheduler.set_rate_limit(now, rate);
                }
            }
        }
        Ok(())
    }

    fn add_link(&mut self, link: &Arc<Link>) {
        let now = Instant::now();
        if self.sources.add(link.clone(), now) {
            self.alone = false;
            self.open(link.id(), now);
        }
    }

    fn answer(&mut self, answer: Answer) -> Result<(), FetchError> {
        let Answer {
            link,
            request,
            reply,
        } = answer;
        if self.sources.get(link).is_none() {
            return Ok(());
        }
        match reply {
            Reply::Ended(end) => self.ended(link, end),
            Reply::News(Message::Have { first, bitmap }, _) => self.gains(link, first, &bitmap),
            Reply::Message(Message::Info(info)) => return self.info(link, info),
            Reply::Message(Message::Manifest { first, nodes }) => {
                self.manifest_part(link, request, first, &nodes)
            }
            Reply::Message(Message::Entries { entries, path }) => {
                self.prove(link, request, entries, path)
            }
            Reply::Message(Message::Data(bytes)) => self.data(link, request, bytes),
            Reply::Message(Message::Refused(refused)) => self.refused(link, request, refused),
            Reply::Message(_) | Reply::News(..) => {}
        }
        Ok(())
    }

    fn take(&mut self, event: Event) -> Result<Option<FetchDone>, FetchError> {
        match event {
            Event::Hashed(hashed) => self.hashed(hashed),
            Event::Manifest(result) => self.manifest_checked(result),
            Event::Table(result) => {
                self.table_read(result)?;
                return Ok(self.described().filter(|_| self.config.describe_only));
            }
            Event::Written(Written::Opened(resumed, terms)) => self.sink_open(resumed, terms),
            Event::Written(Written::Chunks {
                first,
                count,
                bytes,
            }) => {
                self.writing.finished(bytes);
                if let Some(swarm) = &self.swarm {
                    swarm.written(first..first + count);
                }
                self.check_complete();
            }
            Event::Written(Written::Failed(error)) => {
                return Err(FetchError::Sink(Arc::new(error)));
            }
            Event::Written(Written::Committed(path)) => return Ok(self.done(path)),
            Event::Written(Written::Closed) => {}
            Event::Sha256(result) => self.sha256(result)?,
            Event::Members(checked) => self.members_checked(checked)?,
        }
        Ok(None)
    }

    /// A link has ended.
    fn ended(&mut self, link: LinkId, end: LinkEnd) {
        if let (LinkEnd::Violation(violation), Some(source)) = (&end, self.sources.get(link)) {
            let (node, reason) = (source.node(), format!("it broke the protocol: {violation}"));
            return self.ban(node, &reason);
        }
        self.lose(link, Loss::Ended(end));
    }

    /// A link is of no use any more.
    pub(super) fn lose(&mut self, link: LinkId, loss: Loss) {
        let (reason, refused) = (loss.reason(), loss.is_final());
        let Some(source) = self.sources.lose(link, loss) else {
            return;
        };
        let now = self.now();
        if let Some(stage) = &mut self.stage {
            stage.scheduler.lane_down(now, source.lane());
        }
        self.forget(&source);
        self.emit(FetchEvent::LinkLost {
            node: source.node(),
            reason,
            refused,
        });
    }

    /// A node has sent something false.
    pub(super) fn ban(&mut self, node: NodeId, reason: &str) {
        let Some(sources) = self.sources.ban(node, reason) else {
            return;
        };
        tracing::info!(node = %node.short(), reason, "banned");
        let now = self.now();
        if let Some(stage) = &mut self.stage {
            for peer in self.sources.peers_of(node) {
                stage.scheduler.ban(now, peer);
            }
        }
        for source in &sources {
            self.forget(source);
        }
        self.emit(FetchEvent::Banned {
            node,
            reason: reason.to_owned(),
        });
    }

    /// Gives up all requests of a source that was taken out.
    fn forget(&mut self, source: &super::sources::Source) {
        let id = source.link.id();
        for request in self.flights.drop_link(id) {
            source.link.cancel(request);
        }
        if let Some(open) = source.open {
            source.link.cancel(open);
        }
        if let ManifestState::Asked(parts) = &self.manifest
            && parts.from == id
        {
            source.link.cancel(parts.request);
        }
        self.manifest.forget(id);
        self.want_expected();
    }

    fn tick(&mut self, now: Instant) -> Result<(), FetchError> {
        self.check_opens(now);
        self.check_manifest(now);
        self.check_first(now);
        if let Some(swarm) = &self.swarm {
            swarm.publish();
        }
        self.progress(now);
        if self.sources.is_empty() && !std::mem::replace(&mut self.alone, true) {
            self.emit(FetchEvent::NoPeers {
                reasons: self.sources.reasons(),
            });
        }
        let idle = now - self.last_progress;
        let fetching = matches!(
            self.phase,
            Phase::Describing | Phase::Table(_) | Phase::Fetching
        );
        if fetching
            && idle > STALLED
            && !self.sources.is_empty()
            && !std::mem::replace(&mut self.stalled, true)
        {
            self.emit(FetchEvent::Stalled);
        }
        match self.config.patience {
            Some(patience) if fetching && idle > patience => Err(self.failure()),
            _ => Ok(()),
        }
    }

    /// A byte was verified.
    pub(super) fn progressed(&mut self) {
        (self.last_progress, self.stalled) = (Instant::now(), false);
    }

    fn progress(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Fetching) {
            return;
        }
        self.meter.sample(now, self.fetched);
        let recent = self
            .sources
            .iter()
            .filter(|(_, source)| source.last_data.is_some_and(|last| now - last < RECENT));
        let mut peers: Vec<_> = recent.map(|(_, source)| source.peer).collect();
        peers.dedup();
        peers.sort_unstable();
        peers.dedup();
        let progress = Progress {
            bytes: self.resumed + self.fetched,
            total: self.total,
            rate: self.meter.rate(),
            peers: peers.len(),
        };
        if self.told.replace(progress) != Some(progress) {
            self.emit(FetchEvent::Progress(progress));
        }
    }

    pub(super) fn emit(&self, event: FetchEvent) {
        // Nobody listening is no error.
        let _ = self.events.send(event);
    }
}
