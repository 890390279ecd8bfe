//! A server, and clients of every kind.

use super::*;
use std::net::IpAddr;
use stun_types::{
    attribute::{AttributeType, RawAttribute},
    message::{
        IntegrityAlgorithm, IntegrityKey, LongTermKeyCredentials, Message, MessageClass,
        MessageType, MessageWriteVec, Method, TransactionId,
    },
    prelude::{Attribute as _, MessageWrite, MessageWriteExt},
};
use wire::attribute::*;

const LOCAL: &str = "8.8.4.4:3478";
const ALLOCATE: u16 = 3;
const REFRESH: u16 = 4;
const PERMIT: u16 = 8;
const BIND: u16 = 9;

/// Not random, but no two are alike.
fn counted(bytes: &mut [u8]) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let start = bytes.len() - next.len();
    bytes[start..].copy_from_slice(&next);
    true
}

fn config() -> ServerConfig {
    let users = [
        User::new("alice", "wonderland"),
        User::new("bob", "builder"),
    ];
    let mut config = ServerConfig::new(users);
    config.secret = Some("north".to_owned().into());
    config.peers = PeerPolicy::default().own(["8.8.4.4".parse::<IpAddr>().unwrap()]);
    config
}

/// A server and its clock.
struct World {
    server: Server,
    now: Duration,
    next_port: u16,
}

/// One client's credentials and place.
#[derive(Clone)]
struct Talker {
    client: Client,
    name: String,
    password: String,
    nonce: Vec<u8>,
    transaction: u128,
}

/// An answer, taken apart.
#[derive(Debug)]
struct Answer {
    error: Option<u16>,
    attributes: Vec<(u16, Vec<u8>)>,
    proved: bool,
}

impl Answer {
    fn value(&self, kind: u16) -> Option<&[u8]> {
        let mut found = self.attributes.iter().filter(|(of, _)| *of == kind);
        found.next().map(|(_, value)| value.as_slice())
    }

    fn seconds(&self) -> u32 {
        u32::from_be_bytes(self.value(LIFETIME).unwrap().try_into().unwrap())
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn udp(remote: &str) -> Client {
    Client {
        transport: Transport::Udp,
        local: addr(LOCAL),
        remote: addr(remote),
    }
}

/// XOR-PEER-ADDRESS by an independent hand.
fn peer_value(peer: SocketAddr, transaction: u128) -> Vec<u8> {
    use stun_types::{attribute::XorMappedAddress, prelude::AttributeWrite as _};
    let value = XorMappedAddress::new(peer, TransactionId::from(transaction));
    value.to_raw().value.to_vec()
}

impl Talker {
    fn new(remote: &str, name: &str, password: &str) -> Self {
        Self {
            client: udp(remote),
            name: name.into(),
            password: password.into(),
            nonce: Vec::new(),
            transaction: 1,
        }
    }

    fn key(&self) -> IntegrityKey {
        let credentials = LongTermKeyCredentials::new(
            self.name.clone(),
            self.password.clone(),
            "dignet".to_owned(),
        );
        credentials.make_key(IntegrityAlgorithm::Sha1)
    }

    fn bare(&self, method: u16, attributes: &[(u16, &[u8])]) -> MessageWriteVec {
        let kind = MessageType::from_class_method(MessageClass::Request, Method::new(method));
        let transaction = TransactionId::from(self.transaction);
        let mut writer = Message::builder(kind, transaction, MessageWriteVec::new());
        for (kind, value) in attributes {
            let kind = AttributeType::new(*kind);
            writer.push_attribute_unchecked(&RawAttribute::new(kind, value));
        }
        writer
    }

    fn signed(&self, method: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut all = attributes.to_vec();
        all.push((USERNAME, self.name.as_bytes()));
        all.push((REALM, b"dignet"));
        all.push((NONCE, &self.nonce));
        let mut writer = self.bare(method, &all);
        let key = self.key();
        let proved = writer.add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1);
        proved.unwrap();
        writer.finish()
    }

    fn channel(&self, number: u16, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::write_channel_data(&mut bytes, number, data, false);
        bytes
    }

    fn indication(&self, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::write_data_indication(&mut bytes, [3; 12], peer, data);
        bytes[1] = 0x16;
        bytes
    }

    fn read(&self, bytes: &[u8]) -> Answer {
        let message = Message::from_bytes(bytes).unwrap();
        let mut attributes = Vec::new();
        for (_, attribute) in message.iter_attributes() {
            attributes.push((attribute.get_type().value(), attribute.value.to_vec()));
        }
        let mut answer = Answer {
            error: None,
            proved: message.validate_integrity_with_key(&self.key()).is_ok(),
            attributes,
        };
        answer.error = answer
            .value(ERROR_CODE)
            .map(|value| u16::from(value[2]) * 100 + u16::from(value[3]));
        assert_eq!(
            answer.error.is_some(),
            message.class() == MessageClass::Error
        );
        answer
    }
}

impl World {
    fn new(config: ServerConfig) -> Self {
        let server = Server::new(config, &[7; 32], 1_700_000_000, counted).unwrap();
        Self {
            server,
            now: Duration::from_secs(100),
            next_port: 50_000,
        }
    }

