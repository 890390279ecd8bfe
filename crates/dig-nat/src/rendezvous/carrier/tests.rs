#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::{
    candidate::Transport,
    rendezvous::{Broker, BrokerLimits},
    signaling::{
        MAX_SIGNAL,
        prekey::{Prekeys, SignedPrekey},
        secure::SecureSignaling,
    },
    trace::AttemptId,
};
use dig_identity::{Algorithm, CryptoIdentity, Signer};
use dig_types::{InstanceId, Timestamp};
use std::net::{IpAddr, SocketAddr};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A rendezvous peer that keeps every byte that it is given to carry.
#[derive(Debug)]
struct Middle {
    broker: Mutex<Broker>,
    read: Mutex<Vec<u8>>,
}

impl Middle {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            broker: Mutex::new(Broker::new(BrokerLimits::default())),
            read: Mutex::new(Vec::new()),
        })
    }
}

/// A node at the edge: signaling, and the task that is its lane.
struct Edge {
    id: NodeId,
    signaling: Arc<RendezvousSignaling>,
    secure: SecureSignaling,
}

/// Lanes of two nodes to one peer in the middle, where both are registered.
async fn connect(middle: &Arc<Middle>) -> (Edge, Edge) {
    let nodes = [
        (LaneId(1), "198.51.100.1:4001"),
        (LaneId(2), "203.0.113.2:4002"),
    ];
    let mut edges = Vec::new();
    let mut queues = Vec::new();
    for (lane, addr) in nodes {
        let identity = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap());
        let id = identity.node_id();
        let prekeys = Prekeys::new(NOW, &*identity).unwrap();
        let secure = SecureSignaling::new(NOW, identity, prekeys);
        let signaling = Arc::new(RendezvousSignaling::new(secure.prekey().clone()));
        let observed = Observed {
            transport: Transport::Udp,
            addr: addr.parse().unwrap(),
        };
        let instance = InstanceId::from_bytes([1; 16]);
        middle
            .broker
            .lock()
            .unwrap()
            .lane_up(Duration::ZERO, lane, id, instance, observed);
        let (queue, frames) = mpsc::unbounded_channel::<Frame>();
        queues.push((lane, frames));
        signaling.lane_up(lane, NodeId::from_bytes([9; 32]), move |frame| {
            let _ = queue.send(frame);
        });
        edges.push(Edge {
            id,
            signaling,
            secure,
        });
    }
    let [alice, bob]: [Edge; 2] = edges.try_into().ok().unwrap();
    let ends = BTreeMap::from([
        (LaneId(1), Arc::clone(&alice.signaling)),
        (LaneId(2), Arc::clone(&bob.signaling)),
    ]);
    carry(middle, &ends, queues);
    while alice.signaling.observed().is_empty() || bob.signaling.observed().is_empty() {
        tokio::task::yield_now().await;
    }
    (alice, bob)
}

/// Brings what the edges send to the middle, and what it answers to them.
fn carry(
    middle: &Arc<Middle>,
    ends: &BTreeMap<LaneId, Arc<RendezvousSignaling>>,
    queues: Vec<(LaneId, mpsc::UnboundedReceiver<Frame>)>,
) {
    for (lane, mut frames) in queues {
        let (middle, ends) = (Arc::clone(middle), ends.clone());
        tokio::spawn(async move {
            while let Some(frame) = frames.recv().await {
                middle
                    .read
                    .lock()
                    .unwrap()
                    .extend_from_slice(&frame.payload);
                let out = middle
                    .broker
                    .lock()
                    .unwrap()
                    .on_frame(Duration::ZERO, lane, &frame);
                for (to, frame) in out {
                    assert!(ends[&to].on_frame(to, &frame));
                }
            }
        });
    }
}

/// Every form in which programs write an address.
fn forms(addr: SocketAddr) -> Vec<Vec<u8>> {
    let mut forms = vec![
        addr.to_string().into_bytes(),
        addr.ip().to_string().into_bytes(),
    ];
    if let IpAddr::V4(ip) = addr.ip() {
        let (octets, port) = (ip.octets(), addr.port().to_be_bytes());
        let masked = octets.map(|byte| byte ^ 0x21);
        forms.push(octets.to_vec());
        forms.push(octets.iter().rev().copied().collect());
        forms.push([&octets[..], &port].concat());
        forms.push(masked.to_vec());
    }
    forms
}

