//! A UDP socket of the operating system.

use super::{DatagramSocket, Ecn, Received, Transmit, Writable};
use quinn::{AsyncUdpSocket, Runtime as _, UdpPoller, udp};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// Buffer asked of the operating system in each direction, in bytes: 8 MB hold 64 ms of 1 Gbit/s while this process does not run.
/// Most systems grant less; what was granted is logged.
const BUFFER: usize = 8_000_000;

/// A plain UDP socket with segmentation and receive offload where the system has them.
#[derive(Debug)]
pub struct PlainUdp(Arc<dyn AsyncUdpSocket>);

impl PlainUdp {
    /// Binds a socket. An IPv6 address also takes IPv4 where the system allows it. Call it within a tokio runtime.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6()
            && let Err(error) = socket.set_only_v6(false)
        {
            tracing::debug!(%error, "the socket takes IPv6 only");
        }
        socket.bind(&addr.into())?;
        Self::from_std(socket.into())
    }

    /// Takes a bound socket. Call it within a tokio runtime.
    pub fn from_std(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let reference = socket2::SockRef::from(&socket);
        // A refusal is no failure: the socket works with what it has.
        let _ = reference.set_recv_buffer_size(BUFFER);
        let _ = reference.set_send_buffer_size(BUFFER);
        tracing::debug!(
            asked = BUFFER,
            receive = reference.recv_buffer_size().unwrap_or(0),
            send = reference.send_buffer_size().unwrap_or(0),
            "udp buffers"
        );
        quinn::TokioRuntime.wrap_udp_socket(socket).map(Self)
    }
}

#[derive(Debug)]
struct Waiter(Pin<Box<dyn UdpPoller>>);

impl Writable for Waiter {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_writable(cx)
    }
}

impl DatagramSocket for PlainUdp {
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(&udp::Transmit {
            destination: transmit.destination,
            ecn: transmit.ecn.map(udp::EcnCodepoint::from),
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.source,
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>> {
        let mut meta = [udp::RecvMeta::default(); udp::BATCH_SIZE];
        let slots = buffers.len().min(received.len()).min(meta.len());
        let filled = ready!(
            self.0
                .poll_recv(cx, &mut buffers[..slots], &mut meta[..slots])
        )?;
        for (received, meta) in received.iter_mut().zip(&meta[..filled]) {
            *received = Received {
                source: meta.addr,
                len: meta.len,
                stride: meta.stride,
                ecn: meta.ecn.map(Ecn::from),
                destination: meta.dst_ip,
            };
        }
        Poll::Ready(Ok(filled))
    }

    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>> {
        Box::pin(Waiter(Arc::clone(&self.0).create_io_poller()))
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
