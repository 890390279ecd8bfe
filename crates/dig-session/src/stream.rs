//! Byte streams that a TLS lane runs on.

use futures::{FutureExt as _, future::BoxFuture};
use std::{fmt, io, net::SocketAddr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

/// A duplex byte stream: TCP, or anything that carries bytes in order.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens streams to addresses.
pub trait StreamDialer: Send + Sync + fmt::Debug {
    /// Connects to `addr`. Dropping the future gives up.
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;
}

/// Plain TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpDialer;

impl TcpDialer {
    /// Prepares a connected or accepted TCP stream for a lane: small frames go out at once (RFC 9293 §3.7.4, Nagle off).
    pub fn prepare(stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)
    }
}

impl StreamDialer for TcpDialer {
    fn dial(&self, addr: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        async move {
            let stream = TcpStream::connect(addr).await?;
            Self::prepare(&stream)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    }
}
