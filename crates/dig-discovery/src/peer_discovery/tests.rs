use super::*;
use crate::{explicit::ExplicitPeers, memory::MemoryNetwork};
use dig_types::{ContentHash, NodeId, PeerRecord};
use std::net::Ipv4Addr;

/// A mechanism that misbehaves.
#[derive(Debug, Clone, Copy)]
enum Bad {
    Fails,
    Hangs,
    Floods,
}

impl Discovery for Bad {
    fn announce(
        &self,
        _: DiscoveryKey,
        _: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        match self {
            Self::Hangs => future::pending().boxed(),
            Self::Fails | Self::Floods => future::ready(Err(DiscoveryError::TimedOut)).boxed(),
        }
    }

    fn withdraw(&self, _: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        self.announce(DiscoveryKey::from_bytes([0; 32]), Announcement::new(1))
    }

    fn find(&self, _: Lookup) -> BoxStream<'static, Found> {
        match self {
            Self::Fails => stream::empty().boxed(),
            Self::Hangs => stream::pending().boxed(),
            Self::Floods => stream::iter(0..20_000_u32)
                .map(|number| {
                    Found::from(PeerRecord {
                        node: None,
                        addrs: vec![(Ipv4Addr::from_bits(0x0b00_0000 + number), 4433).into()],
                        mapped: Vec::new(),
                        via: Vec::new(),
                        relays: Vec::new(),
                        source: PeerSource::Explicit,
                    })
                })
                .boxed(),
        }
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        match self {
            Self::Hangs => future::pending().boxed(),
            Self::Fails | Self::Floods => future::ready(()).boxed(),
        }
    }
}

fn lookup() -> Lookup {
    Lookup::Content(ContentHash::from_bytes([1; 32]))
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

#[tokio::test(start_paused = true)]
async fn bad_mechanisms_disturb_nobody() {
    let network = MemoryNetwork::new();
    let other = network.join(node(2), [10, 0, 0, 2].into());
    let mut manager = PeerDiscoveryManager::new(DiscoveryConfig::default());
    manager.register(PeerSource::Dht, Box::new(Bad::Floods));
    manager.register(PeerSource::Gun, Box::new(Bad::Hangs));
    manager.register(PeerSource::Exchange, Box::new(Bad::Fails));
    manager.register(
        PeerSource::Local,
        Box::new(network.join(node(1), [10, 0, 0, 1].into())),
    );

    let before = Instant::now();
    manager
        .announce(lookup().key(), Announcement::new(4433))
        .await
        .unwrap();
    assert!(before.elapsed() <= Duration::from_secs(6));
    other
        .announce(lookup().key(), Announcement::new(4434))
        .await
        .unwrap();

    let before = Instant::now();
    let found = manager.find_peers(lookup(), Duration::from_secs(2)).await;
    assert_eq!(
        before.elapsed().as_secs(),
        2,
        "live mechanisms keep it open to the deadline"
    );
    let local = found
        .iter()
        .filter(|found| found.peer.source == PeerSource::Local);
    assert_eq!(local.count(), 2);
    let dht = found
        .iter()
        .filter(|found| found.peer.source == PeerSource::Dht);
    assert_eq!(
        dht.count(),
        256,
        "a flood is bounded, and gets no more trust than its mechanism"
    );
    assert_eq!(found[0].peer.source, PeerSource::Local);

    let before = Instant::now();
    manager.close().await;
    assert!(before.elapsed() <= Duration::from_millis(400));
    let left = manager.find_peers(lookup(), Duration::from_secs(1)).await;
    assert!(
        left.iter().all(|found| found.peer.node != Some(node(1))),
        "withdrawn"
    );
}

#[tokio::test(start_paused = true)]
async fn only_if_nobody_announces_it_is_an_error() {
    let mut manager = PeerDiscoveryManager::new(DiscoveryConfig::default());
    manager
        .announce(lookup().key(), Announcement::new(4433))
        .await
        .unwrap();
    manager.register(PeerSource::Dht, Box::new(Bad::Fails));
    manager.register(PeerSource::Gun, Box::new(Bad::Hangs));
    let error = manager
        .announce(lookup().key(), Announcement::new(4433))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, DiscoveryError::Everywhere(failures) if failures.len() == 2),
        "{error}"
    );
    let low = Announcement {
        level: crate::AnnounceLevel::Low,
        ..Announcement::new(4433)
    };
    manager
        .announce(lookup().key(), low)
        .await
        .expect("nobody was to be told");
}

#[tokio::test(start_paused = true)]
async fn switched_off_mechanisms_are_not_asked() {
    let config = DiscoveryConfig {
        enable_dht: false,
        enable_pex: false,
        enable_local: false,
        enable_gun: false,
        ..DiscoveryConfig::default()
    };
    let mut manager = PeerDiscoveryManager::new(config);
    for kind in [
        PeerSource::Dht,
        PeerSource::Exchange,
        PeerSource::Local,
        PeerSource::Gun,
    ] {
        assert!(!manager.register(kind, Box::new(Bad::Floods)), "{kind:?}");
    }
    let named = ExplicitPeers::new(["192.0.2.1:4433".parse().unwrap()]);
    assert!(manager.register(PeerSource::Explicit, Box::new(named)));
    assert_eq!(
        manager.mechanisms().collect::<Vec<_>>(),
        [PeerSource::Explicit]
    );
    let before = Instant::now();
    let found = manager.find_peers(lookup(), Duration::from_secs(60)).await;
    assert_eq!(
        (found.len(), before.elapsed()),
        (1, Duration::ZERO),
        "lists end"
    );
}

#[tokio::test(start_paused = true)]
async fn live_lookups_report_what_comes_later_and_each_change_once() {
    let network = MemoryNetwork::new();
    let mut manager = PeerDiscoveryManager::new(DiscoveryConfig::default());
    manager.register(
        PeerSource::Local,
        Box::new(network.join(node(1), [10, 0, 0, 1].into())),
    );
    let mut live = manager.find(lookup());
    assert!(
        timeout(Duration::from_secs(5), live.next()).await.is_err(),
        "nothing yet"
    );
    let other = network.join(node(2), [10, 0, 0, 2].into());
    for port in [4433, 4433, 4434] {
        other
            .announce(lookup().key(), Announcement::new(port))
            .await
            .unwrap();
        other
            .announce(DiscoveryKey::from_bytes([0; 32]), Announcement::new(port))
            .await
            .unwrap();
    }
    let found = live.next().await.unwrap();
    assert_eq!(
        (found.peer.node, found.peer.addrs[0].port()),
        (Some(node(2)), 4434)
    );
    other
        .announce(lookup().key(), Announcement::new(4434))
        .await
        .unwrap();
    assert!(
        timeout(Duration::from_secs(5), live.next()).await.is_err(),
        "nothing new"
    );
}
