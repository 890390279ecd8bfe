#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::candidate::Transport;

const ALICE: NodeId = NodeId::from_bytes([1; 32]);
const BOB: NodeId = NodeId::from_bytes([2; 32]);

fn seen() -> Vec<Observed> {
    vec![Observed {
        transport: Transport::Udp,
        addr: "192.0.2.1:1".parse().unwrap(),
    }]
}

fn numbered(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn carrier(config: MemoryConfig) -> MemoryCarrier {
    let mut carrier = MemoryCarrier::new(config);
    carrier.join(ALICE, Bytes::from_static(b"a"), seen());
    carrier.join(BOB, Bytes::from_static(b"b"), Vec::new());
    carrier
}

fn arrivals(config: MemoryConfig) -> Vec<(Duration, Bytes)> {
    let mut carrier = carrier(config);
    for number in 0..1000 {
        carrier
            .send(Duration::ZERO, ALICE, BOB, numbered(number))
            .unwrap();
    }
    std::iter::from_fn(|| {
        let now = carrier.next_arrival(BOB)?;
        Some((now, carrier.receive(now, BOB)?.bytes))
    })
    .collect()
}

#[test]
fn without_faults_all_arrive_once_in_order() {
    let arrived = arrivals(MemoryConfig::default());
    let expected: Vec<_> = (0..1000)
        .map(|number| (Duration::ZERO, numbered(number)))
        .collect();
    assert_eq!(arrived, expected);
}

#[test]
fn faults_happen_as_often_as_asked_and_alike_with_one_seed() {
    let faulty = |seed| MemoryConfig {
        loss: 0.2,
        duplicate: 0.1,
        delay: Duration::from_millis(10)..=Duration::from_millis(50),
        seed,
    };
    let arrived = arrivals(faulty(7));
    assert!((830..930).contains(&arrived.len()), "{}", arrived.len());
    let distinct: std::collections::BTreeSet<_> = arrived.iter().map(|(_, bytes)| bytes).collect();
    assert!((750..850).contains(&distinct.len()), "{}", distinct.len());
    assert!(arrived.is_sorted_by_key(|(at, _)| *at));
    assert!(
        !arrived.is_sorted_by_key(|(_, bytes)| bytes.clone()),
        "reordered"
    );
    let millis = |at: Duration| (10..=50).contains(&at.as_millis());
    assert!(arrived.iter().all(|&(at, _)| millis(at)));
    assert_eq!(arrived, arrivals(faulty(7)));
    assert_ne!(arrived, arrivals(faulty(8)));
}

#[test]
fn nothing_arrives_early_and_strangers_are_not_found() {
    let delay = Duration::from_millis(30);
    let mut carrier = carrier(MemoryConfig {
        delay: delay..=delay,
        ..MemoryConfig::default()
    });
    let now = Duration::from_secs(1);
    carrier.send(now, ALICE, BOB, numbered(1)).unwrap();
    assert_eq!(carrier.receive(now + delay / 2, BOB), None);
    let signal = carrier.receive(now + delay, BOB).unwrap();
    assert_eq!((signal.from, signal.observed), (Some(ALICE), seen()));
    assert_eq!(carrier.prekey(BOB), Ok(Bytes::from_static(b"b")));
    carrier.leave(BOB);
    assert_eq!(carrier.prekey(BOB), Err(SignalError::NotFound(BOB)));
    let sent = carrier.send(now, ALICE, BOB, numbered(2));
    assert_eq!(sent, Err(SignalError::NotFound(BOB)));
    let large = Bytes::from(vec![0; MAX_SIGNAL + 1]);
    let sent = carrier.send(now, ALICE, BOB, large);
    assert_eq!(sent, Err(SignalError::TooLarge));
}

#[tokio::test(start_paused = true)]
async fn tasks_wait_for_messages_and_for_the_end() {
    let delay = Duration::from_millis(200);
    let network = MemoryNetwork::new(MemoryConfig {
        delay: delay..=delay,
        ..MemoryConfig::default()
    });
    let alice = network.join(ALICE, Bytes::new(), seen());
    let bob = network.join(BOB, Bytes::from_static(b"b"), Vec::new());
    let begun = Instant::now();
    let waiting = tokio::spawn(async move { (bob.receive().await, bob.receive().await) });
    tokio::task::yield_now().await;
    assert_eq!(alice.prekey(BOB).await, Ok(Bytes::from_static(b"b")));
    alice.send(BOB, numbered(1)).await.unwrap();
    tokio::time::sleep(delay * 2).await;
    network.leave(BOB);
    let (first, second) = waiting.await.unwrap();
    assert_eq!(first.unwrap().bytes, numbered(1));
    assert_eq!(second, None);
    assert!(begun.elapsed() < delay * 3);
}
