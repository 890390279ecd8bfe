use super::*;
use crate::gun::MemoryGraph;
use dig_gun::{
    graph::Node,
    value::{Key, Value},
};
use dig_identity::{Algorithm, CryptoIdentity, Signer as _};
use dig_nat::signaling::prekey::Prekeys;
use dig_types::{Timestamp, VirtualClock};

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// A node at the graph.
struct Station {
    signer: CryptoIdentity,
    clock: Arc<VirtualClock>,
    signaling: GunSignaling,
}

impl Station {
    fn new(graph: &MemoryGraph) -> Self {
        let signer = CryptoIdentity::generate(Algorithm::Ed25519).unwrap();
        let clock = Arc::new(VirtualClock::new(START));
        let graph = Arc::new(graph.clone());
        let signaling = GunSignaling::new(graph, clock.clone(), signer.node_id());
        Self {
            signer,
            clock,
            signaling,
        }
    }

    fn id(&self) -> NodeId {
        self.signer.node_id()
    }

    async fn says(&self, to: &Self, text: &'static [u8]) {
        let sent = self.signaling.send(to.id(), Bytes::from_static(text)).await;
        sent.unwrap();
    }

    /// What it hears within a second.
    async fn hears(&self) -> Vec<Bytes> {
        let mut heard = Vec::new();
        let second = Duration::from_secs(1);
        while let Ok(signal) = tokio::time::timeout(second, self.signaling.receive()).await {
            let signal = signal.unwrap();
            assert_eq!((signal.from, signal.observed), (None, Vec::new()));
            heard.push(signal.bytes);
        }
        heard
    }

    fn prekey(&self) -> Prekeys {
        Prekeys::new(self.clock.now(), &self.signer).unwrap()
    }
}