    fn after(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.server.on_timeout(self.now);
    }

    /// One message; sockets are opened as they are asked for.
    fn say(&mut self, client: Client, bytes: &[u8]) -> Option<Vec<u8>> {
        match self.server.on_client(self.now, client, bytes) {
            Heard::Reply(reply) => Some(reply),
            Heard::Open(opening) => {
                self.next_port += 2;
                let at = |port| SocketAddr::new(addr(LOCAL).ip(), port);
                let kept = opening.reserve.then(|| at(self.next_port + 1));
                let relayed = opening.reserved.unwrap_or(at(self.next_port));
                let opened = match opening.ipv6 {
                    true => Err(OpeningError::Family),
                    false => Ok((relayed, kept)),
                };
                Some(self.server.on_opened(self.now, *opening, opened).1)
            }
            _ => None,
        }
    }

    fn ask(&mut self, talker: &mut Talker, method: u16, attributes: &[(u16, &[u8])]) -> Answer {
        talker.transaction += 1;
        self.repeat(talker, method, attributes)
    }

    fn repeat(&mut self, talker: &mut Talker, method: u16, attributes: &[(u16, &[u8])]) -> Answer {
        for _ in 0..2 {
            let bytes = talker.signed(method, attributes);
            let reply = self.say(talker.client, &bytes).expect("an answer");
            let answer = talker.read(&reply);
            if answer.error != Some(438) {
                return answer;
            }
            talker.nonce = answer.value(NONCE).unwrap().to_vec();
        }
        panic!("a fresh nonce is stale");
    }

    fn allocate(&mut self, talker: &mut Talker) -> Answer {
        self.ask(talker, ALLOCATE, &[(REQUESTED_TRANSPORT, &[17, 0, 0, 0])])
    }

    fn permit(&mut self, talker: &mut Talker, peer: &str) -> Answer {
        talker.transaction += 1;
        let value = peer_value(addr(peer), talker.transaction);
        self.repeat(talker, PERMIT, &[(XOR_PEER_ADDRESS, &value)])
    }

    fn bind(&mut self, talker: &mut Talker, number: u16, peer: &str) -> Answer {
        talker.transaction += 1;
        let value = peer_value(addr(peer), talker.transaction);
        let [high, low] = number.to_be_bytes();
        let channel = [high, low, 0, 0];
        self.repeat(
            talker,
            BIND,
            &[(CHANNEL_NUMBER, &channel), (XOR_PEER_ADDRESS, &value)],
        )
    }

    fn forwarded(&mut self, client: Client, bytes: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        match self.server.on_client(self.now, client, bytes) {
            Heard::Forward { to, data, .. } => Some((to, data.to_vec())),
            _ => None,
        }
    }
}

fn alice(world: &mut World) -> Talker {
    let mut alice = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let answer = world.allocate(&mut alice);
    assert_eq!(answer.error, None, "{answer:?}");
    alice
}

#[test]
fn an_allocation_relays_what_is_permitted_and_nothing_else() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    let peer = addr("1.1.1.1:53");
    let send = alice.indication(peer, b"out");
    assert_eq!(
        world.forwarded(alice.client, &send),
        None,
        "no permission yet"
    );
    assert_eq!(world.permit(&mut alice, "1.1.1.1:1").error, None);
    assert_eq!(
        world.forwarded(alice.client, &send),
        Some((peer, b"out".to_vec()))
    );

