//! The task of one attempt: between the state machine, the sockets, the carriers and whoever asked.

use super::{
    Shared,
    audience::{Audience, Command},
    lock,
    progress::{Failed, FoundPath, Path, Progress, TraverseError},
    streams::Streams,
};
use crate::{
    attempt::{
        self, Attempt, AttemptConfig, Ended, Failure, Local, Message, Output, ROUNDS, Role,
        StreamEvent, StreamFailure, Tag,
    },
    candidate::Candidate,
    io::{Arrived, FreshPort, TcpArrivals, UdpArrivals},
    signaling::{SignalError, secure::Opened},
    trace::{AttemptId, Trace},
};
use bytes::Bytes;
use dig_types::{Method, NodeId};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

/// Pause before a prekey is asked for again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// How long the last messages of an attempt may take to leave.
const FLUSH: Duration = Duration::from_millis(400);
/// The time to live of packets that open our NAT, where nobody knows how far that is: one home router.
const OPENER_TTL: u8 = 2;

/// How an attempt begins.
#[derive(Debug)]
pub(super) enum Begin {
    /// We offer, under this id.
    Offer(AttemptId),
    /// We answer this offer.
    Answer(Opened),
}

/// What the task of an attempt is handed.
#[derive(Debug)]
pub(super) enum Inbox {
    /// A message of the attempt.
    Message(Opened),
    /// An offer that takes the attempt's place.
    Turn(Opened),
    /// Somebody here wants the path, too.
    Join(Audience),
}

impl Inbox {
    /// Whoever wants the path.
    pub(super) fn into_audience(self) -> Option<Audience> {
        match self {
            Self::Join(audience) => Some(audience),
            Self::Message(_) | Self::Turn(_) => None,
        }
    }
}

/// Whether a message may begin an attempt.
pub(super) fn is_offer(opened: &Opened) -> bool {
    matches!(Message::decode(&opened.body), Ok(Message::Offer(_)))
}

/// Drives attempts with one peer, one after the other.
#[derive(Debug)]
pub(super) struct Driver {
    shared: Arc<Shared>,
    peer: NodeId,
    inbox: mpsc::Receiver<Inbox>,
    audience: Audience,
}

/// Why an attempt ends before it has begun, or gives way.
enum Early {
    Turned(Box<Opened>),
    Failed(Box<TraverseError>),
    /// Whoever asked has gone.
    Gone,
}

impl Early {
    fn failed(error: TraverseError) -> Self {
        Self::Failed(Box::new(error))
    }

