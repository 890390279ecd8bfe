//! Connections before they are WebSockets, and how much of a long frame they may have on its way.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

/// How long a connection may be something else than a WebSocket: a slow line's TLS and HTTP, but no web server.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a frame that everybody may have on its way.
const SHORT: usize = 64 << 10;

/// Who is at the other end.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) meter: Arc<Meter>,
}

/// Bytes of long frames that are not here whole, of all connections.
#[derive(Debug)]
pub(super) struct Unfinished {
    bytes: AtomicUsize,
    limit: usize,
}

impl Unfinished {
    pub(super) const fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
        }
    }
}

/// What a connection has read since its last whole message.
#[derive(Debug)]
pub(super) struct Meter {
    is_websocket: AtomicBool,
    read: AtomicUsize,
    in_all: Arc<Unfinished>,
}

/// What of it counts for all.
const fn counted(read: usize) -> usize {
    read.saturating_sub(SHORT)
}

impl Meter {
    pub(super) const fn new(in_all: Arc<Unfinished>) -> Self {
        Self {
            is_websocket: AtomicBool::new(false),
            read: AtomicUsize::new(0),
            in_all,
        }
    }

    /// It is a WebSocket now: it may stay.
    pub(super) fn upgraded(&self) {
        self.is_websocket.store(true, Ordering::Relaxed);
    }

    /// A message is here whole.
    pub(super) fn finished(&self) {
        let read = self.read.swap(0, Ordering::Relaxed);
        self.in_all
            .bytes
            .fetch_sub(counted(read), Ordering::Relaxed);
    }

    /// Some of what was read belongs to no message.
    pub(super) fn control(&self, bytes: usize) {
        let before = self.read.load(Ordering::Relaxed);
        let after = before.saturating_sub(bytes);
        self.read.store(after, Ordering::Relaxed);
        let less = counted(before) - counted(after);
        self.in_all.bytes.fetch_sub(less, Ordering::Relaxed);
    }

    /// More was read; `false` if that is too much.
    fn more(&self, bytes: usize) -> bool {
        let before = self.read.fetch_add(bytes, Ordering::Relaxed);
        let more = counted(before + bytes) - counted(before);
        let in_all = self.in_all.bytes.fetch_add(more, Ordering::Relaxed) + more;
        more == 0 || in_all <= self.in_all.limit
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.finished();
    }
}

#[derive(Debug)]
pub(super) enum Line {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection with its bounds.
#[derive(Debug)]
pub(super) struct Metered {
    line: Line,
    meter: Arc<Meter>,
    /// Until it is a WebSocket.
    deadline: Option<Pin<Box<Sleep>>>,
    _seat: OwnedSemaphorePermit,
}

impl Metered {
    pub(super) fn new(line: Line, meter: Arc<Meter>, seat: OwnedSemaphorePermit) -> Self {
        Self {
            line,
            meter,
            deadline: Some(Box::pin(sleep(PATIENCE))),
            _seat: seat,
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        if self.meter.is_websocket.load(Ordering::Relaxed) {
            self.deadline = None;
        }
        let deadline = self.deadline.as_mut();
        deadline.is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_over(cx) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buf.filled().len();
        ready!(match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Line::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        })?;
        let read = buf.filled().len() - before;
        Poll::Ready(match self.meter.more(read) {
            true => Ok(()),
            false => Err(io::Error::other("too many long frames are on their way")),
        })
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Line::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Line::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.line {
            Line::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Line::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_frames_count_and_only_until_they_are_whole() {
        let in_all = Arc::new(Unfinished::new(1000));
        let bytes = || in_all.bytes.load(Ordering::Relaxed);
        let (one, other) = (
            Meter::new(Arc::clone(&in_all)),
            Meter::new(Arc::clone(&in_all)),
        );
        assert!(one.more(SHORT));
        assert_eq!(bytes(), 0);
        assert!(one.more(600));
        assert!(!other.more(SHORT + 600));
        assert_eq!(bytes(), 1200);
        one.control(100);
        assert_eq!(bytes(), 1100);
        assert!(
            Meter::new(Arc::clone(&in_all)).more(SHORT),
            "short ones pass still"
        );
        drop(other);
        one.finished();
        assert_eq!(bytes(), 0);
        assert!(one.more(SHORT + 1000));
    }
}
