//! Lanes between well-behaved peers.

use crate::pair::{BOTH, endpoint, endpoint_of, frame, lanes, piped};
use dig_identity::Algorithm;
use dig_session::{CloseReason, HandshakeError, SessionConfig, Transport, wire::ByeCode};
use dig_types::{Frame, FrameType, SystemClock};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout};

#[tokio::test]
async fn every_identity_over_every_carrier() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Secp256k1, Algorithm::Rsa] {
        for transport in BOTH {
            let config = SessionConfig {
                serves: true,
                port: 4433,
                max_requests: 32,
                ..SessionConfig::default()
            };
            let acceptor = endpoint_of(algorithm, config, Arc::new(SystemClock));
            let dialler = endpoint_of(algorithm, SessionConfig::default(), Arc::new(SystemClock));
            let (dialled, accepted) = lanes(transport, &dialler, &acceptor).await;
            let (to, from) = (dialled.info(), accepted.info());
            assert_eq!(
                (to.node, to.instance),
                (acceptor.node_id(), acceptor.instance())
            );
            assert_eq!(
                (from.node, from.instance),
                (dialler.node_id(), dialler.instance())
            );
            assert_eq!(
                (to.key.algorithm(), to.key.node_id()),
                (algorithm, acceptor.node_id())
            );
            assert_eq!(
                (to.max_requests, to.port, to.serves, to.authenticated),
                (32, 4433, true, false)
            );
            assert_eq!((from.port, from.serves), (0, false));
            assert_eq!((to.transport, from.transport), (transport, transport));
            assert!(to.remote.is_some() && from.remote.is_some());
        }
    }
}

#[tokio::test]
async fn frames_arrive_whole_and_in_order_both_ways() {
    let sizes = [0, 1, 8, 2_048, 2_049, 4_096, 4_097, 65_536, 66_560];
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (left, right) = lanes(transport, &dialler, &acceptor).await;
        let work = [left.split(), right.split()].map(|(sender, mut receiver)| async move {
            let numbers = 1_u32..400;
            let size = |number: u32| sizes[number as usize % sizes.len()];
            let send = async {
                for number in numbers.clone() {
                    sender.send(frame(number, size(number))).await.unwrap();
                }
            };
            let receive = async {
                for number in numbers.clone() {
                    assert_eq!(
                        receiver.recv().await.unwrap(),
                        frame(number, size(number)),
                        "{transport}"
                    );
                }
            };
            tokio::join!(send, receive);
            let bytes: usize = numbers.map(|number| 10 + size(number)).sum();
            assert!(sender.bytes_received() >= bytes as u64);
            assert!(sender.rtt().is_some_and(|rtt| rtt < Duration::from_secs(5)));
            (sender, receiver)
        });
        let _ends = futures::future::join_all(work).await;
    }
}

#[tokio::test]
async fn a_tiny_pipe_is_enough() {
    let (dialler, acceptor) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (left, right) = piped(16, &dialler, &acceptor).await;
    let ((sender, _keep), (_other, mut receiver)) = (left.split(), right.split());
    tokio::join!(
        async {
            for number in 0..3 {
                sender.send(frame(number, 9_000)).await.unwrap();
            }
        },
        async {
            for number in 0..3 {
                assert_eq!(receiver.recv().await.unwrap(), frame(number, 9_000));
            }
        },
    );
}

#[tokio::test]
async fn a_full_queue_makes_senders_wait() {
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (left, right) = lanes(transport, &dialler, &acceptor).await;
        let (sender, _receiver) = left.split();
        let sending = tokio::spawn(async move {
            let payload = frame(1, 65_536).payload;
            let mut sent = 0_u32;
            while sent < 800 {
                sender
                    .send(Frame::new(FrameType(0x30), sent, payload.clone()))
                    .await
                    .unwrap();
                sent += 1;
            }
            (sender, sent)
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!sending.is_finished(), "50 MiB do not fit anywhere");
        let (_keep, mut receiver) = right.split();
        for number in 0..800 {
            assert_eq!(receiver.recv().await.unwrap().request, number);
        }
        assert_eq!(sending.await.unwrap().1, 800);
    }
}

#[tokio::test]
async fn closing_sends_what_is_queued_and_the_reason() {
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (left, right) = lanes(transport, &dialler, &acceptor).await;
        let ((sender, mut own), (other, mut receiver)) = (left.split(), right.split());
        for number in 0..5 {
            sender.send(frame(number, 60_000)).await.unwrap();
        }
        sender.close(6, "unused");
        for number in 0..5 {
            assert_eq!(receiver.recv().await.unwrap(), frame(number, 60_000));
        }
        assert_eq!(receiver.recv().await, None);
        let remote = CloseReason::Remote {
            code: ByeCode::IDLE,
            text: "unused".into(),
        };
        assert_eq!(receiver.close_reason(), Some(remote));
        timeout(Duration::from_secs(5), other.closed())
            .await
            .unwrap();
        assert!(other.send(frame(1, 1)).await.is_err());
        assert_eq!(own.recv().await, None);
        let local = CloseReason::Local {
            code: ByeCode::IDLE,
            text: "unused".into(),
        };
        assert_eq!(sender.close_reason(), Some(local));
        assert!(sender.send(frame(1, 1)).await.is_err());
    }
}

