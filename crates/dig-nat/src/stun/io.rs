//! STUN over real sockets: a server, and a question over a connection.

mod socket;
mod streams;

use super::{
    Frames, Layout, Message, ParseError, QueryError, Request, Server, ServerLimits, TransactionId,
};
use socket::Socket;
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::JoinSet,
    time::{Instant, timeout},
};

/// How long a question over a connection may take, from sending to answer: what a traversal method may.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// How often free ports are looked for that both addresses have.
const PORT_TRIES: usize = 16;

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    layout: Layout,
    _tasks: JoinSet<()>,
}

impl Serving {
    /// Where it stands, with the ports that it got.
    pub const fn layout(&self) -> Layout {
        self.layout
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The two addresses do not make two.
    #[error(
        "for RFC 5780 name two distinct IP addresses of this machine, both IPv4 or both IPv6, not {0} and {1}"
    )]
    Addresses(SocketAddr, SocketAddr),
    /// An address is not ours, or its port is taken.
    #[error("cannot listen at {addr}: {error}; name an address of this machine and a free port")]
    Bind {
        /// Where.
        addr: SocketAddr,
        /// Why.
        error: io::Error,
    },
}

/// Serves STUN over UDP and TCP at `primary`.
///
/// With an `alternate` of another IP address it also shows clients how their NAT behaves (RFC 5780): it then listens at
/// both addresses on both ports. Equal ports are made two by counting on, as coturn does; port 0 takes free ones.
pub async fn serve(
    primary: SocketAddr,
    alternate: Option<SocketAddr>,
) -> Result<Serving, ServeError> {
    let (layout, sockets) = match alternate {
        None => single(primary).await?,
        Some(alternate) => double(primary, alternate).await?,
    };
    let shared = Arc::new(Shared {
        server: Mutex::new(Server::new(layout, ServerLimits::default())),
        sockets: sockets
            .iter()
            .map(|(addr, bound)| (*addr, Arc::clone(&bound.udp)))
            .collect(),
        started: Instant::now(),
    });
    let mut tasks = JoinSet::new();
    for (addr, bound) in sockets {
        tasks.spawn(answer_datagrams(Arc::clone(&shared), addr, bound.udp));
        tasks.spawn(streams::answer(Arc::clone(&shared), bound.tcp));
    }
    Ok(Serving {
        layout,
        _tasks: tasks,
    })
}

/// Asks a server over a connection to it for our address there (RFC 8489 §6.2.2). The connection stays open, and with
/// it the mapping.
pub async fn query_stream<S>(stream: &mut S) -> Result<SocketAddr, StreamQueryError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let transaction = random_transaction()?;
    match timeout(STREAM_TIMEOUT, exchange(stream, transaction)).await {
        Ok(answered) => answered,
        Err(_) => Err(QueryError::NoAnswer.into()),
    }
}

