//! The adapters over relays at work, on loopback.

use super::*;
use crate::gun::{
    GunBus, GunDiscovery, GunSignaling, Presence, Topic,
    layout::{self, Slots},
    relay,
    store::MemoryStorage,
};
use bytes::Bytes;
use dig_discovery::{Announcement, Discovery as _, Lookup};
use dig_identity::{Algorithm, CryptoIdentity, Signer as _};
use dig_nat::signaling::{Signaling as _, prekey::Prekeys};
use dig_types::{ContentHash, NodeId, SystemClock, TicketNode};
use tokio::{
    net::TcpListener,
    time::{Instant, timeout},
};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Place(NodeId, Bytes);

impl Presence for Place {
    fn here(&self) -> TicketNode {
        TicketNode {
            node: self.0,
            addrs: vec!["203.0.113.7:4433".parse().unwrap()],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
        }
    }

    fn prekey(&self) -> Bytes {
        self.1.clone()
    }
}

struct Station {
    id: NodeId,
    client: GunClient,
    signaling: GunSignaling,
    discovery: GunDiscovery,
    prekey: Bytes,
}

impl Station {
    fn new(relays: &[&RelayUrl]) -> Self {
        let clock = Arc::new(SystemClock);
        let signer = Arc::new(CryptoIdentity::generate(Algorithm::Ed25519).unwrap());
        let prekeys = Prekeys::new(clock.now(), &*signer).unwrap();
        let prekey = prekeys.current().bytes().clone();
        let id = signer.node_id();
        let client = GunClient::start(relays.iter().copied().cloned().collect(), clock.clone());
        let graph = Arc::new(client.clone());
        let signaling = GunSignaling::new(graph.clone(), clock.clone(), id);
        let bus = GunBus::new(graph, clock);
        let place = Arc::new(Place(id, prekey.clone()));
        Self {
            id,
            discovery: GunDiscovery::new(bus, signer, place, signaling.clone()),
            client,
            signaling,
            prekey,
        }
    }

    async fn announce(&self) {
        let announcement = Announcement::of(wanted(), 4433);
        self.discovery
            .announce(wanted().key(), announcement)
            .await
            .unwrap();
        self.discovery.settled(PATIENCE).await;
    }

    async fn finds(&self) -> Option<NodeId> {
        let mut found = self.discovery.find(wanted());
        timeout(PATIENCE, found.next()).await.ok()??.peer.node
    }
}

fn wanted() -> Lookup {
    Lookup::Content(ContentHash::from_bytes([0xC7; 32]))
}

