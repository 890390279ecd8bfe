//! How often a lane says that it lives, and who is taken for dead; in virtual time.

use crate::{
    net::{Net, NetSocket, Way},
    pair::{endpoint, frame, piped},
};
use dig_session::{CloseReason, Endpoint, Lane, LaneSender, SessionConfig, Transport};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, advance, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);

/// A PING or a PONG.
const PULSE: u64 = 18;

struct Scene {
    lanes: (Lane, Lane),
    /// Of the side that dialled, over QUIC.
    socket: Option<Arc<NetSocket>>,
    _endpoints: [Endpoint; 2],
}

async fn scene(transport: Transport) -> Scene {
    let config = || SessionConfig {
        // Noise would be counted too.
        noise_seed: Some(1),
        ..SessionConfig::default()
    };
    let (own, peer) = (endpoint(config()), endpoint(config()));
    if transport != Transport::Quic {
        return Scene {
            lanes: piped(1 << 16, &own, &peer).await,
            socket: None,
            _endpoints: [own, peer],
        };
    }
    let net = Net::new(Way::default());
    let (near, far) = (net.socket("192.0.2.1:1", 8), net.socket("192.0.2.2:2", 8));
    own.attach_datagrams(near.clone()).unwrap();
    peer.attach_datagrams(far.clone()).unwrap();
    let dial = own.connect_quic(far.addr(), Some(peer.node_id()));
    let (dialled, accepted) = tokio::join!(dial, peer.accept_quic());
    Scene {
        lanes: (dialled.unwrap(), accepted.unwrap()),
        socket: Some(near),
        _endpoints: [own, peer],
    }
}

