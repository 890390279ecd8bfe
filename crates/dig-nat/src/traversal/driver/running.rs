//! An attempt that is going on: what happens is told to the state machine, what that says is done.

use super::{
    super::{
        audience::{Command, PathNumber},
        progress::{Failed, Progress, TraverseError},
        streams::Streams,
    },
    Driver, Early, Inbox,
    guessing::{Measuring, measured},
    is_offer,
};
use crate::{
    attempt::{self, Attempt, Ended, Failure, Output, Port, Role, StreamEvent, StreamFailure},
    candidate::Candidate,
    io::{Arrived, ExtraSockets, FreshPort, TcpArrivals, UdpArrivals},
    signaling::SignalError,
    turn::Relay,
};
use bytes::Bytes;
use dig_types::Method;
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// How long the last messages of an attempt may take to leave.
const FLUSH: Duration = Duration::from_millis(400);

/// An attempt that is going on.
pub(super) struct Running<'a> {
    pub(super) driver: &'a mut Driver,
    pub(super) attempt: Attempt,
    /// The peer's, for the offer.
    prekey: Option<Bytes>,
    pub(super) udp: UdpArrivals,
    tcp: Option<TcpArrivals>,
    pub(super) streams: Streams,
    pub(super) extra: ExtraSockets,
    pub(super) measuring: Option<Measuring>,
    pub(super) relays: watch::Receiver<Vec<Relay>>,
    candidates: watch::Receiver<Vec<Candidate>>,
    posting: FuturesUnordered<BoxFuture<'static, Result<(), SignalError>>>,
    /// Why the last message did not leave.
    unsent: Option<TraverseError>,
    pub(super) began: Instant,
    /// Paths that were handed on, and of which nothing was said yet; there are few, since each is better than the one before or
    /// in place of one that was of no use.
    pub(super) given: BTreeMap<PathNumber, attempt::Path>,
    /// Paths that were handed on.
    pub(super) count: u32,
    told: BTreeSet<(Method, SocketAddr)>,
}

impl<'a> Running<'a> {
    pub(super) fn new(
        driver: &'a mut Driver,
        attempt: Attempt,
        prekey: Option<Bytes>,
        (udp, tcp): (UdpArrivals, Option<TcpArrivals>),
        fresh: Vec<FreshPort>,
    ) -> Self {
        let mut candidates = driver.shared.gatherer.watch();
        // More may be known than when the attempt was made, a moment ago.
        candidates.mark_changed();
        Self {
            streams: Streams::new(driver.shared.tcp.clone(), fresh),
            extra: ExtraSockets::new(driver.shared.udp.clone()),
            measuring: None,
            relays: driver.shared.relays.watch(),
            candidates,
            began: Instant::now(),
            driver,
            attempt,
            prekey,
            udp,
            tcp,
            posting: FuturesUnordered::new(),
            unsent: None,
            given: BTreeMap::new(),
            count: 0,
            told: BTreeSet::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<(), Early> {
        self.note_relays();
        loop {
            while let Some(output) = self.attempt.poll() {
                if let Some(ended) = self.act(output).await {
                    self.end(ended).await;
                    return Ok(());
                }
            }
            self.tell_attempts();
            if let Some(ufrag) = self.attempt.ice_ufrag()
                && !self.udp.attach_ice(ufrag)
            {
                tracing::debug!("an ICE user name was taken");
            }
            if let Err(early) = self.wait().await {
                // Sockets for guesses go with this value.
                self.settle(0);
                return Err(early);
            }
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.driver.shared.start.elapsed()
    }

    /// Waits for the next thing to happen, and tells the attempt.
    async fn wait(&mut self) -> Result<(), Early> {
        let shared = Arc::clone(&self.driver.shared);
        let due = self.attempt.deadline().map(|due| shared.start + due);
        tokio::select! {
            Some(datagram) = self.udp.next() => {
                let now = shared.start.elapsed();
                self.attempt.on_datagram(now, datagram.at, datagram.source, &datagram.bytes);
            }
            (number, source, bytes) = self.extra.next() => {
                let now = shared.start.elapsed();
                self.attempt.on_datagram(now, Port::Extra(number), source, &bytes);
            }
            measured = measured(&mut self.measuring) => self.on_measured(measured),
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
                self.attempt.set_nat(now, shared.gatherer.nat_hint());
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
                self.note_relays();
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

    fn note_relays(&self) {
        let relays = self.attempt.relays_of_peer();
        self.driver
            .shared
            .peer_relays
            .note(self.driver.peer, relays);
    }

    fn command(&mut self, command: Option<Command>) {
        let now = self.now();
        match command {
            Some(Command::Confirm(number)) => {
                if let Some(path) = self.given.remove(&number) {
                    self.attempt.confirm_path(now, &path);
                    // A better one than a relayed path is still told.
                    if !path.is_relayed() {
                        self.driver.audience.leave();
                    }
                }
            }
            Some(Command::Reject(number)) => {
                if let Some(path) = self.given.remove(&number) {
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
            Output::Datagram {
                from,
                to,
                bytes,
                ttl,
            } => {
                if let Err(error) = self.send((from, to), &bytes, ttl) {
                    tracing::debug!(?from, %to, %error, "a packet could not be sent");
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
            Output::Permit { relay, ip } => {
                if let Some(relay) = self.relay(relay) {
                    relay.permit(ip);
                }
            }
            Output::OpenPorts { to, count, measure } => self.open_ports(to, count, measure),
            Output::OpenFresh => self.open_fresh(),
            Output::AskSpray { to, packets } => self.ask_spray(to, packets),
            Output::TacticEnded { keep, unused } => self.tactic_ended(keep, unused),
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
        // Of no effect where guessing was not begun, or was accounted for.
        self.settle(0);
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
