//! One allocation as its users see it.

use super::link::Out;
use crate::turn::{
    TurnTransport,
    client::{Client, SendError, Sent},
};
use bytes::Bytes;
use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

/// Datagrams of peers that wait to be taken; what comes on top is dropped, as a socket's buffer does.
const ARRIVED: usize = 1024;

/// An address on a TURN server that is ours while this is up. Clones are the same one, and share what arrives.
#[derive(Clone)]
pub struct Relay {
    shared: Arc<Shared>,
    relayed: SocketAddr,
}

/// What an allocation's users and its task share.
pub(super) struct Shared {
    /// The zero of the client's times.
    start: Instant,
    server: SocketAddr,
    transport: TurnTransport,
    speaker: Mutex<Speaker>,
    arrived: Mutex<Arrived>,
    up: watch::Sender<bool>,
    /// Tells the task that the client's times have changed, or that somebody waits to send.
    pub(super) changed: Notify,
}

/// The client, and the way that its frames leave.
pub(super) struct Speaker {
    pub(super) client: Client,
    pub(super) out: Out,
    frame: Vec<u8>,
    /// When a datagram left for a peer last.
    pub(super) used: Duration,
    /// Who waits until more can be sent; `Some` from the first refusal on.
    blocked: Option<Vec<Waker>>,
}

#[derive(Default)]
struct Arrived {
    queue: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
}

impl Shared {
    pub(super) fn new(
        start: Instant,
        transport: TurnTransport,
        client: Client,
        out: Out,
    ) -> Arc<Self> {
        Arc::new(Self {
            start,
            server: client.address(),
            transport,
            speaker: Mutex::new(Speaker {
                client,
                out,
                frame: Vec::new(),
                used: Duration::ZERO,
                blocked: None,
            }),
            arrived: Mutex::default(),
            up: watch::Sender::new(true),
            changed: Notify::new(),
        })
    }

    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub(super) fn speaker(&self) -> MutexGuard<'_, Speaker> {
        self.speaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands datagrams of peers on.
    pub(super) fn deliver(&self, datagrams: &mut Vec<(SocketAddr, Bytes)>) {
        if datagrams.is_empty() {
            return;
        }
        let mut arrived = self.arrived();
        let room = ARRIVED.saturating_sub(arrived.queue.len());
        arrived.queue.extend(datagrams.drain(..).take(room));
        let waker = arrived.waker.take();
        drop(arrived);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Lets those go on who waited to send.
    pub(super) fn unblock(&self) {
        let waiting = self.speaker().blocked.take();
        for waker in waiting.into_iter().flatten() {
            waker.wake();
        }
    }

    /// The allocation is gone.
    pub(super) fn close(&self) {
        self.up.send_replace(false);
        let waker = self.arrived().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
        self.unblock();
    }
}

impl Speaker {
    /// Sends what the client has to say.
    pub(super) fn flush(&mut self, now: Duration) {
        while let Some(message) = self.client.poll_transmit(now) {
            self.out.request(message);
        }
    }

    pub(super) const fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }
}

impl Relay {
    pub(super) const fn new(shared: Arc<Shared>, relayed: SocketAddr) -> Self {
        Self { shared, relayed }
    }

    /// The address at which peers reach us through the server. It stays the same for the life of the allocation.
    pub const fn relayed(&self) -> SocketAddr {
        self.relayed
    }

    /// From where the server sees us come: of UDP, an outside address of this machine, though not of the node's own port.
    pub fn mapped(&self) -> SocketAddr {
        let mapped = self.shared.speaker().client.mapped();
        mapped.unwrap_or(self.relayed)
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.shared.server
    }

    /// How we speak to the server.
    pub fn transport(&self) -> TurnTransport {
        self.shared.transport
    }

    /// Lets datagrams from that address in, from every port (RFC 8656 §9). Sending does so by itself; doing it earlier saves
    /// the first datagrams a round trip to the server.
    pub fn permit(&self, ip: IpAddr) {
        let now = self.shared.now();
        let mut speaker = self.shared.speaker();
        speaker.client.permit(now, ip);
        speaker.flush(now);
        drop(speaker);
        self.shared.changed.notify_one();
    }

    /// Sends a datagram to a peer through the server. It never waits. The first ones to an address wait for its permission, at most
    /// eight, the newest. As with any datagram, success means that it has left, or is about to, and no more.
    ///
    /// # Errors
    /// `WouldBlock` if what was sent before has not left yet: try again after [`Self::poll_writable`]. `NotConnected` if the
    /// allocation is gone. `PermissionDenied` and `InvalidInput` if the server, or its kind of address, does not reach the peer.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let now = self.shared.now();
        let mut guard = self.shared.speaker();
        let speaker = &mut *guard;
        let before = speaker.client.timeout();
        let sent = speaker.client.send(now, to, bytes, &mut speaker.frame);
        let sent = match sent {
            Ok(Sent::Frame) => speaker.out.data(&speaker.frame),
            Ok(Sent::Held) => Ok(()),
            Err(error) => Err(refusal(error)),
        };
        match &sent {
            Ok(()) => speaker.used = now,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                speaker.blocked.get_or_insert_default();
            }
            Err(_) => {}
        }
        speaker.flush(now);
        // Most datagrams change nothing that the task waits for.
        let changed = speaker.is_blocked() || speaker.client.timeout() < before;
        drop(guard);
        if changed {
            self.shared.changed.notify_one();
        }
        sent
    }

    /// The next datagram that a peer sent and that is not of an attempt; `None` when the allocation is gone. One task at a time
    /// can wait.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<(SocketAddr, Bytes)>> {
        let mut arrived = self.shared.arrived();
        if let Some(datagram) = arrived.queue.pop_front() {
            return Poll::Ready(Some(datagram));
        }
        if !self.is_up() {
            return Poll::Ready(None);
        }
        arrived.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when [`Self::send`] is likely not to be refused for want of room. Any number of tasks may wait.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_up() {
            return Poll::Ready(Err(refusal(SendError::NotUp)));
        }
        let mut speaker = self.shared.speaker();
        let Some(waiting) = &mut speaker.blocked else {
            return Poll::Ready(Ok(()));
        };
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether the allocation is there.
    pub fn is_up(&self) -> bool {
        *self.shared.up.borrow()
    }

    /// Returns when the allocation is gone.
    pub async fn closed(&self) {
        // An error would mean that the sender is gone, which it is not while `self` lives.
        let _ = self.shared.up.subscribe().wait_for(|up| !up).await;
    }
}

fn refusal(error: SendError) -> io::Error {
    let kind = match error {
        SendError::NotUp => io::ErrorKind::NotConnected,
        SendError::Refused => io::ErrorKind::PermissionDenied,
        SendError::TooManyPeers => io::ErrorKind::QuotaExceeded,
        SendError::Family | SendError::TooLong => io::ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("relayed", &self.relayed)
            .field("server", &self.server())
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}