/// Bytes that both sides sent while nothing happens for some time.
async fn sent_in_silence(scene: Scene, span: Duration) -> u64 {
    let ((left, mut from_right), (right, mut from_left)) =
        (scene.lanes.0.split(), scene.lanes.1.split());
    // Past the time after which a lane counts as idle.
    let both = async { tokio::join!(from_right.recv(), from_left.recv()) };
    tokio::pin!(both);
    assert!(timeout(20 * SECOND, &mut both).await.is_err());
    let sent = |left: &LaneSender, right: &LaneSender| left.bytes_sent() + right.bytes_sent();
    let before = sent(&left, &right);
    assert!(timeout(span, &mut both).await.is_err(), "the lane lives");
    sent(&left, &right) - before
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_is_asked_as_seldom_as_its_binding_allows() {
    for (transport, every) in [(Transport::Quic, 15), (Transport::TlsTcp, 55)] {
        let bytes = sent_in_silence(scene(transport).await, 3_300 * SECOND).await;
        let asked = 3_300 / every;
        // One side asks, the other answers; both carry some noise.
        println!("{transport}: {} PINGs and PONGs in 3,300 s", bytes / PULSE);
        assert!(
            bytes >= (asked - 3) * 2 * PULSE,
            "{transport}: {bytes} bytes"
        );
        assert!(
            bytes <= asked * 2 * PULSE * 3 / 2,
            "{transport}: {bytes} bytes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_in_use_is_asked_every_five_seconds_and_told_from_silence() {
    for transport in [Transport::Quic, Transport::TlsTcp] {
        let scene = scene(transport).await;
        let ((left, mut from_right), (right, mut from_left)) =
            (scene.lanes.0.split(), scene.lanes.1.split());
        let work = async {
            for number in 0..60 {
                left.send(frame(number, 10)).await.unwrap();
                sleep(10 * SECOND).await;
            }
        };
        let watch = async {
            let mut longest = Duration::ZERO;
            loop {
                longest = longest.max(left.silence()).max(right.silence());
                assert!(longest < 6 * SECOND, "{transport}: silent for {longest:?}");
                sleep(SECOND / 4).await;
            }
        };
        let drain = async { while from_left.recv().await.is_some() {} };
        let before = left.bytes_sent();
        tokio::select! {
            () = work => {}
            () = watch => {}
            () = drain => panic!("the lane ended"),
            end = from_right.recv() => panic!("{end:?}"),
        }
        // Every side asks every five seconds and answers the other.
        let pulses = (left.bytes_sent() - before - 60 * 20) / PULSE;
        assert!(
            (230..=290).contains(&pulses),
            "{transport}: {pulses} in 600 s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_idle_peer_is_dead_after_an_unanswered_ping() {
    let Scene {
        lanes: (left, right),
        socket,
        _endpoints,
    } = scene(Transport::Quic).await;
    let ((_sender, mut receiver), (_reply, mut there)) = (left.split(), right.split());
    let socket = socket.unwrap();
    let mut ends = Box::pin(async { tokio::join!(receiver.recv(), there.recv()) });
    assert!(timeout(100 * SECOND, &mut ends).await.is_err());
    let start = Instant::now();
    socket.cut();
    assert_eq!(ends.as_mut().await, (None, None));
    drop(ends);
    assert_eq!(receiver.close_reason(), Some(CloseReason::Dead));
    assert_eq!(there.close_reason(), Some(CloseReason::Dead));
    let took = start.elapsed();
    assert!(
        (20 * SECOND..=37 * SECOND).contains(&took),
        "15 or 16 s to the next PING, 20 s for its answer: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lane_outlives_a_sleep_of_the_machine_if_it_answers_then() {
    for transport in [Transport::Quic, Transport::TlsTcp] {
        for (idle, slept) in [(1, 30), (1, 65), (14, 60), (60, 65), (19, 33)] {
            let scene = scene(transport).await;
            let ((left, mut from_right), (_right, mut from_left)) =
                (scene.lanes.0.split(), scene.lanes.1.split());
            {
                let both = async { tokio::join!(from_right.recv(), from_left.recv()) };
                tokio::pin!(both);
                assert!(timeout(idle * SECOND, &mut both).await.is_err());
                advance(slept * SECOND).await;
                assert!(timeout(100 * SECOND, &mut both).await.is_err());
            }
            left.send(frame(9, 5_000)).await.unwrap();
            let got = timeout(SECOND, from_left.recv()).await;
            assert_eq!(
                got.unwrap(),
                Some(frame(9, 5_000)),
                "{transport}, {slept} s after {idle} s"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_gone_after_a_sleep_is_dead_twenty_seconds_later() {
    let Scene {
        lanes: (left, right),
        socket,
        _endpoints,
    } = scene(Transport::Quic).await;
    let ((_sender, mut receiver), _right) = (left.split(), right.split());
    assert!(timeout(12 * SECOND, receiver.recv()).await.is_err());
    socket.unwrap().cut();
    advance(50 * SECOND).await;
    let start = Instant::now();
    assert_eq!(receiver.recv().await, None);
    assert_eq!(receiver.close_reason(), Some(CloseReason::Dead));
    let took = start.elapsed();
    assert!((19 * SECOND..=21 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ping_that_is_asked_for_goes_out_at_once() {
    for transport in [Transport::Quic, Transport::TlsTcp] {
        let scene = scene(transport).await;
        let ((left, mut from_right), (_right, mut from_left)) =
            (scene.lanes.0.split(), scene.lanes.1.split());
        let both = async { tokio::join!(from_right.recv(), from_left.recv()) };
        tokio::pin!(both);
        // Idle, and some time before the next PING.
        assert!(timeout(25 * SECOND, &mut both).await.is_err());
        let (sent, received) = (left.bytes_sent(), left.bytes_received());
        assert!(left.silence() > SECOND);
        left.ping();
        assert!(timeout(SECOND / 10, &mut both).await.is_err());
        assert!(left.bytes_sent() >= sent + PULSE, "{transport}");
        assert!(left.bytes_received() >= received + PULSE, "{transport}");
        assert!(left.silence() <= SECOND / 10, "{transport}");
    }
}
