//! From a connection to a lane, in both directions, over both carriers.

use super::{AcceptError, ConnectError, Inner, sockets::Attached};
use crate::{
    handshake::{Handshake, HandshakeError, Session, Stage, converse, say_farewell},
    lane::{Lane, Parts, Shutdown, SocketUse, Transport},
    pipe::{self, Inlet, Outlet},
    pool::Direction,
    stream::Stream,
    tls::{self, Expected, PeerSlot, SERVER_NAME, quic_failure, stream_failure},
    wire::{FrameDecoder, Grease},
};
use dig_identity::auth::EXPORTER_LABEL;
use dig_types::NodeId;
use quinn::{Connection, Incoming, RecvStream, SendStream};
use rustls::pki_types::ServerName;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// A connection that TLS has secured.
struct Secured {
    pipe: (Inlet, Outlet),
    /// Keys known to the two ends of this connection only.
    binding: [u8; 32],
    protocol: Option<Vec<u8>>,
    remote: Option<SocketAddr>,
    transport: Transport,
    /// The datagram socket it uses.
    socket: Option<SocketUse>,
}

impl Inner {
    pub(super) async fn dial_quic(
        &self,
        socket: &Attached,
        addr: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        tokio::select! {
            biased;
            () = socket.detached.cancelled() => Err(ConnectError::Detached),
            dialled = self.dial_quic_from(socket, addr, expected) => dialled,
        }
    }

    async fn dial_quic_from(
        &self,
        socket: &Attached,
        addr: SocketAddr,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        let deadline = self.deadline();
        let own = self.certificate()?;
        let slot = PeerSlot::new(expected.map_or(Expected::Anyone, Expected::Node));
        let unreachable = |error| ConnectError::Unreachable(addr, error);
        let config = socket
            .quic
            .client(&self.tls, &own, &slot)
            .map_err(|error| unreachable(io::Error::other(error)))?;
        let connecting = socket
            .endpoint
            .connect_with(config, addr, SERVER_NAME)
            .map_err(|error| match error {
                quinn::ConnectError::InvalidRemoteAddress(_) => ConnectError::NoSocket(addr),
                quinn::ConnectError::EndpointStopping => ConnectError::Closed,
                other => unreachable(io::Error::other(other)),
            })?;
        let secured = within(deadline, Stage::Connect, async {
            let connection = connecting
                .await
                .map_err(|error| quic_failure(error, &slot))?;
            let (send, receive) = connection
                .open_bi()
                .await
                .map_err(|error| quic_failure(error, &slot))?;
            Secured::quic(socket, connection, send, receive)
        })
        .await?;
        Ok(self
            .open(secured, (&slot, Direction::Outgoing), deadline)
            .await?)
    }

    pub(super) async fn answer_quic(
        &self,
        socket: &Attached,
        incoming: Incoming,
    ) -> Result<Lane, AcceptError> {
        let deadline = self.deadline();
        let own = self.certificate()?;
        let slot = PeerSlot::new(Expected::Anyone);
        let config = socket
            .quic
            .server(&self.tls, &own, &slot)
            .map_err(|error| HandshakeError::Broken(io::Error::other(error)))?;
        let failed = |error| quic_failure(error, &slot);
        let connecting = incoming.accept_with(config).map_err(failed)?;
        let connection = within(deadline, Stage::Connect, async {
            connecting.await.map_err(failed)
        })
        .await?;
        let secured = within(deadline, Stage::Hello, async {
            let (send, receive) = connection.accept_bi().await.map_err(failed)?;
            Secured::quic(socket, connection, send, receive)
        })
        .await?;
        Ok(self
            .open(secured, (&slot, Direction::Inbound), deadline)
            .await?)
    }

    pub(super) async fn dial_stream(
        &self,
        stream: Box<dyn Stream>,
        remote: Option<SocketAddr>,
        expected: Option<NodeId>,
    ) -> Result<Lane, ConnectError> {
        let deadline = self.deadline();
        let own = self.certificate()?;
        let slot = PeerSlot::new(expected.map_or(Expected::Anyone, Expected::Node));
        let config = self.tls.client(&own, &slot).map_err(misconfigured)?;
        let name = ServerName::try_from(SERVER_NAME)
            .map_err(|error| HandshakeError::Broken(io::Error::other(error)))?;
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within(deadline, Stage::Connect, async {
            connector
                .connect(name, stream)
                .await
                .map_err(|error| stream_failure(error, &slot))
        })
        .await?;
        let secured = Secured::stream(stream.into(), remote)?;
        Ok(self
            .open(secured, (&slot, Direction::Outgoing), deadline)
            .await?)
    }

    pub(super) async fn answer_stream(
        &self,
        stream: Box<dyn Stream>,
        remote: Option<SocketAddr>,
    ) -> Result<Lane, AcceptError> {
        let deadline = self.deadline();
        let own = self.certificate()?;
        let slot = PeerSlot::new(Expected::Anyone);
        let config = self.tls.server(&own, &slot).map_err(misconfigured)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let accepted = within(deadline, Stage::Connect, async {
            acceptor
                .accept(stream)
                .await
                .map_err(|error| stream_failure(error, &slot))
        });
        let stream = accepted
            .await
            .inspect_err(|error| tracing::debug!(?remote, %error, "no lane"))?;
        let secured = Secured::stream(stream.into(), remote)?;
        let lane = self
            .open(secured, (&slot, Direction::Inbound), deadline)
            .await;
        Ok(lane.inspect_err(|error| tracing::debug!(?remote, %error, "no lane"))?)
    }

