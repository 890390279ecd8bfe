//! QUIC as lanes use it (`docs/protocol.md` §2, §3): one stream a connection, version 1, small windows for strangers.

use crate::{
    config::{Congestion, SessionConfig},
    socket::QuinnSocket,
    tls::{PeerSlot, Tls},
};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime,
    TransportConfig, VarInt, congestion,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use rustls::sign::CertifiedKey;
use std::{io, sync::Arc};

/// QUIC version 1 (RFC 9000 §15), the only one spoken.
const QUIC_V1: u32 = 1;

/// Bytes held of a connection that has not been accepted yet: one flight of the dialling side, with room.
const INCOMING_BUFFER: u64 = 64 * 1024;

/// How the QUIC connections of a socket behave, for both directions of dialling.
#[derive(Debug)]
pub(crate) struct Quic {
    dialling: Arc<TransportConfig>,
    accepting: Arc<TransportConfig>,
    max_incoming: usize,
    /// Size of the largest datagram, where it is known.
    largest_datagram: Option<u16>,
}

/// Configurations that the TLS library refused; a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("the TLS library refused the configuration: {0}")]
pub(crate) struct ConfigRefused(String);

impl Quic {
    pub(crate) fn new(config: &SessionConfig, largest_datagram: Option<u16>) -> Self {
        Self {
            // The accepting side opens no stream.
            dialling: Arc::new(transport(config, 0, largest_datagram)),
            accepting: Arc::new(transport(config, 1, largest_datagram)),
            max_incoming: config.max_handshakes,
            largest_datagram,
        }
    }

    /// An endpoint that dials and accepts on a socket.
    pub(crate) fn endpoint(
        &self,
        socket: Arc<QuinnSocket>,
        tls: &Tls,
        own: &Arc<CertifiedKey>,
    ) -> Result<Endpoint, io::Error> {
        let mut config = EndpointConfig::default();
        // Packets are told apart from STUN by their first byte, which greasing would randomise (RFC 9443, RFC 9287 §3).
        config.grease_quic_bit(false);
        config.supported_versions(vec![QUIC_V1]);
        if let Some(largest) = self.largest_datagram {
            config
                .max_udp_payload_size(largest)
                .map_err(io::Error::other)?;
        }
        let slot = PeerSlot::new(crate::tls::Expected::Anyone);
        let crypto = server_crypto(tls, own, &slot).map_err(io::Error::other)?;
        let mut server = ServerConfig::with_crypto(crypto);
        server.transport_config(Arc::clone(&self.accepting));
        server.max_incoming(self.max_incoming);
        server.incoming_buffer_size(INCOMING_BUFFER);
        server.incoming_buffer_size_total(INCOMING_BUFFER * 64);
        Endpoint::new_with_abstract_socket(config, Some(server), socket, Arc::new(TokioRuntime))
    }

    /// The configuration of one dialled connection.
    pub(crate) fn client(
        &self,
        tls: &Tls,
        own: &Arc<CertifiedKey>,
        slot: &Arc<PeerSlot>,
    ) -> Result<ClientConfig, ConfigRefused> {
        let config = tls.client(own, slot).map_err(refused)?;
        let crypto = QuicClientConfig::try_from(config).map_err(refused)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.dialling));
        config.version(QUIC_V1);
        Ok(config)
    }

    /// The configuration of one accepted connection.
    pub(crate) fn server(
        &self,
        tls: &Tls,
        own: &Arc<CertifiedKey>,
        slot: &Arc<PeerSlot>,
    ) -> Result<Arc<ServerConfig>, ConfigRefused> {
        let mut config = ServerConfig::with_crypto(server_crypto(tls, own, slot)?);
        config.transport_config(Arc::clone(&self.accepting));
        Ok(Arc::new(config))
    }
}

fn server_crypto(
    tls: &Tls,
    own: &Arc<CertifiedKey>,
    slot: &Arc<PeerSlot>,
) -> Result<Arc<QuicServerConfig>, ConfigRefused> {
    let config = tls.server(own, slot).map_err(refused)?;
    QuicServerConfig::try_from(config)
        .map(Arc::new)
        .map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> ConfigRefused {
    ConfigRefused(error.to_string())
}

fn transport(
    config: &SessionConfig,
    inbound_streams: u32,
    largest_datagram: Option<u16>,
) -> TransportConfig {
    let mut transport = TransportConfig::default();
    if let Some(largest) = largest_datagram {
        transport
            .initial_mtu(largest)
            .mtu_discovery_config(None)
            .enable_segmentation_offload(false);
    }
    transport
        .max_concurrent_bidi_streams(VarInt::from(inbound_streams))
        .max_concurrent_uni_streams(VarInt::from(0_u8))
        .stream_receive_window(VarInt::from(config.quic_window))
        .receive_window(VarInt::from(config.quic_untrusted_window))
        .send_window(u64::from(config.quic_window))
        .datagram_receive_buffer_size(None)
        // The lane's own PING keeps the connection open, and the lane itself knows when it is dead: QUIC would end it at once after a sleep
        // of the machine. What nobody reads ends all the same.
        .keep_alive_interval(None)
        .max_idle_timeout(
            IdleTimeout::try_from(2 * (config.idle_ping_quic + config.dead_after)).ok(),
        );
    match config.congestion {
        Congestion::Cubic => {
            transport.congestion_controller_factory(Arc::new(congestion::CubicConfig::default()))
        }
        Congestion::Bbr => {
            transport.congestion_controller_factory(Arc::new(congestion::BbrConfig::default()))
        }
    };
    transport
}