    let id = world.server.table.id_of(alice.client).unwrap();
    let mut out = Vec::new();
    let to = world.server.on_peer(world.now, id, peer, b"in", &mut out);
    assert_eq!(to, Some(alice.client));
    out[1] = 0x16;
    assert_eq!(wire::send_indication(&out), Some((peer, b"in".as_slice())));
    let stranger = world
        .server
        .on_peer(world.now, id, addr("1.1.1.2:53"), b"in", &mut out);
    assert_eq!((stranger, out.len()), (None, 0));

    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:53").error, None);
    let channel = alice.channel(0x4000, b"out");
    assert_eq!(
        world.forwarded(alice.client, &channel),
        Some((peer, b"out".to_vec()))
    );
    world.server.on_peer(world.now, id, peer, b"in", &mut out);
    assert_eq!(wire::channel_data(&out), Some((0x4000, b"in".as_slice())));

    world.after(301);
    assert_eq!(
        world.forwarded(alice.client, &channel),
        None,
        "the permission is over"
    );
    world.after(300);
    assert_eq!(
        world.server.counters().allocations,
        0,
        "so is the allocation"
    );
    assert_eq!(world.server.pop_ended(), Some(id));
}

#[test]
fn spoofed_channel_data_goes_nowhere() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:53").error, None);
    let data = alice.channel(0x4000, b"x");
    for spoofer in ["9.9.9.9:1001", "9.9.9.8:1000", "[2a0d::1]:1000"] {
        assert_eq!(world.forwarded(udp(spoofer), &data), None, "{spoofer}");
    }
    let stream = Client {
        transport: Transport::Stream,
        ..alice.client
    };
    assert_eq!(world.forwarded(stream, &data), None);
    for number in [0x4001, 0x4FFF, 0x5000, 0x7FFF] {
        let data = alice.channel(number, b"x");
        assert_eq!(world.forwarded(alice.client, &data), None, "{number:04x}");
    }
    assert_eq!(world.server.counters().dropped_stray, 8);
    assert!(world.forwarded(alice.client, &data).is_some());
}

#[test]
fn whoever_proved_nothing_gets_three_bytes_for_one_at_most() {
    let mut world = World::new(config());
    let talker = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let mut fake = talker.clone();
    fake.nonce = b"AAAAAAAAAAAAAAAA".to_vec();
    let mut wrong = fake.clone();
    wrong.password = "guess".into();
    let requests = [
        talker.bare(ALLOCATE, &[]).finish(),
        talker
            .bare(ALLOCATE, &[(REQUESTED_TRANSPORT, &[17, 0, 0, 0])])
            .finish(),
        talker.bare(REFRESH, &[]).finish(),
        talker.bare(PERMIT, &[]).finish(),
        talker.bare(BIND, &[(0x7777, &[])]).finish(),
        talker
            .bare(ALLOCATE, &[(MESSAGE_INTEGRITY, &[0; 20])])
            .finish(),
        talker.signed(ALLOCATE, &[]),
        fake.signed(ALLOCATE, &[]),
        wrong.signed(REFRESH, &[]),
        talker.indication(addr("1.1.1.1:1"), b"x"),
        talker.channel(0x4000, b"x"),
        vec![0; 20],
        vec![0x40; 20],
        vec![0xC0; 20],
    ];
    let (mut asked, mut answered) = (0, 0);
    for request in &requests {
        let answer = world.say(talker.client, request).unwrap_or_default();
        assert!(
            answer.len() <= 3 * request.len(),
            "{} for {}",
            answer.len(),
            request.len()
        );
        asked += request.len();
        answered += answer.len();
    }
    assert!(answered > 0 && answered <= 3 * asked);
    let flood = (0..10_000).filter(|_| world.say(talker.client, &requests[1]).is_some());
    assert!(flood.count() <= 200, "and not for ever");
}

#[test]
fn the_shortest_first_request_is_answered_with_the_longest_realm() {
    let mut config = config();
    config.realm = "r".repeat(ServerConfig::LONGEST_REALM);
    let mut world = World::new(config.clone());
    let talker = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let first = talker.bare(ALLOCATE, &[(REQUESTED_TRANSPORT, &[17, 0, 0, 0])]);
    let answer = talker.read(&world.say(talker.client, &first.finish()).unwrap());
    assert_eq!(answer.error, Some(401));
    config.realm.push('r');
    let refused = Server::new(config, &[7; 32], 0, counted);
    assert!(matches!(refused, Err(ConfigError::Realm)));
}

