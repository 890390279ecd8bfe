//! Two endpoints, and lanes between them.

use bytes::Bytes;
use dig_identity::{Algorithm, CryptoIdentity};
use dig_session::{
    AcceptError, ConnectError, Endpoint, Lane, PlainUdp, SessionConfig, StreamDialer, TcpDialer,
    Transport,
};
use dig_types::{Clock, Frame, FrameType, NodeId, SystemClock};
use std::{net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

pub(crate) const BOTH: [Transport; 2] = [Transport::Quic, Transport::TlsTcp];

pub(crate) fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) fn endpoint(config: SessionConfig) -> Endpoint {
    endpoint_at(config, Arc::new(SystemClock))
}

pub(crate) fn endpoint_at(config: SessionConfig, clock: Arc<dyn Clock>) -> Endpoint {
    endpoint_of(Algorithm::Ed25519, config, clock)
}

pub(crate) fn endpoint_of(
    algorithm: Algorithm,
    config: SessionConfig,
    clock: Arc<dyn Clock>,
) -> Endpoint {
    let identity = CryptoIdentity::generate(algorithm).unwrap();
    Endpoint::new(config, Arc::new(identity), clock).unwrap()
}

/// Binds a QUIC socket for an endpoint.
pub(crate) fn attach(endpoint: &Endpoint) -> SocketAddr {
    let socket = Arc::new(PlainUdp::bind(localhost()).unwrap());
    let addr = dig_session::DatagramSocket::local_addr(&*socket).unwrap();
    endpoint.attach_datagrams(socket).unwrap();
    addr
}

/// What a dial gave on both sides. Over QUIC the accepting side's errors are traced only.
pub(crate) type Dialled = (
    Result<Lane, ConnectError>,
    Option<Result<Lane, AcceptError>>,
);

/// `dialler` dials `acceptor` on loopback.
pub(crate) async fn dial(
    transport: Transport,
    dialler: &Endpoint,
    acceptor: &Endpoint,
    expected: Option<NodeId>,
) -> Dialled {
    if transport == Transport::Quic {
        attach(dialler);
        let addr = attach(acceptor);
        let dialled = dialler.connect_quic(addr, expected).await;
        let accepted = match &dialled {
            Ok(_) => acceptor.accept_quic().await.map(Ok),
            Err(_) => None,
        };
        return (dialled, accepted);
    }
    let listener = TcpListener::bind(localhost()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(
        async {
            dialler
                .connect_stream(TcpDialer.dial(addr).await.unwrap(), Some(addr), expected)
                .await
        },
        async {
            let (stream, remote) = listener.accept().await.unwrap();
            TcpDialer::prepare(&stream).unwrap();
            acceptor.accept_stream(stream, Some(remote)).await
        },
    );
    (dialled, Some(accepted))
}

/// Two ends of a lane.
pub(crate) async fn lanes(
    transport: Transport,
    dialler: &Endpoint,
    acceptor: &Endpoint,
) -> (Lane, Lane) {
    let (dialled, accepted) = dial(transport, dialler, acceptor, Some(acceptor.node_id())).await;
    (dialled.unwrap(), accepted.unwrap().unwrap())
}

/// Two ends of a lane over a pipe of `size` bytes: works in virtual time.
pub(crate) async fn piped(size: usize, dialler: &Endpoint, acceptor: &Endpoint) -> (Lane, Lane) {
    let (near, far) = tokio::io::duplex(size);
    let (dialled, accepted) = tokio::join!(
        dialler.connect_stream(near, None, Some(acceptor.node_id())),
        acceptor.accept_stream(far, None),
    );
    (dialled.unwrap(), accepted.unwrap())
}

/// A frame of the layer above; number and size tell it apart.
pub(crate) fn frame(number: u32, size: usize) -> Frame {
    let payload: Vec<u8> = (0..size)
        .map(|at| (at as u32).wrapping_mul(number) as u8)
        .collect();
    Frame::new(FrameType(0x0030), number, Bytes::from(payload))
}
