use super::{search::MAX_FOUND, *};
use crate::gun::{MemoryGraph, SharedGraph, Topic, announcement::MAX_TEXT, layout::Slots};
use dig_discovery::Claim;
use dig_identity::{Algorithm, CryptoIdentity};
use dig_nat::signaling::Signaling as _;
use dig_types::{Clock, ContentHash, ContentKind, ContentName, NodeId, VirtualClock};
use std::time::Duration;

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);
const ADDR: &str = "203.0.113.7:4433";

/// A node with its own clock, on a graph that it shares with others.
struct Station {
    discovery: GunDiscovery,
    signaling: GunSignaling,
    bus: GunBus,
    signer: Arc<CryptoIdentity>,
    clock: Arc<VirtualClock>,
    place: Arc<Place>,
}

/// Where a node says that it is.
#[derive(Debug)]
struct Place {
    node: NodeId,
    addr: Mutex<&'static str>,
}

impl Presence for Place {
    fn here(&self) -> TicketNode {
        TicketNode {
            node: self.node,
            addrs: vec![
                self.addr.lock().unwrap().parse().unwrap(),
                "10.255.1.1:4433".parse().unwrap(),
                "127.0.0.1:4433".parse().unwrap(),
            ],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: vec!["wss://theirs.invalid/gun".into()],
        }
    }

    fn prekey(&self) -> Bytes {
        Bytes::new()
    }
}

impl Station {
    fn new(graph: &MemoryGraph) -> Self {
        Self::with(graph, Arc::new(VirtualClock::new(START)))
    }

    fn with(graph: &MemoryGraph, clock: Arc<VirtualClock>) -> Self {
        let signer = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap());
        let graph: Arc<dyn SharedGraph> = Arc::new(graph.clone());
        let bus = GunBus::new(graph.clone(), clock.clone());
        let signaling = GunSignaling::new(graph, clock.clone(), signer.node_id());
        let place = Arc::new(Place {
            node: signer.node_id(),
            addr: Mutex::new(ADDR),
        });
        let discovery = GunDiscovery::new(
            bus.clone(),
            signer.clone(),
            place.clone(),
            signaling.clone(),
        );
        Self {
            discovery,
            signaling,
            bus,
            signer,
            clock,
            place,
        }
    }

    fn id(&self) -> NodeId {
        self.signer.node_id()
    }

    async fn announce(&self, lookup: &Lookup) {
        let announcement = Announcement {
            claim: Some(claim()),
            ..Announcement::of(lookup.clone(), 4433)
        };
        self.discovery
            .announce(lookup.key(), announcement)
            .await
            .unwrap();
        self.discovery.settled(Duration::from_secs(1)).await;
    }

    /// Whom it finds within a second.
    async fn finds(&self, lookup: &Lookup) -> Vec<Found> {
        let mut stream = self.discovery.find(lookup.clone());
        let mut found = Vec::new();
        while let Ok(Some(one)) = tokio::time::timeout(Duration::from_secs(1), stream.next()).await
        {
            found.push(one);
        }
        found
    }

    async fn finds_nodes(&self, lookup: &Lookup) -> Vec<NodeId> {
        let found = self.finds(lookup).await.into_iter();
        found.map(|found| found.peer.node.unwrap()).collect()
    }
}

/// Time passes for everybody, in small steps.
async fn pass(stations: &[&Station], time: Duration) {
    const STEP: Duration = Duration::from_secs(5);
    for _ in 0..time.as_secs().div_ceil(STEP.as_secs()) {
        for station in stations {
            station.clock.advance(STEP);
        }
        tokio::time::sleep(STEP).await;
    }
}

fn hash() -> ContentHash {
    ContentHash::from_bytes([0xC7; 32])
}

fn name() -> ContentName {
    ContentName::new("holiday film.mkv").unwrap()
}

fn claim() -> Claim {
    Claim {
        hash: Some(hash()),
        kind: ContentKind::File,
        size: 12_345,
        name: Some(name()),
    }
}

fn by_hash() -> Lookup {
    Lookup::Content(hash())
}