#[test]
fn no_credential_no_allocation() {
    let mut world = World::new(config());
    for (name, password) in [
        ("alice", "builder"),
        ("alice", ""),
        ("mallory", "wonderland"),
        ("1700000900:carol", "wrong"),
        // Over since a minute before the start.
        ("1699999940:carol", "SECRET"),
    ] {
        let password = match password {
            "SECRET" => time_limited_password("north", name),
            known => known.to_owned(),
        };
        let mut talker = Talker::new("9.9.9.9:1000", name, &password);
        assert_eq!(world.allocate(&mut talker).error, Some(401), "{name}");
    }
    assert_eq!(world.server.counters().allocations_made, 0);
}

#[test]
fn a_time_limited_credential_works_until_its_time() {
    let mut world = World::new(config());
    let (name, later) = ("1700000400:carol", "1700009000:carol");
    let mut carol = Talker::new("9.9.9.9:1000", name, &time_limited_password("north", name));
    assert_eq!(world.allocate(&mut carol).error, None);
    world.after(310);
    let expired = world.ask(&mut carol, REFRESH, &[]);
    assert_eq!(expired.error, Some(401));
    assert!(expired.value(ERROR_CODE).unwrap().ends_with(b"expired"));
    (carol.name, carol.password) = (later.into(), time_limited_password("north", later));
    assert_eq!(
        world.ask(&mut carol, REFRESH, &[]).error,
        None,
        "renewed, it is the same user's"
    );
}

#[test]
fn nonces_go_stale_and_requests_of_others_are_refused() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    world.after(599);
    let old = alice.signed(REFRESH, &[]);
    world.after(1);
    // The allocation ended, too; the nonce is looked at first.
    let reply = world.say(alice.client, &old).unwrap();
    assert_eq!(alice.read(&reply).error, Some(438));
    assert_eq!(world.ask(&mut alice, REFRESH, &[]).error, Some(437));
    assert_eq!(world.allocate(&mut alice).error, None);

    let mut bob = Talker::new("9.9.9.9:1000", "bob", "builder");
    assert_eq!(
        world.ask(&mut bob, REFRESH, &[(LIFETIME, &[0; 4])]).error,
        Some(441)
    );
    assert_eq!(world.permit(&mut bob, "1.1.1.1:1").error, Some(441));
    // Recorded, and sent again from elsewhere.
    let replayed = alice.signed(REFRESH, &[(LIFETIME, &[0; 4])]);
    let reply = world.say(udp("9.9.9.9:1001"), &replayed).unwrap();
    assert_eq!(alice.read(&reply).error, Some(438));
    assert_eq!(world.server.counters().allocations, 1);
}

#[test]
fn a_repeated_request_is_answered_alike() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    let attributes: [(u16, &[u8]); 1] = [(REQUESTED_TRANSPORT, &[17, 0, 0, 0])];
    let relayed = world.repeat(&mut alice, ALLOCATE, &attributes);
    assert_eq!(relayed.error, None);
    assert!(relayed.proved && relayed.value(XOR_RELAYED_ADDRESS).is_some());
    assert_eq!(
        world.allocate(&mut alice).error,
        Some(437),
        "another request is not"
    );
    assert_eq!(world.server.counters().allocations_made, 1);
}

#[test]
fn lifetimes_are_kept_within_bounds() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    for (asked, given) in [
        (1_u32, 600),
        (600, 600),
        (1000, 1000),
        (3600, 3600),
        (u32::MAX, 3600),
    ] {
        let asked = asked.to_be_bytes();
        let answer = world.ask(&mut alice, REFRESH, &[(LIFETIME, &asked)]);
        assert_eq!(answer.seconds(), given);
    }
    assert_eq!(
        world
            .ask(&mut alice, REFRESH, &[(LIFETIME, &[0; 4])])
            .seconds(),
        0
    );
    assert_eq!(world.server.counters().allocations, 0);
}

