//! Who may be at the other end, and what each side hears when somebody else is.

use crate::{
    pair::{BOTH, attach, dial, endpoint, endpoint_at, localhost},
    stranger::{Manners, Stranger},
};
use dig_session::{
    AcceptError, ConnectError, HandshakeError, SessionConfig, Stage, StreamDialer, TcpDialer,
    Transport,
};
use dig_types::{Clock as _, NodeId, SystemClock, VirtualClock};
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, duplex},
    net::TcpListener,
};

const HOUR: Duration = Duration::from_secs(3600);

fn refused(result: Result<dig_session::Lane, ConnectError>) -> HandshakeError {
    match result.unwrap_err() {
        ConnectError::Handshake(error) => error,
        other => panic!("{other:?}"),
    }
}

fn turned_away(result: Result<dig_session::Lane, AcceptError>) -> HandshakeError {
    match result.unwrap_err() {
        AcceptError::Handshake(error) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn somebody_else_is_refused() {
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let wanted = NodeId::from_bytes([1; 32]);
        let (dialled, accepted) = dial(transport, &dialler, &acceptor, Some(wanted)).await;
        let error = refused(dialled);
        let HandshakeError::WrongIdentity { expected, found } = error else {
            panic!("{transport}: {error:?}");
        };
        assert_eq!((expected, found), (wanted, acceptor.node_id()));
        if let Some(accepted) = accepted {
            let error = turned_away(accepted);
            assert!(
                matches!(error, HandshakeError::NotExpectedHere),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_is_sent_to_somebody_else() {
    let dialler = endpoint(SessionConfig::default());
    let (near, far) = duplex(65_536);
    let manners = Manners::default();
    let (dialled, answered) = tokio::join!(
        dialler.connect_stream(near, None, Some(NodeId::from_bytes([1; 32]))),
        Stranger::answer(far, &manners),
    );
    assert!(matches!(
        refused(dialled),
        HandshakeError::WrongIdentity { .. }
    ));
    let error = answered
        .err()
        .expect("the handshake never finishes, so no frame can have been sent");
    assert!(error.to_string().contains("AccessDenied"), "{error}");
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_the_dialler() {
    for transport in BOTH {
        let start = SystemClock.now();
        let (past, present) = (
            VirtualClock::new(start),
            VirtualClock::new(start + 8 * 24 * HOUR),
        );
        let acceptor = endpoint_at(SessionConfig::default(), Arc::new(past));
        let dialler = endpoint_at(SessionConfig::default(), Arc::new(present));
        let (dialled, _) = dial(transport, &dialler, &acceptor, None).await;
        let error = refused(dialled);
        assert!(
            matches!(error, HandshakeError::CertificateExpired),
            "{transport}: {error:?}"
        );
    }
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_the_acceptor_and_the_dialler_hears_it() {
    for transport in BOTH {
        let start = SystemClock.now();
        let clock = Arc::new(VirtualClock::new(start));
        let acceptor = endpoint_at(SessionConfig::default(), clock.clone());
        clock.advance(2 * HOUR);
        let short = SessionConfig {
            certificate_lifetime: Duration::from_secs(60),
            ..SessionConfig::default()
        };
        let dialler = endpoint_at(short, Arc::new(VirtualClock::new(start)));
        let (dialled, accepted) = dial(transport, &dialler, &acceptor, None).await;
        let error = refused(dialled);
        assert!(
            matches!(&error, HandshakeError::CertificateRefused(why) if why.contains("expired")),
            "{transport}: {error:?}"
        );
        if let Some(accepted) = accepted {
            assert!(matches!(
                turned_away(accepted),
                HandshakeError::CertificateExpired
            ));
        }
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_the_next_peer() {
    let start = SystemClock.now();
    let clock = Arc::new(VirtualClock::new(start));
    let acceptor = endpoint_at(SessionConfig::default(), clock.clone());
    clock.advance(8 * 24 * HOUR);
    let dialler = endpoint_at(SessionConfig::default(), clock.clone());
    for transport in BOTH {
        let (dialled, _) = dial(transport, &dialler, &acceptor, Some(acceptor.node_id())).await;
        dialled.unwrap();
    }
}

#[tokio::test]
async fn another_protocol_is_refused_on_both_sides() {
    for alpn in [vec![], vec![b"h2".to_vec()]] {
        let own = endpoint(SessionConfig::default());
        let manners = Manners {
            alpn: alpn.clone(),
            ..Manners::default()
        };
        let (near, far) = duplex(65_536);
        let (accepted, _) = tokio::join!(own.accept_stream(near, None), async {
            let mut stranger = Stranger::dial(far, &manners).await?;
            stranger.receive().await;
            Ok::<_, std::io::Error>(())
        });
        let error = turned_away(accepted);
        assert!(
            matches!(error, HandshakeError::NotDig(_)),
            "{alpn:?}: {error:?}"
        );

        let (near, far) = duplex(65_536);
        let (dialled, _) = tokio::join!(own.connect_stream(near, None, None), async {
            let mut stranger = Stranger::answer(far, &manners).await?;
            stranger.receive().await;
            Ok::<_, std::io::Error>(())
        });
        let error = refused(dialled);
        assert!(
            matches!(error, HandshakeError::NotDig(_)),
            "{alpn:?}: {error:?}"
        );
    }
}

#[tokio::test]
async fn whoever_has_no_certificate_is_refused() {
    let own = endpoint(SessionConfig::default());
    let (near, far) = duplex(65_536);
    let manners = Manners {
        issued: None,
        ..Manners::default()
    };
    let (accepted, ()) = tokio::join!(own.accept_stream(near, None), async {
        if let Ok(mut stranger) = Stranger::dial(far, &manners).await {
            assert_eq!(stranger.receive().await, None);
        }
    });
    let error = turned_away(accepted);
    assert!(matches!(error, HandshakeError::NoCertificate), "{error:?}");
}

#[tokio::test]
async fn what_is_no_tls_is_no_dig() {
    let own = endpoint(SessionConfig::default());
    let (near, mut far) = duplex(65_536);
    let (dialled, ()) = tokio::join!(own.connect_stream(near, None, None), async {
        far.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
    });
    let error = refused(dialled);
    assert!(matches!(error, HandshakeError::NotDig(_)), "{error:?}");
}

#[tokio::test]
async fn a_peer_that_hangs_up_is_named_as_such() {
    let own = endpoint(SessionConfig::default());
    let (near, far) = duplex(65_536);
    drop(far);
    let error = refused(own.connect_stream(near, None, None).await);
    assert!(matches!(error, HandshakeError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn nobody_there_over_quic_is_a_timeout_and_over_tcp_a_refusal() {
    let config = SessionConfig {
        handshake_timeout: Duration::from_millis(400),
        ..SessionConfig::default()
    };
    let own = endpoint(config);
    attach(&own);
    let unused = std::net::UdpSocket::bind(localhost())
        .unwrap()
        .local_addr()
        .unwrap();
    let error = refused(own.connect_quic(unused, None).await);
    assert!(
        matches!(error, HandshakeError::Timeout(Stage::Connect)),
        "{error:?}"
    );
    assert!(error.to_string().contains("nothing listens there"));

    let listener = TcpListener::bind(localhost()).await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let error = TcpDialer.dial(addr).await.err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn an_endpoint_without_a_socket_says_so() {
    let own = endpoint(SessionConfig::default());
    let addr = "127.0.0.1:9".parse().unwrap();
    assert!(
        matches!(own.connect_quic(addr, None).await, Err(ConnectError::NoSocket(to)) if to == addr)
    );
    attach(&own);
    let addr = "[::1]:9".parse().unwrap();
    assert!(
        matches!(own.connect_quic(addr, None).await, Err(ConnectError::NoSocket(to)) if to == addr)
    );
    own.close().await;
    assert!(matches!(
        own.connect_quic(addr, None).await,
        Err(ConnectError::Closed)
    ));
    let (near, _far) = duplex(64);
    assert!(matches!(
        own.connect_stream(near, None, None).await,
        Err(ConnectError::Closed)
    ));
}

#[tokio::test]
async fn the_same_transport_names_are_printed() {
    assert_eq!(
        [Transport::Quic, Transport::TlsTcp].map(|t| t.to_string()),
        ["quic", "tls-tcp"]
    );
}
