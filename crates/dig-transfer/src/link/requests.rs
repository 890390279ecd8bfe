//! The requests of this side that are not answered yet.

use super::{LinkEnd, LinkId};
use crate::{
    chunk::GROUP_CHUNKS,
    layout::MAX_NODES,
    wire::{MAX_MANIFEST_NODES, Message},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

/// Cancelled requests that are remembered, so that what is still on its way is told from what was never asked for.
const REMEMBERED: usize = 1_024;
/// `HAVE`s of one `OPEN` that may wait to be looked at: two bitmaps of 16 million groups.
const MAX_NEWS: usize = 256;
/// Opens a lane (`docs/protocol.md` §11).
pub(crate) const MAX_OPENS: usize = 256;
/// Most unanswered requests, even if the other side takes more.
const MAX_REQUESTS: usize = 256;

/// Where answers go. Unbounded as a channel, bounded by what was asked for.
pub(crate) type AnswerTo = mpsc::UnboundedSender<Answer>;

/// Part of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) link: LinkId,
    pub(crate) request: u32,
    pub(crate) reply: Reply,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Reply {
    Message(Message),
    /// A `HAVE`; it counts as waiting until it is dropped.
    News(
        Message,
        #[expect(dead_code, reason = "it acts when it is dropped")] Waiting,
    ),
    /// The link ended before the answer was complete.
    Ended(LinkEnd),
}

/// Counts one `HAVE` that waits.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is asked, for the list of what may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Resolve,
    Open,
    Manifest,
    Chunks { count: u8, entries: bool },
}

/// What may still come.
#[derive(Debug)]
enum Expected {
    Resolved,
    Info,
    News(Arc<AtomicUsize>),
    Manifest { frames: usize },
    Chunks { entries: bool, count: u8 },
}

/// What became of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Routed {
    Taken,
    Unasked,
    Flood,
}

#[derive(Debug)]
struct Request {
    expected: Expected,
    to: AnswerTo,
}

#[derive(Debug, Default)]
struct Table {
    last: u32,
    opens: usize,
    open: HashMap<u32, Request>,
    cancelled: VecDeque<u32>,
}

#[derive(Debug)]
pub(super) struct Outstanding {
    most: usize,
    table: Mutex<Table>,
}

impl Outstanding {
    pub(super) fn new(max_requests: u16) -> Self {
        let most = usize::from(max_requests).clamp(1, MAX_REQUESTS);
        Self {
            most,
            table: Mutex::default(),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request under a new id; `None` if there are too many.
    pub(super) fn add(&self, ask: Ask, to: AnswerTo) -> Option<u32> {
        let mut table = self.table();
        let full = match ask {
            Ask::Open => table.opens >= MAX_OPENS,
            _ => table.open.len() - table.opens >= self.most,
        };
        if full {
            return None;
        }
        let expected = match ask {
            Ask::Resolve => Expected::Resolved,
            Ask::Open => Expected::Info,
            Ask::Manifest => Expected::Manifest {
                frames: MAX_NODES as usize / MAX_MANIFEST_NODES,
            },
            Ask::Chunks { count, entries } => Expected::Chunks {
                entries,
                count: count.min(GROUP_CHUNKS as u8),
            },
        };
        let id = table.next_id();
        table.opens += usize::from(ask == Ask::Open);
        table.open.insert(id, Request { expected, to });
        Some(id)
    }

    /// Whether an answer is due; news of an open content come when there are any.
    pub(super) fn is_waiting(&self) -> bool {
        let table = self.table();
        table.open.len() > table.opens
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.table().open.contains_key(&id)
    }

    /// Forgets a request whose answer is complete.
    pub(super) fn remove(&self, id: u32) {
        self.table().remove(id);
    }

    /// Forgets a request that is no longer wanted; whether there was one.
    pub(super) fn cancel(&self, id: u32) -> bool {
        let mut table = self.table();
        let there = table.remove(id).is_some();
        if there {
            if table.cancelled.len() == REMEMBERED {
                table.cancelled.pop_front();
            }
            table.cancelled.push_back(id);
        }
        there
    }

    /// Hands an answer to whoever asked.
    pub(super) fn route(&self, link: LinkId, id: u32, message: Message) -> Routed {
        let mut table = self.table();
        let Some(request) = table.open.get_mut(&id) else {
            return if table.cancelled.contains(&id) {
                Routed::Taken
            } else {
                Routed::Unasked
            };
        };
        let Some(complete) = request.expected.advance(&message) else {
            return Routed::Unasked;
        };
        let reply = match &request.expected {
            Expected::News(waiting) if matches!(message, Message::Have { .. }) => {
                if waiting.fetch_add(1, Ordering::Relaxed) >= MAX_NEWS {
                    return Routed::Flood;
                }
                Reply::News(message, Waiting(waiting.clone()))
            }
            _ => Reply::Message(message),
        };
        // Whoever asked may be gone; then the answer is dropped like that of a cancelled request.
        let _ = request.to.send(Answer {
            link,
            request: id,
            reply,
        });
        if complete {
            table.remove(id);
        }
        Routed::Taken
    }

    /// The lane has ended: tells everybody who still waits.
    pub(super) fn end(&self, link: LinkId, end: &LinkEnd) {
        let requests: Vec<_> = self.table().open.drain().collect();
        for (request, Request { to, .. }) in requests {
            let _ = to.send(Answer {
                link,
                request,
                reply: Reply::Ended(end.clone()),
            });
        }
    }
}

impl Table {
    fn next_id(&mut self) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if self.last != 0 && !self.open.contains_key(&self.last) {
                return self.last;
            }
        }
    }

