//! The way to a TURN server: a UDP socket, or a connection.

use super::tls::{self, TlsError};
use crate::turn::{
    TurnServer, TurnTransport,
    frames::{NotTurn, next_frame},
};
use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf},
    net::{TcpStream, UdpSocket},
    sync::Notify,
    task::JoinSet,
    time::timeout,
};

/// How long a connection, and then TLS on it, may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of data that wait for a connection to take them. More would only arrive later: at 1 MB/s these are 32 ms.
const WAITING: usize = 32 * 1024;
/// Bytes that the system may hold of a connection before they can be sent, so that they wait here, where requests overtake them.
const UNSENT: u32 = 16 * 1024;
/// What the system may hold of datagrams that arrive while this program is busy.
const RECEIVE_BUFFER: usize = 2 << 20;
/// Longest datagram that is read: none that is longer crosses a network without being cut.
const DATAGRAM: usize = 4096;
/// Read at a time into one piece of memory.
const CHUNK: usize = 64 * 1024;
/// Datagrams that are read before others get their turn.
const BATCH: usize = 64;

/// The side that sends. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) enum Out {
    Udp(Arc<UdpSocket>),
    Stream(Arc<Outbox>),
}

/// What waits for a connection.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: VecDeque<Vec<u8>>,
    data: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Out {
    /// Sends a message of ours. What cannot be sent now is lost: it is repeated, or somebody waits for it no longer.
    pub(super) fn request(&self, message: Vec<u8>) {
        match self {
            Self::Udp(socket) => {
                if let Err(error) = socket.try_send(&message) {
                    tracing::debug!(%error, "to the TURN server");
                }
            }
            Self::Stream(outbox) => {
                outbox.waiting().requests.push_back(message);
                outbox.filled.notify_one();
            }
        }
    }

    /// Sends a frame with data, or says `WouldBlock`.
    pub(super) fn data(&self, frame: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => match socket.try_send(frame) {
                Ok(_) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                Err(error) => {
                    // As if the network had lost it; whether the server can be reached shows at requests.
                    tracing::trace!(%error, "to the TURN server");
                    Ok(())
                }
            },
            Self::Stream(outbox) => {
                let mut waiting = outbox.waiting();
                if waiting.bytes >= WAITING {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                waiting.bytes += frame.len();
                waiting.data.push_back(frame.to_vec());
                drop(waiting);
                outbox.filled.notify_one();
                Ok(())
            }
        }
    }

    /// Returns when [`Self::data`] is likely to be heard.
    pub(super) async fn writable(&self) {
        match self {
            Self::Udp(socket) => {
                // An error is seen by whoever sends next.
                let _ = socket.writable().await;
            }
            Self::Stream(outbox) => loop {
                // Made before the look, so that it hears of what happens after it.
                let emptied = outbox.emptied.notified();
                if outbox.waiting().bytes < WAITING {
                    return;
                }
                emptied.await;
            },
        }
    }
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes everything that waits, messages of ours first.
    fn take(&self, into: &mut Vec<u8>) {
        let mut waiting = self.waiting();
        into.clear();
        let Waiting {
            requests,
            data,
            bytes,
        } = &mut *waiting;
        for frame in requests.drain(..).chain(data.drain(..)) {
            into.extend(frame);
        }
        *bytes = 0;
    }

    /// Writes what comes, until the connection breaks.
    async fn write(self: Arc<Self>, mut stream: WriteHalf<Box<dyn Duplex>>) -> io::Result<()> {
        let mut frames = Vec::new();
        loop {
            self.take(&mut frames);
            if frames.is_empty() {
                self.filled.notified().await;
                continue;
            }
            self.emptied.notify_waiters();
            stream.write_all(&frames).await?;
            stream.flush().await?;
        }
    }
}

/// A connection with or without TLS.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The side that receives.
pub(super) enum In {
    Udp {
        socket: Arc<UdpSocket>,
        buffer: BytesMut,
    },
    Stream {
        half: ReadHalf<Box<dyn Duplex>>,
        buffer: BytesMut,
        /// Writes; ends with this.
        writer: JoinSet<io::Result<()>>,
    },
}