/// Why a question over a connection has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StreamQueryError {
    /// The connection broke.
    #[error("the connection to the STUN server broke: {0}; try another server")]
    Broken(#[from] io::Error),
    /// What came is not STUN.
    #[error("what answers is no STUN server ({0}); check its address")]
    NotStun(#[from] ParseError),
    /// Nothing came, or a refusal.
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// A transaction id from the system's random source.
pub fn random_transaction() -> io::Result<TransactionId> {
    let mut id = [0; 12];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    Ok(TransactionId(id))
}

async fn exchange<S>(
    stream: &mut S,
    transaction: TransactionId,
) -> Result<SocketAddr, StreamQueryError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream
        .write_all(&Request::new(transaction).to_bytes())
        .await?;
    let (mut frames, mut byte) = (Frames::default(), [0; 1]);
    loop {
        // One byte at a time: what follows the answer belongs to whoever uses the connection next.
        stream.read_exact(&mut byte).await?;
        frames.push(&byte)?;
        let Some(message) = frames.take() else {
            continue;
        };
        match Message::parse(&message)? {
            Message::Success(success) if success.transaction == transaction => {
                return Ok(success.mapped);
            }
            Message::Error {
                transaction: of,
                code,
            } if of == transaction => return Err(QueryError::Refused(code).into()),
            _ => {}
        }
    }
}

/// What the tasks of a server share.
#[derive(Debug)]
struct Shared {
    server: Mutex<Server>,
    sockets: Vec<(SocketAddr, Arc<Socket>)>,
    started: Instant,
}

impl Shared {
    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

async fn answer_datagrams(shared: Arc<Shared>, local: SocketAddr, socket: Arc<Socket>) {
    // A longer datagram is cut, and then no message.
    let mut buffer = [0; Frames::MAX + 1];
    loop {
        let Ok((length, ends)) = socket.receive(&mut buffer).await else {
            // Errors are those of earlier sendings; a pause keeps a lasting one from taking the processor.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let reply =
            shared
                .server()
                .on_datagram(shared.now(), local, ends.source, &buffer[..length]);
        let Some(reply) = reply else { continue };
        // What cannot be sent is lost, as datagrams may be; the client asks again.
        if reply.from == local {
            let _ = socket.reply(&reply.bytes, reply.to, ends).await;
        } else if let Some((_, other)) = shared.sockets.iter().find(|(addr, _)| *addr == reply.from)
        {
            let _ = other.send(&reply.bytes, reply.to).await;
        }
    }
}

struct Bound {
    udp: Arc<Socket>,
    tcp: TcpListener,
}

async fn bind(addr: SocketAddr) -> Result<(SocketAddr, Bound), ServeError> {
    let both = async {
        let udp = Socket::bind(addr).await?;
        let addr = udp.local_addr()?;
        let tcp = TcpListener::bind(addr).await?;
        Ok((
            addr,
            Bound {
                udp: Arc::new(udp),
                tcp,
            },
        ))
    };
    both.await.map_err(|error| ServeError::Bind { addr, error })
}

type Sockets = Vec<(SocketAddr, Bound)>;

async fn single(addr: SocketAddr) -> Result<(Layout, Sockets), ServeError> {
    let bound = bind_somewhere(addr).await?;
    Ok((Layout::Single(bound.0), vec![bound]))
}

async fn double(
    primary: SocketAddr,
    alternate: SocketAddr,
) -> Result<(Layout, Sockets), ServeError> {
    let named = !primary.ip().is_unspecified() && !alternate.ip().is_unspecified();
    if !named || primary.ip() == alternate.ip() || primary.is_ipv4() != alternate.is_ipv4() {
        return Err(ServeError::Addresses(primary, alternate));
    }
    let second_port = match alternate.port() {
        0 => 0,
        port if port != primary.port() => port,
        u16::MAX => u16::MAX - 1,
        port => port + 1,
    };
    let mut sockets = pair(primary, SocketAddr::new(alternate.ip(), primary.port())).await?;
    let first = SocketAddr::new(primary.ip(), second_port);
    sockets.extend(pair(first, SocketAddr::new(alternate.ip(), second_port)).await?);
    let ports = [sockets[0].0.port(), sockets[2].0.port()];
    let layout = Layout::Double {
        primary: SocketAddr::new(primary.ip(), ports[0]),
        alternate: SocketAddr::new(alternate.ip(), ports[1]),
    };
    Ok((layout, sockets))
}

/// Binds both addresses to one port, which both have free if it is not given.
async fn pair(one: SocketAddr, other: SocketAddr) -> Result<Sockets, ServeError> {
    let mut tries = 0;
    loop {
        let first = bind_somewhere(one).await?;
        let second = SocketAddr::new(other.ip(), first.0.port());
        tries += 1;
        match bind(second).await {
            Ok(second) => return Ok(vec![first, second]),
            Err(_) if one.port() == 0 && tries < PORT_TRIES => {}
            Err(error) => return Err(error),
        }
    }
}

/// Binds an address, to a port that is free for both transports if it is not given.
async fn bind_somewhere(addr: SocketAddr) -> Result<(SocketAddr, Bound), ServeError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind(addr).await {
            Err(_) if addr.port() == 0 && tries < PORT_TRIES => {}
            bound => return bound,
        }
    }
}

#[cfg(test)]
mod tests;
