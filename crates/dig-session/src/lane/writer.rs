//! The task that writes a lane's frames, keeps it alive, and ends it.

use super::{CloseReason, Shutdown, pulse::ASLEEP, queue::Queue};
use crate::{
    config::SessionConfig,
    pipe::{Inlet, Outlet},
    wire::{Bye, ByeCode, FrameBatch, Grease},
};
use std::{
    io,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep, sleep_until, timeout_at},
};

/// Time in which an ended lane sends what is queued and its BYE.
const FAREWELL: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Writer {
    outlet: Outlet,
    queue: Arc<Queue>,
    grease: Grease,
    stall: Duration,
    batch: FrameBatch,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Part of a frame is out, or the connection has failed: nothing that makes sense can follow.
    broken: bool,
}

impl Writer {
    pub(super) fn new(
        outlet: Outlet,
        queue: Arc<Queue>,
        grease: Grease,
        config: &SessionConfig,
    ) -> Self {
        Self {
            outlet,
            queue,
            grease,
            stall: config.write_stall,
            batch: FrameBatch::default(),
            unflushed: false,
            broken: false,
        }
    }

    pub(super) async fn run(mut self, shutdown: Shutdown, given_back: oneshot::Receiver<Inlet>) {
        let queue = Arc::clone(&self.queue);
        let work = async {
            while !self.queue.ended.is_cancelled() {
                self.turn().await;
            }
            self.farewell(given_back).await;
        };
        tokio::pin!(work);
        let code = tokio::select! {
            () = &mut work => return,
            code = shutdown.asked() => code,
        };
        queue.end(CloseReason::Local {
            code,
            text: String::new(),
        });
        work.await;
    }

    /// Writes what waits; if nothing does, flushes and waits.
    async fn turn(&mut self) {
        let now = Instant::now();
        let next_ping = self.queue.pulse().next_ping(now);
        if now >= next_ping {
            self.batch.push(self.queue.ping());
            if self.grease.is_due() {
                self.batch.push(self.grease.frame());
            }
        }
        let bytes = self.queue.take(&mut self.batch);
        if self.batch.bytes() > 0 {
            return self.write(bytes).await;
        }
        if self.unflushed {
            return self.flush().await;
        }
        tokio::select! {
            () = self.queue.ready.notified() => {}
            () = self.queue.ended.cancelled() => {}
            () = sleep_until(next_ping) => {}
        }
    }

    /// Writes the batch, of which `bytes` are of the queue.
    async fn write(&mut self, bytes: usize) {
        let all = u64::try_from(self.batch.bytes()).unwrap_or(0);
        let written = tokio::select! {
            biased;
            written = self.outlet.write_all(self.batch.pieces()) => written,
            stuck = stuck(&self.queue, self.stall) => Err(stuck),
        };
        match written {
            Ok(()) => {
                self.unflushed = true;
                self.queue.pulse().sends(Instant::now());
                self.queue.sent.fetch_add(all, Ordering::Relaxed);
                self.queue.free(bytes);
            }
            Err(error) => self.fail(&error),
        }
    }

    async fn flush(&mut self) {
        let flushed = tokio::select! {
            biased;
            flushed = self.outlet.flush() => flushed,
            stuck = stuck(&self.queue, self.stall) => Err(stuck),
        };
        match flushed {
            Ok(()) => self.unflushed = false,
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &io::Error) {
        self.broken = true;
        self.queue.end(CloseReason::failed(error));
    }

    /// Says what is left to say, and ends the connection.
    async fn farewell(mut self, given_back: oneshot::Receiver<Inlet>) {
        let deadline = Instant::now() + FAREWELL;
        let farewell = self.queue.reason().map_or(Farewell::None, farewell);
        let code = match &farewell {
            Farewell::Graceful(bye) | Farewell::Abrupt(bye) => bye.code,
            Farewell::None => ByeCode::DONE,
        };
        if !self.broken {
            // Whoever does not listen is left all the same.
            let _ = timeout_at(deadline, self.say(farewell)).await;
            let _ = timeout_at(deadline, async {
                if let Ok(mut inlet) = given_back.await {
                    inlet.drain().await;
                }
            })
            .await;
        }
        self.outlet.abandon(code.0);
        if let Some(reason) = self.queue.reason() {
            tracing::debug!(%reason, "lane ended");
        }
    }

    async fn say(&mut self, farewell: Farewell) -> io::Result<()> {
        let bye = match farewell {
            Farewell::Graceful(bye) => {
                while self.queue.take(&mut self.batch) > 0 {
                    self.outlet.write_all(self.batch.pieces()).await?;
                }
                bye
            }
            Farewell::Abrupt(bye) => bye,
            Farewell::None if self.outlet.quic().is_some() => return Ok(()),
            Farewell::None => return self.outlet.finish().await,
        };
        self.batch.push(bye.frame());
        self.outlet.write_all(self.batch.pieces()).await?;
        self.outlet.finish().await
    }
}

/// How a lane is left.
#[derive(Debug)]
enum Farewell {
    /// What is queued, then BYE.
    Graceful(Bye),
    /// BYE only.
    Abrupt(Bye),
    /// Nothing: the other side has gone first.
    None,
}

fn farewell(reason: &CloseReason) -> Farewell {
    match reason {
        CloseReason::Local { code, text } => Farewell::Graceful(Bye::new(*code, text)),
        CloseReason::Protocol(error) => {
            Farewell::Abrupt(Bye::new(ByeCode::PROTOCOL_ERROR, &error.to_string()))
        }
        CloseReason::Slow => Farewell::Abrupt(Bye::new(ByeCode::PROTOCOL_ERROR, "too slow")),
        CloseReason::FrameTooLong(_) => Farewell::Abrupt(Bye::new(ByeCode::DONE, "")),
        CloseReason::Dead => Farewell::Abrupt(Bye::new(ByeCode::IDLE, "")),
        CloseReason::Remote { .. }
        | CloseReason::Ended
        | CloseReason::Stalled
        | CloseReason::Failed(..) => Farewell::None,
    }
}

/// Gives up on a write: some time after the lane has ended, or when the peer takes nothing for `stall`.
async fn stuck(queue: &Queue, stall: Duration) -> io::Error {
    tokio::select! {
        () = async {
            queue.ended.cancelled().await;
            sleep(FAREWELL).await;
        } => {}
        () = patience(stall) => queue.end(CloseReason::Stalled),
    }
    io::ErrorKind::TimedOut.into()
}

/// Waits for some time in which this program was not away.
async fn patience(time: Duration) {
    loop {
        let due = Instant::now() + time;
        sleep_until(due).await;
        if due.elapsed() < ASLEEP {
            return;
        }
    }
}