fn by_name() -> Lookup {
    Lookup::Name(name())
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_is_found_by_who_knows_what_it_looks_for() {
    let graph = MemoryGraph::new();
    let (host, guest) = (Station::new(&graph), Station::new(&graph));
    host.announce(&by_hash()).await;
    host.announce(&by_name()).await;
    for lookup in [by_hash(), by_name()] {
        let found = guest.finds(&lookup).await;
        let [found] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert_eq!(found.peer.node, Some(host.id()));
        // Neither loopback nor a private network that this machine is not on.
        assert_eq!(found.peer.addrs, [ADDR.parse().unwrap()]);
        assert_eq!(found.claims, [claim()]);
        let relays: Vec<&str> = found.peer.relays.iter().map(AsRef::as_ref).collect();
        // A stranger names no relay to us.
        assert_eq!(relays, ["wss://memory.invalid/gun"]);
    }
    let other = Lookup::Name(ContentName::new("another film.mkv").unwrap());
    assert!(guest.finds(&other).await.is_empty());
    assert!(
        host.finds(&by_hash()).await.is_empty(),
        "a node finds itself"
    );
}

#[tokio::test(start_paused = true)]
async fn a_relay_reads_neither_address_nor_hash_nor_name() {
    let graph = MemoryGraph::new();
    let host = Station::new(&graph);
    host.announce(&by_hash()).await;
    host.announce(&by_name()).await;
    let seen = format!("{:?}", graph.nodes());
    assert!(seen.contains(&host.id().to_string()), "{seen}");
    let base64 = |bytes: &[u8]| data_encoding::BASE64.encode(bytes);
    for secret in [
        "203.0.113.7".to_owned(),
        "holiday".to_owned(),
        hash().to_string(),
        base64(hash().as_bytes()),
        base64(&[203, 0, 113, 7, 0x11, 0x51]),
        base64(b"holiday"),
    ] {
        assert!(
            !seen.contains(secret.trim_end_matches('=')),
            "{secret} is in {seen}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_withdraws_or_stops_is_found_no_longer() {
    let graph = MemoryGraph::new();
    let (host, other, guest) = (
        Station::new(&graph),
        Station::new(&graph),
        Station::new(&graph),
    );
    host.announce(&by_hash()).await;
    other.announce(&by_hash()).await;
    // The word that takes it back lies in another slot than the one it takes back.
    pass(&[&host, &other, &guest], Duration::from_secs(20 * 60)).await;
    host.discovery.withdraw(by_hash().key()).await.unwrap();
    assert_eq!(guest.finds_nodes(&by_hash()).await, [other.id()]);
    other.discovery.close().await;
    assert!(guest.finds_nodes(&by_hash()).await.is_empty());
    host.announce(&by_hash()).await;
    assert_eq!(guest.finds_nodes(&by_hash()).await, [host.id()]);
}

#[tokio::test(start_paused = true)]
async fn it_is_found_as_long_as_it_is_there_and_an_hour_longer() {
    let graph = MemoryGraph::new();
    let (host, guest) = (Station::new(&graph), Station::new(&graph));
    host.announce(&by_hash()).await;
    for _ in 0..50 {
        pass(&[&host, &guest], Duration::from_secs(5 * 60)).await;
        assert_eq!(guest.finds_nodes(&by_hash()).await, [host.id()]);
    }
    // It dies without a word.
    host.discovery.0.stop.cancel();
    pass(&[&host, &guest], Duration::from_secs(24 * 60)).await;
    assert_eq!(guest.finds_nodes(&by_hash()).await, [host.id()]);
    pass(&[&host, &guest], Duration::from_secs(37 * 60)).await;
    assert!(guest.finds_nodes(&by_hash()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_goes_on_through_changes_of_the_slot() {
    let graph = MemoryGraph::new();
    let (host, late, guest) = (
        Station::new(&graph),
        Station::new(&graph),
        Station::new(&graph),
    );
    let mut stream = guest.discovery.find(by_hash());
    let reading = tokio::spawn(async move { (stream.next().await, stream) });
    pass(&[&host, &late, &guest], Duration::from_secs(95 * 60)).await;
    host.announce(&by_hash()).await;
    let (found, mut stream) = reading.await.unwrap();
    assert_eq!(found.unwrap().peer.node, Some(host.id()));
    // One whose clock is a minute ahead, and which is in the next slot already.
    let (slot, ahead) = (30 * 60 * 1000, Duration::from_secs(60));
    let left = Duration::from_millis(slot - guest.clock.now().as_millis() % slot);
    let before = left - Duration::from_secs(50);
    pass(&[&host, &late, &guest], before).await;
    late.clock.advance(ahead);
    let slot = |station: &Station| Slots::TOPIC.at(station.clock.now());
    assert_eq!(slot(&late), slot(&guest) + 1);
    late.announce(&by_hash()).await;
    let found = async {
        while let Some(found) = stream.next().await {
            if found.peer.node == Some(late.id()) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), found)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_moves_is_found_where_it_is() {
    let graph = MemoryGraph::new();
    let (host, guest) = (Station::new(&graph), Station::new(&graph));
    host.announce(&by_hash()).await;
    *host.place.addr.lock().unwrap() = "203.0.113.99:4433";
    pass(&[&host, &guest], Duration::from_secs(20)).await;
    let found = guest.finds(&by_hash()).await;
    assert_eq!(found[0].peer.addrs, ["203.0.113.99:4433".parse().unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_forgot_everything_is_told_again() {
    let graph = MemoryGraph::new();
    let (host, guest) = (Station::new(&graph), Station::new(&graph));
    host.announce(&by_hash()).await;
    graph.connect(false);
    graph.forget();
    pass(&[&host, &guest], Duration::from_secs(10)).await;
    graph.connect(true);
    pass(&[&host, &guest], Duration::from_secs(5)).await;
    assert_eq!(guest.finds_nodes(&by_hash()).await, [host.id()]);
}

/// Writes a text into the topic of a lookup, as anybody may.
async fn plant(station: &Station, lookup: &Lookup, text: &str) {
    let slot = Slots::TOPIC.at(station.clock.now());
    let soul = Topic::from(lookup.key()).soul(slot).unwrap();
    let state = Slots::TOPIC.state(slot).unwrap();
    let node = crate::gun::layout::content(soul, text, state).unwrap();
    station.bus.graph().put(node).await.unwrap();
}

/// The only text in a topic.
fn text_in(graph: &MemoryGraph, lookup: &Lookup) -> String {
    let topic = Topic::from(lookup.key()).to_string();
    let nodes = graph.nodes();
    let node = nodes
        .iter()
        .find(|node| node.soul.as_str().contains(&topic));
    let texts: Vec<&str> = crate::gun::layout::contents(node.unwrap(), MAX_TEXT).collect();
    texts[0].to_owned()
}

/// A genuine announcement, altered, and what is none at all.
fn altered(genuine: &str, whose: NodeId, other: NodeId) -> Vec<String> {
    // Another address' digit, another node's id, another signature.
    vec![
        genuine.replacen("\"available\":true", "\"available\":false", 1),
        genuine.replace(&whose.to_string(), &other.to_string()),
        genuine.replacen(' ', "", 1) + " ",
        "{}".to_owned(),
        "[".repeat(10_000),
        "null".to_owned(),
    ]
}

#[tokio::test(start_paused = true)]
async fn forged_copied_and_misdirected_records_are_not_believed() {
    let graph = MemoryGraph::new();
    let (host, liar, guest) = (
        Station::new(&graph),
        Station::new(&graph),
        Station::new(&graph),
    );
    host.announce(&by_hash()).await;
    let genuine = text_in(&graph, &by_hash());
    graph.forget();

    let mut forged = altered(&genuine, host.id(), liar.id());
    // The sealed text of the host in a record of the liar's.
    let value: serde_json::Value = serde_json::from_str(&genuine).unwrap();
    let body = serde_json::json!({
        "topic": value["data"]["topic"],
        "available": true,
        "prekey": "",
        "sealed": value["data"]["sealed"],
    });
    let now = START;
    let record = |kind: &str, body: &serde_json::Value, issued: Timestamp| {
        let expires = issued + Duration::from_secs(3600);
        let signed = SignedRecord::sign(&*liar.signer, kind, 1, issued, expires, body);
        signed.unwrap().as_str().to_owned()
    };
    forged.push(record("dig.announce.v1", &body, now));
    // The liar's own announcement of something else, copied here.
    liar.announce(&by_name()).await;
    forged.push(text_in(&graph, &by_name()));
    graph.forget();
    // An announcement of the right thing that names another node.
    let codec = Codec::new(by_hash()).unwrap();
    let word = |node: NodeId| Word {
        ticket: Some(Ticket {
            nodes: vec![TicketNode {
                node,
                ..host.place.here()
            }],
            ..Ticket::new(hash())
        }),
        prekey: Vec::new(),
    };
    let written = |at: Timestamp, node: NodeId| {
        let written = codec.write(&*liar.signer, (1, at), &word(node), [9; 12]);
        written.unwrap().as_str().to_owned()
    };
    forged.push(written(now, host.id()));
    // From the future, and from long ago.
    forged.push(written(now + Duration::from_secs(121), liar.id()));
    forged.push(written(
        Timestamp::from_millis(now.as_millis() - 3_600_001),
        liar.id(),
    ));
    for text in &forged {
        plant(&guest, &by_hash(), text).await;
    }
    assert_eq!(guest.finds_nodes(&by_hash()).await, []);
    // As a control: both are believed when they say the truth.
    plant(&guest, &by_hash(), &genuine).await;
    plant(&guest, &by_hash(), &written(now, liar.id())).await;
    let mut found = guest.finds_nodes(&by_hash()).await;
    found.sort();
    let mut both = [host.id(), liar.id()];
    both.sort();
    assert_eq!(found, both);
}

#[tokio::test(start_paused = true)]
async fn a_replayed_word_does_not_come_back_to_life() {
    let graph = MemoryGraph::new();
    let (host, guest) = (Station::new(&graph), Station::new(&graph));
    host.announce(&by_hash()).await;
    let old = text_in(&graph, &by_hash());
    pass(&[&host, &guest], Duration::from_secs(35 * 60)).await;
    host.discovery.withdraw(by_hash().key()).await.unwrap();
    // A relay or anybody else puts the old word into the present slot.
    plant(&guest, &by_hash(), &old).await;
    assert!(guest.finds_nodes(&by_hash()).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_hides_nobody_and_costs_little() {
    let graph = MemoryGraph::new();
    let (host, liar, guest) = (
        Station::new(&graph),
        Station::new(&graph),
        Station::new(&graph),
    );
    // 10,000 records of who does not know what is looked for: signed, but sealed to something else.
    let codec = Codec::new(by_name()).unwrap();
    let word = Word {
        ticket: None,
        prekey: Vec::new(),
    };
    let junk = codec
        .write(&*liar.signer, (1, START), &word, [1; 12])
        .unwrap();
    for number in 0..10_000 {
        plant(&guest, &by_hash(), &format!("{} {number}", junk.as_str())).await;
    }
    host.announce(&by_hash()).await;
    let began = std::time::Instant::now();
    assert_eq!(guest.finds_nodes(&by_hash()).await, [host.id()]);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_lookup_holds_no_more_nodes_than_its_bounds() {
    let graph = MemoryGraph::new();
    let guest = Station::new(&graph);
    let codec = Codec::new(by_hash()).unwrap();
    for number in 0..=MAX_FOUND {
        let signer = CryptoIdentity::generate(Algorithm::Ed25519).unwrap();
        let ticket = Ticket {
            nodes: vec![TicketNode {
                node: signer.node_id(),
                ..guest.place.here()
            }],
            ..Ticket::new(hash())
        };
        let word = Word {
            ticket: Some(ticket),
            prekey: Vec::new(),
        };
        let nonce = std::array::from_fn(|at| (number >> (8 * at.min(3))) as u8);
        let record = codec.write(&signer, (1, START), &word, nonce).unwrap();
        plant(&guest, &by_hash(), record.as_str()).await;
    }
    assert_eq!(guest.finds(&by_hash()).await.len(), MAX_FOUND);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sealed_is_not_announced() {
    let station = Station::new(&MemoryGraph::new());
    let key = by_hash().key();
    let announced = station
        .discovery
        .announce(key, Announcement::new(4433))
        .await;
    assert!(announced.unwrap_err().to_string().contains("sealed"));
    let other = Announcement::of(by_name(), 4433);
    assert!(station.discovery.announce(key, other).await.is_err());
    drop(station.signaling.listen());
    station.signaling.close();
    assert!(station.signaling.receive().await.is_none());
}
