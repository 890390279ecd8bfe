//! The UDP socket as many see it: QUIC, STUN questions, and the attempts that are going on.

mod ice;

use super::{UdpPort, canonical};
use crate::{
    attempt::{Port, Tag},
    stun::{Answer, Query, QueryError, TransactionId, is_stun},
};
use bytes::Bytes;
use ice::{IceRoutes, SentChecks};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

/// Datagrams of one attempt that wait to be looked at; what is more is dropped, and the peer repeats it.
const WAITING: usize = 128;
/// STUN questions at a time.
const MAX_QUESTIONS: usize = 32;

/// Whose a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The hub's: it has been dealt with.
    Taken,
    /// Somebody else's.
    Pass,
}

/// Sends on the shared socket, and picks from what arrives there what belongs to this crate. Clones are the same hub.
///
/// It does not read: whoever owns the socket calls [`UdpHub::receive`] for every datagram, or leaves that to
/// [`UdpReader`](super::UdpReader). Whoever reads another of this node's ports (an own allocation on a TURN server, a socket that a
/// tactic opened) calls [`UdpHub::receive_at`].
#[derive(Clone)]
pub struct UdpHub(Arc<Inner>);

struct Inner {
    port: Arc<dyn UdpPort>,
    /// The zero of the times that questions are told.
    start: Instant,
    questions: Mutex<BTreeMap<TransactionId, Question>>,
    attempts: Mutex<BTreeMap<Tag, mpsc::Sender<Datagram>>>,
    ice: Mutex<IceRoutes>,
}

struct Question {
    query: Query,
    ended: Arc<Notify>,
}

/// A datagram of an attempt.
#[derive(Debug)]
pub(crate) struct Datagram {
    /// At which port of this node it came.
    pub(crate) at: Port,
    pub(crate) source: SocketAddr,
    pub(crate) bytes: Bytes,
}

impl fmt::Debug for UdpHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UdpHub").field(&self.0.port).finish()
    }
}

impl UdpHub {
    /// A hub on that socket.
    pub fn new(port: Arc<dyn UdpPort>) -> Self {
        Self(Arc::new(Inner {
            port,
            start: Instant::now(),
            questions: Mutex::default(),
            attempts: Mutex::default(),
            ice: Mutex::default(),
        }))
    }

    /// The address of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.port.local_addr()
    }

    /// A datagram arrived at the shared socket. It takes our own packets, those of ICE, and the answers to our own STUN questions,
    /// and passes everything else, which costs two comparisons and no allocation.
    ///
    /// The packets of attempts are taken even if the attempt is gone: nobody else could do anything with them.
    pub fn receive(&self, source: SocketAddr, bytes: &[u8]) -> Verdict {
        self.receive_at(Port::Shared, source, bytes)
    }

    /// A datagram arrived at another port of this node; see [`UdpHub::receive`].
    pub fn receive_at(&self, at: Port, source: SocketAddr, bytes: &[u8]) -> Verdict {
        // The cheap test first: no QUIC packet with its fixed bit begins like either.
        if bytes.first().is_none_or(|first| first & 0x40 != 0) {
            return Verdict::Pass;
        }
        let source = canonical(source);
        if let Some(tag) = Tag::read(bytes) {
            self.deliver(tag, at, source, bytes);
            return Verdict::Taken;
        }
        if !is_stun(bytes) {
            return Verdict::Pass;
        }
        // Questions are asked from the shared socket alone.
        if at == Port::Shared && self.answer(source, bytes) {
            return Verdict::Taken;
        }
        let whose = self.0.ice().whose(bytes);
        let Some(tag) = whose else {
            return Verdict::Pass;
        };
        self.deliver(tag, at, source, bytes);
        Verdict::Taken
    }

    fn deliver(&self, tag: Tag, at: Port, source: SocketAddr, bytes: &[u8]) {
        let Some(attempt) = self.0.attempts().get(&tag).cloned() else {
            tracing::trace!(%source, "a packet of no attempt");
            return;
        };
        if let Ok(place) = attempt.try_reserve() {
            let bytes = Bytes::copy_from_slice(bytes);
            place.send(Datagram { at, source, bytes });
        }
    }

    fn answer(&self, source: SocketAddr, bytes: &[u8]) -> bool {
        let now = self.0.start.elapsed();
        let mut questions = self.0.questions();
        for question in questions.values_mut() {
            if question.query.on_datagram(now, source, bytes) {
                question.ended.notify_one();
                return true;
            }
        }
        false
    }

    /// Asks a STUN server from where it sees this socket come.
    ///
    /// # Errors
    /// No answer, no way to the server, or no room for another question.
    pub async fn ask(&self, server: SocketAddr) -> Result<Answer, AskError> {
        let mut id = [0; 12];
        getrandom::fill(&mut id).map_err(|_| AskError::Randomness)?;
        let asking = Asking::begin(self, canonical(server), TransactionId(id))?;
        loop {
            let due = match asking.step(&self.0)? {
                Step::Ended(answer) => return Ok(answer?),
                Step::Due(due) => self.0.start + due,
            };
            // Whichever is first, the next step sees it.
            let _ = tokio::time::timeout_at(due, asking.ended.notified()).await;
        }
    }

    /// Sends a datagram of an attempt.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8], ttl: Option<u8>) -> io::Result<()> {
        self.0.port.send(to, bytes, ttl)
    }

    /// Whether no attempt is attached and no question open.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.attempts().is_empty() && self.0.questions().is_empty() && self.0.ice().is_empty()
    }

    /// Datagrams with this tag go to the returned queue until that is dropped. `None` if the tag is in use.
    pub(crate) fn attach(&self, tag: Tag) -> Option<UdpArrivals> {
        let (sender, queue) = mpsc::channel(WAITING);
        let mut attempts = self.0.attempts();
        if attempts.contains_key(&tag) {
            return None;
        }
        attempts.insert(tag, sender);
        drop(attempts);
        Some(UdpArrivals {
            tag,
            hub: self.clone(),
            queue,
            sent: SentChecks::default(),
        })
    }
}

