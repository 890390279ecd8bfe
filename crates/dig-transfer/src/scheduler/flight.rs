//! Requests that were made, and which of them each chunk is expected from.

use super::{LaneKey, Now};
use crate::chunk::Run;
use std::collections::BTreeMap;

/// How a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its pending chunks are expected from it.
    Live,
    /// Left on a stalled lane to see whether it wakes; nothing is expected from it.
    Probe,
    /// Cancelled and not answered yet.
    Cancelled,
    /// All its bytes are here; the pending chunks wait for their verification.
    Arrived,
}

/// One request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) lane: LaneKey,
    pub(super) run: Run,
    pub(super) state: State,
    /// Bit *i*: chunk `first + i` is expected from this request.
    pub(super) pending: u16,
    pub(super) expected: u64,
    pub(super) received: u64,
    /// When it was made, or since when all its bytes are here.
    pub(super) since: Now,
    /// Nothing else was on its way when it was made: its first byte tells the round-trip time.
    pub(super) alone: bool,
}

impl Request {
    /// Bytes still to come.
    pub(super) const fn remaining(&self) -> u64 {
        self.expected.saturating_sub(self.received)
    }

    /// Whether the other side still owes an answer.
    pub(super) fn unanswered(&self) -> bool {
        self.state != State::Arrived
    }

    /// Whether bytes are on their way that are wanted.
    pub(super) fn flows(&self) -> bool {
        self.state == State::Live
    }

    /// Bytes that are here of chunks still expected from here.
    fn awaited(&self, chunk_len: &dyn Fn(u64) -> u32) -> u64 {
        let mut before = 0;
        let mut awaited = 0;
        for chunk in self.run.chunks() {
            let len = u64::from(chunk_len(chunk));
            if self.pending & self.mask(chunk) != 0 {
                awaited += self.received.saturating_sub(before).min(len);
            }
            before += len;
        }
        awaited
    }

    fn mask(&self, chunk: u64) -> u16 {
        1 << (chunk - self.run.first)
    }

    pub(super) fn pending_chunks(&self) -> impl DoubleEndedIterator<Item = u64> + use<> {
        let (first, pending) = (self.run.first, self.pending);
        self.run
            .chunks()
            .filter(move |chunk| pending >> (chunk - first) & 1 == 1)
    }
}

/// The one or two requests that a chunk is expected from; 0 is none.
type Owners = [u32; 2];

/// All requests, by their number.
#[derive(Debug, Default)]
pub(super) struct Flight {
    requests: BTreeMap<u32, Request>,
    owners: BTreeMap<u64, Owners>,
    last: u32,
    /// Bytes expected: asked for and not verified.
    held: u64,
}

impl Flight {
    pub(super) const fn held(&self) -> u64 {
        self.held
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn get(&self, request: u32) -> Option<&Request> {
        self.requests.get(&request)
    }

    pub(super) fn get_mut(&mut self, request: u32) -> Option<&mut Request> {
        self.requests.get_mut(&request)
    }

    /// Requests from which a chunk is expected.
    pub(super) fn owners(&self, chunk: u64) -> impl Iterator<Item = u32> + use<> {
        self.owners
            .get(&chunk)
            .copied()
            .unwrap_or_default()
            .into_iter()
            .filter(|request| *request != 0)
    }

    /// Adds a request. Its chunks are expected from it, unless it is a probe.
    pub(super) fn add(&mut self, mut request: Request, chunk_len: &dyn Fn(u64) -> u32) -> u32 {
        let id = self.unused();
        request.pending = 0;
        if request.state == State::Live {
            for chunk in request.run.chunks() {
                let owners = self.owners.entry(chunk).or_default();
                let Some(place) = owners.iter_mut().find(|owner| **owner == 0) else {
                    continue;
                };
                *place = id;
                request.pending |= request.mask(chunk);
                self.held += u64::from(chunk_len(chunk));
            }
        }
        self.requests.insert(id, request);
        id
    }

    fn unused(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.requests.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    /// A chunk is no longer expected from a request; whether nobody is left to supply it.
    pub(super) fn disown(
        &mut self,
        request: u32,
        chunk: u64,
        chunk_len: &dyn Fn(u64) -> u32,
    ) -> bool {
        let Some(record) = self.requests.get_mut(&request) else {
            return false;
        };
        let mask = record.mask(chunk);
        if record.pending & mask == 0 {
            return false;
        }
        record.pending &= !mask;
        self.held = self.held.saturating_sub(u64::from(chunk_len(chunk)));
        let Some(owners) = self.owners.get_mut(&chunk) else {
            return true;
        };
        for owner in owners.iter_mut().filter(|owner| **owner == request) {
            *owner = 0;
        }
        let orphan = *owners == Owners::default();
        if orphan {
            self.owners.remove(&chunk);
        }
        orphan
    }

    /// Bytes of these requests that are here and may still become verified chunks.
    pub(super) fn awaited(&self, requests: &[u32], chunk_len: &dyn Fn(u64) -> u32) -> u64 {
        let requests = requests.iter().filter_map(|id| self.requests.get(id));
        requests.map(|request| request.awaited(chunk_len)).sum()
    }

    /// Requests whose bytes are all here since before `then` and not verified.
    pub(super) fn arrived_before(&self, then: Now) -> Vec<u32> {
        let old = |request: &Request| request.state == State::Arrived && request.since < then;
        self.requests
            .iter()
            .filter(|(_, request)| old(request))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Forgets a request from which nothing is expected.
    pub(super) fn remove(&mut self, request: u32) -> Option<Request> {
        self.requests.remove(&request)
    }
}
