//! A [`DatagramSocket`] in the form that quinn takes, batches intact.

use super::{DatagramSocket, Ecn, Received, Transmit, Writable};
use quinn::{AsyncUdpSocket, UdpPoller, udp};
use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

#[derive(Debug)]
pub(crate) struct QuinnSocket(pub(crate) Arc<dyn DatagramSocket>);

#[derive(Debug)]
struct Poller(Pin<Box<dyn Writable>>);

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_writable(cx)
    }
}

impl AsyncUdpSocket for QuinnSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(Arc::clone(&self.0).writable()))
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        self.0.try_send(&Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.map(Ecn::from),
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            source: transmit.src_ip,
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = [Received::default(); udp::BATCH_SIZE];
        let slots = bufs.len().min(meta.len()).min(received.len());
        let filled = ready!(
            self.0
                .poll_recv(cx, &mut bufs[..slots], &mut received[..slots])
        )?;
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
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
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
