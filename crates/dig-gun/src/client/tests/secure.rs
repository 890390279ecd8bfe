//! Relays behind TLS.

use super::{SECOND, Server, why_down};
use crate::client::{ClientConfig, Gun, RelayUrl};
use rustls::{ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivateKeyDer};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_async;

/// A certificate for this name, and what accepts with it.
fn certificate(name: &str) -> (Vec<u8>, TlsAcceptor) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (
        certificate.der().to_vec(),
        TlsAcceptor::from(Arc::new(config)),
    )
}

fn secure(server: &Server, host: &str) -> RelayUrl {
    let port = server.url().port();
    format!("https://{host}:{port}/gun").parse().unwrap()
}

#[tokio::test]
async fn a_certificate_that_is_trusted_and_of_that_name_will_do() {
    let mut server = Server::start().await;
    let (root, acceptor) = certificate("127.0.0.1");
    let gun = Gun::start(ClientConfig {
        relays: vec![secure(&server, "127.0.0.1")],
        roots: vec![root],
        ..ClientConfig::default()
    });
    let stream = acceptor.accept(server.stream().await).await.unwrap();
    // HTTP/2 has no such WebSockets.
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let _socket = accept_async(stream).await.unwrap();
    assert!(gun.connected(SECOND).await);
}

#[tokio::test]
async fn another_name_an_unknown_authority_and_no_tls_are_refused() {
    let mut server = Server::start().await;
    let (root, acceptor) = certificate("relay.example");
    let gun = Gun::start(ClientConfig {
        relays: vec![secure(&server, "127.0.0.1")],
        roots: vec![root.clone()],
        ..ClientConfig::default()
    });
    assert!(acceptor.accept(server.stream().await).await.is_err());
    let why = why_down(&gun).await;
    assert!(why.contains("TLS fails"), "{why}");
    drop(gun);

    let (_, unknown) = certificate("127.0.0.1");
    let gun = Gun::start(ClientConfig {
        relays: vec![secure(&server, "127.0.0.1")],
        roots: vec![root.clone()],
        ..ClientConfig::default()
    });
    assert!(unknown.accept(server.stream().await).await.is_err());
    let why = why_down(&gun).await;
    assert!(why.contains("TLS fails"), "{why}");
    drop(gun);

    let gun = Gun::start(ClientConfig {
        relays: vec![secure(&server, "127.0.0.1")],
        roots: vec![root],
        ..ClientConfig::default()
    });
    server.accept_http("HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let why = why_down(&gun).await;
    assert!(why.contains("ws://"), "{why}");
}
