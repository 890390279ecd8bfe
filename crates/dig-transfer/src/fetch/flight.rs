//! Requests for chunks that are not answered yet.

use crate::{
    chunk::{Digest, Run},
    link::LinkId,
    wire::Want,
};
use bytes::Bytes;
use std::collections::HashMap;
use tokio::time::Instant;

/// A `GET` under way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) run: Run,
    pub(super) want: Want,
    /// The scheduler's name for it; `None` for the first request of all, which is sent before there is a scheduler.
    pub(super) scheduled: Option<u32>,
    /// The chunk that comes next.
    pub(super) next: u64,
    /// Entries that came before it was known what the content is.
    pub(super) unproved: Option<(Vec<Digest>, Vec<Digest>)>,
}

impl Flight {
    pub(super) fn is_complete(&self) -> bool {
        self.next >= self.run.chunks().end
    }
}

/// The request that is sent together with the first `OPEN`.
#[derive(Debug)]
pub(super) struct First {
    pub(super) link: LinkId,
    pub(super) request: u32,
    pub(super) last: Instant,
}

/// All `GET`s under way.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: HashMap<(LinkId, u32), Flight>,
    scheduled: HashMap<u32, (LinkId, u32)>,
    pub(super) first: Option<First>,
    /// Chunks that were asked for before there was a scheduler, and are not asked for again while they may still come.
    pub(super) expected: std::ops::Range<u64>,
    /// Chunks that came before it was known what to do with them.
    pub(super) held: Vec<(LinkId, u64, Bytes)>,
}

impl Flights {
    pub(super) fn insert(&mut self, link: LinkId, request: u32, flight: Flight) {
        if let Some(scheduled) = flight.scheduled {
            self.scheduled.insert(scheduled, (link, request));
        }
        self.flights.insert((link, request), flight);
    }

    pub(super) fn get_mut(&mut self, link: LinkId, request: u32) -> Option<&mut Flight> {
        self.flights.get_mut(&(link, request))
    }

    /// Where a request of the scheduler went.
    pub(super) fn of_scheduled(&self, scheduled: u32) -> Option<(LinkId, u32)> {
        self.scheduled.get(&scheduled).copied()
    }

    pub(super) fn remove(&mut self, link: LinkId, request: u32) -> Option<Flight> {
        let flight = self.flights.remove(&(link, request))?;
        if let Some(scheduled) = flight.scheduled {
            self.scheduled.remove(&scheduled);
        }
        if self.is_first(link, request) {
            self.first = None;
        }
        Some(flight)
    }

    pub(super) fn is_first(&self, link: LinkId, request: u32) -> bool {
        self.first
            .as_ref()
            .is_some_and(|first| first.link == link && first.request == request)
    }

    pub(super) fn of_link(&self, link: LinkId) -> Vec<u32> {
        self.flights
            .keys()
            .filter(|(of, _)| *of == link)
            .map(|(_, request)| *request)
            .collect()
    }

    /// Forgets all requests of the scheduler; returns them.
    pub(super) fn drop_scheduled(&mut self) -> Vec<(LinkId, u32)> {
        let all: Vec<_> = self.scheduled.drain().map(|(_, flight)| flight).collect();
        for flight in &all {
            self.flights.remove(flight);
        }
        all
    }

    /// Forgets all requests of a link, and what came from it too early; returns the requests.
    pub(super) fn drop_link(&mut self, link: LinkId) -> Vec<u32> {
        let requests = self.of_link(link);
        for request in &requests {
            self.remove(link, *request);
        }
        self.held.retain(|(from, ..)| *from != link);
        requests
    }
}
