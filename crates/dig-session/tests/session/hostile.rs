//! Peers that authenticate correctly and then misbehave.

use crate::{
    pair::endpoint,
    stranger::{Manners, Stranger},
};
use bytes::Bytes;
use dig_session::{
    AcceptError, CloseReason, Endpoint, HandshakeError, Lane, ProtocolError, SessionConfig,
    wire::{self, ByeCode, FrameError, HelloError},
};
use dig_types::{Frame, FrameType};
use std::time::Duration;
use tokio::{io::duplex, time::timeout};

/// A stranger who has dialled, and the lane it got after a correct HELLO.
async fn greeted(own: &Endpoint) -> (Stranger, Lane) {
    let (near, far) = duplex(1 << 20);
    let (accepted, stranger) = tokio::join!(own.accept_stream(near, None), async {
        let mut stranger = Stranger::dial(far, &Manners::default()).await.unwrap();
        stranger.send(&Stranger::hello()).await;
        assert_eq!(stranger.receive().await.unwrap().kind, wire::HELLO);
        stranger
    });
    let lane = accepted.unwrap();
    assert_eq!(
        (lane.info().node, lane.info().port, lane.info().max_requests),
        (stranger.node, 99, 7)
    );
    (stranger, lane)
}

/// What comes of a stranger whose first bytes are these.
async fn first(bytes: &[u8]) -> (HandshakeError, Option<wire::Bye>) {
    let own = endpoint(SessionConfig::default());
    let (near, far) = duplex(1 << 20);
    let (accepted, bye) = tokio::join!(own.accept_stream(near, None), async {
        let mut stranger = Stranger::dial(far, &Manners::default()).await.unwrap();
        stranger.send_bytes(bytes).await;
        stranger.bye().await
    });
    match accepted.unwrap_err() {
        AcceptError::Handshake(error) => (error, bye),
        other => panic!("{other:?}"),
    }
}

fn bytes_of(frame: &Frame) -> Vec<u8> {
    [&frame.header()[..], &frame.payload].concat()
}

#[tokio::test]
async fn bad_beginnings_are_answered_with_a_reason() {
    let (error, bye) = first(&[0xFF; 100]).await;
    assert!(
        matches!(
            error,
            HandshakeError::Protocol(ProtocolError::Frame(FrameError {
                length: u32::MAX,
                ..
            }))
        ),
        "{error:?}"
    );
    assert_eq!(bye.unwrap().code, ByeCode::PROTOCOL_ERROR);

    let short = Frame::new(wire::HELLO, 0, Bytes::from_static(&[0, 1, 0, 1]));
    let (error, bye) = first(&bytes_of(&short)).await;
    assert!(
        matches!(
            error,
            HandshakeError::Protocol(ProtocolError::Hello(HelloError::Truncated))
        ),
        "{error:?}"
    );
    assert_eq!(bye.unwrap().code, ByeCode::PROTOCOL_ERROR);

    let early = Frame::new(FrameType(0x0024), 1, Bytes::new());
    let (error, bye) = first(&bytes_of(&early)).await;
    assert!(
        matches!(
            error,
            HandshakeError::Protocol(ProtocolError::HelloMissing(0x24))
        ),
        "{error:?}"
    );
    assert_eq!(bye.unwrap().code, ByeCode::PROTOCOL_ERROR);

    let mut later = Stranger::hello().payload.to_vec();
    later[..4].copy_from_slice(&[0, 2, 0, 9]);
    let (error, bye) = first(&bytes_of(&Frame::new(wire::HELLO, 0, later.into()))).await;
    assert!(
        matches!(error, HandshakeError::Version { theirs: (2, 9), .. }),
        "{error:?}"
    );
    assert_eq!(bye.unwrap().code, ByeCode::NO_COMMON_VERSION);
}

#[tokio::test]
async fn a_goodbye_in_place_of_hello_is_surfaced_to_the_dialler() {
    let own = endpoint(SessionConfig::default());
    let (near, far) = duplex(1 << 20);
    let (dialled, ()) = tokio::join!(own.connect_stream(near, None, None), async {
        let mut stranger = Stranger::answer(far, &Manners::default()).await.unwrap();
        stranger
            .send(&wire::Bye::new(ByeCode::TOO_MANY_LANES, "come\x1b[31m later").frame())
            .await;
        while stranger.receive().await.is_some() {}
    });
    let text = dialled.unwrap_err().to_string();
    assert_eq!(
        text,
        "the other side refused: too many lanes (come[31m later)"
    );
}

