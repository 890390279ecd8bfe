//! A network in memory, for virtual time: one bottleneck, a delay, and sockets that move and fall silent.

use dig_session::{DatagramSocket, Ecn, Received, Transmit, Writable};
use std::{
    collections::BTreeMap,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, Weak},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

/// What passes, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// One way.
    pub(crate) delay: Duration,
    /// Bytes a second towards each socket.
    pub(crate) rate: u64,
    /// Longer datagrams are lost.
    pub(crate) largest: usize,
}

impl Default for Way {
    fn default() -> Self {
        Self {
            delay: Duration::from_millis(20),
            rate: 5_000_000,
            largest: 1472,
        }
    }
}

/// Bytes that wait at the bottleneck, as a time; what comes later is lost.
const BACKLOG: Duration = Duration::from_millis(100);

#[derive(Debug, Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    way: Way,
    sockets: BTreeMap<SocketAddr, Place>,
    seen: Seen,
}

#[derive(Debug)]
struct Place {
    inbox: mpsc::UnboundedSender<Datagram>,
    /// When the bottleneck towards it is free.
    free: Instant,
}

/// What was sent, delivered or not.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    pub(crate) datagrams: u64,
    pub(crate) largest: usize,
    pub(crate) batches: u64,
}

#[derive(Debug)]
struct Datagram {
    due: Instant,
    source: SocketAddr,
    ecn: Option<Ecn>,
    bytes: Vec<u8>,
}

impl Net {
    pub(crate) fn new(way: Way) -> Self {
        Self(Arc::new(Mutex::new(State {
            way,
            sockets: BTreeMap::new(),
            seen: Seen::default(),
        })))
    }

    /// A socket that takes batches of `segments` datagrams.
    pub(crate) fn socket(&self, addr: &str, segments: usize) -> Arc<NetSocket> {
        let (sender, inbox) = mpsc::unbounded_channel();
        let socket = NetSocket {
            net: self.clone(),
            segments,
            at: Mutex::new(Some(addr.parse().unwrap())),
            inbox: Mutex::new(Inbox {
                inbox,
                next: None,
                wait: None,
            }),
            sender,
        };
        socket.settle();
        Arc::new(socket)
    }

    /// From now on longer datagrams are lost.
    pub(crate) fn narrow(&self, largest: usize) {
        self.lock().way.largest = largest;
    }

    pub(crate) fn seen(&self) -> Seen {
        self.lock().seen
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn carry(&mut self, from: SocketAddr, to: SocketAddr, ecn: Option<Ecn>, bytes: &[u8]) {
        self.seen.datagrams += 1;
        self.seen.largest = self.seen.largest.max(bytes.len());
        let Some(place) = self.sockets.get_mut(&to) else {
            return;
        };
        let now = Instant::now();
        let start = place.free.max(now);
        if bytes.len() > self.way.largest || start - now > BACKLOG {
            return;
        }
        let micros = bytes.len() as u64 * 1_000_000 / self.way.rate;
        place.free = start + Duration::from_micros(micros);
        let due = place.free + self.way.delay;
        let _ = place.inbox.send(Datagram {
            due,
            source: from,
            ecn,
            bytes: bytes.to_vec(),
        });
    }
}

#[derive(Debug)]
pub(crate) struct NetSocket {
    net: Net,
    segments: usize,
    /// `None`: cut off.
    at: Mutex<Option<SocketAddr>>,
    inbox: Mutex<Inbox>,
    sender: mpsc::UnboundedSender<Datagram>,
}

#[derive(Debug)]
struct Inbox {
    inbox: mpsc::UnboundedReceiver<Datagram>,
    next: Option<Datagram>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl NetSocket {
    /// From now on it is at another address, and nobody at the old one.
    pub(crate) fn move_to(&self, addr: &str) {
        self.cut();
        *self.at.lock().unwrap() = Some(addr.parse().unwrap());
        self.settle();
    }

    /// Nothing comes or goes any more.
    pub(crate) fn cut(&self) {
        if let Some(at) = self.at.lock().unwrap().take() {
            self.net.lock().sockets.remove(&at);
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.at.lock().unwrap().unwrap()
    }

    fn settle(&self) {
        let place = Place {
            inbox: self.sender.clone(),
            free: Instant::now(),
        };
        self.net.lock().sockets.insert(self.addr(), place);
    }
}

impl Drop for NetSocket {
    fn drop(&mut self) {
        self.cut();
    }
}

impl DatagramSocket for NetSocket {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Some(from) = *self.at.lock().unwrap() else {
            return Err(io::ErrorKind::NetworkUnreachable.into());
        };
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let mut net = self.net.lock();
        net.seen.batches += u64::from(transmit.contents.len() > size);
        for datagram in transmit.contents.chunks(size.max(1)) {
            net.carry(from, transmit.destination, transmit.ecn, datagram);
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>> {
        let mut inbox = self.inbox.lock().unwrap();
        let mut filled = 0;
        while filled < buffers.len().min(received.len()) {
            let Poll::Ready(datagram) = inbox.poll_due(cx) else {
                break;
            };
            let len = datagram.bytes.len().min(buffers[filled].len());
            buffers[filled][..len].copy_from_slice(&datagram.bytes[..len]);
            received[filled] = Received {
                source: datagram.source,
                len,
                stride: len,
                ecn: datagram.ecn,
                destination: None::<IpAddr>,
            };
            filled += 1;
        }
        if filled == 0 {
            Poll::Pending
        } else {
            Poll::Ready(Ok(filled))
        }
    }

    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>> {
        Box::pin(Free(self))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.addr())
    }

    fn max_transmit_segments(&self) -> usize {
        self.segments
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Inbox {
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Datagram> {
        if self.next.is_none() {
            let Poll::Ready(Some(next)) = self.inbox.poll_recv(cx) else {
                return Poll::Pending;
            };
            self.wait = Some(Box::pin(sleep_until(next.due)));
            self.next = Some(next);
        }
        if let Some(wait) = &mut self.wait
            && wait.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        self.wait = None;
        self.next.take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Keeps its socket, as those of the operating system do, and never has to wait.
#[derive(Debug)]
struct Free(#[expect(dead_code, reason = "kept to be freed")] Arc<NetSocket>);

impl Writable for Free {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Watches whether a socket is still held by anybody.
pub(crate) fn watch(socket: Arc<NetSocket>) -> Weak<NetSocket> {
    Arc::downgrade(&socket)
}