    fn turned(opened: Opened) -> Self {
        Self::Turned(Box::new(opened))
    }
}

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        peer: NodeId,
        inbox: mpsc::Receiver<Inbox>,
        audience: Audience,
    ) -> Self {
        Self {
            shared,
            peer,
            inbox,
            audience,
        }
    }

    /// Runs until there is no attempt with the peer any more; gives what was not looked at.
    pub(super) async fn run(mut self, begin: Begin) -> mpsc::Receiver<Inbox> {
        self.attempts(begin).await;
        self.inbox
    }

    async fn attempts(&mut self, mut begin: Begin) {
        let shared = Arc::clone(&self.shared);
        let _fresh = shared.gatherer.want();
        loop {
            let id = match &begin {
                Begin::Offer(id) => *id,
                Begin::Answer(opened) => opened.attempt,
            };
            let ended = self.attempt(begin).await;
            shared.post.forget(id);
            begin = match ended {
                Ok(()) | Err(Early::Gone) => return,
                Err(Early::Turned(opened)) => Begin::Answer(*opened),
                Err(Early::Failed(error)) => {
                    let failed = Failed::before(self.peer, *error);
                    tracing::debug!(peer = %self.peer, attempt = %id, %failed, "no attempt");
                    self.audience.tell(Progress::Failed(failed));
                    return;
                }
            };
        }
    }

    async fn attempt(&mut self, begin: Begin) -> Result<(), Early> {
        let (prekey, begin) = self.prepare(begin).await?;
        let shared = Arc::clone(&self.shared);
        let (local, fresh) = shared.local();
        let mut config = shared.attempt_config().map_err(Early::failed)?;
        config.first = shared.memory.recall(shared.network(), self.peer);
        let now = shared.start.elapsed();
        let attempt = match begin {
            Begin::Offer(id) => Attempt::initiate(now, config, local, self.peer, id),
            Begin::Answer(opened) => {
                let Ok(Message::Offer(offer)) = Message::decode(&opened.body) else {
                    return Err(Early::Gone);
                };
                let whose = (opened.from, opened.attempt);
                match Attempt::respond(now, config, local, whose, offer, &opened.observed) {
                    Ok(attempt) => attempt,
                    Err(refused) => {
                        tracing::debug!(peer = %self.peer, %refused, "an offer was refused");
                        return Err(Early::Gone);
                    }
                }
            }
        };
        let tag = Tag::of(attempt.id());
        let tcp = shared.tcp.as_ref().map(|port| port.attach(tag));
        let (Some(udp), false) = (shared.udp.attach(tag), matches!(tcp, Some(None))) else {
            // Of two random ids with one tag, one was made to be so.
            return Err(Early::Gone);
        };
        let running = Running {
            streams: Streams::new(shared.tcp.clone(), fresh),
            candidates: shared.gatherer.watch(),
            began: Instant::now(),
            driver: self,
            attempt,
            prekey,
            udp,
            tcp: tcp.flatten(),
            posting: FuturesUnordered::new(),
            unsent: None,
            given: None,
            told: BTreeSet::new(),
        };
        running.run().await
    }

    /// Waits for what an attempt needs: own addresses, and the peer's prekey for an offer.
    async fn prepare(&mut self, begin: Begin) -> Result<(Option<Bytes>, Begin), Early> {
        let shared = Arc::clone(&self.shared);
        let offers = matches!(begin, Begin::Offer(_));
        let peer = self.peer;
        let needed = async {
            let gathered = shared.gatherer.ready(shared.config.gather_wait);
            if offers {
                let (prekey, ()) = tokio::join!(shared.prekey_of(peer), gathered);
                prekey.map(Some)
            } else {
                gathered.await;
                Ok(None)
            }
        };
        tokio::pin!(needed);
        loop {
            tokio::select! {
                () = shared.closing.cancelled() => return Err(Early::failed(TraverseError::Closed)),
                prekey = &mut needed => {
                    let prekey = prekey.map_err(|error| Early::failed(error.into()))?;
                    return Ok((prekey, begin));
                }
                command = self.audience.next() => {
                    if command.is_none() {
                        return Err(Early::Gone);
                    }
                }
                handed = self.inbox.recv() => match handed {
                    Some(Inbox::Turn(opened)) => return Err(Early::turned(opened)),
                    Some(Inbox::Join(audience)) => self.audience = audience,
                    // An offer that is repeated before its first copy was answered.
                    Some(Inbox::Message(_)) => {}
                    None => return Err(Early::Gone),
                },
            }
        }
    }
}

impl Shared {
    /// The peer's prekey. Peers and carriers come and go, so it is asked for as long as an offer would be repeated.
    async fn prekey_of(&self, peer: NodeId) -> Result<Bytes, SignalError> {
        let end = Instant::now() + self.config.offer_timeout;
        loop {
            let asked = timeout(self.config.offer_timeout, self.post.prekey_of(peer)).await;
            let error = match asked {
                Ok(Ok(prekey)) => return Ok(prekey),
                Ok(Err(error)) => error,
                Err(_) => SignalError::NotFound(peer),
            };
            if Instant::now() + ASK_AGAIN >= end {
                return Err(error);
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    fn attempt_config(&self) -> Result<AttemptConfig, TraverseError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| TraverseError::Randomness)?;
        let hops = *lock(&self.hops);
        Ok(AttemptConfig {
            methods: self.config.methods.clone(),
            strategy: self.config.strategy,
            method_timeout: self.config.method_timeout,
            offer_timeout: self.config.offer_timeout,
            opener_ttl: hops.map_or(OPENER_TTL, |hops| hops.saturating_add(1)),
            ..AttemptConfig::new(seed)
        })
    }

    /// What this side has, and the sockets of its fresh ports.
    fn local(&self) -> (Local, Vec<FreshPort>) {
        let mut fresh = Vec::new();
        if let Some(tcp) = &self.tcp
            && self.config.methods.contains(&Method::TcpSimultaneousOpen)
        {
            let ports =
                (0..ROUNDS).map_while(|_| tcp.fresh(false).or_else(|_| tcp.fresh(true)).ok());
            fresh.extend(ports);
        }
        let told = fresh.iter().map(|port| attempt::FreshPort {
            port: port.port(),
            external: None,
        });
        let local = Local {
            candidates: self.gatherer.candidates(),
            subnets: self.gatherer.subnets(),
            fresh: told.collect(),
            preserves_ports: self.gatherer.preserves_ports(),
        };
        (local, fresh)
    }
}

/// An attempt that is going on.
struct Running<'a> {
    driver: &'a mut Driver,
    attempt: Attempt,
    /// The peer's, for the offer.
    prekey: Option<Bytes>,
    udp: UdpArrivals,
    tcp: Option<TcpArrivals>,
    streams: Streams,
    candidates: watch::Receiver<Vec<Candidate>>,
    posting: FuturesUnordered<BoxFuture<'static, Result<(), SignalError>>>,
    /// Why the last message did not leave.
    unsent: Option<TraverseError>,
    began: Instant,
    /// The path last handed on.
    given: Option<attempt::Path>,
    told: BTreeSet<(Method, SocketAddr)>,
}