#[test]
fn requests_that_make_no_sense_are_refused_by_their_number() {
    let mut world = World::new(config());
    let mut alice = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let udp: (u16, &[u8]) = (REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let mut refused =
        |attributes: &[(u16, &[u8])]| world.ask(&mut alice, ALLOCATE, attributes).error;
    assert_eq!(refused(&[]), Some(400));
    assert_eq!(refused(&[(REQUESTED_TRANSPORT, &[6, 0, 0, 0])]), Some(442));
    assert_eq!(refused(&[(REQUESTED_TRANSPORT, &[17])]), Some(400));
    assert_eq!(refused(&[udp, (0x001A, &[])]), Some(420), "DONT-FRAGMENT");
    assert_eq!(
        refused(&[udp, (REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])]),
        Some(440)
    );
    assert_eq!(
        refused(&[udp, (REQUESTED_ADDRESS_FAMILY, &[9, 0, 0, 0])]),
        Some(440)
    );
    assert_eq!(refused(&[udp, (RESERVATION_TOKEN, &[0; 8])]), Some(508));
    assert_eq!(
        refused(&[udp, (RESERVATION_TOKEN, &[0; 8]), (EVEN_PORT, &[0])]),
        Some(400)
    );
    assert_eq!(refused(&[udp, (LIFETIME, &[0; 3])]), Some(400));
    let mut alice = self::alice(&mut world);
    for number in [0, 0x3FFF, 0x8000, 0xFFFF] {
        assert_eq!(
            world.bind(&mut alice, number, "1.1.1.1:53").error,
            Some(400),
            "{number:04x}"
        );
    }
    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:0").error, Some(400));
    assert_eq!(world.permit(&mut alice, "[2a0d::1]:1").error, Some(443));
    assert_eq!(world.ask(&mut alice, PERMIT, &[]).error, Some(400));
}

#[test]
fn no_internal_peer_by_any_request() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    for peer in [
        "127.0.0.1:22",
        "0.0.0.0:22",
        "10.0.0.1:80",
        "169.254.169.254:80",
        "[::1]:22",
        "[::ffff:127.0.0.1]:22",
        "[64:ff9b::7f00:1]:22",
        "[2002:7f00:1::]:22",
        // The relay itself.
        "8.8.4.4:3478",
    ] {
        assert_eq!(
            world.bind(&mut alice, 0x4000, peer).error,
            Some(403),
            "{peer}"
        );
        let send = alice.indication(addr(peer), b"x");
        assert_eq!(world.forwarded(alice.client, &send), None, "{peer}");
        if peer != "8.8.4.4:3478" {
            assert_eq!(world.permit(&mut alice, peer).error, Some(403), "{peer}");
        }
    }
    // One bad among good ones spoils them all.
    alice.transaction += 1;
    let peers = ["1.1.1.1:1", "127.0.0.1:1"].map(|peer| peer_value(addr(peer), alice.transaction));
    let both: Vec<(u16, &[u8])> = peers
        .iter()
        .map(|peer| (XOR_PEER_ADDRESS, peer.as_slice()))
        .collect();
    assert_eq!(world.repeat(&mut alice, PERMIT, &both).error, Some(403));
    let send = alice.indication(addr("1.1.1.1:1"), b"x");
    assert_eq!(world.forwarded(alice.client, &send), None);
}

#[test]
fn two_allocations_reach_each_other_and_no_other_port_of_the_relay() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    let mut bob = Talker::new("9.9.9.8:2000", "bob", "builder");
    assert_eq!(world.allocate(&mut bob).error, None);
    let relayed = |world: &World, talker: &Talker| {
        let id = world.server.table.id_of(talker.client).unwrap();
        (id, world.server.table.get(id).unwrap().relayed)
    };
    let ((_, of_alice), (id, of_bob)) = (relayed(&world, &alice), relayed(&world, &bob));
    assert_eq!(world.permit(&mut alice, &of_bob.to_string()).error, None);
    let send = alice.indication(of_bob, b"hello");
    match world.server.on_client(world.now, alice.client, &send) {
        Heard::Between { to, source, data } => {
            assert_eq!((to, source, data), (id, of_alice, b"hello".as_slice()));
        }
        heard => panic!("{heard:?}"),
    }
    let mut out = Vec::new();
    let refused = world
        .server
        .on_peer(world.now, id, of_alice, b"hello", &mut out);
    assert_eq!(refused, None, "bob has not permitted it");
    assert_eq!(world.permit(&mut bob, &of_alice.to_string()).error, None);
    let taken = world
        .server
        .on_peer(world.now, id, of_alice, b"hello", &mut out);
    assert_eq!(taken, Some(bob.client));
    for port in [3478, 22, 80, of_bob.port() + 1] {
        let send = alice.indication(SocketAddr::new(of_bob.ip(), port), b"x");
        let heard = world.server.on_client(world.now, alice.client, &send);
        assert!(matches!(heard, Heard::Nothing), "{port}");
    }
}

