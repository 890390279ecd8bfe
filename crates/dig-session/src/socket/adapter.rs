//! A [`DatagramSocket`] in the form that quinn takes, batches intact.

use super::{DatagramSocket, Ecn, Received, Transmit, Writable};
use quinn::{AsyncUdpSocket, UdpPoller, udp};
use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    task::{Context, Poll, ready},
};

/// A socket until it is released, and from then on a hole into which datagrams fall: quinn keeps a socket as long as anybody
/// holds one of its connections.
#[derive(Debug)]
pub(crate) struct QuinnSocket {
    socket: RwLock<Option<Arc<dyn DatagramSocket>>>,
    waiters: Mutex<Vec<Weak<Waiter>>>,
    local: SocketAddr,
    /// The socket takes one datagram at a time, of a size that is known.
    singly: bool,
}

/// One connection's waiter, empty once the socket is released: a waiter keeps its socket.
#[derive(Debug)]
struct Waiter(Mutex<Option<Pin<Box<dyn Writable>>>>);

#[derive(Debug)]
struct Poller(Arc<Waiter>);

impl QuinnSocket {
    pub(crate) fn new(socket: Arc<dyn DatagramSocket>, singly: bool) -> io::Result<Self> {
        Ok(Self {
            local: socket.local_addr()?,
            socket: RwLock::new(Some(socket)),
            waiters: Mutex::default(),
            singly,
        })
    }

    /// Lets the socket go, whoever still holds connections.
    pub(crate) fn release(&self) {
        *self.socket.write().unwrap_or_else(PoisonError::into_inner) = None;
        for waiter in locked(&self.waiters).drain(..) {
            if let Some(waiter) = waiter.upgrade() {
                *locked(&waiter.0) = None;
            }
        }
    }

    /// Asks the socket, if it is still there.
    fn ask<T>(&self, question: impl FnOnce(&Arc<dyn DatagramSocket>) -> T) -> Option<T> {
        let socket = self.socket.read().unwrap_or_else(PoisonError::into_inner);
        socket.as_ref().map(question)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *locked(&self.0.0) {
            Some(waiter) => waiter.as_mut().poll_writable(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncUdpSocket for QuinnSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        // Held while the socket is asked, so that a release finds the new waiter.
        let mut waiters = locked(&self.waiters);
        let waiter = self.ask(|socket| Arc::clone(socket).writable());
        let waiter = Arc::new(Waiter(Mutex::new(waiter)));
        waiters.retain(|waiter| waiter.strong_count() > 0);
        waiters.push(Arc::downgrade(&waiter));
        Box::pin(Poller(waiter))
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        let transmit = Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.map(Ecn::from),
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            source: transmit.src_ip,
        };
        match self.ask(|socket| socket.try_send(&transmit)) {
            Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // To QUIC a datagram that could not leave is a lost one. The way may come back; an error would end every lane.
            Some(Err(error)) => {
                tracing::trace!(to = %transmit.destination, %error, "datagram not sent");
                Ok(())
            }
            Some(Ok(())) | None => Ok(()),
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = [Received::default(); udp::BATCH_SIZE];
        let slots = bufs.len().min(meta.len()).min(received.len());
        let polled =
            self.ask(|socket| socket.poll_recv(cx, &mut bufs[..slots], &mut received[..slots]));
        let filled = ready!(polled.unwrap_or(Poll::Pending)).map_err(passing)?;
        for (meta, received) in meta.iter_mut().zip(&received[..filled.min(slots)]) {
            *meta = udp::RecvMeta {
                addr: received.source,
                len: received.len,
                stride: received.stride,
                ecn: received.ecn.map(udp::EcnCodepoint::from),
                dst_ip: received.destination,
            };
        }
        Poll::Ready(Ok(filled.min(slots)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        match self.ask(|socket| socket.max_transmit_segments()) {
            Some(segments) if !self.singly => segments,
            _ => 1,
        }
    }

    fn max_receive_segments(&self) -> usize {
        self.ask(|socket| socket.max_receive_segments())
            .unwrap_or(1)
    }

    fn may_fragment(&self) -> bool {
        self.singly || self.ask(|socket| socket.may_fragment()).unwrap_or(true)
    }
}

/// Errors that tell of one datagram or of a passing state of the network, in the only form that quinn does not take for the end of the
/// socket.
fn passing(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::Interrupted
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::NetworkUnreachable => io::ErrorKind::ConnectionReset.into(),
        _ => error,
    }
}

impl From<udp::EcnCodepoint> for Ecn {
    fn from(ecn: udp::EcnCodepoint) -> Self {
        match ecn {
            udp::EcnCodepoint::Ect0 => Self::Ect0,
            udp::EcnCodepoint::Ect1 => Self::Ect1,
            udp::EcnCodepoint::Ce => Self::Ce,
        }
    }
}

impl From<Ecn> for udp::EcnCodepoint {
    fn from(ecn: Ecn) -> Self {
        match ecn {
            Ecn::Ect0 => Self::Ect0,
            Ecn::Ect1 => Self::Ect1,
            Ecn::Ce => Self::Ce,
        }
    }
}
