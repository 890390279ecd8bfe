//! Chunks as they come: proved, hashed, written.

use super::{
    driver::{Driver, Event, Phase},
    hashing::{Arrived, Hashed},
    members::Checked,
    sources::{Holds, Source},
    stage::Subject,
};
use crate::{
    chunk::{Digest, GROUP_CHUNKS},
    header::ContentHeader,
    layout::Shape,
    link::LinkId,
    manifest::{ProofError, verify_group_to_root},
    scheduler::LaneKey,
    serve::groups_of,
    wire::Want,
};
use bytes::Bytes;
use tokio::time::Instant;

impl Driver {
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
        let known = self.sources.get(id).is_some_and(Source::is_open);
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
        let Some(node) = self.sources.get(id).map(Source::node) else {
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
        if let (Some(members), Some(entries)) = (&mut self.members, self.entries.get(&group))
            && let Some(entry) = entries.get((chunk % GROUP_CHUNKS) as usize)
            && let Err(path) = members.add(chunk, entry)
        {
            // It is looked at before the last of the file's chunks can have been written.
            let _ = self.results.send(Event::Members(Checked::False(path)));
        }
        if stage.has_group(group) && matches!(stage.subject, Subject::Content(_)) {
            self.entries.remove(&group);
        }
        let len = bytes.len() as u64;
        if let Some(id) = from {
            stage.scheduler.chunk_done(now, LaneKey(id.0), chunk);
            self.sources.used(id, len);
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
}
