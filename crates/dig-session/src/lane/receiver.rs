//! The receiving half of a lane.

use super::{
    CloseReason, LaneInfo,
    pulse::ASLEEP,
    queue::Queue,
    vigil::{Finding, Vigil},
};
use crate::{
    config::SessionConfig,
    handshake::{ProtocolError, is_upper},
    pipe::Inlet,
    wire::{self, Bye, ByeCode, FrameDecoder},
};
use dig_types::{Frame, FrameType};
use std::{
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
    vec,
};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep_until},
};

/// Receives a lane's frames. Dropping it ends the lane.
#[derive(Debug)]
pub struct LaneReceiver {
    info: Arc<LaneInfo>,
    queue: Arc<Queue>,
    /// Gone once the writer has it back, to end the connection in good order.
    inlet: Option<Inlet>,
    give_back: Option<oneshot::Sender<Inlet>>,
    early: vec::IntoIter<Frame>,
    decoder: FrameDecoder,
    vigil: Vigil,
    look: Pin<Box<Sleep>>,
}

impl LaneReceiver {
    pub(super) fn new(
        info: Arc<LaneInfo>,
        queue: Arc<Queue>,
        inlet: Inlet,
        give_back: oneshot::Sender<Inlet>,
        decoder: FrameDecoder,
        early: Vec<Frame>,
        config: &SessionConfig,
    ) -> Self {
        let now = Instant::now();
        let vigil = Vigil::new(config);
        let look = Box::pin(sleep_until(vigil.next(now, &queue.pulse())));
        Self {
            info,
            queue,
            inlet: Some(inlet),
            give_back: Some(give_back),
            early: early.into_iter(),
            decoder,
            look,
            vigil,
        }
    }

    /// Who and what is at the other end.
    pub fn info(&self) -> &LaneInfo {
        &self.info
    }

    /// The next frame for the layer above; `None` when the lane has ended. The future may be dropped without losing anything.
    ///
    /// The session's own frames are handled inside, and noise is dropped. Handed on are all even types from 0x0020 on, and the odd
    /// ones between 0x0021 and 0xEFFF, of which the layer above ignores those that it does not know. PINGs are answered, and the end of the
    /// lane noticed, while this is called.
    pub async fn recv(&mut self) -> Option<Frame> {
        let mut handled = 0_u8;
        loop {
            if self.queue.ended.is_cancelled() {
                self.give_back();
                return None;
            }
            if let Some(frame) = self.early.next() {
                self.queue.is_used();
                return Some(frame);
            }
            match self.decoder.next() {
                Ok(Some(frame)) if is_upper(frame.kind) => {
                    self.queue.is_used();
                    return Some(frame);
                }
                Ok(Some(frame)) => {
                    self.on_own(&frame);
                    // A peer that sends nothing but such frames must not keep this task from others.
                    handled = handled.wrapping_add(1);
                    if handled == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(None) => self.fill().await,
                Err(error) => self.queue.end(CloseReason::Protocol(error.into())),
            }
        }
    }

    /// Why the lane has ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.queue.reason().cloned()
    }

    /// Reads once, or ends the lane.
    async fn fill(&mut self) {
        let Some(inlet) = &mut self.inlet else {
            return self.queue.end(CloseReason::Ended);
        };
        let partial = self.decoder.partial();
        let mut reading = Reading::begin(&self.queue);
        self.vigil.reads(
            reading.since,
            reading.pause,
            self.decoder.complete(),
            partial,
        );
        let read = tokio::select! {
            biased;
            read = inlet.read_buf(self.decoder.spare()) => read,
            () = self.queue.ended.cancelled() => return,
            () = &mut self.look => {
                let now = Instant::now();
                let mut pulse = self.queue.pulse();
                if now.saturating_duration_since(self.look.deadline().max(reading.since)) >= ASLEEP {
                    pulse.slept(now);
                    self.vigil.slept(now);
                    self.queue.ready.notify_one();
                }
                let finding = self.vigil.look(now, &pulse, partial);
                self.look.as_mut().reset(self.vigil.next(now, &pulse));
                drop(pulse);
                return match finding {
                    Finding::Well => {}
                    Finding::Quiet => self.decoder.relax(),
                    Finding::End(reason) => self.queue.end(reason),
                };
            }
        };
        match read {
            Ok(0) => self.queue.end(CloseReason::Ended),
            Ok(bytes) => {
                reading.arrived = true;
                let bytes = u64::try_from(bytes).unwrap_or(0);
                self.queue.received.fetch_add(bytes, Ordering::Relaxed);
            }
            Err(error) => self.queue.end(ended_by(&error)),
        }
    }

    /// Handles a frame of the session.
    fn on_own(&self, frame: &Frame) {
        let reason = match frame.kind {
            wire::PING | wire::PONG if frame.payload.len() != 8 => {
                ProtocolError::Malformed("PING or PONG").into()
            }
            wire::PING => return self.queue.push_pong(frame.payload.clone()),
            wire::PONG => return self.queue.pong(&frame.payload),
            wire::BYE => match Bye::decode(&frame.payload) {
                Some(Bye { code, text }) => CloseReason::Remote { code, text },
                None => ProtocolError::Malformed("BYE").into(),
            },
            kind if !kind.is_critical() => return,
            FrameType(kind) => ProtocolError::Unexpected(kind).into(),
        };
        self.queue.end(reason);
    }

    fn give_back(&mut self) {
        if let (Some(inlet), Some(writer)) = (self.inlet.take(), self.give_back.take()) {
            // A writer that is gone has no use for it.
            let _ = writer.send(inlet);
        }
    }
}

/// A time in which this side reads. It ends when dropped, also if whoever waits for a frame gives up waiting.
struct Reading<'a> {
    queue: &'a Queue,
    since: Instant,
    /// For how long nobody had read.
    pause: Duration,
    arrived: bool,
}

impl<'a> Reading<'a> {
    fn begin(queue: &'a Queue) -> Self {
        let since = Instant::now();
        Self {
            queue,
            since,
            pause: queue.pulse().reads(since),
            arrived: false,
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if self.queue.pulse().stops(Instant::now(), self.arrived) {
            self.queue.ready.notify_one();
        }
    }
}

/// What a failed read says. QUIC knows how the connection ended.
fn ended_by(error: &io::Error) -> CloseReason {
    let quic = error.get_ref().and_then(|error| error.downcast_ref());
    match quic {
        Some(quinn::ReadError::ConnectionLost(quinn::ConnectionError::TimedOut)) => {
            CloseReason::Dead
        }
        Some(quinn::ReadError::ConnectionLost(quinn::ConnectionError::Reset))
        | Some(quinn::ReadError::Reset(_)) => CloseReason::Ended,
        Some(quinn::ReadError::ConnectionLost(quinn::ConnectionError::ApplicationClosed(
            close,
        ))) => {
            let code = u16::try_from(close.error_code.into_inner()).unwrap_or(u16::MAX);
            CloseReason::Remote {
                code: ByeCode(code),
                text: String::new(),
            }
        }
        _ => CloseReason::failed(error),
    }
}

impl Drop for LaneReceiver {
    fn drop(&mut self) {
        self.queue.end(CloseReason::Local {
            code: ByeCode::DONE,
            text: String::new(),
        });
        self.give_back();
    }
}
