//! Silence, slowness and patience, in virtual time.

use crate::{
    pair::{endpoint, frame, piped},
    stranger::{Manners, Stranger},
};
use bytes::Bytes;
use dig_session::{AcceptError, CloseReason, HandshakeError, Lane, SessionConfig, Stage, wire};
use dig_types::Frame;
use std::time::Duration;
use tokio::{
    io::{AsyncWriteExt as _, duplex},
    time::{Instant, sleep, timeout},
};

const SECOND: Duration = Duration::from_secs(1);

async fn greeted(config: SessionConfig, pipe: usize) -> (Stranger, Lane) {
    let own = endpoint(config);
    let (near, far) = duplex(pipe);
    let (accepted, stranger) = tokio::join!(own.accept_stream(near, None), async {
        let mut stranger = Stranger::dial(far, &Manners::default()).await.unwrap();
        stranger.send(&Stranger::hello()).await;
        stranger
    });
    // The endpoint outlives the test: its end would end the lane.
    std::mem::forget(own);
    (stranger, accepted.unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_silent_dialler_is_turned_away_after_ten_seconds() {
    let own = endpoint(SessionConfig::default());
    let start = Instant::now();
    let (near, _far) = duplex(1024);
    let error = own.accept_stream(near, None).await.unwrap_err();
    assert!(
        matches!(
            error,
            AcceptError::Handshake(HandshakeError::Timeout(Stage::Connect))
        ),
        "{error:?}"
    );
    assert_eq!(start.elapsed(), 10 * SECOND);

    let start = Instant::now();
    let (near, far) = duplex(1 << 16);
    let manners = Manners::default();
    let (accepted, _stranger) =
        tokio::join!(own.accept_stream(near, None), Stranger::dial(far, &manners));
    let error = accepted.unwrap_err();
    assert!(
        matches!(
            error,
            AcceptError::Handshake(HandshakeError::Timeout(Stage::Hello))
        ),
        "{error:?}"
    );
    assert!(start.elapsed() <= 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_dribbles_is_turned_away_after_ten_seconds() {
    let own = endpoint(SessionConfig::default());
    let (near, far) = duplex(1 << 16);
    let start = Instant::now();
    let (accepted, ()) = tokio::join!(own.accept_stream(near, None), async {
        let mut stranger = Stranger::dial(far, &Manners::default()).await.unwrap();
        let hello = Stranger::hello();
        for byte in [&hello.header()[..], &hello.payload].concat() {
            if stranger.stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(SECOND).await;
        }
    });
    assert!(matches!(
        accepted.unwrap_err(),
        AcceptError::Handshake(HandshakeError::Timeout(Stage::Hello))
    ));
    assert!(start.elapsed() <= 13 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn idle_lanes_live() {
    let (dialler, acceptor) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (left, right) = piped(4096, &dialler, &acceptor).await;
    let ((sender, mut from_right), (_to_left, mut from_left)) = (left.split(), right.split());
    let idle = timeout(600 * SECOND, async {
        tokio::join!(from_right.recv(), from_left.recv())
    });
    assert!(idle.await.is_err(), "nothing happens for ten minutes");
    sender.send(frame(1, 70)).await.unwrap();
    assert_eq!(from_left.recv().await, Some(frame(1, 70)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_dead() {
    let (mut stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let start = Instant::now();
    let (_sender, mut receiver) = lane.split();
    let (last, pings) = tokio::join!(receiver.recv(), async {
        let mut pings = 0;
        while let Some(frame) = stranger.receive().await {
            pings += u32::from(frame.kind == wire::PING);
        }
        pings
    });
    assert_eq!(
        (last, receiver.close_reason()),
        (None, Some(CloseReason::Dead))
    );
    assert_eq!(start.elapsed().as_secs(), 20);
    assert_eq!(
        pings, 3,
        "every five seconds until the lane is idle, and no more"
    );
}

#[tokio::test(start_paused = true)]
async fn answered_pings_keep_a_lane_and_measure_it() {
    let (mut stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let (sender, mut receiver) = lane.split();
    let answer = async {
        while let Some(frame) = stranger.receive().await {
            if frame.kind == wire::PING {
                sleep(Duration::from_millis(80)).await;
                stranger
                    .send(&Frame::new(wire::PONG, 0, frame.payload))
                    .await;
            }
        }
    };
    tokio::select! {
        _ = receiver.recv() => panic!("{:?}", receiver.close_reason()),
        () = answer => panic!("the lane ended"),
        () = sleep(120 * SECOND) => {}
    }
    let rtt = sender.rtt().unwrap();
    assert!((80..90).contains(&rtt.as_millis()), "{rtt:?}");
}

#[tokio::test(start_paused = true)]
async fn pongs_that_answer_nothing_measure_nothing() {
    let (mut stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let (sender, mut receiver) = lane.split();
    for number in 90_u64..120 {
        stranger
            .send(&Frame::new(
                wire::PONG,
                0,
                Bytes::copy_from_slice(&number.to_be_bytes()),
            ))
            .await;
    }
    assert!(timeout(SECOND, receiver.recv()).await.is_err());
    assert_eq!(sender.rtt(), None);
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_dribbles_ends_the_lane() {
    let (mut stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let (_sender, mut receiver) = lane.split();
    let start = Instant::now();
    let dribble = async {
        stranger
            .send_bytes(&[0, 0x30, 0, 0, 0, 1, 0, 1, 0, 0])
            .await;
        loop {
            sleep(SECOND).await;
            stranger.send_bytes(&[7]).await;
        }
    };
    tokio::select! {
        last = receiver.recv() => assert_eq!(last, None),
        () = dribble => {}
    }
    assert_eq!(receiver.close_reason(), Some(CloseReason::Slow));
    assert!(
        (30..=35).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_reads_late_is_not_dead() {
    let (dialler, acceptor) = (
        endpoint(SessionConfig::default()),
        endpoint(SessionConfig::default()),
    );
    let (left, right) = piped(1 << 16, &dialler, &acceptor).await;
    let ((sender, mut own), (_keep, mut late)) = (left.split(), right.split());
    let flood = async {
        for number in 0..40 {
            sender.send(frame(number, 65_536)).await.unwrap();
        }
    };
    let reading = async {
        // Longer than death, shorter than the patience of a writer.
        sleep(90 * SECOND).await;
        for number in 0..40 {
            assert_eq!(late.recv().await, Some(frame(number, 65_536)));
        }
    };
    let exchange = async { tokio::join!(flood, reading) };
    tokio::select! {
        last = own.recv() => panic!("{last:?} {:?}", own.close_reason()),
        _ = exchange => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_left() {
    let (mut stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let start = Instant::now();
    let (sender, mut receiver) = lane.split();
    let flood = async { while sender.send(frame(1, 65_536)).await.is_ok() {} };
    // It speaks, so it is not dead; it never reads.
    let chatter = async {
        loop {
            sleep(3 * SECOND).await;
            stranger
                .send_bytes(&[0xF0, 1, 0, 0, 0, 0, 0, 0, 0, 0])
                .await;
        }
    };
    tokio::select! {
        ((), last) = async { tokio::join!(flood, receiver.recv()) } => assert_eq!(last, None),
        () = chatter => {}
    }
    assert_eq!(receiver.close_reason(), Some(CloseReason::Stalled));
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn death_is_noticed_by_whoever_waits_in_short_turns() {
    let (_stranger, lane) = greeted(SessionConfig::default(), 1 << 16).await;
    let start = Instant::now();
    let (_sender, mut receiver) = lane.split();
    while timeout(SECOND, receiver.recv()).await.is_err() {
        assert!(start.elapsed() < 60 * SECOND, "still waiting");
    }
    assert_eq!(receiver.close_reason(), Some(CloseReason::Dead));
    assert!(
        (20..=22).contains(&start.elapsed().as_secs()),
        "{:?}",
        start.elapsed()
    );
}