impl Running<'_> {
    async fn run(mut self) -> Result<(), Early> {
        loop {
            while let Some(output) = self.attempt.poll() {
                if let Some(ended) = self.act(output).await {
                    self.end(ended).await;
                    return Ok(());
                }
            }
            self.tell_attempts();
            self.wait().await?;
        }
    }

    fn now(&self) -> Duration {
        self.driver.shared.start.elapsed()
    }

    /// Waits for the next thing to happen, and tells the attempt.
    async fn wait(&mut self) -> Result<(), Early> {
        let shared = Arc::clone(&self.driver.shared);
        let due = self.attempt.deadline().map(|due| shared.start + due);
        tokio::select! {
            Some(datagram) = self.udp.next() => {
                let now = shared.start.elapsed();
                self.attempt.on_datagram(now, datagram.source, &datagram.bytes);
            }
            Some(arrived) = arrival(&mut self.tcp) => self.accept(arrived),
            (id, event) = self.streams.next() => {
                let now = shared.start.elapsed();
                self.attempt.on_stream(now, id, event);
            }
            handed = self.driver.inbox.recv() => return self.handed(handed),
            command = self.driver.audience.next() => self.command(command),
            Some(sent) = self.posting.next() => {
                if let Err(error) = sent {
                    tracing::debug!(%error, "a signal did not leave");
                    self.unsent = Some(error.into());
                }
            }
            Ok(()) = self.candidates.changed() => {
                let now = shared.start.elapsed();
                let found = self.candidates.borrow_and_update().clone();
                for candidate in found {
                    self.attempt.add_candidate(now, candidate);
                }
            }
            () = shared.closing.cancelled() => {
                let now = shared.start.elapsed();
                self.attempt.stop(now);
            }
            () = sleep_until(due) => {
                let now = shared.start.elapsed();
                self.attempt.on_timeout(now);
            }
        }
        Ok(())
    }

    fn handed(&mut self, handed: Option<Inbox>) -> Result<(), Early> {
        match handed {
            // The word to give way did not fit into the inbox.
            Some(Inbox::Message(opened)) if opened.attempt != self.attempt.id() => {
                if is_offer(&opened) {
                    return Err(Early::turned(opened));
                }
                Ok(())
            }
            Some(Inbox::Message(opened)) => {
                let now = self.now();
                self.attempt.on_signal(now, &opened.body, &opened.observed);
                Ok(())
            }
            Some(Inbox::Turn(opened)) => Err(Early::turned(opened)),
            Some(Inbox::Join(audience)) => {
                self.driver.audience = audience;
                Ok(())
            }
            None => Err(Early::Gone),
        }
    }

    fn command(&mut self, command: Option<Command>) {
        let now = self.now();
        match command {
            Some(Command::Confirm) => {
                self.attempt.confirm(now);
                self.driver.audience.leave();
            }
            Some(Command::Reject) => {
                if let Some(path) = self.given.take() {
                    self.attempt.reject_path(now, &path);
                }
            }
            None => {
                self.driver.audience.leave();
                // What the peer began goes on for the peer's sake.
                if self.attempt.role() == Role::Initiator {
                    self.attempt.stop(now);
                }
            }
        }
    }

    fn accept(&mut self, arrived: Arrived) {
        let now = self.now();
        if let Some(id) = self
            .attempt
            .on_accept(now, arrived.remote, &arrived.preamble)
        {
            self.streams.accept(id, arrived);
        }
    }

    /// Does what the attempt says; how it ended, if it did.
    async fn act(&mut self, output: Output) -> Option<Ended> {
        match output {
            Output::Signal(body) => self.post(&body),
            Output::Datagram { to, bytes, ttl } => {
                if let Err(error) = self.driver.shared.udp.send(to, &bytes, ttl) {
                    tracing::debug!(%to, %error, "a packet could not be sent");
                }
            }
            Output::Connect(connect) => self.streams.connect(connect, self.driver.shared.start),
            Output::Write { id, bytes } => {
                if let Err(error) = self.streams.write(id, &bytes).await {
                    let now = self.now();
                    self.streams.abandon(id);
                    let failure = StreamFailure::Other(error.to_string());
                    self.attempt
                        .on_stream(now, id, StreamEvent::Failed(failure));
                }
            }
            Output::Abandon { id } => self.streams.abandon(id),
            Output::Path(path) => self.found(path),
            Output::Ended(ended) => return Some(ended),
        }
        None
    }

    fn post(&mut self, body: &[u8]) {
        let shared = &self.driver.shared;
        let (to, id) = (self.driver.peer, self.attempt.id());
        match shared.post.seal(to, self.prekey.as_deref(), id, body) {
            Ok(message) => self
                .posting
                .push(Arc::clone(&shared.post).send(to, message)),
            Err(error) => {
                tracing::debug!(%error, "a signal could not be sealed");
                self.unsent = Some(error.into());
            }
        }
    }

    /// Hands a path on.
    fn found(&mut self, found: attempt::Path) {
        let remote = found.remote;
        let path = match found.stream {
            None => Path::Udp { remote },
            Some(id) => match self.streams.keep(id) {
                Some(stream) => Path::Tcp { stream, remote },
                None => {
                    let now = self.now();
                    self.attempt.reject_path(now, &found);
                    return;
                }
            },
        };
        self.given = Some(found);
        let found = FoundPath {
            peer: self.driver.peer,
            attempt: self.attempt.id(),
            role: self.attempt.role(),
            method: found.method,
            elapsed: self.began.elapsed(),
            after_signaling: after_signaling(&self.attempt.trace(), found.method),
            rtt: found.rtt,
            path,
        };
        if self.driver.audience.is_there() {
            self.driver.audience.tell(Progress::Path(found));
        } else if self.driver.shared.incoming.try_send(found).is_err() {
            tracing::warn!(peer = %self.driver.peer, "a path was dropped because nobody takes incoming paths");
        }
    }

    /// Tells what is tried for the first time.
    fn tell_attempts(&mut self) {
        if !self.driver.audience.is_there() {
            return;
        }
        for method in self.attempt.trace().methods {
            for addr in method.remotes {
                if self.told.insert((method.method, addr)) {
                    let method = method.method;
                    self.driver
                        .audience
                        .tell(Progress::Attempt { method, addr });
                }
            }
        }
    }

    async fn end(mut self, ended: Ended) {
        let shared = Arc::clone(&self.driver.shared);
        let peer = self.driver.peer;
        let trace = self.attempt.trace();
        tracing::debug!(%peer, attempt = %trace.attempt, ?ended, "an attempt ended");
        shared.keep(trace.clone());
        let error = match ended {
            Ended::Connected(method) => {
                shared.memory.remember(shared.network(), peer, Some(method));
                None
            }
            Ended::Failed(failure) => {
                if failure == Failure::NoPath {
                    shared.memory.remember(shared.network(), peer, None);
                }
                Some(match self.unsent.take() {
                    Some(error) if failure == Failure::NoSignal => error,
                    _ if shared.closing.is_cancelled() => TraverseError::Closed,
                    _ => failure.into(),
                })
            }
        };
        if let Some(error) = error {
            let failed = Failed { error, trace };
            self.driver.audience.tell(Progress::Failed(failed));
        }
        self.driver.audience.leave();
        drop(self.streams);
        // What the peer misses it finds out by its own timers.
        let _ = timeout(FLUSH, async {
            while self.posting.next().await.is_some() {}
        })
        .await;
    }
}

async fn arrival(tcp: &mut Option<TcpArrivals>) -> Option<Arrived> {
    match tcp {
        Some(arrivals) => arrivals.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// From the moment at which the first method began, which is when the peer had answered, until this one gave a path.
fn after_signaling(trace: &Trace, method: Method) -> Duration {
    let first = trace.methods.iter().map(|run| run.started).min();
    let run = trace.methods.iter().find(|run| run.method == method);
    match (first, run) {
        (Some(first), Some(run)) => (run.started + run.took).saturating_sub(first),
        _ => Duration::ZERO,
    }
}
