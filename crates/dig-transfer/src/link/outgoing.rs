//! The sending side of a lane.

use super::LinkEnd;
use crate::{
    lane::{FrameSender, LaneClosed},
    wire::{Message, bye},
};
use dig_types::Frame;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

/// Small frames that wait to be sent: 256 opens and 64 requests answered at once, and as many of our own, fit in.
const QUEUE: usize = 768;
/// How long a frame may take to leave: 64 KiB in it is 2 KiB/s (`docs/protocol.md` §11).
const FRAME_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends frames, large ones when there is room for them, small ones from a queue; knows whether the lane has ended.
#[derive(Debug)]
pub(crate) struct Outgoing {
    sender: Box<dyn FrameSender>,
    small: mpsc::Sender<Frame>,
    end: OnceLock<LinkEnd>,
    closed: CancellationToken,
}

impl Outgoing {
    pub(crate) fn start(sender: Box<dyn FrameSender>) -> Arc<Self> {
        let (small, mut queue) = mpsc::channel(QUEUE);
        let out = Arc::new(Self {
            sender,
            small,
            end: OnceLock::new(),
            closed: CancellationToken::new(),
        });
        let this = out.clone();
        tokio::spawn(async move {
            loop {
                let frame: Option<Frame> = tokio::select! {
                    biased;
                    () = this.closed.cancelled() => None,
                    frame = queue.recv() => frame,
                };
                let Some(frame) = frame else { return };
                if this.send(frame).await.is_err() {
                    return;
                }
            }
        });
        out
    }

    /// Queues a small frame. If the queue is full the other side does not read, and the lane ends.
    pub(crate) fn post(&self, message: Message, request: u32) {
        if self.small.try_send(message.into_frame(request)).is_err() {
            self.close(
                LinkEnd::NotReading,
                bye::PROTOCOL,
                "too many requests at once",
            );
        }
    }

    /// Waits until half of the queue is free, so that who has many small frames leaves room for those who cannot wait.
    pub(crate) async fn quiet(&self) {
        tokio::select! {
            () = self.closed.cancelled() => {}
            _ = self.small.reserve_many(QUEUE / 2) => {}
        }
    }

    /// Sends a frame when there is room for it. If that takes too long, the lane ends.
    pub(crate) async fn send(&self, frame: Frame) -> Result<(), LaneClosed> {
        let sent = tokio::select! {
            biased;
            () = self.closed.cancelled() => return Err(LaneClosed),
            sent = timeout(FRAME_TIMEOUT, self.sender.send(frame)) => sent,
        };
        match sent {
            Ok(Ok(())) => Ok(()),
            Ok(Err(LaneClosed)) => {
                self.close(LinkEnd::Remote, bye::DONE, "");
                Err(LaneClosed)
            }
            Err(_) => {
                self.close(LinkEnd::NotReading, bye::PROTOCOL, "nothing is read");
                Err(LaneClosed)
            }
        }
    }

    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.sender.rtt()
    }

    pub(crate) fn trust(&self) {
        self.sender.trust();
    }

    pub(crate) fn ping(&self) {
        self.sender.ping();
    }

    pub(crate) fn silence(&self) -> Option<Duration> {
        self.sender.silence()
    }

    /// Ends the lane; the first reason given stays.
    pub(crate) fn close(&self, end: LinkEnd, code: u16, text: &str) {
        if self.end.set(end).is_ok() {
            self.sender.close(code, text);
            self.closed.cancel();
        }
    }

    pub(crate) fn end(&self) -> Option<LinkEnd> {
        self.end.get().cloned()
    }

    pub(crate) async fn ended(&self) -> LinkEnd {
        self.closed.cancelled().await;
        self.end().unwrap_or(LinkEnd::Remote)
    }
}
