//! This node's end of all its lanes: dials, accepts, and closes them.

mod admission;
mod handshaking;
mod sockets;

use crate::{
    config::SessionConfig,
    handshake::{HandshakeError, Local},
    lane::Lane,
    quic::Quic,
    socket::{DatagramSocket, QuinnSocket},
    stream::Stream,
    tls::{CertificateKeeper, OwnCertificateError, Tls},
    wire::{Hello, VERSION},
};
use admission::Admission;
use dig_identity::Signer;
use dig_types::{Clock, InstanceId, NodeId};
use rustls::sign::CertifiedKey;
use sockets::Sockets;
pub use sockets::{SocketId, SocketOptions};
use std::{fmt, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Mutex, mpsc},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Time in which [`Endpoint::close`] says goodbye.
const CLOSING: Duration = Duration::from_millis(300);

/// Smallest datagram that every path of QUIC must carry, in bytes (RFC 9000 §14).
const MIN_DATAGRAM: u16 = 1200;

/// Accepted lanes that wait to be taken.
const WAITING_LANES: usize = 64;

/// One identity's end of its lanes, over any number of sockets and streams. Clones are the same endpoint; when the last is
/// dropped, its lanes end.
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    config: SessionConfig,
    local: Local,
    clock: Arc<dyn Clock>,
    tls: Tls,
    keeper: CertificateKeeper,
    admission: Arc<Admission>,
    sockets: Sockets,
    accepted: mpsc::Sender<Lane>,
    accepting: Mutex<mpsc::Receiver<Lane>>,
    closing: CancellationToken,
    lanes: TaskTracker,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("node", &self.local.node)
            .field("instance", &self.local.hello.instance)
            .field("sockets", &self.sockets)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// An endpoint of the identity that `signer` speaks for. Makes a certificate at once, so an identity that cannot sign is noticed here.
    pub fn new(
        config: SessionConfig,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EndpointError> {
        let mut instance = [0; InstanceId::LEN];
        getrandom::fill(&mut instance).map_err(|_| EndpointError::Random)?;
        let hello = Hello {
            min_version: VERSION,
            max_version: VERSION,
            instance: InstanceId::from_bytes(instance),
            demands_auth: config.auth.is_some(),
            serves: config.serves,
            max_requests: config.max_requests.max(4),
            port: config.port,
        };
        let local = Local {
            node: signer.node_id(),
            signer: Arc::clone(&signer),
            hello,
            policy: config.auth.clone(),
        };
        let (accepted, accepting) = mpsc::channel(WAITING_LANES);
        let inner = Inner {
            local,
            tls: Tls::new(Arc::clone(&clock)),
            keeper: CertificateKeeper::new(signer, config.certificate_lifetime),
            admission: Admission::new(config.max_handshakes, config.max_handshakes_per_network),
            sockets: Sockets::default(),
            accepted,
            accepting: Mutex::new(accepting),
            closing: CancellationToken::new(),
            lanes: TaskTracker::new(),
            clock,
            config,
        };
        inner.certificate()?;
        Ok(Self(Arc::new(inner)))
    }

    /// Who this endpoint is.
    pub fn node_id(&self) -> NodeId {
        self.0.local.node
    }

    /// Which run of the program this is: random, new for each endpoint.
    pub fn instance(&self) -> InstanceId {
        self.0.local.hello.instance
    }

    /// Dials and accepts QUIC on a socket from now on. Several sockets may be attached, one for each address family say. Call it within
    /// a tokio runtime.
    pub fn attach_datagrams(
        &self,
        socket: Arc<dyn DatagramSocket>,
    ) -> Result<SocketId, EndpointError> {
        self.attach_datagrams_with(socket, SocketOptions::default())
    }

    /// As [`Endpoint::attach_datagrams`], for a socket that is not like those of the operating system.
    pub fn attach_datagrams_with(
        &self,
        socket: Arc<dyn DatagramSocket>,
        options: SocketOptions,
    ) -> Result<SocketId, EndpointError> {
        if self.0.closing.is_cancelled() {
            return Err(EndpointError::Closed);
        }
        if let Some(size) = options.largest_datagram
            && size < MIN_DATAGRAM
        {
            return Err(EndpointError::SmallDatagrams(size));
        }
        let own = self.0.certificate()?;
        let quic = Quic::new(&self.0.config, options.largest_datagram);
        let socket = Arc::new(QuinnSocket::new(
            socket,
            options.largest_datagram.is_some(),
        )?);
        let endpoint = quic.endpoint(Arc::clone(&socket), &self.0.tls, &own)?;
        let socket = self.0.sockets.add(endpoint, quic, socket, options)?;
        let (id, inner) = (socket.id, Arc::downgrade(&self.0));
        tokio::spawn(sockets::serve(socket, inner, self.0.closing.clone()));
        Ok(id)
    }

    /// Stops using a socket. Its lanes end with `BYE` code 0, what is being dialled or accepted on it fails, and within 300 ms the
    /// socket is let go, even if halves of its lanes are still held. Does not wait. Whether there was such a socket.
    pub fn detach_datagrams(&self, socket: SocketId) -> bool {
        self.0.sockets.remove(socket)
    }

    /// Dials QUIC: encryption, identities, HELLO and, where demanded, challenge–response. With `expected`, nothing is sent to any other
    /// node. Dropping the future gives up. Sockets attached as [`SocketOptions::by_handle_only`] are not used.
    pub async fn connect_quic(
        &self,
        addr: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        let dial = async {
            let socket = self.0.sockets.towards(addr);
            let socket = socket.ok_or(ConnectError::NoSocket(addr))?;
            self.0.dial_quic(&socket, addr, expected).await
        };
        self.0
            .unless_closing(dial)
            .await
            .unwrap_or(Err(ConnectError::Closed))
    }

    /// As [`Endpoint::connect_quic`], from one of the attached sockets.
    pub async fn connect_quic_from(
        &self,
        socket: SocketId,
        addr: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        let dial = async {
            let socket = self.0.sockets.get(socket).ok_or(ConnectError::Detached)?;
            self.0.dial_quic(&socket, addr, expected).await
        };
        self.0
            .unless_closing(dial)
            .await
            .unwrap_or(Err(ConnectError::Closed))
    }

    /// Makes a lane of a byte stream that this side dialled (see [`StreamDialer`](crate::StreamDialer)), as
    /// [`Endpoint::connect_quic`] does.
    pub async fn connect_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        remote: Option<SocketAddr>,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        let stream: Box<dyn Stream> = Box::new(stream);
        let dial = self.0.dial_stream(stream, remote, expected);
        self.0
            .unless_closing(dial)
            .await
            .unwrap_or(Err(ConnectError::Closed))
    }

    /// Makes a lane of a byte stream that the peer dialled. Refuses at once while too many handshakes are under way. Accepted TCP
    /// streams should have gone through [`TcpDialer::prepare`](crate::TcpDialer::prepare).
    pub async fn accept_stream(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        remote: Option<SocketAddr>,
    ) -> Result<Lane, AcceptError> {
        let place = self.0.admission.enter(remote).ok_or(AcceptError::Busy)?;
        let stream: Box<dyn Stream> = Box::new(stream);
        let accept = self.0.answer_stream(stream, remote);
        let lane = self
            .0
            .unless_closing(accept)
            .await
            .unwrap_or(Err(AcceptError::Closed));
        drop(place);
        lane
    }

    /// The next lane that a peer dialled on an attached socket; `None` once the endpoint closes. Handshakes go on meanwhile, whether or not this is
    /// called; those that fail are traced, not returned.
    pub async fn accept_quic(&self) -> Option<Lane> {
        let mut accepting = self.0.accepting.lock().await;
        tokio::select! {
            biased;
            () = self.0.closing.cancelled() => None,
            lane = accepting.recv() => lane,
        }
    }

    /// Ends all lanes with `BYE` code 5 and stops dialling and accepting. Takes at most 300 ms.
    pub async fn close(&self) {
        let deadline = Instant::now() + CLOSING;
        self.0.closing.cancel();
        self.0.lanes.close();
        // Lanes bound themselves; this only keeps the promise.
        let _ = timeout_at(deadline, self.0.lanes.wait()).await;
        let _ = timeout_at(deadline, self.0.sockets.close()).await;
    }
}

