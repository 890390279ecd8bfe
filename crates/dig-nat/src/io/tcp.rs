//! The TCP port: dials from the port that listens, and sorts the streams that arrive there.

mod shared;

use super::canonical;
use crate::attempt::{MAGIC, PREAMBLE, Tag};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpSocket, TcpStream},
    sync::{Semaphore, mpsc},
};

/// A stream that has not said by then what it is is closed.
const DECIDE: Duration = Duration::from_secs(5);
/// Streams that have not yet said what they are.
const UNDECIDED: usize = 256;
/// Streams of one attempt that wait to be looked at: more than it ever asks for.
const WAITING: usize = 16;

/// The TCP port of a node. Clones are the same port.
#[derive(Clone)]
pub struct TcpPort(Arc<Inner>);

struct Inner {
    local: SocketAddr,
    undecided: Semaphore,
    attempts: Mutex<BTreeMap<Tag, mpsc::Sender<Arrived>>>,
}

/// What an accepted stream is.
#[derive(Debug)]
pub enum Sorted {
    /// Not one of an attempt: nothing was read from it.
    Pass(TcpStream),
    /// It went to an attempt, or was closed because it belongs to none.
    Taken,
}

/// A stream of an attempt, with the preamble that was read from it; whether that is genuine the attempt finds out.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) stream: Trial,
    pub(crate) remote: SocketAddr,
    pub(crate) preamble: [u8; PREAMBLE],
}

impl fmt::Debug for TcpPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TcpPort").field(&self.0.local).finish()
    }
}

impl TcpPort {
    /// Shares the port of a bound listener, on which the caller keeps accepting. Sockets of the same user may bind that
    /// port from then on.
    ///
    /// # Errors
    /// The system cannot share it.
    pub fn share(listener: &std::net::TcpListener) -> io::Result<Self> {
        shared::allow(&SockRef::from(listener))?;
        Ok(Self(Arc::new(Inner {
            local: listener.local_addr()?,
            undecided: Semaphore::new(UNDECIDED),
            attempts: Mutex::default(),
        })))
    }

    /// The address that listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.0.local
    }

    /// Sorts an accepted stream by its first byte, which it does not consume of a stream that is none of an attempt's: TLS begins
    /// with 0x16 (RFC 8446 §5.1), a preamble with 0x8C.
    ///
    /// It takes until the stream has said what it is, so it belongs in a task of the stream's own. Streams beyond a bounded
    /// number that say nothing are passed on unseen; so nobody keeps TLS connections out by opening many and being silent.
    pub async fn sort(&self, stream: TcpStream, remote: SocketAddr) -> Sorted {
        let Ok(_place) = self.0.undecided.try_acquire() else {
            return Sorted::Pass(stream);
        };
        tokio::time::timeout(DECIDE, self.decide(stream, canonical(remote)))
            .await
            .unwrap_or(Sorted::Taken)
    }

    async fn decide(&self, stream: TcpStream, remote: SocketAddr) -> Sorted {
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(1) if first[0] == MAGIC[0] => {}
            Ok(1) => return Sorted::Pass(stream),
            _ => return Sorted::Taken,
        }
        let mut stream = Trial::new(stream);
        let mut preamble = [0; PREAMBLE];
        if stream.0.read_exact(&mut preamble).await.is_err() {
            return Sorted::Taken;
        }
        let attempt = Tag::read(&preamble).and_then(|tag| self.0.attempts().get(&tag).cloned());
        if let Some(attempt) = attempt {
            // A full queue is a stranger who replays a preamble; the stream is closed.
            let _ = attempt.try_send(Arrived {
                stream,
                remote,
                preamble,
            });
        } else {
            tracing::debug!(%remote, "a stream of no attempt was closed");
        }
        Sorted::Taken
    }

    /// Dials from the port that listens; dropping the future stops it.
    ///
    /// # Errors
    /// What the system says; there is no way to an address of a family in which the port does not listen.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        dialer(local_for(self.0.local, to, self.0.local.port())?, to)?
            .connect(to)
            .await
    }

    /// Binds a port of its own for dialling once, so that the peer can be told the port before.
    ///
    /// # Errors
    /// What the system says; as with [`TcpPort::connect`] if `ipv6` is a family in which the port does not listen.
    pub fn fresh(&self, ipv6: bool) -> io::Result<FreshPort> {
        let family = match ipv6 {
            true => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            false => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        };
        let socket = dialer(local_for(self.0.local, family, 0)?, family)?;
        let local = socket.local_addr()?;
        Ok(FreshPort { socket, local })
    }

    /// Whether no attempt is attached.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.0.attempts().is_empty()
    }

    /// Streams whose preamble has this tag go to the returned queue until that is dropped.
    /// `None` if the tag is in use.
    pub(crate) fn attach(&self, tag: Tag) -> Option<TcpArrivals> {
        let (sender, queue) = mpsc::channel(WAITING);
        let mut attempts = self.0.attempts();
        if attempts.contains_key(&tag) {
            return None;
        }
        attempts.insert(tag, sender);
        drop(attempts);
        Some(TcpArrivals {
            tag,
            port: self.clone(),
            queue,
        })
    }
}

