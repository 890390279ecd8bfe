//! One lane: what it delivers, how much may be on its way, and whether it has fallen silent.

use super::{
    LaneTraits, Now, PeerKey,
    allowance::{Allowance, SLACK},
    life::Life,
    rate::{MinRtt, Rate},
};
use crate::chunk::CHUNK_LEN;
use std::time::Duration;

const CHUNK: f64 = CHUNK_LEN as f64;
/// Taken for the rate of a lane that was never measured, where a guess decides: four chunks a second.
const GUESS: f64 = 4.0 * CHUNK;
/// Seconds of its rate that one request may ask for, so that the tail of a slow lane is short.
const RUN: f64 = 0.05;
/// The least and the most that a lane of unknown rate is asked for at first, in chunks.
const FIRST: std::ops::RangeInclusive<f64> = 4.0..=16.0;
/// What an unknown lane is supposed to carry when its first window is sized by its round trip, bytes a second.
const FIRST_RATE: f64 = 20e6;
/// Growth that counts as growth.
const GROWTH: f64 = 1.1;
/// An interval between two requests that is not idleness: what the caller needs to react.
const IDLE: Duration = Duration::from_millis(5);
/// After so many full answers a lane that was called busy is tried with one request more.
const RETRY_SLOT: u32 = 32;
/// Silence that is never a stall where nobody else of the peer could step in, in seconds.
const PATIENCE: f64 = 0.5;
/// So much longer is the silence borne of a lane whose path proves alive: its peer is slow.
const SLOW_PEER: f64 = 2.0;

/// How the window grows.
#[derive(Debug, Clone)]
enum Phase {
    /// By every byte received, until goodput no longer grows (slow start).
    Start {
        size: f64,
        epoch: Option<Epoch>,
        best: f64,
        flat: u8,
    },
    /// It follows the measured rate.
    Steady,
}

/// One window's worth of slow start.
#[derive(Debug, Clone)]
struct Epoch {
    since: Now,
    bytes: f64,
    target: f64,
}

/// A silence that was taken for a stall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    /// When it was last asked for a sign of life.
    pub(super) probed: Now,
    /// Whether its work was given to others.
    pub(super) robbed: bool,
    /// Since when: what came before is no sign of life.
    pub(super) since: Now,
}

/// The state of a lane.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) peer: PeerKey,
    pub(super) traits: LaneTraits,
    rate: Rate,
    rtt: MinRtt,
    phase: Phase,
    /// Bytes on their way that are wanted.
    pub(super) in_flight: u64,
    /// Requests in the order they were made.
    pub(super) order: Vec<u32>,
    /// Requests not answered yet.
    pub(super) slots: u16,
    /// How many that may be.
    pub(super) slot_limit: u16,
    /// Requests answered in full.
    answers: u32,
    pub(super) life: Life,
    /// When the last byte asked for had come.
    idle_since: Now,
    /// The peer asked for quiet until then.
    pub(super) busy_until: Option<Now>,
    pub(super) stall: Option<Stall>,
    /// It answers again and would lead, were it trusted yet.
    pub(super) awaits: bool,
    /// When its window was last full: only then does its rate say what the path can do.
    pub(super) filled: Option<Now>,
    /// Whether it waits in line for its turn to ask.
    pub(super) ready: bool,
    /// The group it was last asked for.
    pub(super) last_group: Option<u64>,
    pub(super) received: u64,
    pub(super) verified: u64,
}

impl Lane {
    pub(super) fn new(now: Now, peer: PeerKey, traits: LaneTraits) -> Self {
        let rtt = MinRtt::new(now, traits.rtt);
        Self {
            peer,
            traits,
            rate: Rate::default(),
            phase: Phase::start(&rtt),
            rtt,
            in_flight: 0,
            order: Vec::new(),
            slots: 0,
            slot_limit: usable(traits),
            answers: 0,
            life: Life::new(now),
            idle_since: now,
            busy_until: None,
            stall: None,
            awaits: false,
            filled: None,
            ready: false,
            last_group: None,
            received: 0,
            verified: 0,
        }
    }

