//! Chunks: asked for, proved, hashed, written.

use super::{
    FetchEvent,
    driver::{Driver, Phase},
    flight::Flight,
    hashing::{Arrived, Hashed},
    manifest::ManifestState,
    sources::{Holds, Loss},
    stage::Subject,
};
use crate::{
    chunk::{Digest, GROUP_CHUNKS, Run},
    header::ContentHeader,
    layout::Shape,
    link::{Ask, LinkId, RequestError},
    manifest::{ProofError, verify_group_to_root},
    scheduler::{Action, LaneKey, Refusal},
    serve::groups_of,
    wire::{Message, RefusalCode, Refused, Want},
};
use bytes::Bytes;
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
                Action::Active { lane, .. } | Action::Stalled { lane } => {
                    tracing::debug!(lane = lane.0, ?action, "scheduler");
                }
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

    /// Entries have come.
    pub(super) fn prove(
        &mut self,
        id: LinkId,
        request: u32,
        entries: Vec<Digest>,
        path: Vec<Digest>,
    ) {
        let Some(flight) = self.flights.get_mut(id, request) else {
            return;
        };
        let (group, want) = (flight.run.group(), flight.want);
        let (Some(header), Some(source)) = (
            self.header,
            self.sources.get(id).filter(|source| source.is_open()),
        ) else {
            flight.unproved = Some((entries, path));
            return;
        };
        let header = ContentHeader {
            chunks: source.chunks,
            ..header
        };
        let proved = match (want, self.manifest.here()) {
            (Want::ManifestPath, Some(manifest)) => manifest.verify_group(group, &entries, &path),
            (Want::RootPath, _) => verify_group_to_root(&header, group, &entries, &path),
            _ => Err(ProofError::Mismatch),
        };
        match proved {
            Ok(()) => {
                if self
                    .stage
                    .as_ref()
                    .is_none_or(|stage| !stage.has_group(group))
                {
                    self.entries.insert(group, entries);
                }
            }
            Err(error) => {
                let node = source.node();
                self.ban(node, &error.to_string());
            }
        }
    }

    /// It is known now what the content is: looks at what came before.
    pub(super) fn prove_first(&mut self, id: LinkId) {
        let Some((link, request)) = self
            .flights
            .first
            .as_ref()
            .map(|first| (first.link, first.request))
        else {
            return;
        };
        let Some(source) = self.sources.get(id).filter(|_| link == id) else {
            return;
        };
        let shape = Shape::new(source.chunks);
        let Some(flight) = self.flights.get_mut(link, request) else {
            return;
        };
        // What lies beyond the end is not answered.
        match shape.clip(flight.run) {
            Some(run) => flight.run = run,
            None => flight.run.count = 0,
        }
        let unproved = flight.unproved.take();
        self.flights.expected.end = self.flights.expected.end.min(shape.chunks());
        if let Some((entries, path)) = unproved {
            self.prove(link, request, entries, path);
        }
        for (link, chunk, bytes) in std::mem::take(&mut self.flights.held) {
            self.arrived(link, chunk, bytes);
        }
        self.settle(link, request);
    }

    /// A chunk has come.
    pub(super) fn data(&mut self, id: LinkId, request: u32, bytes: Bytes) {
        let Some(flight) = self.flights.get_mut(id, request) else {
            return;
        };
        let (chunk, scheduled) = (flight.next, flight.scheduled);
        flight.next += 1;
        let (instant, now) = (Instant::now(), self.now());
        if let Some(source) = self.sources.get_mut(id) {
            source.last_data = Some(instant);
        }
        if let Some(first) = self
            .flights
            .first
            .as_mut()
            .filter(|first| first.request == request && first.link == id)
        {
            first.last = instant;
        }
        if let (Some(stage), Some(scheduled)) = (&mut self.stage, scheduled) {
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            stage.scheduler.received(now, LaneKey(id.0), scheduled, len);
        }
        self.arrived(id, chunk, bytes);
        self.settle(id, request);
    }

    /// Forgets a request whose answer is complete.
    fn settle(&mut self, id: LinkId, request: u32) {
        let known = self
            .sources
            .get(id)
            .is_some_and(super::sources::Source::is_open);
        let Some(flight) = self
            .flights
            .get_mut(id, request)
            .filter(|flight| flight.is_complete() && known)
        else {
            return;
        };
        let scheduled = flight.scheduled;
        self.flights.remove(id, request);
        match scheduled {
            Some(scheduled) => {
                let now = self.now();
                if let Some(stage) = &mut self.stage {
                    stage.scheduler.request_ended(now, LaneKey(id.0), scheduled);
                }
            }
            None => {
                if let Some(source) = self.sources.get(id) {
                    source.link.settle(request);
                }
                self.want_expected();
            }
        }
    }

    /// A chunk is here, unverified.
    pub(super) fn arrived(&mut self, id: LinkId, chunk: u64, bytes: Bytes) {
        let Some(node) = self.sources.get(id).map(super::sources::Source::node) else {
            return;
        };
        let Some(stage) = &mut self.stage else {
            // Only the first request of all comes before a stage does, so this is a mebibyte at most.
            if self.flights.expected.contains(&chunk) {
                self.flights.held.push((id, chunk, bytes));
            }
            return;
        };
        let len = stage.subject.chunk_len(chunk);
        if chunk >= stage.subject.chunks() && matches!(stage.subject, Subject::Table(_)) {
            self.flights.held.push((id, chunk, bytes));
            return;
        }
        let entry = self
            .entries
            .get(&(chunk / GROUP_CHUNKS))
            .and_then(|entries| entries.get((chunk % GROUP_CHUNKS) as usize));
        let (received, entry) = (bytes.len(), entry.copied());
        let useful = stage.wanted.contains(chunk)
            && !stage.done.contains(chunk)
            && !stage.hashing.contains(&chunk);
        match entry {
            _ if received != len => {
                self.ban(node, "a chunk has another length than the content says")
            }
            Some(entry) if useful => {
                stage.hashing.insert(chunk);
                self.hashing.push(
                    Instant::now(),
                    Arrived {
                        chunk,
                        bytes,
                        entry,
                        from: id,
                        node,
                    },
                );
            }
            _ => self.wasted += received as u64,
        }
    }

    /// A batch is hashed.
    pub(super) fn hashed(&mut self, hashed: Hashed) {
        self.hashing.finished();
        for (chunk, bytes, from) in hashed.right {
            self.verified(chunk, bytes, Some(from));
        }
        for (chunk, node) in hashed.wrong {
            let now = self.now();
            self.wasted += self
                .stage
                .as_ref()
                .map_or(0, |stage| stage.subject.chunk_len(chunk) as u64);
            self.ban(node, &format!("chunk {chunk} is false"));
            if let Some(stage) = &mut self.stage
                && stage.hashing.remove(&chunk)
            {
                stage.scheduler.want(now, chunk..chunk + 1);
                stage.scheduler.chunk_lost(now, chunk);
            }
        }
        self.table_complete();
    }

    /// A chunk is right.
    pub(super) fn verified(&mut self, chunk: u64, bytes: Bytes, from: Option<LinkId>) {
        let now = self.now();
        let Some(stage) = &mut self.stage else { return };
        stage.hashing.remove(&chunk);
        if !stage.finish(chunk) {
            return;
        }
        let group = chunk / GROUP_CHUNKS;
        if stage.has_group(group) && matches!(stage.subject, Subject::Content(_)) {
            self.entries.remove(&group);
        }
        let len = bytes.len() as u64;
        if let Some(id) = from {
            stage.scheduler.chunk_done(now, LaneKey(id.0), chunk);
            if let Some(source) = self.sources.get_mut(id) {
                if source.useful == 0 {
                    source.link.trust();
                }
                source.useful += len;
            }
        }
        match &mut self.phase {
            Phase::Table(chunks) => {
                if let Some(slot) = usize::try_from(chunk)
                    .ok()
                    .and_then(|chunk| chunks.get_mut(chunk))
                {
                    *slot = bytes;
                }
            }
            _ => {
                if !stage.subject.is_table(chunk) {
                    self.fetched += len;
                }
                self.writing.push(chunk, bytes);
            }
        }
        self.progressed();
    }

    /// A partial holder has gained something.
    pub(super) fn gains(&mut self, id: LinkId, first: u32, bitmap: &[u8]) {
        let now = self.now();
        let Some(source) = self.sources.get_mut(id) else {
            return;
        };
        let Holds::Some(groups) = &mut source.holds else {
            return;
        };
        let news: Vec<u64> = groups_of(first, bitmap)
            .filter(|group| groups.insert(*group))
            .collect();
        if let Some(stage) = &mut self.stage {
            stage.scheduler.peer_gains(now, source.peer, news);
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