impl In {
    /// Waits for frames, and adds them. Dropping the future loses nothing.
    pub(super) async fn receive(&mut self, frames: &mut Vec<Bytes>) -> Result<(), LinkError> {
        match self {
            Self::Udp { socket, buffer } => loop {
                socket.readable().await?;
                if receive_batch(socket, buffer, frames)? {
                    return Ok(());
                }
            },
            Self::Stream {
                half,
                buffer,
                writer,
            } => {
                buffer.reserve(DATAGRAM);
                tokio::select! {
                    read = half.read_buf(buffer) => if read? == 0 {
                        return Err(LinkError::Closed);
                    },
                    Some(Ok(Err(error))) = writer.join_next() => return Err(error.into()),
                }
                while let Some(frame) = next_frame(buffer)? {
                    frames.push(frame);
                }
                Ok(())
            }
        }
    }
}

/// Reads what is there; tells whether anything was.
fn receive_batch(
    socket: &UdpSocket,
    buffer: &mut BytesMut,
    frames: &mut Vec<Bytes>,
) -> Result<bool, LinkError> {
    let before = frames.len();
    for _ in 0..BATCH {
        if buffer.capacity() < DATAGRAM {
            buffer.reserve(CHUNK);
        }
        match socket.try_recv_buf(buffer) {
            Ok(_) => frames.push(buffer.split().freeze()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err(LinkError::Refused);
            }
            // Reports of what happened to earlier datagrams.
            Err(error) => tracing::debug!(%error, "from the TURN server"),
        }
    }
    Ok(frames.len() > before)
}

/// A way to a server.
pub(super) struct Link {
    pub(super) out: Out,
    pub(super) input: In,
    /// From which of our addresses it goes.
    pub(super) local: SocketAddr,
}

impl Link {
    /// Goes to that address of the server; over TLS, the server proves the name that it was given.
    pub(super) async fn open(
        server: &TurnServer,
        address: SocketAddr,
        roots: &[Vec<u8>],
    ) -> Result<Self, LinkError> {
        if server.transport() == TurnTransport::Udp {
            let socket = Arc::new(udp(address)?);
            let local = socket.local_addr()?;
            // Until the runtime has heard of the socket, sending at once is refused.
            socket.writable().await?;
            return Ok(Self {
                out: Out::Udp(Arc::clone(&socket)),
                input: In::Udp {
                    socket,
                    buffer: BytesMut::new(),
                },
                local,
            });
        }
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
        let stream = stream.map_err(|_| LinkError::Slow)??;
        stream.set_nodelay(true)?;
        limit_unsent(&stream);
        let local = stream.local_addr()?;
        let stream: Box<dyn Duplex> = if server.transport() == TurnTransport::Tls {
            let opened = timeout(PATIENCE, tls::open(stream, server.host(), roots)).await;
            Box::new(opened.map_err(|_| LinkError::Slow)??)
        } else {
            Box::new(stream)
        };
        let (half, other) = tokio::io::split(stream);
        let outbox = Arc::new(Outbox::default());
        let mut writer = JoinSet::new();
        writer.spawn(Arc::clone(&outbox).write(other));
        Ok(Self {
            out: Out::Stream(outbox),
            input: In::Stream {
                half,
                buffer: BytesMut::new(),
                writer,
            },
            local,
        })
    }
}

/// From which of our addresses the system goes there now, if it knows a way.
pub(super) fn local_towards(address: SocketAddr) -> Option<IpAddr> {
    // Connecting a UDP socket sends nothing.
    Some(udp(address).ok()?.local_addr().ok()?.ip())
}

/// A socket of its own: TURN tells allocations apart by where requests come from (RFC 8656 §3.2).
fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    // A small buffer loses datagrams under load and nothing else.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&SocketAddr::new(any, 0).into())?;
    // From then on the system drops what others send.
    socket.connect(&address.into())?;
    UdpSocket::from_std(socket.into())
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn limit_unsent(stream: &TcpStream) {
    // Without it datagrams wait longer under load.
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn limit_unsent(_: &TcpStream) {}

/// Why the server cannot be reached, or not any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the TURN server cannot be reached: {0}; check its host, port and transport")]
    Io(#[from] io::Error),
    #[error("nothing listens at the TURN server's port; check its port and transport")]
    Refused,
    #[error("the TURN server does not answer; check its host, port and transport")]
    Slow,
    #[error("the TURN server closed the connection")]
    Closed,
    #[error("what answers is no TURN server; check its port and transport")]
    NotTurn(#[from] NotTurn),
    #[error(transparent)]
    Tls(#[from] TlsError),
}
