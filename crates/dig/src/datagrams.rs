//! The one UDP socket of a node, shared by QUIC and by whatever finds paths.

use dig_nat::io::{UdpHub, Verdict};
use dig_session::{DatagramSocket, PlainUdp, Received, Transmit, Writable};
use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// QUIC's view of the socket: what belongs to the hub (STUN answers, checks of an attempt) is taken out on the way.
#[derive(Debug)]
pub(crate) struct SharedUdp {
    udp: Arc<PlainUdp>,
    hub: UdpHub,
}

impl SharedUdp {
    pub(crate) fn new(udp: PlainUdp, hub: UdpHub) -> Self {
        Self {
            udp: Arc::new(udp),
            hub,
        }
    }

    /// Hands the hub its datagrams and closes the gaps. A buffer that held nothing else has length 0 afterwards, which
    /// hands nothing on.
    fn take_out(&self, buffer: &mut [u8], received: &mut Received) {
        let (len, stride) = (received.len, received.stride.max(1));
        let mut kept = 0;
        let mut start = 0;
        while start < len {
            let end = (start + stride).min(len);
            if self.hub.receive(received.source, &buffer[start..end]) == Verdict::Pass {
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