    /// A request was answered in full: after some of them, one more may be tried than a busy peer took.
    pub(super) fn answered(&mut self) {
        self.slots = self.slots.saturating_sub(1);
        self.answers = self.answers.wrapping_add(1);
        if self.answers.is_multiple_of(RETRY_SLOT) && self.slot_limit < usable(self.traits) {
            self.slot_limit += 1;
        }
    }

    /// The peer is too busy for one request more. While it works on others only their number is the matter.
    pub(super) fn too_much(&mut self, until: Now) {
        self.slot_limit = self.slots.max(1);
        if self.slots == 0 {
            self.hush(until);
        }
    }

    /// Bytes a second, once measured.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.measured()
    }

    pub(super) fn rtt(&self) -> Option<Duration> {
        self.rtt.get()
    }

    /// Seconds that an answer may take: a round trip, and the wait for what must be sent again. A window for less would shrink
    /// with the rate that it causes.
    pub(super) fn delay(&self) -> f64 {
        self.rtt_seconds() + self.life.longest_wait()
    }

    fn rtt_seconds(&self) -> f64 {
        self.rtt.get().map_or(0.0, |rtt| rtt.as_secs_f64())
    }

    /// Whether the window has left slow start, so that the rate may be compared with others.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Steady)
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self, allowance: &Allowance) -> u64 {
        let tracked = self
            .turnaround(allowance)
            .zip(self.rate())
            .map(|(seconds, rate)| rate * seconds);
        let window = match &self.phase {
            Phase::Start { size, .. } => size.max(tracked.unwrap_or(0.0)),
            Phase::Steady => tracked.unwrap_or(0.0),
        };
        (window.max(2.0 * CHUNK) as u64).min(allowance.cap)
    }

    /// Seconds from asking to receiving while the window is full; unknown before the rate is.
    pub(super) fn turnaround(&self, allowance: &Allowance) -> Option<f64> {
        self.rate()
            .map(|_| (self.delay() + allowance.slack) * allowance.scale)
    }

    /// Chunks of the next request: 50 ms of the rate, or more where few requests must fill the window.
    pub(super) fn run_length(&self, allowance: &Allowance, longest: u8) -> u8 {
        let window = self.window(allowance) as f64;
        let by_rate = match (&self.phase, self.rate()) {
            (Phase::Steady, Some(rate)) => rate * RUN,
            _ => window / 4.0,
        };
        let by_slots = window / f64::from(self.slot_limit);
        let chunks = by_rate.min(window / 2.0).max(by_slots) / CHUNK;
        (chunks as u64).clamp(1, u64::from(longest)) as u8
    }

    /// A request of `bytes` goes out.
    pub(super) fn asked(&mut self, now: Now, bytes: u64) {
        if self.in_flight == 0 {
            self.life.busy(now);
            if now.saturating_sub(self.idle_since) > IDLE {
                self.pause();
            }
        }
        self.in_flight += bytes;
    }

    /// `bytes` that were asked for came, will not come, or are not wanted.
    pub(super) fn settle(&mut self, now: Now, bytes: u64) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
        if self.in_flight == 0 {
            self.idle_since = now;
        }
    }

    /// Content bytes came that were `waited` for or not; `latency` where they tell the round trip.
    pub(super) fn heard(&mut self, now: Now, bytes: u32, latency: Option<Duration>, waited: bool) {
        self.life.data(now, waited);
        self.received += u64::from(bytes);
        if let Some(latency) = latency {
            self.rtt.sample(now, latency);
        }
        self.rate.add(now, bytes);
        self.grow(now, f64::from(bytes));
    }

    /// The peer wants quiet.
    pub(super) fn hush(&mut self, until: Now) {
        self.busy_until = Some(self.busy_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Nothing was asked for: idle time is not slowness.
    fn pause(&mut self) {
        self.rate.pause();
        if let Phase::Start { epoch, .. } = &mut self.phase {
            *epoch = None;
        }
    }

    fn grow(&mut self, now: Now, bytes: f64) {
        let ceiling = self
            .rate()
            .map(|rate| 2.0 * rate * (self.rtt_seconds() + SLACK));
        let first = *FIRST.end() * CHUNK;
        let Phase::Start {
            size,
            epoch,
            best,
            flat,
        } = &mut self.phase
        else {
            return;
        };
        *size = (*size + bytes).min(ceiling.map_or(f64::INFINITY, |most| most.max(first)));
        let target = *size;
        // The first arrival starts the clock, its bytes took their time before.
        let Some(current) = epoch else {
            *epoch = Some(Epoch {
                since: now,
                bytes: 0.0,
                target,
            });
            return;
        };
        current.bytes += bytes;
        let seconds = now.saturating_sub(current.since).as_secs_f64();
        if current.bytes < current.target || seconds < 0.001 {
            return;
        }
        let rate = current.bytes / seconds;
        *flat = if rate < *best * GROWTH { *flat + 1 } else { 0 };
        *best = best.max(rate);
        *epoch = Some(Epoch {
            since: now,
            bytes: 0.0,
            target,
        });
        self.rate.assume(rate);
        if *flat >= 2 {
            self.phase = Phase::Steady;
        }
    }

    /// Seconds until `ahead` bytes, all on their way or about to be asked for, will have come from here.
    pub(super) fn eta(&self, now: Now, ahead: u64) -> f64 {
        let busy = self.in_flight > 0;
        let silence = if busy { self.life.idle(now) } else { 0.0 };
        let usual = if busy {
            self.rate().map_or(1.0, |rate| CHUNK / rate)
        } else {
            f64::INFINITY
        };
        let rate = self
            .rate
            .doubted(now, usual)
            .unwrap_or_else(|| GUESS.min(CHUNK / silence.max(0.01)));
        let start = if self.in_flight == 0 {
            self.rtt_seconds()
        } else {
            0.0
        };
        start + ahead as f64 / rate.max(1.0)
    }

    /// Whether the silence has lasted longer than jitter explains. Where the peer has a lane in `reserve`, that is soon.
    pub(super) fn is_silent(&self, now: Now, reserve: bool) -> bool {
        if self.in_flight == 0 {
            return false;
        }
        let limit = self.patience();
        let alive = self.life.tells() && self.life.silence(now) < limit;
        let borne = if alive { SLOW_PEER * limit } else { limit };
        self.life.idle(now) > borne || (reserve && self.life.silence(now) > self.quick_limit(now))
    }

    /// Whether a sign of life is to be asked for, before the silence has lasted too long.
    pub(super) fn is_quiet(&self, now: Now) -> bool {
        self.in_flight > 0 && self.life.is_to_ask(now, self.quick_limit(now))
    }

    /// Seconds of silence that are borne where nobody else could step in.
    fn patience(&self) -> f64 {
        let chunks = self.rate().map_or(0.0, |rate| 4.0 * CHUNK / rate.max(1.0));
        PATIENCE.max(chunks).max(3.0 * self.rtt_seconds())
    }

    /// The same where another lane could. One that has not shown yet what it is like is given its time.
    fn quick_limit(&self, now: Now) -> f64 {
        let limit = self.patience();
        if self.rate().is_none() {
            return limit;
        }
        self.life.quick_limit(now, self.rtt_seconds()).min(limit)
    }

    /// It is taken for silent until it gives a sign of life from now on.
    pub(super) fn suspect(&mut self, now: Now) {
        self.stall = Some(Stall {
            probed: now,
            robbed: false,
            since: now,
        });
    }

    /// What was known of the lane no longer holds.
    pub(super) fn restart(&mut self) {
        self.rate.forget();
        self.phase = Phase::start(&self.rtt);
    }
}

/// Three quarters of what the other side takes: the rest is for manifests, searches and other transfers.
fn usable(traits: LaneTraits) -> u16 {
    (traits.max_requests - traits.max_requests.div_ceil(4)).max(1)
}

impl Phase {
    fn start(rtt: &MinRtt) -> Self {
        let chunks = FIRST_RATE * rtt.get().map_or(0.0, |rtt| rtt.as_secs_f64()) / CHUNK;
        let size = chunks.clamp(*FIRST.start(), *FIRST.end()) * CHUNK;
        Self::Start {
            size,
            epoch: None,
            best: 0.0,
            flat: 0,
        }
    }
}
