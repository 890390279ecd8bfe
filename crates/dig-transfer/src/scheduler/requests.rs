//! The life of a request: made, arrived, cancelled, answered.

use super::{
    Action, LaneKey, Now, Scheduler,
    flight::{Request, State},
};
use crate::chunk::Run;
use std::time::Duration;

/// How often silence and the order of lanes are looked at while anything is on its way.
const TICK: Duration = Duration::from_millis(25);

impl Scheduler {
    /// Makes a request.
    pub(super) fn issue(&mut self, now: Now, key: LaneKey, run: Run, state: State) -> Action {
        let expected = run
            .chunks()
            .map(|chunk| u64::from((self.chunk_len.0)(chunk)))
            .sum();
        let alone = self.lanes.get(&key).is_some_and(|lane| lane.in_flight == 0);
        let request = Request {
            lane: key,
            run,
            state,
            pending: 0,
            expected,
            received: 0,
            since: now,
            alone,
        };
        let id = self.flight.add(request, &*self.chunk_len.0);
        if state == State::Live {
            self.queue.take(run);
            self.limit.spend(expected);
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.order.push(id);
            lane.slots += 1;
            lane.last_group = Some(run.group());
            if state == State::Live {
                lane.asked(now, expected);
            }
        }
        self.arm(now);
        Action::Request {
            lane: key,
            request: id,
            run,
        }
    }

    /// All bytes of a request are here.
    pub(super) fn arrived(&mut self, now: Now, id: u32) {
        let Some(request) = self
            .flight
            .get_mut(id)
            .filter(|request| request.unanswered())
        else {
            return;
        };
        let (key, done) = (request.lane, request.pending == 0);
        request.state = State::Arrived;
        request.since = now;
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.answered();
        }
        if done {
            self.forget(id);
        }
        if self.config.concurrency.is_some() || self.config.peer_concurrency.is_some() {
            self.wake_all();
        }
    }

    /// Ends a request from which nothing is expected any more.
    pub(super) fn end_if_idle(&mut self, now: Now, id: u32) {
        let Some(request) = self.flight.get(id).filter(|request| request.pending == 0) else {
            return;
        };
        match request.state {
            State::Arrived => self.forget(id),
            State::Live => self.cancel(now, id),
            State::Probe | State::Cancelled => {}
        }
    }

    pub(super) fn cancel(&mut self, now: Now, id: u32) {
        self.release(id);
        let Some(request) = self.flight.get_mut(id) else {
            return;
        };
        let (key, rest, flowed) = (request.lane, request.remaining(), request.flows());
        request.state = State::Cancelled;
        self.out.push_back(Action::Cancel {
            lane: key,
            request: id,
        });
        if let Some(lane) = self.lanes.get_mut(&key).filter(|_| flowed) {
            lane.settle(now, rest);
            self.limit.refund(rest);
        }
        self.mark(key);
    }

    /// Nothing is expected from this request any more; what nobody else supplies is free.
    pub(super) fn release(&mut self, id: u32) {
        let Some(request) = self.flight.get(id) else {
            return;
        };
        for chunk in request.pending_chunks() {
            if self.flight.disown(id, chunk, &*self.chunk_len.0) {
                self.queue.release(chunk);
            }
        }
    }

    /// The answer to a request has ended.
    pub(super) fn drop_request(&mut self, now: Now, id: u32) {
        self.release(id);
        let Some(request) = self.flight.get(id) else {
            return;
        };
        let (rest, flowed, unanswered) =
            (request.remaining(), request.flows(), request.unanswered());
        if let Some(lane) = self.lanes.get_mut(&request.lane) {
            lane.slots -= u16::from(unanswered && lane.slots > 0);
            if flowed {
                lane.settle(now, rest);
                self.limit.refund(rest);
            }
        }
        self.forget(id);
    }

    fn forget(&mut self, id: u32) {
        let Some(request) = self.flight.remove(id) else {
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&request.lane) {
            lane.order.retain(|other| *other != id);
        }
    }

    /// Sees to it that time is looked at.
    pub(super) fn arm(&mut self, now: Now) {
        self.next_tick.get_or_insert(now + TICK);
    }
}
