//! The two halves of a connection, whatever carries it.

use crate::stream::Stream;
use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_rustls::TlsStream;

/// TLS over a byte stream.
pub(crate) type Tls = TlsStream<Box<dyn Stream>>;

/// Pieces written at a time.
const SLICES: usize = 32;

/// Where bytes come from.
pub(crate) enum Inlet {
    Tls(ReadHalf<Tls>),
    Quic(RecvStream),
}

impl fmt::Debug for Inlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Inlet::Tls",
            Self::Quic(_) => "Inlet::Quic",
        })
    }
}

impl Inlet {
    /// Appends what is here to `buffer`; 0 at the end. Nothing is lost if the future is dropped.
    pub(crate) async fn read_buf(&mut self, buffer: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tls(stream) => stream.read_buf(buffer).await,
            Self::Quic(stream) => AsyncReadExt::read_buf(stream, buffer).await,
        }
    }

    /// Reads and forgets until the other side ends. A TCP connection closed over unread bytes is reset, and the reset may
    /// overtake our last words (RFC 9293 §3.10.7.4).
    pub(crate) async fn drain(&mut self) {
        if let Self::Tls(stream) = self {
            let mut sink = [0; 4096];
            while matches!(stream.read(&mut sink).await, Ok(1..)) {}
        }
    }
}

/// Where bytes go.
pub(crate) enum Outlet {
    Tls(WriteHalf<Tls>),
    Quic(SendStream, Connection),
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Outlet::Tls",
            Self::Quic(..) => "Outlet::Quic",
        })
    }
}

impl Outlet {
    /// Writes some of `bytes`, and flushes once all are written. Nothing is lost or sent twice if the future is dropped.
    pub(crate) async fn push(&mut self, bytes: &mut BytesMut) -> io::Result<()> {
        if !bytes.is_empty() {
            let written = match self {
                Self::Tls(stream) => stream.write_buf(bytes).await?,
                Self::Quic(stream, _) => AsyncWriteExt::write_buf(stream, bytes).await?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        if bytes.is_empty() {
            self.flush().await
        } else {
            Ok(())
        }
    }

    /// Writes all pieces; they are gone afterwards. If the future is dropped, it is unknown how much was written.
    pub(crate) async fn write_all(&mut self, pieces: &mut VecDeque<Bytes>) -> io::Result<()> {
        match self {
            Self::Tls(stream) => write_vectored(stream, pieces).await,
            Self::Quic(stream, _) => {
                let written = stream.write_all_chunks(pieces.make_contiguous()).await;
                pieces.clear();
                written.map_err(io::Error::from)
            }
        }
    }

    /// Sends what a buffer on the way still holds.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.flush().await,
            Self::Quic(..) => Ok(()),
        }
    }

    /// Ends this direction and waits until the other side has all of it (QUIC) or the system has it (TLS).
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.shutdown().await,
            Self::Quic(stream, _) => {
                // Already finished or stopped: then there is nothing to wait for.
                if stream.finish().is_ok() {
                    stream.stopped().await.map_err(io::Error::other)?;
                }
                Ok(())
            }
        }
    }

    /// Ends the connection, both directions.
    pub(crate) fn abandon(&self, code: u16) {
        if let Self::Quic(_, connection) = self {
            connection.close(VarInt::from(code), b"");
        }
    }

    /// The QUIC connection, if it is one.
    pub(crate) const fn quic(&self) -> Option<&Connection> {
        match self {
            Self::Quic(_, connection) => Some(connection),
            Self::Tls(_) => None,
        }
    }
}

async fn write_vectored(
    stream: &mut WriteHalf<Tls>,
    pieces: &mut VecDeque<Bytes>,
) -> io::Result<()> {
    while !pieces.is_empty() {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        let mut written = stream.write_vectored(&slices[..filled]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(piece) = pieces.front_mut() {
            if piece.len() > written {
                let _ = piece.split_to(written);
                break;
            }
            written -= piece.len();
            pieces.pop_front();
        }
    }
    Ok(())
}