#[test]
fn floods_of_allocations_meet_the_quotas() {
    let mut config = config();
    config.quotas.allocations = 40;
    config.quotas.new_per_minute = 1000;
    let mut world = World::new(config);
    let mut outcomes = std::collections::BTreeMap::new();
    for port in 0..100 {
        let mut talker = Talker::new(&format!("9.9.9.9:{}", 1000 + port), "alice", "wonderland");
        *outcomes
            .entry(world.allocate(&mut talker).error)
            .or_insert(0) += 1;
    }
    assert_eq!(outcomes, [(None, 16), (Some(486), 84)].into(), "one user");
    outcomes.clear();
    for number in 0..100 {
        let name = format!("1700009999:user{number}");
        let password = time_limited_password("north", &name);
        let mut talker = Talker::new(&format!("9.9.9.9:{}", 2000 + number), &name, &password);
        *outcomes
            .entry(world.allocate(&mut talker).error)
            .or_insert(0) += 1;
    }
    assert_eq!(
        outcomes,
        [(None, 16), (Some(486), 84)].into(),
        "one address: 32 with those before"
    );
    outcomes.clear();
    for number in 0..100 {
        let name = format!("1700009999:user{number}");
        let password = time_limited_password("north", &name);
        let mut talker = Talker::new(&format!("9.9.8.{number}:2000"), &name, &password);
        *outcomes
            .entry(world.allocate(&mut talker).error)
            .or_insert(0) += 1;
    }
    assert_eq!(outcomes, [(None, 8), (Some(508), 92)].into(), "40 in all");
    assert_eq!(world.server.counters().allocations, 40);
}

#[test]
fn a_network_makes_so_many_allocations_a_minute() {
    let mut config = config();
    config.quotas.new_per_minute = 10;
    let mut world = World::new(config);
    let mut made = 0;
    for _ in 0..30 {
        let mut talker = Talker::new("9.9.9.9:1000", "alice", "wonderland");
        if world.allocate(&mut talker).error.is_none() {
            made += 1;
            world.ask(&mut talker, REFRESH, &[(LIFETIME, &[0; 4])]);
        }
    }
    assert_eq!(made, 10);
}

#[test]
fn an_allocation_relays_no_faster_than_it_may() {
    let mut config = config();
    config.quotas.bytes_per_second = Some(100_000);
    let mut world = World::new(config);
    let mut alice = alice(&mut world);
    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:53").error, None);
    let data = alice.channel(0x4000, &[0; 1000]);
    let passed = (0..1000).filter(|_| world.forwarded(alice.client, &data).is_some());
    assert_eq!(passed.count(), 100, "a second's worth at once");
    assert_eq!(world.server.counters().dropped_rate, 900);
}