async fn serve(addr: &str, storage: &Arc<MemoryStorage>) -> (relay::Serving, RelayUrl) {
    let options = relay::ServeOptions::new(vec![addr.parse().unwrap()], storage.clone());
    let serving = relay::serve(options).await.unwrap();
    let url = format!("ws://{}/gun", serving.addrs()[0]).parse().unwrap();
    (serving, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_relay_that_works_is_enough() {
    let (_serving, good) = serve("127.0.0.1:0", &Arc::default()).await;
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent: RelayUrl = format!("ws://{}/gun", mute.local_addr().unwrap())
        .parse()
        .unwrap();
    let dead: RelayUrl = "ws://127.0.0.1:1/gun".parse().unwrap();
    let host = Station::new(&[&silent, &good, &dead]);
    let guest = Station::new(&[&dead, &silent, &good]);
    host.announce().await;
    assert_eq!(guest.finds().await, Some(host.id));
    // Its announcement gave the prekey.
    assert_eq!(guest.signaling.prekey(host.id).await.unwrap(), host.prekey);
    let _listening = host.signaling.listen();
    guest
        .signaling
        .send(host.id, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let heard = timeout(PATIENCE, host.signaling.receive()).await.unwrap();
    assert_eq!(heard.unwrap().bytes, "x");
    for station in [&host, &guest] {
        station.discovery.close().await;
        station.client.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_starts_again_is_used_again_within_ten_seconds() {
    // One that forgets everything, which is the harder case.
    let (serving, url) = serve("127.0.0.1:0", &Arc::default()).await;
    let host = Station::new(&[&url]);
    let _listening = host.signaling.listen();
    host.announce().await;
    let addr = serving.addrs()[0].to_string();
    serving.shutdown().await;
    let (_serving, url) = serve(&addr, &Arc::default()).await;
    let began = Instant::now();
    let guest = Station::new(&[&url]);
    assert_eq!(guest.finds().await, Some(host.id));
    guest
        .signaling
        .send(host.id, Bytes::from_static(b"x"))
        .await
        .unwrap();
    let heard = timeout(PATIENCE, host.signaling.receive()).await.unwrap();
    assert_eq!(heard.unwrap().bytes, "x");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

/// Ten thousand records as large as genuine ones, of who does not know what is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_topic_hides_nobody() {
    const RECORDS: usize = 10_000;
    let (_serving, url) = serve("127.0.0.1:0", &Arc::default()).await;
    let (host, flooder) = (Station::new(&[&url]), Station::new(&[&url]));
    let slot = Slots::TOPIC.at(SystemClock.now());
    let state = Slots::TOPIC.state(slot).unwrap();
    let soul = Topic::from(wanted().key()).soul(slot).unwrap();
    assert!(flooder.client.connected(PATIENCE).await);
    for first in (0..RECORDS).step_by(100) {
        let mut node = Node::new(soul.clone());
        for number in first..first + 100 {
            let text = format!(
                "{{\"data\":{{\"node\":\"{:064}\",\"sealed\":\"{}\"}}}}",
                number,
                "A".repeat(1000)
            );
            let field = layout::content(soul.clone(), &text, state).unwrap().fields;
            node.fields.extend(field);
        }
        flooder.client.put(node).await.unwrap();
    }
    host.announce().await;
    let guest = Station::new(&[&url]);
    assert_eq!(guest.finds().await, Some(host.id));
}

/// Whoever says it again, as an offer is said again, gets through while somebody fills the mailbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_a_mailbox_delays_what_is_said_again() {
    let (_serving, url) = serve("127.0.0.1:0", &Arc::default()).await;
    let stations = [(); 3].map(|()| Station::new(&[&url]));
    let [host, guest, flooder] = &stations;
    assert!(guest.client.connected(PATIENCE).await && flooder.client.connected(PATIENCE).await);
    let flood = async {
        for number in 0..5_000_u32 {
            let junk = Bytes::from(vec![number as u8; 1024]);
            // Refused when too many are on their way, which is a moment to wait.
            if flooder.signaling.send(host.id, junk).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        std::future::pending::<()>().await;
    };
    let _listening = host.signaling.listen();
    let offers = async {
        loop {
            guest
                .signaling
                .send(host.id, Bytes::from_static(b"offer"))
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let heard = async { while host.signaling.receive().await.unwrap().bytes != "offer" {} };
    tokio::select! {
        () = flood => {}
        () = offers => {}
        heard = timeout(PATIENCE, heard) => heard.unwrap(),
    }
}

#[tokio::test]
async fn relays_that_strangers_name_are_few_and_not_inside() {
    let client = GunClient::start(Vec::new(), Arc::new(SystemClock));
    let named = |urls: &[&str]| {
        let urls: Vec<Arc<str>> = urls.iter().map(|url| (*url).into()).collect();
        client.add_named(&urls);
        client.urls().len()
    };
    let inside = [
        "ws://relay.invalid/gun",
        "wss://127.0.0.1/gun",
        "wss://[::1]/gun",
        "wss://169.254.169.254/gun",
        "wss://192.168.255.254/gun",
        "https:// /",
        "junk",
    ];
    assert_eq!(named(&inside), 0);
    let many: Vec<String> = (0..20)
        .map(|number| format!("wss://r{number}.invalid/gun"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(named(&many), MAX_NAMED_BY_OTHERS);
    assert!(client.to_tell().is_empty());
    client.close().await;
}