#[tokio::test]
async fn faults_on_an_open_lane_end_it_with_a_reason() {
    let head =
        |kind: u16, length: u32| [&kind.to_be_bytes()[..], &[0; 4], &length.to_be_bytes()].concat();
    let cases = [
        (
            head(0x0030, 66_561),
            ProtocolError::Frame(FrameError {
                kind: 0x30,
                length: 66_561,
            }),
        ),
        (
            head(0x0031, u32::MAX),
            ProtocolError::Frame(FrameError {
                kind: 0x31,
                length: u32::MAX,
            }),
        ),
        (head(0x0008, 0), ProtocolError::Unexpected(0x08)),
        (head(0x001E, 0), ProtocolError::Unexpected(0x1E)),
        (head(0x0014, 0), ProtocolError::Unexpected(0x14)),
        (bytes_of(&Stranger::hello()), ProtocolError::Unexpected(0)),
        (head(0x0002, 0), ProtocolError::Malformed("PING or PONG")),
        (head(0x0006, 0), ProtocolError::Malformed("BYE")),
    ];
    for (bytes, expected) in cases {
        let own = endpoint(SessionConfig::default());
        let (mut stranger, lane) = greeted(&own).await;
        let (_sender, mut receiver) = lane.split();
        stranger.send_bytes(&bytes).await;
        let (last, bye) = tokio::join!(receiver.recv(), stranger.bye());
        assert_eq!(last, None);
        assert_eq!(
            receiver.close_reason(),
            Some(CloseReason::Protocol(expected.clone()))
        );
        assert_eq!(bye.unwrap().code, ByeCode::PROTOCOL_ERROR, "{expected}");
    }
}

#[tokio::test]
async fn unknown_odd_frames_of_the_session_are_ignored() {
    let own = endpoint(SessionConfig::default());
    let (mut stranger, lane) = greeted(&own).await;
    let (_sender, mut receiver) = lane.split();
    for kind in [0x0001, 0x0011, 0x001F, 0xF003, 0xFFFF] {
        stranger
            .send(&Frame::new(
                FrameType(kind),
                3,
                Bytes::from_static(&[1; 30]),
            ))
            .await;
    }
    let known = Frame::new(FrameType(0x0024), 3, Bytes::from_static(&[1; 32]));
    stranger.send(&known).await;
    assert_eq!(receiver.recv().await, Some(known));
}

#[tokio::test]
async fn a_flood_of_pings_costs_the_flooder() {
    let own = endpoint(SessionConfig::default());
    let (mut stranger, lane) = greeted(&own).await;
    let (sender, mut receiver) = lane.split();
    let ping = bytes_of(&Frame::new(wire::PING, 0, Bytes::from_static(b"12345678")));
    let end = Frame::new(FrameType(0x0024), 1, Bytes::new());
    // 1.8 MB of questions; answers are never read until all have been asked.
    let asking = async {
        for _ in 0..100 {
            stranger.send_bytes(&ping.repeat(1_000)).await;
        }
        stranger.send(&end).await;
    };
    let ((), heard) = timeout(Duration::from_secs(60), async {
        tokio::join!(asking, receiver.recv())
    })
    .await
    .unwrap();
    assert_eq!(heard, Some(end), "the flood did not stop the lane");
    assert!(sender.bytes_sent() <= 100_000 * 18 + 1_000);
    assert_eq!(
        stranger.receive().await.unwrap().kind,
        wire::PING,
        "our first measurement"
    );
    assert_eq!(stranger.receive().await.unwrap().payload, b"12345678"[..]);
}

#[tokio::test]
async fn a_cut_connection_ends_the_lane() {
    let own = endpoint(SessionConfig::default());
    let (mut stranger, lane) = greeted(&own).await;
    let (sender, mut receiver) = lane.split();
    stranger
        .send_bytes(&[0, 0x30, 0, 0, 0, 1, 0, 0, 0, 9, 1, 2, 3])
        .await;
    drop(stranger);
    assert_eq!(receiver.recv().await, None, "half a frame is no frame");
    assert_eq!(receiver.close_reason(), Some(CloseReason::Ended));
    sender.closed().await;
}

#[tokio::test]
async fn handshakes_are_bounded() {
    let config = SessionConfig {
        max_handshakes: 5,
        max_handshakes_per_network: 2,
        ..SessionConfig::default()
    };
    let own = endpoint(config);
    let remote = |text: &str| Some(text.parse().unwrap());
    let mut silent = Vec::new();
    let mut waiting = Vec::new();
    for addr in ["10.1.1.1:1", "10.1.1.2:1", "10.1.2.1:1"] {
        let (near, far) = duplex(1024);
        silent.push(far);
        let own = own.clone();
        let addr = remote(addr);
        waiting.push(tokio::spawn(
            async move { own.accept_stream(near, addr).await },
        ));
    }
    tokio::task::yield_now().await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let busy = own.accept_stream(duplex(64).0, remote("10.1.1.9:1")).await;
    assert!(matches!(busy, Err(AcceptError::Busy)));
    silent.clear();
    for waiting in waiting {
        assert!(matches!(
            waiting.await.unwrap(),
            Err(AcceptError::Handshake(HandshakeError::Broken(_)))
        ));
    }
    let free = own.accept_stream(duplex(64).0, remote("10.1.1.9:1")).await;
    assert!(
        matches!(free, Err(AcceptError::Handshake(_))),
        "the place is free again"
    );
}