    fn remove(&mut self, id: u32) -> Option<Request> {
        let request = self.open.remove(&id)?;
        self.opens -= usize::from(matches!(
            request.expected,
            Expected::Info | Expected::News(_)
        ));
        Some(request)
    }
}

impl Expected {
    /// Takes note of a frame: whether the answer is complete with it, or `None` if it is none of this answer.
    fn advance(&mut self, message: &Message) -> Option<bool> {
        if matches!(message, Message::Refused(_)) {
            return Some(true);
        }
        match (&mut *self, message) {
            (Self::Resolved, Message::Resolved(_)) => Some(true),
            (Self::Info, Message::Info(_)) => {
                *self = Self::News(Arc::default());
                Some(false)
            }
            (Self::News(_), Message::Have { .. }) => Some(false),
            (Self::Manifest { frames }, Message::Manifest { .. }) => {
                *frames = frames.checked_sub(1)?;
                Some(*frames == 0)
            }
            (
                Self::Chunks {
                    entries: entries @ true,
                    ..
                },
                Message::Entries { .. },
            ) => {
                *entries = false;
                Some(false)
            }
            (
                Self::Chunks {
                    entries: false,
                    count,
                },
                Message::Data(_),
            ) => {
                *count = count.checked_sub(1)?;
                Some(*count == 0)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        chunk::Digest,
        wire::{RefusalCode, Refused},
    };
    use bytes::Bytes;

    fn data() -> Message {
        Message::Data(Bytes::from_static(b"x"))
    }

    fn entries() -> Message {
        Message::Entries {
            entries: vec![Digest([0; 32])],
            path: Vec::new(),
        }
    }

    fn have() -> Message {
        Message::Have {
            first: 0,
            bitmap: Bytes::from_static(&[1]),
        }
    }

    #[test]
    fn only_what_was_asked_for_is_taken() {
        let (outstanding, (to, mut answers)) = (Outstanding::new(64), mpsc::unbounded_channel());
        let route = |id, message| outstanding.route(LinkId(1), id, message);
        let id = outstanding
            .add(
                Ask::Chunks {
                    count: 2,
                    entries: true,
                },
                to.clone(),
            )
            .unwrap();
        assert_eq!(route(id, data()), Routed::Unasked);
        assert_eq!(route(id, entries()), Routed::Taken);
        assert_eq!(route(id, entries()), Routed::Unasked);
        assert_eq!(route(id, data()), Routed::Taken);
        assert_eq!(route(id, data()), Routed::Taken);
        assert_eq!(route(id, data()), Routed::Unasked);
        assert_eq!(route(id + 1, data()), Routed::Unasked);
        assert_eq!(std::iter::from_fn(|| answers.try_recv().ok()).count(), 3);
    }

    #[test]
    fn after_cancel_the_rest_is_dropped() {
        let (outstanding, (to, mut answers)) = (Outstanding::new(64), mpsc::unbounded_channel());
        let id = outstanding
            .add(
                Ask::Chunks {
                    count: 2,
                    entries: false,
                },
                to,
            )
            .unwrap();
        assert!(outstanding.cancel(id) && !outstanding.cancel(id));
        let refused = Message::Refused(Refused::new(RefusalCode::Cancelled, ""));
        for message in [data(), data(), refused] {
            assert_eq!(outstanding.route(LinkId(1), id, message), Routed::Taken);
        }
        assert!(answers.try_recv().is_err());
    }

    #[test]
    fn news_are_bounded_until_they_are_read() {
        let (outstanding, (to, mut answers)) = (Outstanding::new(64), mpsc::unbounded_channel());
        let id = outstanding.add(Ask::Open, to).unwrap();
        let header = crate::header::ContentHeader::file(1, Digest([0; 32]));
        let info = crate::wire::Info {
            header,
            complete: false,
            name: None,
        };
        assert_eq!(outstanding.route(LinkId(1), id, have()), Routed::Unasked);
        assert_eq!(
            outstanding.route(LinkId(1), id, Message::Info(info)),
            Routed::Taken
        );
        for _ in 0..MAX_NEWS {
            assert_eq!(outstanding.route(LinkId(1), id, have()), Routed::Taken);
        }
        for _ in 0..2 {
            drop(answers.try_recv().unwrap());
        }
        assert_eq!(outstanding.route(LinkId(1), id, have()), Routed::Taken);
        assert_eq!(outstanding.route(LinkId(1), id, have()), Routed::Flood);
    }

    #[test]
    fn requests_are_as_many_as_the_other_side_takes() {
        let (outstanding, (to, _answers)) = (Outstanding::new(4), mpsc::unbounded_channel());
        let open = outstanding.add(Ask::Open, to.clone()).unwrap();
        assert!(!outstanding.is_waiting(), "news come when there are any");
        let ids: Vec<_> = (0..4)
            .map(|_| outstanding.add(Ask::Manifest, to.clone()).unwrap())
            .collect();
        assert_eq!(outstanding.add(Ask::Manifest, to.clone()), None);
        assert!(outstanding.is_waiting());
        outstanding.remove(ids[2]);
        outstanding.remove(open);
        assert!(outstanding.add(Ask::Manifest, to).is_some());
    }
}
