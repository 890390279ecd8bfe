//! Sockets that are not the operating system's own, and sockets that come and go.

use crate::{
    net::{Net, NetSocket, Way, watch},
    pair::{endpoint, frame},
};
use dig_session::{
    CloseReason, ConnectError, Endpoint, EndpointError, Lane, LaneReceiver, LaneSender,
    SessionConfig, SocketId, SocketOptions, wire::ByeCode,
};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

const RELAYED: SocketOptions = SocketOptions {
    by_handle_only: true,
    largest_datagram: Some(1200),
};

fn attached(endpoint: &Endpoint, socket: &Arc<NetSocket>, options: SocketOptions) -> SocketId {
    endpoint
        .attach_datagrams_with(socket.clone(), options)
        .unwrap()
}

/// `dialler` dials `acceptor` from a socket.
async fn lanes(
    dialler: &Endpoint,
    from: SocketId,
    acceptor: &Endpoint,
    to: &NetSocket,
) -> (Lane, Lane) {
    let dialled = dialler.connect_quic_from(from, to.addr(), Some(acceptor.node_id()));
    let (dialled, accepted) = tokio::join!(dialled, acceptor.accept_quic());
    (dialled.unwrap(), accepted.unwrap())
}

/// Sends `count` large frames one way.
async fn carry(sender: &LaneSender, receiver: &mut LaneReceiver, count: u32) {
    let send = async {
        for number in 0..count {
            sender.send(frame(number, 65_536)).await.unwrap();
        }
    };
    let receive = async {
        for number in 0..count {
            assert_eq!(receiver.recv().await, Some(frame(number, 65_536)));
        }
    };
    tokio::join!(send, receive);
}

/// Moves 2 MiB each way between a socket of its kind and an ordinary one; what the network saw.
async fn exchange(options: SocketOptions, largest: usize) -> crate::net::Seen {
    let net = Net::new(Way {
        largest,
        ..Way::default()
    });
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (near, far) = (net.socket("192.0.2.1:1", 8), net.socket("192.0.2.2:2", 8));
    let near_id = attached(&own, &near, options);
    attached(&peer, &far, SocketOptions::default());
    let (left, right) = lanes(&own, near_id, &peer, &far).await;
    assert_eq!(left.info().socket, Some(near_id));
    let ((to_right, mut from_right), (to_left, mut from_left)) = (left.split(), right.split());
    tokio::join!(
        carry(&to_right, &mut from_left, 32),
        carry(&to_left, &mut from_right, 32),
    );
    net.seen()
}

