//! What a lane's halves and its writer share: the frames that wait, and how the lane ends.

use super::{CloseReason, LaneClosed, pulse::Pulse};
use crate::wire::{self, FrameBatch};
use bytes::Bytes;
use dig_types::{Frame, FrameHeader, MAX_FRAME_PAYLOAD};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// Answers to PINGs that may wait; more are dropped.
const MAX_PONGS: usize = 8;

/// Smallest queue: two of the largest frames.
const MIN_ROOM: usize = 128 * 1024;

/// Bytes of one write: four chunks and their frames; enough to keep system calls rare, little enough for a PONG to pass soon.
const BATCH: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    pulse: Mutex<Pulse>,
    room: Semaphore,
    /// Wakes the writer.
    pub(super) ready: Notify,
    /// Cancelled when the lane has ended.
    pub(super) ended: CancellationToken,
    reason: OnceLock<CloseReason>,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
    round_trip: RoundTrip,
}

#[derive(Debug, Default)]
struct Waiting {
    pongs: VecDeque<Bytes>,
    frames: VecDeque<Frame>,
}

impl Queue {
    pub(super) fn new(room: usize, pulse: Pulse) -> Self {
        Self {
            waiting: Mutex::default(),
            pulse: Mutex::new(pulse),
            room: Semaphore::new(room.clamp(MIN_ROOM, Semaphore::MAX_PERMITS)),
            ready: Notify::new(),
            ended: CancellationToken::new(),
            reason: OnceLock::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            round_trip: RoundTrip::default(),
        }
    }

    /// Waits for room, in the order of the callers, and queues a frame.
    pub(crate) async fn push(&self, frame: Frame) -> Result<(), LaneClosed> {
        let length = frame.payload.len();
        let cost = match u32::try_from(FrameHeader::LEN + length) {
            Ok(cost) if length <= MAX_FRAME_PAYLOAD => cost,
            _ => {
                tracing::error!(length, "a frame is longer than the protocol allows");
                self.end(CloseReason::FrameTooLong(length));
                return Err(LaneClosed);
            }
        };
        let permit = match self.room.try_acquire_many(cost) {
            Ok(permit) => permit,
            Err(_) => self.room.acquire_many(cost).await.map_err(|_| LaneClosed)?,
        };
        permit.forget();
        self.is_used();
        self.lock().frames.push_back(frame);
        self.ready.notify_one();
        Ok(())
    }

    /// Queues the answer to a PING, unless too many wait.
    pub(crate) fn push_pong(&self, echo: Bytes) {
        let mut waiting = self.lock();
        if waiting.pongs.len() < MAX_PONGS {
            waiting.pongs.push_back(echo);
            drop(waiting);
            self.ready.notify_one();
        }
    }

    /// Moves frames into a batch until it is full; the bytes to give back with [`Queue::free`] once they are written.
    pub(crate) fn take(&self, batch: &mut FrameBatch) -> usize {
        let mut waiting = self.lock();
        for echo in waiting.pongs.drain(..) {
            batch.push(Frame::new(wire::PONG, 0, echo));
        }
        let own = batch.bytes();
        while batch.bytes() < BATCH
            && let Some(frame) = waiting.frames.pop_front()
        {
            batch.push(frame);
        }
        batch.bytes() - own
    }

    /// Gives room back to those who wait in [`Queue::push`].
    pub(crate) fn free(&self, bytes: usize) {
        self.room.add_permits(bytes);
    }

    /// Ends the lane; only the first reason counts.
    pub(crate) fn end(&self, reason: CloseReason) {
        if self.reason.set(reason).is_ok() {
            self.room.close();
            self.ended.cancel();
        }
    }

    pub(crate) fn reason(&self) -> Option<&CloseReason> {
        self.reason.get()
    }

    /// A PING to send now.
    pub(crate) fn ping(&self) -> Frame {
        self.pulse().pings(Instant::now());
        Frame::new(wire::PING, 0, self.round_trip.ask())
    }

    /// Has the writer send a PING now.
    pub(super) fn want_ping(&self) {
        self.pulse().want_ping();
        self.ready.notify_one();
    }

    /// A frame of the layer above comes or goes.
    pub(super) fn is_used(&self) {
        // While a lane is idle its writer sleeps for longer than a lane in use may.
        if self.pulse().is_used(Instant::now()) {
            self.ready.notify_one();
        }
    }

    /// For how long nothing has arrived.
    pub(super) fn silence(&self) -> Duration {
        self.pulse().silence(Instant::now())
    }

    pub(super) fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A PONG has come.
    pub(crate) fn pong(&self, echo: &[u8]) {
        self.round_trip.answer(echo);
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.round_trip.smoothed()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The smoothed round-trip time of PINGs (RFC 6298 §2).
#[derive(Debug, Default)]
struct RoundTrip {
    asked: Mutex<(u64, Option<Instant>)>,
    /// Microseconds; 0 before the first answer.
    smoothed: AtomicU64,
}

impl RoundTrip {
    /// The payload of the next PING; an unanswered one before it no longer counts.
    fn ask(&self) -> Bytes {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        *asked = (asked.0 + 1, Some(Instant::now()));
        Bytes::copy_from_slice(&asked.0.to_be_bytes())
    }

    fn answer(&self, echo: &[u8]) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, at) = *asked;
        let Some(at) = at.filter(|_| *echo == number.to_be_bytes()) else {
            return;
        };
        asked.1 = None;
        let sample = u64::try_from(at.elapsed().as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let smoothed = match self.smoothed.load(Ordering::Relaxed) {
            0 => sample,
            old => (old - old / 8).saturating_add(sample / 8).max(1),
        };
        self.smoothed.store(smoothed, Ordering::Relaxed);
    }

    fn smoothed(&self) -> Option<Duration> {
        match self.smoothed.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }
}