#[test]
fn an_allocation_moves_with_its_ticket() {
    let mut world = World::new(config());
    let mut alice = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let attributes: [(u16, &[u8]); 2] = [
        (REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
        (MOBILITY_TICKET, &[]),
    ];
    let made = world.ask(&mut alice, ALLOCATE, &attributes);
    let ticket = made.value(MOBILITY_TICKET).unwrap().to_vec();
    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:53").error, None);
    let before = alice.client;
    let is_text = |ticket: &[u8]| ticket.iter().all(u8::is_ascii_graphic);
    assert!(is_text(&ticket), "coturn's client needs it: {ticket:?}");

    alice.client = udp("7.7.7.7:4000");
    assert_eq!(
        world
            .ask(&mut alice, REFRESH, &[(MOBILITY_TICKET, &[1; 16])])
            .error,
        Some(400)
    );
    let mut bob = Talker::new("7.7.7.6:4000", "bob", "builder");
    assert_eq!(
        world
            .ask(&mut bob, REFRESH, &[(MOBILITY_TICKET, &ticket)])
            .error,
        Some(441)
    );
    let moved = world.ask(&mut alice, REFRESH, &[(MOBILITY_TICKET, &ticket)]);
    assert_eq!(moved.error, None);
    let next = moved.value(MOBILITY_TICKET).unwrap().to_vec();
    assert_ne!(next, ticket);
    assert!(is_text(&next), "{next:?}");
    let again = world.repeat(&mut alice, REFRESH, &[(MOBILITY_TICKET, &ticket)]);
    assert_eq!(
        again.value(MOBILITY_TICKET),
        Some(next.as_slice()),
        "a repetition"
    );

    let data = alice.channel(0x4000, b"x");
    assert!(world.forwarded(alice.client, &data).is_some());
    assert_eq!(
        world.forwarded(before, &data),
        None,
        "the old place has nothing any more"
    );
    let id = world.server.table.id_of(alice.client).unwrap();
    let mut out = Vec::new();
    let to = world
        .server
        .on_peer(world.now, id, addr("1.1.1.1:53"), b"x", &mut out);
    assert_eq!(to, Some(alice.client));
}

#[test]
fn a_second_port_is_kept_for_its_user() {
    let mut world = World::new(config());
    let mut alice = Talker::new("9.9.9.9:1000", "alice", "wonderland");
    let udp: (u16, &[u8]) = (REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    let first = world.ask(&mut alice, ALLOCATE, &[udp, (EVEN_PORT, &[0x80])]);
    let token = first.value(RESERVATION_TOKEN).unwrap().to_vec();
    let mut bob = Talker::new("9.9.9.8:1000", "bob", "builder");
    let with_token: [(u16, &[u8]); 2] = [udp, (RESERVATION_TOKEN, &token)];
    assert_eq!(
        world.ask(&mut bob, ALLOCATE, &with_token).error,
        Some(508),
        "it is alice's"
    );
    alice.client = self::udp("9.9.9.9:1001");
    let second = world.ask(&mut alice, ALLOCATE, &with_token);
    assert_eq!(second.error, None);
    alice.client = self::udp("9.9.9.9:1002");
    assert_eq!(
        world.ask(&mut alice, ALLOCATE, &with_token).error,
        Some(508),
        "once"
    );
}

#[test]
fn draining_ends_nothing_and_begins_nothing() {
    let mut world = World::new(config());
    let mut alice = alice(&mut world);
    world.server.drain();
    let mut bob = Talker::new("9.9.9.8:2000", "bob", "builder");
    assert_eq!(world.allocate(&mut bob).error, Some(508));
    assert_eq!(world.ask(&mut alice, REFRESH, &[]).error, None);
}

#[test]
fn a_thousand_allocations_cost_a_packet_no_more_than_one() {
    let mut config = config();
    config.quotas.per_user = 2000;
    config.quotas.per_network = 2000;
    config.quotas.new_per_minute = 5000;
    let measure = |world: &mut World, alice: &Talker| {
        let data = alice.channel(0x4000, &[0; 1200]);
        let start = std::time::Instant::now();
        for _ in 0..20_000 {
            assert!(matches!(
                world.server.on_client(world.now, alice.client, &data),
                Heard::Forward { .. }
            ));
        }
        start.elapsed()
    };
    let mut world = World::new(config);
    let mut alice = alice(&mut world);
    assert_eq!(world.bind(&mut alice, 0x4000, "1.1.1.1:53").error, None);
    let one = (0..3).map(|_| measure(&mut world, &alice)).min().unwrap();
    for port in 0..1000 {
        // Of many networks: each gets so many answers a second.
        let remote = format!("9.9.{}.7:{}", port / 100, 1000 + port);
        let mut talker = Talker::new(&remote, "bob", "builder");
        assert_eq!(world.allocate(&mut talker).error, None);
    }
    let thousand = (0..3).map(|_| measure(&mut world, &alice)).min().unwrap();
    println!("20,000 packets: {one:?} with one allocation, {thousand:?} with a thousand");
    assert!(thousand < one * 4, "{one:?} {thousand:?}");
}
