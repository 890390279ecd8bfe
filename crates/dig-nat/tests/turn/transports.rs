//! UDP, TCP and TLS.

use super::*;

fn converses_by(transport: TurnTransport) {
    let Some(world) = World::new(CoturnSpec::new()) else {
        return;
    };
    let peer = world.peer_socket();
    world.on_client(async || {
        let relays = relays(vec![world.server(transport)], RelaysConfig::default());
        assert_eq!(relays.status().borrow()[0].state, "idle");
        let wanted = relays.want();
        let relay = up(&relays, 1).await.remove(0);
        check_relay(&world, &relay, transport);
        // Enough that the first go as indications and the others by a channel.
        converse(&relay, &peer, 0, 100).await;
        drop(wanted);
        relays.shutdown().await;
        assert!(!relay.is_up());
        assert_eq!(relays.watch().borrow().len(), 0);
        assert!(relay.send(peer.local_addr().unwrap(), b"late").is_err());
    });
}

fn check_relay(world: &World, relay: &Relay, transport: TurnTransport) {
    assert_eq!(relay.relayed().ip(), world.address());
    assert_eq!(
        relay.server(),
        SocketAddr::new(world.address(), transport.default_port())
    );
    assert_eq!(relay.transport(), transport);
    assert_ne!(relay.mapped().ip(), world.client.address().unwrap());
}

#[test]
fn converses_by_udp() {
    converses_by(TurnTransport::Udp);
}

#[test]
fn converses_by_tcp() {
    converses_by(TurnTransport::Tcp);
}

/// A certificate for coturn that it has signed itself: in PEM with its key, and in DER.
fn certificate(name: IpAddr) -> (String, String, Vec<u8>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_string()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (
        certificate.pem(),
        key.serialize_pem(),
        certificate.der().to_vec(),
    )
}

/// Coturn with TLS. Its machine's address is known before it runs.
fn world_with_tls(valid: bool) -> Option<(World, Vec<u8>)> {
    let address = Lab::for_test()?.server(0).unwrap().address().unwrap();
    let name = if valid {
        address
    } else {
        "192.0.2.1".parse().unwrap()
    };
    let (certificate, key, der) = certificate(name);
    Some((
        World::new(CoturnSpec::new().tls(&certificate, &key, 5349))?,
        der,
    ))
}

#[test]
fn converses_by_tls_with_a_server_that_proves_its_name() {
    let Some((world, der)) = world_with_tls(true) else {
        return;
    };
    let peer = world.peer_socket();
    world.on_client(async || {
        let config = RelaysConfig {
            roots: vec![der],
            ..RelaysConfig::default()
        };
        let relays = relays(vec![world.server(TurnTransport::Tls)], config);
        let _wanted = relays.want();
        let relay = up(&relays, 1).await.remove(0);
        check_relay(&world, &relay, TurnTransport::Tls);
        converse(&relay, &peer, 0, 100).await;
        relays.shutdown().await;
    });
}

#[test]
fn a_server_that_proves_no_name_or_another_one_is_told_no_password() {
    let Some((world, der)) = world_with_tls(false) else {
        return;
    };
    world.on_client(async || {
        for roots in [vec![], vec![der]] {
            let config = RelaysConfig {
                roots,
                ..RelaysConfig::default()
            };
            let relays = relays(vec![world.server(TurnTransport::Tls)], config);
            let _wanted = relays.want();
            says(&relays, 0, "certificate").await;
            assert_eq!(relays.watch().borrow().len(), 0);
        }
    });
}
