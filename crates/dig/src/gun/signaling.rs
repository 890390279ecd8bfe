//! Signals over Gun relays.

use super::{
    graph::SharedGraph,
    layout::{self, Slots},
    mailbox::{self, Mailbox},
    prekeys::{self, PrekeyShelf},
};
use bytes::Bytes;
use data_encoding::BASE64;
use dig_nat::signaling::{MAX_SIGNAL, Signal, SignalError, Signaling};
use dig_types::{Clock, NodeId};
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex as AsyncMutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages that wait for their reader; what comes beyond is lost, as carriers may.
const QUEUE: usize = 256;
/// How often it is looked at whether another day has begun: a machine that slept does not know how long.
const LOOK: Duration = Duration::from_secs(600);
/// Messages on their way to relays; one more is refused.
const MAX_SENDING: usize = 256;

/// [`Signaling`] through mailboxes in the graph. Clones are the same. It must live on a tokio runtime.
///
/// Nothing is read unless somebody [listens](Self::listen). A message says nothing of its sender but to its recipient, so no
/// address is ever vouched for.
#[derive(Debug, Clone)]
pub struct GunSignaling(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    graph: Arc<dyn SharedGraph>,
    clock: Arc<dyn Clock>,
    node: NodeId,
    shelf: PrekeyShelf,
    arrived: AsyncMutex<mpsc::Receiver<Signal>>,
    /// `None` when it was closed.
    arrivals: Mutex<Option<mpsc::Sender<Signal>>>,
    listeners: watch::Sender<usize>,
    sending: Arc<AtomicUsize>,
    /// Microseconds since 1970, but each once.
    last_key: AtomicU64,
    stop: CancellationToken,
}

/// As long as one is kept, the mailbox is read.
#[derive(Debug)]
pub struct Listening(Arc<Inner>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listeners.send_modify(|listeners| *listeners -= 1);
    }
}

impl GunSignaling {
    /// The signals of `node`.
    pub fn new(graph: Arc<dyn SharedGraph>, clock: Arc<dyn Clock>, node: NodeId) -> Self {
        let (arrivals, arrived) = mpsc::channel(QUEUE);
        let inner = Arc::new(Inner {
            graph,
            clock,
            node,
            shelf: PrekeyShelf::default(),
            arrived: AsyncMutex::new(arrived),
            arrivals: Mutex::new(Some(arrivals)),
            listeners: watch::Sender::new(0),
            sending: Arc::default(),
            last_key: AtomicU64::default(),
            stop: CancellationToken::new(),
        });
        tokio::spawn(read(
            Arc::downgrade(&inner),
            inner.listeners.subscribe(),
            inner.stop.clone(),
        ));
        Self(inner)
    }

    /// Reads this node's mailbox from now on, until what it gives is dropped.
    pub fn listen(&self) -> Listening {
        self.0.listeners.send_modify(|listeners| *listeners += 1);
        Listening(self.0.clone())
    }

    /// Publishes this node's prekey, so that others can write to it, and keeps it published: each later one, each day, and at each relay that
    /// comes or comes back. Until [`close`](Self::close).
    pub fn keep_published(&self, mut prekey: watch::Receiver<Bytes>) {
        let inner = self.0.clone();
        tokio::spawn(async move {
            loop {
                let changed = inner.graph.relays_changed();
                inner.publish(&prekey.borrow_and_update());
                let again = Slots::PREKEY.until_change(inner.clock.now()).min(LOOK);
                tokio::select! {
                    () = inner.stop.cancelled() => return,
                    changed = prekey.changed() => if changed.is_err() { return },
                    () = changed => {}
                    () = tokio::time::sleep(again) => {}
                }
            }
        });
    }

    /// Ends [`receive`](Signaling::receive) after what has already come, and publishes no more.
    pub fn close(&self) {
        self.0.stop.cancel();
        let mut arrivals = self
            .0
            .arrivals
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *arrivals = None;
    }

    /// Whether a message could be sent now.
    pub(crate) fn is_up(&self) -> bool {
        !self.0.graph.relays().is_empty()
    }

    /// Whether there is any relay that one could be sent over, now or before long.
    pub(crate) fn has_relays(&self) -> bool {
        self.0.graph.has_relays()
    }

    /// Waits until a message could be sent.
    pub(crate) async fn up(&self) {
        loop {
            let changed = self.0.graph.relays_changed();
            if self.is_up() {
                return;
            }
            changed.await;
        }
    }

    pub(super) fn shelf(&self) -> &PrekeyShelf {
        &self.0.shelf
    }
}

