//! UDP sockets as QUIC sees them: shared with whatever finds paths, or behind a relay.

use bytes::Bytes;
use dig_nat::{
    attempt::Port,
    io::{UdpHub, Verdict},
    turn::Relay,
};
use dig_session::{DatagramSocket, PlainUdp, Received, Transmit, Writable};
use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

/// QUIC's view of a socket: what belongs to the hub (STUN answers, checks of an attempt) is taken out on the way.
#[derive(Debug)]
pub(crate) struct SharedUdp {
    udp: Arc<PlainUdp>,
    hub: UdpHub,
    at: Port,
    /// What came before QUIC was here.
    early: Mutex<VecDeque<(SocketAddr, Bytes)>>,
}

impl SharedUdp {
    /// `at` names the socket to the hub.
    pub(crate) fn new(udp: PlainUdp, hub: UdpHub, at: Port) -> Self {
        Self {
            udp: Arc::new(udp),
            hub,
            at,
            early: Mutex::default(),
        }
    }

    /// Hands on first what came already.
    pub(crate) fn preceded_by(
        mut self,
        early: impl IntoIterator<Item = (SocketAddr, Bytes)>,
    ) -> Self {
        self.early = Mutex::new(early.into_iter().collect());
        self
    }

    /// One of the datagrams that came early.
    fn early(&self, buffer: &mut [u8], received: &mut Received) -> bool {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((source, bytes)) = early.pop_front() else {
            return false;
        };
        *received = fill(buffer, source, &bytes);
        true
    }

    /// Hands the hub its datagrams and closes the gaps. A buffer that held nothing else has length 0 afterwards, which
    /// hands nothing on.
    fn take_out(&self, buffer: &mut [u8], received: &mut Received) {
        let (len, stride) = (received.len, received.stride.max(1));
        let mut kept = 0;
        let mut start = 0;
        while start < len {
            let end = (start + stride).min(len);
            if (self.hub).receive_at(self.at, received.source, &buffer[start..end]) == Verdict::Pass
            {
                if kept != start {
                    buffer.copy_within(start..end, kept);
                }
                kept += end - start;
            }
            start = end;
        }
        received.len = kept;
    }
}

impl DatagramSocket for SharedUdp {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.udp.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>> {
        if let (Some(buffer), Some(received)) = (buffers.first_mut(), received.first_mut())
            && self.early(buffer, received)
        {
            return Poll::Ready(Ok(1));
        }
        let filled = ready!(self.udp.poll_recv(cx, buffers, received))?;
        for (buffer, received) in buffers.iter_mut().zip(received.iter_mut()).take(filled) {
            self.take_out(buffer, received);
        }
        Poll::Ready(Ok(filled))
    }

    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>> {
        Arc::clone(&self.udp).writable()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.udp.may_fragment()
    }
}

/// One datagram as it was received.
fn fill(buffer: &mut [u8], source: SocketAddr, bytes: &[u8]) -> Received {
    // Longer than what QUIC reads at a time is no QUIC of ours.
    let len = bytes.len().min(buffer.len());
    buffer[..len].copy_from_slice(&bytes[..len]);
    Received {
        source,
        len,
        stride: len.max(1),
        ..Received::default()
    }
}

/// An allocation on a TURN server: what is sent here leaves from its relayed address.
#[derive(Debug)]
pub(crate) struct RelayedUdp {
    relay: Relay,
}

impl RelayedUdp {
    pub(crate) fn new(relay: Relay) -> Self {
        Self { relay }
    }
}

impl DatagramSocket for RelayedUdp {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let to = transmit.destination;
        let to = SocketAddr::new(to.ip().to_canonical(), to.port());
        self.relay.send(to, transmit.contents)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>> {
        let mut filled = 0;
        for (buffer, received) in buffers.iter_mut().zip(received.iter_mut()) {
            match self.relay.poll_receive(cx) {
                Poll::Ready(Some((source, bytes))) => {
                    *received = fill(buffer, source, &bytes);
                    filled += 1;
                }
                // An allocation that is gone is silent until its socket is detached.
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        if filled == 0 {
            return Poll::Pending;
        }
        Poll::Ready(Ok(filled))
    }

    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>> {
        Box::pin(RelayWritable(self.relay.clone()))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.relay.relayed())
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct RelayWritable(Relay);

impl Writable for RelayWritable {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_writable(cx)
    }
}
