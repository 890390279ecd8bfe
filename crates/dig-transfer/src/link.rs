//! Drives one lane: answers go to those who asked, requests to the [`Server`].
//!
//! - The reader never waits for anything but the next frame. Small frames that it causes go through a bounded queue that a
//!   task of its own empties; a peer that makes that queue overflow asks without reading, and loses the lane.
//! - What was not asked for, and what is malformed, ends the lane with `BYE` 1. After `CANCEL` the rest of an answer is
//!   let through and dropped.
//! - Answers are handed over without waiting. That is bounded: a `GET` takes at most one `ENTRIES` and as many `DATA` as it
//!   asked for, a `MANIFEST_GET` at most 64 frames, and a holder may be 256 `HAVE`s ahead.

use crate::{
    lane::{FrameReceiver, Lane, LaneInfo},
    serve::{Server, ServingLane},
    wire::{Message, Query, Refused, Resolved, WireError, bye},
};
use dig_types::{ContentHash, Frame};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

mod outgoing;
mod requests;

pub(crate) use outgoing::Outgoing;
pub(crate) use requests::{Answer, AnswerTo, Ask, Reply};
use requests::{Outstanding, Routed};

/// How long [`Link::resolve`] waits for an answer: it comes from memory, so this is for slow paths.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A link, as long as this process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkEnd {
    /// This side closed it.
    #[error("closed here")]
    Local,
    /// The other side closed it, or the path broke.
    #[error("the connection ended")]
    Remote,
    /// The other side broke the protocol.
    #[error("it broke the protocol: {0}")]
    Violation(String),
    /// The other side takes nothing, or too slowly.
    #[error("it does not read what it asks for")]
    NotReading,
}

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The link has ended.
    #[error(transparent)]
    Ended(#[from] LinkEnd),
    /// As many requests as the other side takes are unanswered.
    #[error("too many requests are unanswered")]
    TooMany,
    /// The other side refuses.
    #[error("refused with code {}", .0.code.code())]
    Refused(Refused),
    /// No answer came in time.
    #[error("no answer in time")]
    Timeout,
}

/// An open lane in use, both ways.
#[derive(Debug)]
pub struct Link {
    id: LinkId,
    info: LaneInfo,
    out: Arc<Outgoing>,
    outstanding: Outstanding,
}

