//! What coturn refuses: stale nonces (438), more allocations than a user may have (486), peers (403), and what it forgets (437).

use super::*;

#[test]
fn a_nonce_that_has_become_stale_is_replaced() {
    let Some(world) = World::new(CoturnSpec::new().nonce_seconds(1)) else {
        return;
    };
    let peers = [world.peer_socket(), world.peer_socket()];
    world.on_client(async || {
        let relays = relays(
            vec![world.server(TurnTransport::Udp)],
            RelaysConfig::default(),
        );
        let _wanted = relays.want();
        let relay = up(&relays, 1).await.remove(0);
        for (round, peer) in peers.iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(2100)).await;
            // A permission in the first round, a channel in both: each is challenged anew.
            converse(&relay, peer, round as u32 * 40, 40).await;
        }
        relays.shutdown().await;
        assert!(!relay.is_up());
    });
}

#[test]
fn a_full_quota_is_said_and_an_allocation_given_back_makes_room() {
    let Some(world) = World::new(CoturnSpec::new().user_quota(1)) else {
        return;
    };
    world.on_client(async || {
        let first = relays(
            vec![world.server(TurnTransport::Udp)],
            RelaysConfig::default(),
        );
        let _wanted = first.want();
        up(&first, 1).await;
        let second = relays(
            vec![world.server(TurnTransport::Tcp)],
            RelaysConfig::default(),
        );
        let _wanted = second.want();
        says(&second, 0, "gives no more allocations (486)").await;
        first.shutdown().await;
        up(&second, 1).await;
        second.shutdown().await;
    });
}

#[test]
fn an_allocation_that_the_server_has_lost_is_made_anew() {
    let Some(mut world) = World::new(CoturnSpec::new()) else {
        return;
    };
    let peer = world.peer_socket();
    let (relays, relay, wanted, runtime) = world
        .client
        .enter(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let (relays, relay, wanted) = runtime.block_on(async {
                let relays = relays(
                    vec![world.server(TurnTransport::Udp)],
                    RelaysConfig::default(),
                );
                let wanted = relays.want();
                let relay = up(&relays, 1).await.remove(0);
                converse(&relay, &peer, 0, 20).await;
                (relays, relay, wanted)
            });
            (relays, relay, wanted, runtime)
        })
        .unwrap();
    // Coturn starts again and knows nobody.
    let machine = world.coturn.machine().clone();
    drop(world.coturn);
    world.coturn = world.lab.coturn(&machine).unwrap();
    let world = &world;
    world
        .client
        .enter(|| {
            runtime.block_on(async {
                // As the watch of the network says after a sleep; it need not wait for the next renewal.
                relays.network_changed();
                timeout(SOON, relay.closed()).await.unwrap();
                let again = up(&relays, 1).await.remove(0);
                assert!(again.is_up() && !relay.is_up());
                converse(&again, &peer, 100, 20).await;
                relays.shutdown().await;
                drop(wanted);
            });
        })
        .unwrap();
}

#[test]
fn datagrams_of_peers_that_were_not_let_in_do_not_come() {
    let Some(world) = World::new(CoturnSpec::new()) else {
        return;
    };
    let (peer, stranger) = (world.peer_socket(), world.lab.server(2).unwrap());
    let at = stranger.at(0).unwrap();
    let stranger = stranger.enter(|| UdpSocket::bind(at).unwrap()).unwrap();
    world.on_client(async || {
        let relays = relays(
            vec![world.server(TurnTransport::Udp)],
            RelaysConfig::default(),
        );
        let _wanted = relays.want();
        let relay = up(&relays, 1).await.remove(0);
        stranger.send_to(b"knock", relay.relayed()).unwrap();
        peer.send_to(b"knock", relay.relayed()).unwrap();
        let came = timeout(SILENCE, poll_fn(|cx| relay.poll_receive(cx))).await;
        assert!(came.is_err(), "{came:?}");
        // Permitted, the address may send from every port; the other one still may not.
        relay.permit(peer.local_addr().unwrap().ip());
        tokio::time::sleep(SILENCE).await;
        stranger.send_to(b"knock", relay.relayed()).unwrap();
        peer.send_to(b"come in", relay.relayed()).unwrap();
        let came = receive(&relay).await.unwrap();
        assert_eq!(
            came,
            (peer.local_addr().unwrap(), Bytes::from_static(b"come in"))
        );
        // Coturn relays to no loopback address; the refusal reaches whoever sends there again.
        let inside: SocketAddr = "127.0.0.1:22".parse().unwrap();
        relay.send(inside, b"x").unwrap();
        tokio::time::sleep(SILENCE).await;
        let again = relay.send(inside, b"x").unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::PermissionDenied);
        let ipv6 = relay.send("[2001:db8::1]:1".parse().unwrap(), b"x");
        assert_eq!(ipv6.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        relays.shutdown().await;
    });
}
