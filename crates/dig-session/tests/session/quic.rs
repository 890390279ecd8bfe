//! What is particular to QUIC: sockets, streams, and who knocks.

use crate::{
    pair::{attach, endpoint, localhost},
    stranger::{Manners, Stranger, identity},
};
use dig_session::{DatagramSocket as _, PlainUdp, SessionConfig};
use quinn::crypto::rustls::QuicClientConfig;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::timeout;

/// A QUIC client of no manners but those of TLS.
async fn knock(
    addr: SocketAddr,
    manners: &Manners,
) -> Result<(quinn::Endpoint, quinn::Connection), quinn::ConnectionError> {
    let crypto = QuicClientConfig::try_from(manners.client(&identity())).unwrap();
    let client = quinn::Endpoint::client(localhost()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(crypto));
    let connection = client.connect_with(config, addr, "dig").unwrap().await?;
    Ok((client, connection))
}

#[tokio::test]
async fn sockets_keep_their_batches() {
    let socket = PlainUdp::bind(localhost()).unwrap();
    let std = std::net::UdpSocket::bind(localhost()).unwrap();
    std.set_nonblocking(true).unwrap();
    let native = quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, std).unwrap();
    assert_eq!(
        socket.max_transmit_segments(),
        native.max_transmit_segments()
    );
    assert_eq!(socket.max_receive_segments(), native.max_receive_segments());
    assert_eq!(socket.may_fragment(), native.may_fragment());
    if cfg!(target_os = "linux") {
        assert!(socket.max_transmit_segments() > 1 && socket.max_receive_segments() > 1);
    }
}

#[tokio::test]
async fn one_stream_and_no_more() {
    let own = endpoint(SessionConfig::default());
    let addr = attach(&own);
    let (_client, connection) = knock(addr, &Manners::default()).await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let hello = Stranger::hello();
    send.write_all(&hello.header()).await.unwrap();
    send.write_all(&hello.payload).await.unwrap();
    let lane = timeout(Duration::from_secs(5), own.accept_quic())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(lane.info().port, 99);
    let mut heard = [0; 10];
    receive.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard[..6], [0; 6], "HELLO");
    assert!(
        timeout(Duration::from_millis(300), connection.open_bi())
            .await
            .is_err(),
        "no second stream"
    );
    assert!(
        timeout(Duration::from_millis(300), connection.open_uni())
            .await
            .is_err(),
        "no other stream"
    );
    assert_eq!(connection.max_datagram_size(), None, "no datagrams");
}

#[tokio::test]
async fn whoever_has_no_certificate_or_another_protocol_gets_no_lane() {
    let own = endpoint(SessionConfig::default());
    let addr = attach(&own);
    let plain = Manners {
        issued: None,
        ..Manners::default()
    };
    let foreign = Manners {
        alpn: vec![b"h3".to_vec()],
        ..Manners::default()
    };
    for manners in [plain, foreign] {
        let closed = match knock(addr, &manners).await {
            Ok((_client, connection)) => connection.closed().await,
            Err(error) => error,
        };
        assert!(
            matches!(closed, quinn::ConnectionError::ConnectionClosed(_)),
            "{closed:?}"
        );
    }
    assert!(
        timeout(Duration::from_millis(100), own.accept_quic())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let config = SessionConfig {
        retry_above: 2,
        handshake_timeout: Duration::from_secs(2),
        ..SessionConfig::default()
    };
    let own = endpoint(config);
    let addr = attach(&own);
    // These are connected and open no stream; from the third on, addresses must prove themselves.
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(knock(addr, &Manners::default()).await.unwrap());
    }
    let friend = endpoint(SessionConfig::default());
    attach(&friend);
    let lane = friend
        .connect_quic(addr, Some(own.node_id()))
        .await
        .unwrap();
    assert_eq!(lane.info().node, own.node_id());
    for (_client, connection) in silent {
        timeout(Duration::from_secs(5), connection.closed())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn places_at_the_door_are_bounded() {
    let config = SessionConfig {
        max_handshakes_per_network: 2,
        ..SessionConfig::default()
    };
    let own = endpoint(config);
    let addr = attach(&own);
    let _first = knock(addr, &Manners::default()).await.unwrap();
    let _second = knock(addr, &Manners::default()).await.unwrap();
    let friend = endpoint(SessionConfig::default());
    attach(&friend);
    let text = friend
        .connect_quic(addr, None)
        .await
        .unwrap_err()
        .to_string();
    assert_eq!(
        text,
        "the other side refused: too many lanes (busy, try again)"
    );
}
