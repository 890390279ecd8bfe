//! Datagram sockets as QUIC sees them: batches of datagrams out (segmentation offload) and in (receive offload).
//!
//! The trait says no more than QUIC needs, in values of its own, so that a socket shared with STUN, hole punching and relays can
//! stand behind it. [`PlainUdp`] is the plain form.

mod adapter;
mod plain;

pub(crate) use adapter::QuinnSocket;
pub use plain::PlainUdp;

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Explicit congestion notification (RFC 3168 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ecn {
    /// ECT(0).
    Ect0,
    /// ECT(1).
    Ect1,
    /// Congestion experienced.
    Ce,
}

/// Datagrams to send: one, or several of equal size to one destination.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Where to.
    pub destination: SocketAddr,
    /// Mark to set.
    pub ecn: Option<Ecn>,
    /// The bytes.
    pub contents: &'a [u8],
    /// Size of each datagram if there are several; the last may be shorter.
    pub segment_size: Option<usize>,
    /// Address to send from, if it matters.
    pub source: Option<IpAddr>,
}

/// What a receive buffer was filled with: one datagram, or several of equal size from one source.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// Where from.
    pub source: SocketAddr,
    /// Bytes in the buffer; 0 hands nothing on.
    pub len: usize,
    /// Size of each datagram; the last may be shorter.
    pub stride: usize,
    /// Mark that arrived.
    pub ecn: Option<Ecn>,
    /// Address it was sent to, if known.
    pub destination: Option<IpAddr>,
}

impl Default for Received {
    fn default() -> Self {
        Self {
            source: SocketAddr::from(([0; 4], 0)),
            len: 0,
            stride: 0,
            ecn: None,
            destination: None,
        }
    }
}

/// A datagram socket.
pub trait DatagramSocket: Send + Sync + fmt::Debug + 'static {
    /// Sends, or says `WouldBlock`; then [`DatagramSocket::writable`] tells when to try again.
    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()>;

    /// Receives into as many buffers as there are datagrams for (one entry of `received` each); how many were filled. The
    /// two slices have the same length.
    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        received: &mut [Received],
    ) -> Poll<io::Result<usize>>;

    /// A waiter of its own for each caller.
    fn writable(self: Arc<Self>) -> Pin<Box<dyn Writable>>;

    /// The address it is bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Datagrams that one [`Transmit`] may hold.
    fn max_transmit_segments(&self) -> usize {
        1
    }

    /// Datagrams that one receive buffer may hold.
    fn max_receive_segments(&self) -> usize {
        1
    }

    /// Whether datagrams may be fragmented on the way; then the path's size is not probed.
    fn may_fragment(&self) -> bool {
        true
    }
}

/// Waits until a socket can probably send.
pub trait Writable: Send + Sync + fmt::Debug {
    /// Ready when a send should be tried again.
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}