impl Inner {
    fn questions(&self) -> MutexGuard<'_, BTreeMap<TransactionId, Question>> {
        self.questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn attempts(&self) -> MutexGuard<'_, BTreeMap<Tag, mpsc::Sender<Datagram>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ice(&self) -> MutexGuard<'_, IceRoutes> {
        self.ice.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question while somebody waits for its answer; forgotten when dropped.
struct Asking<'a> {
    hub: &'a UdpHub,
    id: TransactionId,
    ended: Arc<Notify>,
}

enum Step {
    Ended(Result<Answer, QueryError>),
    Due(Duration),
}

impl<'a> Asking<'a> {
    fn begin(hub: &'a UdpHub, server: SocketAddr, id: TransactionId) -> Result<Self, AskError> {
        let ended = Arc::new(Notify::new());
        let query = Query::new(hub.0.start.elapsed(), server, id);
        let mut questions = hub.0.questions();
        if questions.len() >= MAX_QUESTIONS {
            return Err(AskError::Busy);
        }
        let question = Question {
            query,
            ended: Arc::clone(&ended),
        };
        questions.insert(id, question);
        drop(questions);
        Ok(Self { hub, id, ended })
    }

    fn step(&self, inner: &Inner) -> Result<Step, AskError> {
        let mut questions = inner.questions();
        let Some(Question { query, .. }) = questions.get_mut(&self.id) else {
            return Ok(Step::Ended(Err(QueryError::NoAnswer)));
        };
        let request = query.poll(inner.start.elapsed());
        let (server, outcome, due) = (query.server(), query.outcome(), query.timeout());
        drop(questions);
        if let Some(request) = request {
            inner.port.send(server, &request, None)?;
        }
        Ok(match (outcome, due) {
            (Some(outcome), _) => Step::Ended(outcome),
            (None, due) => Step::Due(due.unwrap_or_default()),
        })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.hub.0.questions().remove(&self.id);
    }
}

/// Datagrams of one attempt.
#[derive(Debug)]
pub(crate) struct UdpArrivals {
    tag: Tag,
    hub: UdpHub,
    queue: mpsc::Receiver<Datagram>,
    sent: SentChecks,
}

impl UdpArrivals {
    /// The next one; never `None` while this value lives, since the hub keeps the other end.
    pub(crate) async fn next(&mut self) -> Option<Datagram> {
        self.queue.recv().await
    }

    /// ICE checks for this username fragment (RFC 8445 §5.3) belong to the attempt from now on; whether it was free.
    pub(crate) fn attach_ice(&self, ufrag: &str) -> bool {
        self.hub.0.ice().attach(ufrag, self.tag)
    }

    /// This was sent, from whichever port: if it was an ICE check, the answer belongs to the attempt.
    pub(crate) fn note_sent(&mut self, bytes: &[u8]) {
        if is_stun(bytes) {
            let mut routes = self.hub.0.ice();
            self.sent.note(&mut routes, self.tag, bytes);
        }
    }
}

impl Drop for UdpArrivals {
    fn drop(&mut self) {
        self.hub.0.attempts().remove(&self.tag);
        self.hub.0.ice().detach(self.tag);
    }
}

/// Why a STUN server told nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The server did not answer, or refused.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The request could not be sent.
    #[error("the STUN server cannot be reached from this machine: {0}")]
    Send(#[from] io::Error),
    /// Too many questions at a time.
    #[error("too many STUN servers are being asked; name fewer")]
    Busy,
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Randomness,
}

#[cfg(test)]
mod tests;