#[tokio::test]
async fn two_nodes_meet_and_who_reads_everything_learns_no_address() {
    let middle = Middle::new();
    let (mut alice, mut bob) = connect(&middle).await;
    let candidates: Vec<SocketAddr> = ["192.168.77.31:50123", "100.64.9.8:40001"]
        .map(|addr| addr.parse().unwrap())
        .to_vec();
    let body: Vec<u8> = candidates
        .iter()
        .flat_map(|&addr| forms(addr).concat())
        .collect();

    let prekey = alice.signaling.prekey(bob.id).await.unwrap();
    let attempt = AttemptId([3; 16]);
    let offer = alice
        .secure
        .seal_first(NOW, bob.id, &prekey, attempt, &body)
        .unwrap();
    alice.signaling.send(bob.id, offer).await.unwrap();
    let signal = bob.signaling.receive().await.unwrap();
    let opened = bob.secure.open(NOW, signal).unwrap();
    assert_eq!(opened.body, body);
    // It is the rendezvous peer that tells where Alice comes from, as it sees her anyhow.
    assert_eq!(opened.observed[0].addr.to_string(), "198.51.100.1:4001");

    let answer = bob.secure.reply(NOW, attempt, &body).unwrap();
    bob.signaling.send(alice.id, answer).await.unwrap();
    let signal = alice.signaling.receive().await.unwrap();
    assert_eq!(alice.secure.open(NOW, signal).unwrap().body, body);

    let read = middle.read.lock().unwrap();
    assert!(read.len() > 1000, "it did carry them");
    let holds = |form: &[u8]| read.windows(form.len()).any(|window| window == form);
    assert!(holds(bob.id.as_bytes()), "it knows who talks to whom");
    for addr in &candidates {
        for form in forms(*addr) {
            assert!(!holds(&form), "{addr} as {form:?}");
        }
    }
}

#[tokio::test]
async fn says_where_it_is_seen() {
    let middle = Middle::new();
    let (alice, _bob) = connect(&middle).await;
    let Some(CarrierEvent::Registered { lane, observed, .. }) = alice.signaling.next_event().await
    else {
        panic!("not registered");
    };
    assert_eq!((lane, observed.addr.port()), (LaneId(1), 4001));
    assert_eq!(alice.signaling.observed(), [(lane, observed)]);
}

#[tokio::test]
async fn errors_say_which() {
    let middle = Middle::new();
    let (alice, bob) = connect(&middle).await;
    let stranger = NodeId::from_bytes([7; 32]);
    let error = SignalError::NotFound(stranger);
    assert_eq!(alice.signaling.prekey(stranger).await, Err(error.clone()));
    let message = Bytes::from_static(b"sealed");
    assert_eq!(
        alice.signaling.send(stranger, message.clone()).await,
        Err(error)
    );
    let large = Bytes::from(vec![0; MAX_SIGNAL + 1]);
    assert_eq!(
        alice.signaling.send(bob.id, large).await,
        Err(SignalError::TooLarge)
    );
    let mut busy = 0;
    for _ in 0..40 {
        busy += usize::from(
            alice.signaling.send(bob.id, message.clone()).await == Err(SignalError::Busy),
        );
    }
    assert!(busy > 0);
    alice.signaling.lane_down(LaneId(1));
    assert_eq!(
        alice.signaling.send(bob.id, message).await,
        Err(SignalError::NoCarrier)
    );
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_knows_nothing_of_it_costs_two_seconds() {
    let signaling = RendezvousSignaling::new(Bytes::from_static(b"prekey"));
    signaling.lane_up(LaneId(1), NodeId::from_bytes([9; 32]), drop);
    let begun = Instant::now();
    let found = signaling.prekey(NodeId::from_bytes([7; 32])).await;
    assert_eq!(found, Err(SignalError::NoCarrier));
    assert_eq!(begun.elapsed().as_secs(), 2);
    assert!(signaling.lock().waiting.is_empty());
}

#[tokio::test]
async fn a_dropped_future_takes_nothing_back_and_leaves_nothing() {
    let middle = Middle::new();
    let (alice, bob) = connect(&middle).await;
    drop(alice.signaling.send(bob.id, Bytes::from_static(b"eager")));
    let signal = bob.signaling.receive().await.unwrap();
    assert_eq!(signal.bytes, &b"eager"[..]);
    tokio::task::yield_now().await;
    assert!(alice.signaling.lock().waiting.is_empty());
}

#[tokio::test]
async fn closing_ends_the_waiting() {
    let middle = Middle::new();
    let (alice, bob) = connect(&middle).await;
    let prekey = alice.signaling.prekey(bob.id).await.unwrap();
    SignedPrekey::parse(&prekey, bob.id).unwrap();
    let receiving = Arc::clone(&bob.signaling);
    let waiting = tokio::spawn(async move { receiving.receive().await });
    tokio::task::yield_now().await;
    bob.signaling.close();
    assert_eq!(waiting.await.unwrap(), None);
    let mut found = alice.signaling.prekey(bob.id).await;
    if found.is_ok() {
        // The withdrawal was still on its way.
        found = alice.signaling.prekey(bob.id).await;
    }
    assert_eq!(found, Err(SignalError::NotFound(bob.id)));
}