    /// HELLO and challenge–response over a secured connection.
    async fn open(
        &self,
        secured: Secured,
        (slot, direction): (&PeerSlot, Direction),
        deadline: Instant,
    ) -> Result<Lane, HandshakeError> {
        if secured.protocol.as_deref() != Some(tls::ALPN) {
            return Err(HandshakeError::NotDig("it did not agree to `dig/1`".into()));
        }
        let peer = match slot.seen() {
            Some(seen) => seen?,
            None => return Err(HandshakeError::NoCertificate),
        };
        let (mut nonce, mut challenge) = ([0; 32], [0; 32]);
        getrandom::fill(&mut nonce).map_err(|_| HandshakeError::Random)?;
        getrandom::fill(&mut challenge).map_err(|_| HandshakeError::Random)?;
        let session = Session {
            peer,
            binding: secured.binding,
            nonce,
            challenge,
        };
        let mut handshake = Handshake::new(self.local.clone(), session);
        let (mut inlet, mut outlet) = secured.pipe;
        let mut decoder = FrameDecoder::default();
        let mut grease = Grease::new(self.config.noise_seed);
        let talk = converse(
            &mut handshake,
            &mut decoder,
            (&mut inlet, &mut outlet),
            (&*self.clock, &mut grease),
        );
        let failed = match timeout_at(deadline, talk).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(_) => return Err(HandshakeError::Timeout(handshake.stage())),
        };
        if let Some(failure) = failed {
            say_farewell(&mut outlet, &failure.farewell).await;
            return Err(outlet.explain(failure.error, slot));
        }
        let shutdown = Shutdown {
            endpoint: self.closing.clone(),
            socket: secured.socket,
        };
        let parts = Parts {
            outcome: handshake.outcome()?,
            remote: secured.remote,
            transport: secured.transport,
            direction,
            shutdown,
            pipe: (inlet, outlet),
            decoder,
            grease,
        };
        let lane = Lane::start(parts, &self.config, &self.lanes);
        let info = lane.info();
        tracing::debug!(node = %info.node.short(), transport = %info.transport, "lane open");
        Ok(lane)
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.config.handshake_timeout
    }
}

impl Secured {
    fn quic(
        socket: &Attached,
        connection: Connection,
        send: SendStream,
        receive: RecvStream,
    ) -> Result<Self, HandshakeError> {
        let mut binding = [0; 32];
        connection
            .export_keying_material(&mut binding, EXPORTER_LABEL, &[])
            .map_err(|_| HandshakeError::Broken(io::Error::other("no exported keys")))?;
        let data = connection.handshake_data();
        let protocol = data
            .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
            .and_then(|data| data.protocol);
        let remote = connection.remote_address();
        Ok(Self {
            pipe: (Inlet::Quic(receive), Outlet::Quic(send, connection)),
            binding,
            protocol,
            remote: Some(SocketAddr::new(remote.ip().to_canonical(), remote.port())),
            transport: Transport::Quic,
            socket: Some(SocketUse {
                id: socket.id,
                detached: socket.detached.clone(),
            }),
        })
    }

    fn stream(stream: pipe::Tls, remote: Option<SocketAddr>) -> Result<Self, HandshakeError> {
        let (exported, protocol) = match &stream {
            TlsStream::Client(stream) => {
                let tls = stream.get_ref().1;
                (
                    tls.export_keying_material([0; 32], EXPORTER_LABEL, None),
                    tls.alpn_protocol(),
                )
            }
            TlsStream::Server(stream) => {
                let tls = stream.get_ref().1;
                (
                    tls.export_keying_material([0; 32], EXPORTER_LABEL, None),
                    tls.alpn_protocol(),
                )
            }
        };
        let binding = exported.map_err(|error| HandshakeError::Broken(io::Error::other(error)))?;
        let protocol = protocol.map(<[u8]>::to_vec);
        let (receive, send) = tokio::io::split(stream);
        Ok(Self {
            pipe: (Inlet::Tls(receive), Outlet::Tls(send)),
            binding,
            protocol,
            remote,
            transport: Transport::TlsTcp,
            socket: None,
        })
    }
}

impl Outlet {
    /// The better reason for a broken conversation: in TLS 1.3 the dialling side has finished before the other has looked at its
    /// certificate, so a refusal arrives in place of HELLO.
    fn explain(&self, error: HandshakeError, slot: &PeerSlot) -> HandshakeError {
        match (error, self.quic()) {
            (HandshakeError::Broken(error), None) => stream_failure(error, slot),
            (HandshakeError::Broken(error), Some(connection)) => match connection.close_reason() {
                Some(reason) => quic_failure(reason, slot),
                None => HandshakeError::Broken(error),
            },
            (error, _) => error,
        }
    }
}

async fn within<T>(
    deadline: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    timeout_at(deadline, work)
        .await
        .unwrap_or(Err(HandshakeError::Timeout(stage)))
}

/// The TLS library refused our configuration: a fault of this program.
fn misconfigured(error: rustls::Error) -> HandshakeError {
    HandshakeError::Broken(io::Error::other(error))
}