impl Inner {
    fn publish(&self, prekey: &Bytes) {
        let text = BASE64.encode(prekey);
        for day in Slots::PREKEY.read_at(self.clock.now()).skip(1) {
            let node = layout::prekeys(self.node, day)
                .zip(Slots::PREKEY.state(day))
                .and_then(|(soul, state)| layout::content(soul, &text, state));
            let Some(node) = node else { continue };
            let put = self.graph.put(node);
            tokio::spawn(async move {
                if let Err(error) = put.await {
                    tracing::debug!(%error, "the prekey is not published yet");
                }
            });
        }
    }

    /// A key after all that were given before: messages that come together are read in the order of their keys, and the recipient of
    /// an earlier one refuses it after a later one. `None` without random numbers.
    fn next_key(&self) -> Option<[u8; 16]> {
        let now = self.clock.now().as_millis().saturating_mul(1000);
        let next = |last: u64| now.max(last.saturating_add(1));
        let after = |last| Some(next(last));
        let last = self
            .last_key
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
        let mut key = [0; 16];
        key[..8].copy_from_slice(&next(last.unwrap_or_default()).to_be_bytes());
        getrandom::fill(&mut key[8..]).ok()?;
        Some(key)
    }

    fn arrive(&self, message: Bytes) {
        let signal = Signal {
            from: None,
            observed: Vec::new(),
            bytes: message,
        };
        let arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(arrivals) = &*arrivals
            && arrivals.try_send(signal).is_err()
        {
            tracing::debug!("a signal was lost: too many wait");
        }
    }
}

/// Reads the mailbox while anybody listens.
async fn read(
    inner: std::sync::Weak<Inner>,
    mut listeners: watch::Receiver<usize>,
    stop: CancellationToken,
) {
    let reading = async {
        loop {
            if listeners
                .wait_for(|listeners| *listeners > 0)
                .await
                .is_err()
            {
                return;
            }
            let Some(strong) = inner.upgrade() else {
                return;
            };
            let (graph, clock) = (strong.graph.clone(), strong.clock.clone());
            let mut mailbox = Mailbox::new(graph, clock, strong.node);
            drop(strong);
            loop {
                tokio::select! {
                    unheard = listeners.wait_for(|listeners| *listeners == 0) => {
                        if unheard.is_err() {
                            return;
                        }
                        break;
                    }
                    messages = mailbox.take() => {
                        let Some(strong) = inner.upgrade() else { return };
                        messages.into_iter().for_each(|message| strong.arrive(message));
                    }
                }
            }
        }
    };
    tokio::select! {
        () = reading => {}
        () = stop.cancelled() => {}
    }
}

/// Counts a message on its way.
struct Sending(Arc<AtomicUsize>);

impl Sending {
    fn begin(count: &Arc<AtomicUsize>) -> Option<Self> {
        let one_more = |sending| (sending < MAX_SENDING).then_some(sending + 1);
        let begun = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        begun.is_ok().then(|| Self(count.clone()))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Signaling for GunSignaling {
    /// Lays the message into the node's mailbox. Nobody tells whether it is taken out there.
    fn send(&self, to: NodeId, message: Bytes) -> BoxFuture<'_, Result<(), SignalError>> {
        Box::pin(async move {
            if message.len() > MAX_SIGNAL {
                return Err(SignalError::TooLarge);
            }
            if !self.is_up() {
                return Err(SignalError::NoCarrier);
            }
            let sending = Sending::begin(&self.0.sending).ok_or(SignalError::Busy)?;
            let key = self.0.next_key().ok_or(SignalError::NoCarrier)?;
            let posted = mailbox::post(&*self.0.graph, &*self.0.clock, to, key, &message);
            let mut posted = posted.ok_or(SignalError::NoCarrier)?;
            // It is on its way now, before any later one, not when its task has its turn.
            let at_once = (&mut posted).now_or_never();
            // A message that is not there in time is said again; who sends it does not wait for the relay's disk.
            tokio::spawn(async move {
                let handed = match at_once {
                    Some(handed) => handed,
                    None => posted.await,
                };
                if let Err(error) = handed {
                    tracing::debug!(%error, "a signal was not handed on");
                }
                drop(sending);
            });
            Ok(())
        })
    }

    fn receive(&self) -> BoxFuture<'_, Option<Signal>> {
        Box::pin(async { self.0.arrived.lock().await.recv().await })
    }

    fn prekey(&self, of: NodeId) -> BoxFuture<'_, Result<Bytes, SignalError>> {
        Box::pin(prekeys::find(
            &*self.0.graph,
            &*self.0.clock,
            &self.0.shelf,
            of,
        ))
    }
}

#[cfg(test)]
mod tests;