impl Inner {
    fn attempts(&self) -> MutexGuard<'_, BTreeMap<Tag, mpsc::Sender<Arrived>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The address to dial from: the listener's own, or any of the destination's family if that listens everywhere.
fn local_for(listener: SocketAddr, to: SocketAddr, port: u16) -> io::Result<SocketAddr> {
    let ip = canonical(listener).ip();
    let ip = match (ip, to.is_ipv6()) {
        (IpAddr::V6(own), true) => own.into(),
        (IpAddr::V4(own), false) => own.into(),
        (IpAddr::V6(own), false) if own.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                format!("this node listens on {listener} only, which has no way to {to}"),
            ));
        }
    };
    Ok(SocketAddr::new(ip, port))
}

fn dialer(from: SocketAddr, to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    shared::allow(&socket)?;
    if to.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&from.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// A port bound for one connection.
#[derive(Debug)]
pub struct FreshPort {
    socket: TcpSocket,
    local: SocketAddr,
}

impl FreshPort {
    /// The port.
    pub fn port(&self) -> u16 {
        self.local.port()
    }

    /// Whether it is bound for IPv6, else for IPv4.
    pub fn is_ipv6(&self) -> bool {
        self.local.is_ipv6()
    }

    /// Dials from it; dropping the future stops it.
    pub async fn connect(self, to: SocketAddr) -> io::Result<TcpStream> {
        self.socket.connect(to).await
    }
}

/// A stream that is not yet the path. Dropping it resets the connection: a closed one would keep its pair of ports in
/// TIME-WAIT, and the next attempt needs the same pair.
#[derive(Debug)]
pub(crate) struct Trial(TcpStream);

impl Trial {
    pub(crate) fn new(stream: TcpStream) -> Self {
        // A refusal of either option costs speed, not correctness.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        let _ = stream.set_nodelay(true);
        Self(stream)
    }

    pub(crate) fn get(&self) -> &TcpStream {
        &self.0
    }

    pub(crate) fn get_mut(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    /// The stream, which now closes as streams do.
    pub(crate) fn keep(self) -> io::Result<TcpStream> {
        SockRef::from(&self.0).set_linger(None)?;
        Ok(self.0)
    }
}

/// Accepted streams of one attempt.
#[derive(Debug)]
pub(crate) struct TcpArrivals {
    tag: Tag,
    port: TcpPort,
    queue: mpsc::Receiver<Arrived>,
}

impl TcpArrivals {
    pub(crate) async fn next(&mut self) -> Option<Arrived> {
        self.queue.recv().await
    }
}

impl Drop for TcpArrivals {
    fn drop(&mut self) {
        self.port.0.attempts().remove(&self.tag);
    }
}

#[cfg(test)]
mod tests;