#[tokio::test]
async fn dropping_a_half_ends_the_lane() {
    for transport in BOTH {
        for drop_sender in [true, false] {
            let (dialler, acceptor) = (
                endpoint(SessionConfig::default()),
                endpoint(SessionConfig::default()),
            );
            let (left, right) = lanes(transport, &dialler, &acceptor).await;
            let (sender, receiver) = left.split();
            let _kept = if drop_sender {
                drop(sender);
                (None, Some(receiver))
            } else {
                drop(receiver);
                (Some(sender), None)
            };
            let (_keep, mut receiver) = right.split();
            assert_eq!(
                timeout(Duration::from_secs(5), receiver.recv())
                    .await
                    .unwrap(),
                None
            );
            let reason = receiver.close_reason().unwrap();
            assert!(
                matches!(
                    reason,
                    CloseReason::Remote {
                        code: ByeCode::DONE,
                        ..
                    }
                ),
                "{transport}: {reason:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_closes_says_so_in_time() {
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (left, right) = lanes(transport, &dialler, &acceptor).await;
        let (_keep, mut receiver) = right.split();
        let start = Instant::now();
        let ((), last) = tokio::join!(dialler.close(), receiver.recv());
        assert!(
            start.elapsed() < Duration::from_millis(450),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(last, None);
        let reason = receiver.close_reason().unwrap();
        assert!(
            matches!(
                reason,
                CloseReason::Remote {
                    code: ByeCode::SHUTTING_DOWN,
                    ..
                }
            ),
            "{transport}: {reason:?}"
        );
        assert!(left.split().0.send(frame(1, 1)).await.is_err());
        assert!(dialler.accept_quic().await.is_none());
    }
}

#[tokio::test]
async fn closing_does_not_wait_for_a_peer_that_does_not_read() {
    for transport in BOTH {
        let (dialler, acceptor) = (
            endpoint(SessionConfig::default()),
            endpoint(SessionConfig::default()),
        );
        let (left, _unread) = lanes(transport, &dialler, &acceptor).await;
        let (sender, _receiver) = left.split();
        let flood =
            tokio::spawn(async move { while sender.send(frame(1, 65_536)).await.is_ok() {} });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let start = Instant::now();
        dialler.close().await;
        assert!(
            start.elapsed() < Duration::from_millis(450),
            "{:?}",
            start.elapsed()
        );
        flood.await.unwrap();
    }
}

#[tokio::test]
async fn a_frame_that_is_too_long_is_a_loud_fault() {
    let (dialler, acceptor) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (left, _right) = piped(4096, &dialler, &acceptor).await;
    let (sender, _receiver) = left.split();
    assert!(sender.send(frame(1, 66_561)).await.is_err());
    assert_eq!(
        sender.close_reason(),
        Some(CloseReason::FrameTooLong(66_561))
    );
}

#[tokio::test]
async fn odd_frames_of_the_layer_above_pass() {
    let (dialler, acceptor) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (left, right) = piped(4096, &dialler, &acceptor).await;
    let ((sender, _receiver), (_keep, mut receiver)) = (left.split(), right.split());
    let done = Frame::new(FrameType(0x0039), 0, vec![1; 32].into());
    for kind in [0x0007, 0x001F, 0xF001, 0xFFFF] {
        sender
            .send(Frame::new(FrameType(kind), 0, vec![2; 9].into()))
            .await
            .unwrap();
    }
    sender.send(done.clone()).await.unwrap();
    assert_eq!(receiver.recv().await, Some(done));
}

#[tokio::test]
async fn dialling_oneself_is_noticed() {
    let endpoint = endpoint(SessionConfig::default());
    let (near, far) = tokio::io::duplex(4096);
    let (dialled, accepted) = tokio::join!(
        endpoint.connect_stream(near, None, None),
        endpoint.accept_stream(far, None)
    );
    // Whichever end reads the other's HELLO first notices, and tells the other.
    let (dialled, accepted) = (dialled.unwrap_err(), accepted.unwrap_err());
    let by_dialler = matches!(
        dialled,
        dig_session::ConnectError::Handshake(HandshakeError::Oneself)
    );
    let by_acceptor = matches!(
        accepted,
        dig_session::AcceptError::Handshake(HandshakeError::Oneself)
    );
    assert!(by_dialler || by_acceptor, "{dialled}; {accepted}");
    assert!(
        dialled.to_string().contains("this program itself"),
        "{dialled}"
    );
}

#[tokio::test]
async fn an_unread_stream_is_bounded_until_trusted() {
    let window = 256 * 1024;
    let config = SessionConfig {
        quic_untrusted_window: window,
        ..SessionConfig::default()
    };
    let (dialler, acceptor) = (endpoint(SessionConfig::default()), endpoint(config));
    let (left, right) = lanes(Transport::Quic, &dialler, &acceptor).await;
    let (sender, _receiver) = left.split();
    let counter = sender.clone();
    let flood = tokio::spawn(async move { while sender.send(frame(1, 65_536)).await.is_ok() {} });
    tokio::time::sleep(Duration::from_millis(400)).await;
    let before = counter.bytes_sent();
    assert!(
        before <= u64::from(window) * 2,
        "{before} bytes went out to a reader that trusts {window}"
    );
    let (to, _from) = right.split();
    to.trust();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = counter.bytes_sent();
    assert!(
        after > 4 << 20,
        "{after} bytes went out to a reader that trusts 16 MiB"
    );
    counter.close(0, "");
    flood.await.unwrap();
}