#[tokio::test(start_paused = true)]
async fn a_relayed_socket_sees_small_datagrams_one_at_a_time() {
    let seen = exchange(RELAYED, 1200).await;
    assert!(seen.datagrams > 3_000, "{seen:?}");
    assert_eq!(
        seen.largest, 1200,
        "neither side sends more, probes included"
    );
    let seen = exchange(SocketOptions::default(), 1472).await;
    assert!(
        seen.largest > 1400,
        "elsewhere the size is probed: {seen:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_relayed_socket_is_given_no_batches() {
    let net = Net::new(Way::default());
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    for (options, near, far, batches) in [
        (RELAYED, "192.0.2.1:1", "192.0.2.2:1", false),
        (SocketOptions::default(), "192.0.2.1:2", "192.0.2.2:2", true),
    ] {
        let (near, far) = (net.socket(near, 8), net.socket(far, 1));
        let near_id = attached(&own, &near, options);
        attached(&peer, &far, SocketOptions::default());
        let before = net.seen().batches;
        let (left, right) = lanes(&own, near_id, &peer, &far).await;
        let ((sender, _keep), (_reply, mut receiver)) = (left.split(), right.split());
        carry(&sender, &mut receiver, 32).await;
        assert_eq!(net.seen().batches > before, batches, "{options:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn sockets_by_handle_are_never_chosen_and_accept_all_the_same() {
    let net = Net::new(Way::default());
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (extra, far) = (net.socket("192.0.2.1:1", 1), net.socket("192.0.2.2:2", 1));
    let only = SocketOptions {
        by_handle_only: true,
        ..SocketOptions::default()
    };
    let extra_id = attached(&own, &extra, only);
    let far_id = attached(&peer, &far, SocketOptions::default());
    let error = own.connect_quic(far.addr(), None).await.unwrap_err();
    assert!(matches!(error, ConnectError::NoSocket(_)), "{error:?}");

    let (left, right) = lanes(&peer, far_id, &own, &extra).await;
    assert_eq!(right.info().socket, Some(extra_id));
    assert_eq!(left.info().socket, Some(far_id));
    let (left, right) = lanes(&own, extra_id, &peer, &far).await;
    assert_eq!(left.info().socket, Some(extra_id));
    assert_eq!(right.info().remote, Some(extra.addr()));
}

#[tokio::test(start_paused = true)]
async fn too_small_a_socket_is_refused() {
    let net = Net::new(Way::default());
    let own = endpoint(SessionConfig::default());
    let options = SocketOptions {
        largest_datagram: Some(1199),
        ..RELAYED
    };
    let error = own
        .attach_datagrams_with(net.socket("192.0.2.1:1", 1), options)
        .unwrap_err();
    assert!(
        matches!(error, EndpointError::SmallDatagrams(1199)),
        "{error:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_detached_socket_is_free_and_its_lanes_have_said_goodbye() {
    let net = Net::new(Way::default());
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (kept, gone, far) = (
        net.socket("192.0.2.1:1", 1),
        net.socket("192.0.2.1:2", 1),
        net.socket("192.0.2.2:2", 1),
    );
    let (kept_id, gone_id) = (
        attached(&own, &kept, SocketOptions::default()),
        attached(&own, &gone, RELAYED),
    );
    attached(&peer, &far, SocketOptions::default());
    let (stays, stays_there) = lanes(&own, kept_id, &peer, &far).await;
    let (goes, goes_there) = lanes(&own, gone_id, &peer, &far).await;
    let gone = watch(gone);
    assert!(gone.upgrade().is_some());

    // All halves are held on, and what was queued before still arrives.
    let (sender, mut receiver) = goes.split();
    let (_reply, mut there) = goes_there.split();
    sender.send(frame(7, 1_000)).await.unwrap();
    let start = Instant::now();
    assert!(own.detach_datagrams(gone_id));
    let (here, last, end) = tokio::join!(receiver.recv(), there.recv(), async {
        while gone.upgrade().is_some() {
            assert!(start.elapsed() < SECOND, "the socket is still held");
            sleep(Duration::from_millis(10)).await;
        }
        start.elapsed()
    });
    assert!(end <= Duration::from_millis(320), "{end:?}");
    assert_eq!((here, last), (None, Some(frame(7, 1_000))));
    assert_eq!(there.recv().await, None);
    let done = CloseReason::Remote {
        code: ByeCode::DONE,
        text: String::new(),
    };
    assert_eq!(there.close_reason(), Some(done));

    assert!(!own.detach_datagrams(gone_id), "once only");
    let error = own.connect_quic_from(gone_id, far.addr(), None).await;
    assert!(matches!(error, Err(ConnectError::Detached)), "{error:?}");
    let ((sender, _keep), (_reply, mut there)) = (stays.split(), stays_there.split());
    carry(&sender, &mut there, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_closed_endpoint_lets_its_sockets_go_whoever_holds_its_lanes() {
    let net = Net::new(Way::default());
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (near, far) = (net.socket("192.0.2.1:1", 1), net.socket("192.0.2.2:2", 1));
    let near_id = attached(&own, &near, SocketOptions::default());
    attached(&peer, &far, SocketOptions::default());
    let (_left, _right) = lanes(&own, near_id, &peer, &far).await;
    let near = watch(near);
    own.close().await;
    sleep(Duration::from_millis(320)).await;
    assert!(near.upgrade().is_none(), "free");
}

#[tokio::test(start_paused = true)]
async fn dials_and_handshakes_end_with_their_socket() {
    let net = Net::new(Way::default());
    let own = endpoint(SessionConfig::default());
    let near = net.socket("192.0.2.1:1", 1);
    let id = attached(&own, &near, RELAYED);
    let start = Instant::now();
    // Nobody is there.
    let dial = own.connect_quic_from(id, "192.0.2.9:9".parse().unwrap(), None);
    let (dialled, ()) = tokio::join!(dial, async {
        sleep(SECOND).await;
        own.detach_datagrams(id);
    });
    assert!(
        matches!(dialled, Err(ConnectError::Detached)),
        "{dialled:?}"
    );
    assert_eq!(start.elapsed(), SECOND);
    let near = watch(near);
    sleep(Duration::from_millis(320)).await;
    assert!(near.upgrade().is_none(), "free");
}

#[tokio::test(start_paused = true)]
async fn a_way_that_fails_for_a_while_does_not_end_a_lane() {
    let net = Net::new(Way::default());
    let (own, peer) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (near, far) = (net.socket("192.0.2.1:1", 1), net.socket("192.0.2.2:2", 1));
    let near_id = attached(&own, &near, RELAYED);
    attached(&peer, &far, SocketOptions::default());
    let (left, right) = lanes(&own, near_id, &peer, &far).await;
    let ((sender, mut own_end), (_reply, mut there)) = (left.split(), right.split());
    // Every send is an error meanwhile.
    near.cut();
    for number in 0..3 {
        sender.send(frame(number, 9_000)).await.unwrap();
    }
    assert!(timeout(3 * SECOND, own_end.recv()).await.is_err());
    near.move_to("192.0.2.1:1");
    for number in 0..3 {
        let got = timeout(10 * SECOND, there.recv()).await;
        assert_eq!(got.unwrap(), Some(frame(number, 9_000)));
    }
}