impl Link {
    /// Takes a lane into use: what the other side asks is answered by `server`. The lane lives until either side closes it.
    pub fn start(lane: Lane, server: Arc<Server>) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = LinkId(NEXT.fetch_add(1, Ordering::Relaxed));
        let Lane {
            info,
            sender,
            receiver,
        } = lane;
        let out = Outgoing::start(sender);
        let serving = ServingLane::start(server, id, info.clone(), out.clone());
        let outstanding = Outstanding::new(info.max_requests);
        let link = Arc::new(Self {
            id,
            info,
            out,
            outstanding,
        });
        tokio::spawn(link.clone().read(receiver, serving));
        link
    }

    /// Tells this link from the others of this process.
    pub const fn id(&self) -> LinkId {
        self.id
    }

    /// Who is at the other end, and how.
    pub const fn info(&self) -> &LaneInfo {
        &self.info
    }

    /// Smoothed round-trip time, where it is known.
    pub fn rtt(&self) -> Option<Duration> {
        self.out.rtt()
    }

    /// Asks the other side for a sign of life, where the lane can.
    pub fn ping(&self) {
        self.out.ping();
    }

    /// How long ago anything last arrived, where the lane can tell.
    pub fn silence(&self) -> Option<Duration> {
        self.out.silence()
    }

    /// Whether this side waits for answers, those to come of an open content not counted: only then is silence suspicious.
    pub fn is_waiting(&self) -> bool {
        self.outstanding.is_waiting()
    }

    /// Asks the other side who has something. A refusal with [`RefusalCode::NotFound`](crate::wire::RefusalCode::NotFound) says that it has nothing of it.
    pub async fn resolve(&self, query: Query) -> Result<Resolved, RequestError> {
        let (to, mut answers) = mpsc::unbounded_channel();
        let request = self.ask(Message::Resolve(query), Ask::Resolve, &to)?;
        let answer = tokio::time::timeout(RESOLVE_TIMEOUT, answers.recv()).await;
        match answer {
            Ok(Some(Answer {
                reply: Reply::Message(Message::Resolved(resolved)),
                ..
            })) => Ok(resolved),
            Ok(Some(Answer {
                reply: Reply::Message(Message::Refused(refused)),
                ..
            })) => Err(RequestError::Refused(refused)),
            Ok(Some(Answer {
                reply: Reply::Ended(end),
                ..
            })) => Err(end.into()),
            Ok(_) => Err(LinkEnd::Remote.into()),
            Err(_) => {
                self.cancel(request);
                Err(RequestError::Timeout)
            }
        }
    }

    /// Ends the link with a code and a text of `docs/protocol.md` §3.
    pub fn close(&self, code: u16, text: &str) {
        self.out.close(LinkEnd::Local, code, text);
    }

    /// Waits for the end of the link.
    pub async fn closed(&self) -> LinkEnd {
        self.out.ended().await
    }

    /// Whether the link has ended.
    pub fn is_closed(&self) -> bool {
        self.out.end().is_some()
    }

    /// Sends a request; its answers go to `to` until they are complete or [`cancel`](Self::cancel) is called.
    pub(crate) fn ask(
        &self,
        message: Message,
        ask: Ask,
        to: &AnswerTo,
    ) -> Result<u32, RequestError> {
        if let Some(end) = self.out.end() {
            return Err(end.into());
        }
        let request = self
            .outstanding
            .add(ask, to.clone())
            .ok_or(RequestError::TooMany)?;
        self.out.post(message, request);
        // The reader empties the list when the link ends; should that have been just now, nobody else does.
        if let Some(end) = self.out.end() {
            self.outstanding.remove(request);
            return Err(end.into());
        }
        Ok(request)
    }

    /// Gives up a request: nothing of it is handed over any more.
    pub(crate) fn cancel(&self, request: u32) {
        if self.outstanding.cancel(request) {
            self.out.post(Message::Cancel, request);
        }
    }

    /// Asks the other side to stop answering. What still comes is handed over, until the answer ends or is refused.
    pub(crate) fn stop(&self, request: u32) {
        if self.outstanding.contains(request) {
            self.out.post(Message::Cancel, request);
        }
    }

    /// Verified bytes have come over this link.
    pub(crate) fn trust(&self) {
        self.out.trust();
    }

    /// The answer is complete, as only the asker can tell.
    pub(crate) fn settle(&self, request: u32) {
        self.outstanding.remove(request);
    }

    /// Tells the other side that all of a content is here.
    pub(crate) fn done(&self, hash: ContentHash) {
        self.out.post(Message::Done(hash), 0);
    }

    async fn read(
        self: Arc<Self>,
        mut receiver: Box<dyn FrameReceiver>,
        serving: Arc<ServingLane>,
    ) {
        let end = loop {
            let frame = tokio::select! {
                frame = receiver.recv() => frame,
                end = self.out.ended() => break end,
            };
            let Some(frame) = frame else {
                break LinkEnd::Remote;
            };
            if let Err(violation) = self.take(frame, &serving) {
                tracing::debug!(node = %self.info.node.short(), violation, "lane closed");
                break LinkEnd::Violation(violation);
            }
        };
        match &end {
            LinkEnd::Violation(violation) => self.out.close(end.clone(), bye::PROTOCOL, violation),
            _ => self.out.close(end.clone(), bye::DONE, ""),
        }
        // Whatever ended the lane first is why it ended.
        let end = self.out.end().unwrap_or(end);
        serving.stop();
        self.outstanding.end(self.id, &end);
    }

    fn take(&self, frame: Frame, serving: &Arc<ServingLane>) -> Result<(), String> {
        let request = frame.request;
        let message = match Message::from_frame(frame) {
            Ok(Some(message)) => message,
            Ok(None) => return Ok(()),
            Err(error @ WireError::BadRequest { .. }) => {
                serving.refuse_malformed(request, &error.to_string());
                return Ok(());
            }
            Err(error) => return Err(error.to_string()),
        };
        match message {
            Message::Resolve(_)
            | Message::Open(_)
            | Message::ManifestGet(_)
            | Message::Get { .. }
            | Message::Cancel
            | Message::Done(_) => serving.take(request, message),
            answer => match self.outstanding.route(self.id, request, answer) {
                Routed::Taken => Ok(()),
                Routed::Unasked => Err("it sends what was not asked for".into()),
                Routed::Flood => Err("it sends more news than can be taken".into()),
            },
        }
    }
}
