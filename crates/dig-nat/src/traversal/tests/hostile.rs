//! What others may make a node do.

use super::*;
use crate::io::UdpPort;
use crate::{
    attempt::{Message, NatHint, Offer, PREAMBLE, Terms},
    candidate::{Candidate, CandidateKind},
    signaling::memory::MemorySignaling,
};
use std::{collections::BTreeMap, net::IpAddr};

/// Somebody who keeps to the rules of sealing, and to no other.
struct Attacker {
    id: NodeId,
    secure: SecureSignaling,
    signaling: MemorySignaling,
}

impl Attacker {
    fn join(network: &MemoryNetwork, observed: SocketAddr) -> Self {
        let identity = identity();
        let now = SystemClock.now();
        let prekeys = Prekeys::new(now, &*identity).unwrap();
        let observed = vec![Observed {
            transport: Transport::Udp,
            addr: observed,
        }];
        let prekey = prekeys.current().bytes().clone();
        Self {
            id: identity.node_id(),
            signaling: network.join(identity.node_id(), prekey, observed),
            secure: SecureSignaling::new(now, identity, prekeys),
        }
    }

    async fn offer(&mut self, to: NodeId, attempt: [u8; 16], body: &[u8]) {
        let prekey = self.signaling.prekey(to).await.unwrap();
        let (now, attempt) = (SystemClock.now(), AttemptId(attempt));
        let sealed = self
            .secure
            .seal_first(now, to, &prekey, attempt, body)
            .unwrap();
        self.signaling.send(to, sealed).await.unwrap();
        self.secure.forget(now, attempt);
    }
}

fn offer(methods: &[Method], candidates: Vec<Candidate>) -> Bytes {
    let terms = Terms {
        share: [3; 32],
        revision: 0,
        methods: methods.to_vec(),
        candidates,
        fresh: Vec::new(),
        nat: NatHint::Unknown,
    };
    let strategy = Strategy::Race;
    Message::Offer(Offer {
        terms,
        stamp: 0,
        strategy,
    })
    .encode()
}

fn candidate(kind: CandidateKind, addr: SocketAddr) -> Candidate {
    Candidate {
        kind,
        transport: Transport::Udp,
        addr,
    }
}

/// Sends nowhere, and counts by where it should have gone.
#[derive(Debug, Default)]
struct Recorder(Mutex<BTreeMap<IpAddr, usize>>);

impl UdpPort for Recorder {
    fn send(&self, to: SocketAddr, _: &[u8], _: Option<u8>) -> io::Result<()> {
        *lock(&self.0).entry(to.ip()).or_default() += 1;
        Ok(())
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok("127.0.0.1:4000".parse().unwrap())
    }
}

/// A node whose packets are counted instead of sent.
fn recorded(network: &MemoryNetwork) -> (NatTraversalManager, Arc<Recorder>, NodeId) {
    let identity = identity();
    let id = identity.node_id();
    let recorder = Arc::new(Recorder::default());
    let prekeys = Prekeys::new(SystemClock.now(), &*identity).unwrap();
    let signaling = network.join(id, prekeys.current().bytes().clone(), Vec::new());
    let parts = Parts {
        signer: identity,
        prekeys,
        signaling: Arc::new(signaling),
        udp: UdpHub::new(Arc::clone(&recorder) as Arc<dyn UdpPort>),
        tcp: None,
        memory: Arc::new(Remembered::default()),
        clock: Arc::new(SystemClock),
    };
    let manager = NatTraversalManager::new(config(&Method::ALL), parts).unwrap();
    (manager, recorder, id)
}

/// An offer with as many candidates as a signal holds, all of them addresses of somebody else.
fn aimed_at(victim: SocketAddr) -> Bytes {
    let short = offer(&Method::ALL, vec![candidate(CandidateKind::Host, victim)]);
    // After version, kind, share, revision and methods comes the number of candidates; then each of them.
    let (count, one) = (2 + 32 + 1 + 2, 2 + 1 + 4 + 2);
    let (template, rest) = short[count + 2..].split_at(one);
    let number = (2800 - short.len()) / one;
    let mut body = short[..count].to_vec();
    body.extend(u16::try_from(number).unwrap().to_be_bytes());
    for at in 0..number {
        let mut next = template.to_vec();
        next[0] = [0, 1, 3, 4, 5][at % 5];
        next[7..].copy_from_slice(&u16::try_from(5000 + at).unwrap().to_be_bytes());
        body.extend(next);
    }
    body.extend(rest);
    body.into()
}