/// Time passes for these, in small steps.
async fn pass(stations: &[&Station], time: Duration) {
    const STEP: Duration = Duration::from_secs(1);
    for _ in 0..time.as_secs() {
        stations
            .iter()
            .for_each(|station| station.clock.advance(STEP));
        tokio::time::sleep(STEP).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_come_to_who_listens_and_leave_nothing_behind() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    one.says(&other, b"nobody listens yet").await;
    assert!(other.hears().await.is_empty());
    let listening = other.signaling.listen();
    assert_eq!(other.hears().await, ["nobody listens yet"]);
    one.says(&other, b"now").await;
    one.says(&other, b"and again").await;
    assert_eq!(other.hears().await, ["now", "and again"]);
    assert!(one.hears().await.is_empty());
    let fields = graph.nodes().into_iter().flat_map(|node| node.fields);
    let values: Vec<_> = fields.map(|(_, field)| field.value).collect();
    assert_eq!(values, [Value::Null, Value::Null, Value::Null]);
    drop(listening);
    tokio::time::sleep(Duration::from_millis(10)).await;
    one.says(&other, b"gone").await;
    assert!(other.hears().await.is_empty());
}

/// Of the messages of one attempt an earlier one is refused after a later one.
#[tokio::test(start_paused = true)]
async fn messages_come_in_the_order_in_which_they_were_sent() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    const TEXTS: [&[u8]; 8] = [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7"];
    // All at once for who begins to listen, then one by one.
    for _ in 0..2 {
        for text in TEXTS {
            one.says(&other, text).await;
        }
        let listening = other.signaling.listen();
        assert_eq!(other.hears().await, TEXTS);
        drop(listening);
    }
    let _listening = other.signaling.listen();
    for text in TEXTS {
        one.says(&other, text).await;
    }
    assert_eq!(other.hears().await, TEXTS);
}

/// In every second of a quarter of an hour, between clocks that are up to a minute apart.
#[tokio::test(start_paused = true)]
async fn no_change_of_the_slot_loses_a_message() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    for ahead in [0, 59] {
        one.clock.advance(Duration::from_secs(ahead));
        let _listening = other.signaling.listen();
        for second in 0..900 {
            one.says(&other, b"x").await;
            other.says(&one, b"y").await;
            pass(&[&one, &other], Duration::from_secs(1)).await;
            let heard = futures::FutureExt::now_or_never(other.signaling.receive());
            assert!(heard.is_some(), "{second} s, {ahead} s ahead");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_message_is_passed_over() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    let _listening = other.signaling.listen();
    let slot = Slots::MAILBOX.at(START);
    let soul = layout::mailbox(other.id(), slot).unwrap();
    let state = Slots::MAILBOX.state(slot).unwrap();
    let junk = [
        Value::text("*** not Base64 ***"),
        Value::text(&"A".repeat(100_000)),
        Value::Bool(true),
        Value::Null,
        Value::Link(soul.clone()),
    ];
    let mut node = Node::new(soul);
    for (number, value) in junk.into_iter().enumerate() {
        node = node.with(Key::new(&format!("{number}")).unwrap(), value, state);
    }
    SharedGraph::put(&graph, node).await.unwrap();
    one.says(&other, b"a message").await;
    assert_eq!(other.hears().await, ["a message"]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_bounded_and_over_with_its_slot() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    let slot = Slots::MAILBOX.at(START);
    let soul = layout::mailbox(other.id(), slot).unwrap();
    let state = Slots::MAILBOX.state(slot).unwrap();
    let mut node = Node::new(soul);
    for number in 0..10_000 {
        let text = Value::text(&BASE64.encode(format!("{number}").as_bytes()));
        node = node.with(Key::new(&format!("{number}")).unwrap(), text, state);
    }
    SharedGraph::put(&graph, node).await.unwrap();
    let _listening = other.signaling.listen();
    assert_eq!(other.hears().await.len(), QUEUE);
    // Whoever says it again is heard.
    one.says(&other, b"a message").await;
    assert_eq!(other.hears().await, ["a message"]);
}

#[tokio::test(start_paused = true)]
async fn a_prekey_is_found_for_as_long_as_it_is_kept_published() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    let prekey = |of: NodeId| one.signaling.prekey(of);
    assert_eq!(
        prekey(other.id()).await,
        Err(SignalError::NotFound(other.id()))
    );
    let prekeys = other.prekey();
    let (sender, receiver) = watch::channel(prekeys.current().bytes().clone());
    other.signaling.keep_published(receiver);
    pass(&[&one, &other], Duration::from_secs(1)).await;
    assert_eq!(
        prekey(other.id()).await.as_ref(),
        Ok(prekeys.current().bytes())
    );

    // A later one, seen by somebody who has not asked before.
    pass(&[&one, &other], Duration::from_secs(60)).await;
    let later = other.prekey();
    sender.send_replace(later.current().bytes().clone());
    pass(&[&one, &other], Duration::from_secs(1)).await;
    let third = Station::new(&graph);
    third.clock.advance(Duration::from_secs(62));
    let found = third.signaling.prekey(other.id()).await;
    assert_eq!(found.as_ref(), Ok(later.current().bytes()));

    // Two days later, and on a relay that forgot it all in between.
    for _ in 0..2 {
        graph.forget();
        for station in [&one, &other, &third] {
            station.clock.advance(Duration::from_secs(24 * 3600));
        }
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    }
    let fourth = Station::new(&graph);
    fourth.clock.advance(Duration::from_secs(48 * 3600 + 70));
    let found = fourth.signaling.prekey(other.id()).await;
    assert_eq!(found.as_ref(), Ok(later.current().bytes()));
}

#[tokio::test(start_paused = true)]
async fn false_prekeys_are_passed_over() {
    let graph = MemoryGraph::new();
    let (one, other, liar) = (
        Station::new(&graph),
        Station::new(&graph),
        Station::new(&graph),
    );
    let day = Slots::PREKEY.at(START);
    let plant = |bytes: &[u8]| {
        let soul = layout::prekeys(other.id(), day).unwrap();
        let state = Slots::PREKEY.state(day).unwrap();
        let node = layout::content(soul, &BASE64.encode(bytes), state).unwrap();
        SharedGraph::put(&graph, node)
    };
    let good = other.prekey();
    let good = good.current().bytes();
    let mut forged = good.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for bytes in [
        &forged[..],
        &liar.prekey().current().bytes()[..],
        b"",
        &[1; 4096],
    ] {
        plant(bytes).await.unwrap();
    }
    let found = one.signaling.prekey(other.id()).await;
    assert_eq!(found, Err(SignalError::NotFound(other.id())));
    plant(good).await.unwrap();
    assert_eq!(one.signaling.prekey(other.id()).await.as_ref(), Ok(good));
}

#[tokio::test(start_paused = true)]
async fn without_a_relay_nothing_is_sent() {
    let graph = MemoryGraph::new();
    let (one, other) = (Station::new(&graph), Station::new(&graph));
    graph.connect(false);
    let message = Bytes::from_static(b"x");
    let sent = one.signaling.send(other.id(), message.clone()).await;
    assert_eq!(sent, Err(SignalError::NoCarrier));
    assert_eq!(
        one.signaling.prekey(other.id()).await,
        Err(SignalError::NoCarrier)
    );
    graph.connect(true);
    assert_eq!(one.signaling.send(other.id(), message).await, Ok(()));
    let long = Bytes::from(vec![0; MAX_SIGNAL + 1]);
    assert_eq!(
        one.signaling.send(other.id(), long).await,
        Err(SignalError::TooLarge)
    );
}