impl Inner {
    fn certificate(&self) -> Result<Arc<CertifiedKey>, OwnCertificateError> {
        self.keeper.current(self.tls.provider(), self.clock.now())
    }

    async fn unless_closing<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            done = work => Some(done),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.closing.cancel();
    }
}

/// Why an endpoint cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// The identity gave no certificate.
    #[error(transparent)]
    Certificate(#[from] OwnCertificateError),
    /// A socket is to carry no datagram of the 1,200 bytes that QUIC needs (RFC 9000 §14).
    #[error("a socket for datagrams of at most {0} bytes cannot carry QUIC, which needs 1,200")]
    SmallDatagrams(u16),
    /// The socket failed.
    #[error("the socket cannot be used: {0}")]
    Socket(#[from] io::Error),
    /// The endpoint has been closed.
    #[error("the endpoint is closed")]
    Closed,
}

/// Why dialling gave no lane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No attached socket reaches that kind of address.
    #[error("no socket for {0}: this node listens on the other address family only")]
    NoSocket(SocketAddr),
    /// The socket to dial from is not attached, or was detached meanwhile.
    #[error("the socket to dial from is no longer in use")]
    Detached,
    /// The system refused to send there.
    #[error("{0} cannot be reached from here: {1}")]
    Unreachable(SocketAddr, io::Error),
    /// The identity gave no certificate.
    #[error(transparent)]
    Certificate(#[from] OwnCertificateError),
    /// What answered made no lane with us.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The endpoint has been closed.
    #[error("the endpoint is closed")]
    Closed,
}

/// Why a stream that a peer dialled gave no lane.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError {
    /// Too many handshakes are under way, in all or from that network.
    #[error("too many connections are being opened")]
    Busy,
    /// The identity gave no certificate.
    #[error(transparent)]
    Certificate(#[from] OwnCertificateError),
    /// The peer made no lane with us.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The endpoint has been closed.
    #[error("the endpoint is closed")]
    Closed,
}