/// Packets to somebody whom an offer names, when the carrier sees its sender at `observed`.
async fn packets_to_named(observed: &str) -> usize {
    let victim: SocketAddr = "203.0.113.7:5000".parse().unwrap();
    let network = MemoryNetwork::new(MemoryConfig::default());
    let (manager, recorder, id) = recorded(&network);
    let mut attacker = Attacker::join(&network, observed.parse().unwrap());
    let body = aimed_at(victim);
    attacker.offer(id, [1; 16], &body).await;
    within(2, async {
        while lock(&manager.0.table).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    within(20, async {
        while !lock(&manager.0.table).is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    lock(&recorder.0)
        .get(&victim.ip())
        .copied()
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn an_offer_cannot_aim_us_at_somebody_else() {
    assert_eq!(packets_to_named("198.51.100.1:9").await, 0);
}

#[tokio::test(start_paused = true)]
async fn where_the_sender_is_seen_at_most_a_hundred_packets_go() {
    let packets = packets_to_named("203.0.113.7:9").await;
    assert!((1..=100).contains(&packets), "{packets}");
}

#[tokio::test]
async fn an_offer_that_announces_more_than_it_holds_begins_nothing() {
    let network = MemoryNetwork::new(MemoryConfig::default());
    let (manager, recorder, id) = recorded(&network);
    let mut attacker = Attacker::join(&network, "203.0.113.7:9".parse().unwrap());
    let mut body = aimed_at("203.0.113.7:5000".parse().unwrap()).to_vec();
    body[37..39].copy_from_slice(&1000_u16.to_be_bytes());
    attacker.offer(id, [1; 16], &body).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(lock(&manager.0.table).is_empty());
    assert!(lock(&recorder.0).is_empty());
}

#[tokio::test]
async fn a_flood_of_offers_stays_within_bounds_and_does_not_keep_others_out() {
    let network = MemoryNetwork::new(MemoryConfig::default());
    let config = NatConfig {
        max_incoming: 4,
        incoming_per_peer: 3,
        ..config(&[Method::Local])
    };
    let node_config = config.clone();
    let victim = node(&network, identity(), Net::NoTcp, node_config);
    let nowhere = candidate(CandidateKind::Host, "127.0.0.1:9".parse().unwrap());
    let body = offer(&[Method::Local], vec![nowhere]);
    let mut most = 0;
    for sender in 0..6_u8 {
        let mut attacker = Attacker::join(&network, "127.0.0.1:9".parse().unwrap());
        for number in 0..8_u8 {
            let mut id = [sender; 16];
            id[1] = number;
            attacker.offer(victim.id, id, &body).await;
            tokio::task::yield_now().await;
            most = most.max(lock(&victim.manager.0.table).len());
        }
        let begun = lock(&victim.manager.0.table).begun_by(attacker.id);
        assert!(begun <= 3, "{begun}");
    }
    assert!((1..=4).contains(&most), "{most}");
    // The node's own attempts have room of their own.
    let friend = node(&network, identity(), Net::NoTcp, config);
    let path = within(3, first(&mut victim.manager.connect(friend.id))).await;
    assert!(path.is_ok(), "{path:?}");
}

#[tokio::test]
async fn rubbish_where_offers_and_packets_belong_is_ignored() {
    let network = MemoryNetwork::new(MemoryConfig::default());
    let victim = node(&network, identity(), Net::Both, config(&Method::ALL));
    let mut attacker = Attacker::join(&network, "127.0.0.1:9".parse().unwrap());
    let good = offer(&[Method::Local], Vec::new());
    fastrand::seed(7);
    for length in 0..good.len() {
        let mut id = [0; 16];
        id[0] = length as u8;
        attacker.offer(victim.id, id, &good[..length]).await;
    }
    let raw = UdpSocket::bind("127.0.0.1:0").unwrap();
    for length in 0..200 {
        let mut bytes: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
            .take(length)
            .collect();
        for (at, byte) in crate::attempt::MAGIC.iter().enumerate().take(length) {
            bytes[at] = *byte;
        }
        raw.send_to(&bytes, victim.udp).unwrap();
    }
    let mut stream = TcpStream::connect(victim.udp).await.unwrap();
    let mut preamble = [0; PREAMBLE];
    preamble[..8].copy_from_slice(&crate::attempt::MAGIC);
    stream.write_all(&preamble).await.unwrap();
    assert!(!matches!(
        within(2, stream.read(&mut preamble)).await,
        Ok(1..)
    ));
    // It still works.
    let friend = node(&network, identity(), Net::Both, config(&Method::ALL));
    assert!(
        within(3, first(&mut friend.manager.connect(victim.id)))
            .await
            .is_ok()
    );
}
