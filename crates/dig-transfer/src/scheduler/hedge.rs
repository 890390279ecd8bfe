//! Hedging: a lane without work of its own takes what another would deliver much later.

use super::{LaneKey, Now, Scheduler, flight::Request, lane::Lane};
use crate::chunk::Run;
use std::ops::Range;

/// What a hedge must gain to be worth its bytes, in seconds.
const MARGIN: f64 = 0.02;
/// The same, at the head of the line.
const HEAD_MARGIN: f64 = 0.2;
/// A single chunk is asked twice where that takes at most this share of the time it would take otherwise.
const SHARE: f64 = 0.7;

/// What another lane is expected to deliver, and when.
struct Prospect<'a> {
    lane: &'a Lane,
    request: &'a Request,
    /// Bytes that come before this request on its lane.
    before: u64,
    /// Seconds until its end.
    eta: f64,
}

impl Scheduler {
    /// The end of the request that would end last, so far as this lane would deliver it before its owner even got there.
    pub(super) fn hedge(&self, now: Now, key: LaneKey, longest: u8) -> Option<Run> {
        let thief = self.lanes.get(&key)?;
        let mut prospects: Vec<_> = self.prospects(now, key).collect();
        prospects.sort_by(|a, b| b.eta.total_cmp(&a.eta));
        prospects
            .iter()
            .find_map(|prospect| self.tail_of(now, thief, prospect, longest))
    }

    /// Requests of other lanes that this lane's peer could serve.
    fn prospects(&self, now: Now, thief: LaneKey) -> impl Iterator<Item = Prospect<'_>> {
        let holding = self.holding(thief);
        let others = self.lanes.iter().filter(move |(key, _)| **key != thief);
        let requests = others.flat_map(move |(_, lane)| {
            let flowing = lane
                .order
                .iter()
                .filter_map(|id| self.flight.get(*id))
                .filter(|request| request.flows());
            flowing.scan(0, move |ahead, request| {
                let before = *ahead;
                *ahead += request.remaining();
                Some(Prospect {
                    lane,
                    request,
                    before,
                    eta: lane.eta(now, *ahead),
                })
            })
        });
        requests.filter(move |prospect| {
            holding.is_some_and(|holding| holding.has(prospect.request.run.group()))
        })
    }

    fn tail_of(&self, now: Now, thief: &Lane, prospect: &Prospect<'_>, longest: u8) -> Option<Run> {
        let alone = |chunk: &u64| self.flight.owners(*chunk).count() == 1;
        let last = prospect.request.pending_chunks().rev().find(alone)?;
        let mut best = None;
        let mut count = 0;
        let mut bytes = 0;
        for chunk in prospect
            .request
            .pending_chunks()
            .rev()
            .skip_while(|chunk| *chunk > last)
            .take_while(alone)
        {
            if chunk + u64::from(count) != last || count == longest {
                break;
            }
            count += 1;
            bytes += u64::from((self.chunk_len.0)(chunk));
            let mine = thief.eta(now, thief.in_flight + bytes) + MARGIN;
            let rest = prospect.request.remaining().saturating_sub(bytes);
            let reached = prospect.lane.eta(now, prospect.before + rest);
            if mine <= reached || (count == 1 && mine <= SHARE * prospect.eta) {
                best = Some(Run {
                    first: chunk,
                    count,
                });
            } else {
                break;
            }
        }
        best
    }

    /// The first of the chunks that somebody waits for which this lane would deliver clearly sooner than their owner.
    pub(super) fn hedge_head(
        &self,
        now: Now,
        key: LaneKey,
        head: &Range<u64>,
        longest: u8,
    ) -> Option<Run> {
        let thief = self.lanes.get(&key)?;
        let holding = self.holding(key)?;
        let mut run: Option<Run> = None;
        let most = usize::try_from(self.config.head_chunks).unwrap_or(usize::MAX);
        for chunk in self
            .queue
            .missing_from(head.start)
            .take(most)
            .take_while(|chunk| *chunk < head.end)
        {
            let asked = run.map_or(0, |run| u64::from(run.count));
            let next =
                run.is_none_or(|run| run.first + asked == chunk && run.first / 16 == chunk / 16);
            if !next || asked >= u64::from(longest) {
                break;
            }
            let bytes = (asked + 1) * u64::from((self.chunk_len.0)(chunk));
            let mine = thief.eta(now, thief.in_flight + bytes);
            let late = holding.has(chunk / 16)
                && self
                    .owner_eta(now, key, chunk)
                    .is_some_and(|eta| mine + HEAD_MARGIN <= eta);
            run = match (run, late) {
                (None, true) => Some(Run {
                    first: chunk,
                    count: 1,
                }),
                (Some(run), true) => Some(Run {
                    count: run.count + 1,
                    ..run
                }),
                (Some(_), false) => break,
                (None, false) => None,
            };
        }
        run
    }

    /// When the only owner of a chunk, another lane, will deliver it.
    fn owner_eta(&self, now: Now, thief: LaneKey, chunk: u64) -> Option<f64> {
        let mut owners = self.flight.owners(chunk);
        let (id, None) = (owners.next()?, owners.next()) else {
            return None;
        };
        let request = self
            .flight
            .get(id)
            .filter(|request| request.flows() && request.lane != thief)?;
        let lane = self.lanes.get(&request.lane)?;
        let earlier = lane
            .order
            .iter()
            .take_while(|other| **other != id)
            .filter_map(|other| self.flight.get(*other));
        let before: u64 = earlier
            .filter(|request| request.flows())
            .map(Request::remaining)
            .sum();
        let inside: u64 = (request.run.first..=chunk)
            .map(|chunk| u64::from((self.chunk_len.0)(chunk)))
            .sum();
        Some(lane.eta(now, before + inside.saturating_sub(request.received)))
    }
}
