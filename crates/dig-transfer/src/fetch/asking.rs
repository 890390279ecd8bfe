//! Requests for chunks, and what becomes of those that are refused.

use super::{
    FetchEvent,
    driver::Driver,
    flight::Flight,
    manifest::ManifestState,
    sources::Loss,
    stage::{Stage, Subject},
};
use crate::{
    chunk::Run,
    link::{Ask, LinkId, RequestError},
    scheduler::{Action, LaneKey, Now, Refusal},
    wire::{Message, RefusalCode, Refused, Want},
};
use std::time::Duration;
use tokio::time::Instant;

/// How long who is too busy is left alone if it does not say.
const BUSY: Duration = Duration::from_secs(1);
/// How long a link whose requests are used up by others is left alone.
const FULL: Duration = Duration::from_millis(100);
/// A first request that is silent for so long is not waited for.
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

impl Driver {
    /// Does what the scheduler says.
    pub(super) fn schedule(&mut self) {
        let now = self.now();
        self.report_life(now);
        while let Some(action) = self
            .stage
            .as_mut()
            .and_then(|stage| stage.scheduler.poll(now))
        {
            match action {
                Action::Request { lane, request, run } => self.request(lane, request, run),
                Action::Cancel { request, .. } => {
                    if let Some((link, wire)) = self.flights.of_scheduled(request)
                        && let Some(source) = self.sources.get(link)
                    {
                        // What still comes is taken note of, so that the rate of the lane stays known.
                        source.link.stop(wire);
                    }
                }
                Action::Redial { lane } => {
                    if let Some(source) = self.sources.get(LinkId(lane.0)) {
                        self.emit(FetchEvent::Redial {
                            node: source.node(),
                        });
                    }
                }
                Action::Active { lane, .. } => {
                    let link = LinkId(lane.0);
                    if let Some(source) = self.sources.get(link) {
                        let node = source.node();
                        self.emit(FetchEvent::Active { node, link });
                    }
                }
                Action::Stalled { lane } => {
                    tracing::debug!(lane = lane.0, "a lane is silent");
                }
                Action::Ping { lane } => {
                    if let Some(source) = self.sources.get(LinkId(lane.0)) {
                        source.link.ping();
                    }
                }
            }
        }
    }

    /// Tells the scheduler which links have been heard of, when it is about to look.
    fn report_life(&mut self, now: Now) {
        let due = |stage: &&mut Stage| stage.scheduler.next_wake().is_some_and(|wake| wake <= now);
        let Some(stage) = self.stage.as_mut().filter(due) else {
            return;
        };
        for (_, source) in self.sources.iter() {
            if let Some(silence) = source.link.silence() {
                let at = now.saturating_sub(silence);
                (stage.scheduler).alive(now, source.lane(), at, source.link.rtt());
            }
        }
    }

    fn request(&mut self, lane: LaneKey, scheduled: u32, run: Run) {
        let (id, now) = (LinkId(lane.0), self.now());
        let want = if self.entries.contains_key(&run.group()) {
            Want::Chunks
        } else if self.manifest.here().is_some() {
            Want::ManifestPath
        } else {
            Want::RootPath
        };
        let message = Message::Get {
            hash: self.hash,
            run,
            want,
        };
        let ask = Ask::Chunks {
            count: run.count,
            entries: want != Want::Chunks,
        };
        let asked = match self.sources.get(id) {
            Some(source) => source.link.ask(message, ask, &self.answers),
            None => return,
        };
        match asked {
            Ok(request) => {
                let flight = Flight {
                    run,
                    want,
                    scheduled: Some(scheduled),
                    next: run.first,
                    unproved: None,
                };
                self.flights.insert(id, request, flight);
            }
            Err(RequestError::Ended(_)) => {
                // The link says so itself; until then its requests are nobody's.
                if let Some(stage) = &mut self.stage {
                    stage.scheduler.lane_down(now, lane);
                }
            }
            Err(_) => {
                if let Some(stage) = &mut self.stage {
                    stage
                        .scheduler
                        .refused(now, lane, scheduled, Refusal::Busy(FULL));
                }
            }
        }
    }

    /// A request is refused, or a content withdrawn.
    pub(super) fn refused(&mut self, id: LinkId, request: u32, refused: Refused) {
        let Some(source) = self.sources.get_mut(id) else {
            return;
        };
        if source.open == Some(request) {
            source.open = None;
            if refused.code == RefusalCode::Busy && !source.is_open() {
                source.since = Instant::now() + refused.retry.unwrap_or(BUSY);
                return;
            }
            return self.lose(id, Loss::Refused(refused));
        }
        if let ManifestState::Asked(parts) = &self.manifest
            && (parts.from, parts.request) == (id, request)
        {
            source.no_manifest(Instant::now());
            self.manifest = ManifestState::Missing;
            return;
        }
        let Some(flight) = self.flights.remove(id, request) else {
            return;
        };
        // The first request is sent before it is known whether there is anything to ask for; what its refusal means, that of
        // the `OPEN` says too.
        let Some(scheduled) = flight.scheduled else {
            return self.want_expected();
        };
        let refusal = match refused.code {
            RefusalCode::NotHere => Refusal::NotHere,
            RefusalCode::Busy => Refusal::Busy(refused.retry.unwrap_or(BUSY)),
            RefusalCode::Cancelled => Refusal::Cancelled,
            _ => return self.lose(id, Loss::Refused(refused)),
        };
        let now = self.now();
        if let Some(stage) = &mut self.stage {
            stage
                .scheduler
                .refused(now, LaneKey(id.0), scheduled, refusal);
        }
    }

    /// The first request is over: what it did not bring is asked for like the rest.
    pub(super) fn want_expected(&mut self) {
        let now = self.now();
        let Some(stage) = self.stage.as_mut().filter(|_| self.flights.first.is_none()) else {
            return;
        };
        let table = matches!(stage.subject, Subject::Table(_));
        for chunk in self.flights.expected.clone() {
            if stage.wanted.contains(chunk)
                && !stage.done.contains(chunk)
                && !stage.hashing.contains(&chunk)
            {
                stage.scheduler.want(now, chunk..chunk + 1);
            }
        }
        if !table {
            self.flights.expected = 0..0;
        }
    }

    /// Does not wait for a first request that is slow.
    pub(super) fn check_first(&mut self, now: Instant) {
        let slow = self
            .flights
            .first
            .as_ref()
            .is_some_and(|first| now - first.last > FIRST_TIMEOUT);
        if slow && self.stage.is_some() {
            // Its answer may still come, and is taken then.
            self.flights.first = None;
            self.want_expected();
        }
    }
}
