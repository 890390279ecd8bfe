//! An hour and more of virtual time on a server that somebody else wrote (turn-server-proto), which offers SHA-256.

use super::*;
use stun_proto::{Instant, agent::Transmit, types::TransportType::Udp};
use turn_server_proto::{
    api::{TurnServerApi as _, TurnServerPollRet},
    server::TurnServer as Proto,
};

const CLIENT: &str = "203.0.113.9:5000";
const SERVER: &str = "192.0.2.1:3478";

struct World {
    now: Duration,
    client: Client,
    proto: Proto,
    at: SocketAddr,
    allocations: u16,
    requests: Vec<(Duration, Method)>,
    to_peers: Vec<(SocketAddr, Vec<u8>)>,
    to_client: Vec<(SocketAddr, Vec<u8>)>,
}

impl World {
    fn new(nonces: Duration) -> Self {
        let address = SERVER.parse().unwrap();
        let mut proto = Proto::new(Udp, address, "realm".to_owned());
        proto.add_user("alice".to_owned(), "wonderland".to_owned());
        proto.set_nonce_expiry_duration(nonces);
        let server = Script::server("udp");
        Self {
            now: Duration::ZERO,
            client: Client::new(Duration::ZERO, server, address, [3; 32], true),
            proto,
            at: CLIENT.parse().unwrap(),
            allocations: 0,
            requests: vec![],
            to_peers: vec![],
            to_client: vec![],
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_nanos(self.now.as_nanos() as i64)
    }

    /// Carries a datagram to the server, and what it answers at once.
    fn carry(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let now = self.instant();
        if let Some(answer) = self.proto.recv(Transmit::new(bytes, Udp, from, to), now) {
            let answer = answer.build();
            self.bring(answer.to, answer.data);
        }
    }

    fn bring(&mut self, to: SocketAddr, bytes: Vec<u8>) {
        if to != self.at {
            return self.to_peers.push((to, bytes));
        }
        let source = self.client.address();
        if let Some(arrival) = self.client.on_frame(self.now, source, &bytes) {
            self.to_client
                .push((arrival.from, bytes[arrival.data].to_vec()));
        }
    }

    /// Lets everything happen that happens at this moment; when something happens next.
    fn settle(&mut self) -> Duration {
        loop {
            let mut idle = true;
            while let Some(bytes) = self.client.poll_transmit(self.now) {
                let message = Message::parse(&bytes).unwrap();
                self.requests.push((self.now, message.method));
                let (at, to) = (self.at, self.client.address());
                self.carry(at, to, bytes);
                idle = false;
            }
            let next = self.proto.poll(self.instant());
            while let Some(sent) = self.proto.poll_transmit(self.instant()) {
                self.bring(sent.to, sent.data);
                idle = false;
            }
            match next {
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    self.allocations += 1;
                    let relayed = SocketAddr::from(([192, 0, 2, 1], 49_000 + self.allocations));
                    let now = self.instant();
                    self.proto.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        Ok(relayed),
                        now,
                    );
                }
                TurnServerPollRet::WaitUntil(at) if idle => {
                    let server = Duration::from_nanos(at.as_nanos().max(0) as u64);
                    return self.client.timeout().map_or(server, |due| due.min(server));
                }
                _ => {}
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let next = self.settle();
            if next >= end {
                break;
            }
            self.now = self.now.max(next) + Duration::from_nanos(1);
            self.client.on_timeout(self.now);
        }
        self.now = end;
        self.client.on_timeout(end);
        self.settle();
    }

    fn count(&self, method: Method) -> usize {
        let of = self.requests.iter().filter(|(_, sent)| *sent == method);
        of.count()
    }

    /// One datagram each way with a peer, which both must get.
    fn exchange(&mut self, with: SocketAddr, number: u32) {
        let mut frame = Vec::new();
        let sent = self
            .client
            .send(self.now, with, &number.to_be_bytes(), &mut frame);
        if sent == Ok(Sent::Frame) {
            let (at, to) = (self.at, self.client.address());
            self.carry(at, to, frame);
        }
        self.pass(millis(100));
        let came = self.to_peers.pop();
        assert_eq!(
            came,
            Some((with, number.to_be_bytes().to_vec())),
            "{:?}",
            self.now
        );
        let relayed = self.client.relayed();
        let ended = self.client.poll_event();
        let relayed =
            relayed.unwrap_or_else(|| panic!("{ended:?} {:?} at {:?}", self.requests, self.now));
        self.carry(with, relayed, b"back".to_vec());
        let came = self.to_client.pop();
        assert_eq!(came, Some((with, b"back".to_vec())), "{:?}", self.now);
    }
}

/// Talks to a peer every `pause` for 65 minutes, with nonces that hold for so long.
fn keeps_up(pause: Duration, nonces: Duration) -> World {
    let mut world = World::new(nonces);
    world.pass(millis(10));
    assert!(world.client.relayed().is_some(), "{:?}", world.requests);
    let rounds = seconds(65 * 60).as_millis() / pause.as_millis();
    for number in 0..rounds as u32 {
        world.exchange(peer(1), number);
        world.pass(pause - millis(100));
    }
    assert_eq!((world.allocations, world.client.is_ended()), (1, false));
    world
}

#[test]
fn an_allocation_in_use_lives_for_more_than_an_hour() {
    let world = keeps_up(seconds(15), seconds(3600 * 3));
    // Every five minutes; the channel every four, and once at the beginning; never a second permission while the channel lives.
    assert_eq!(world.count(Method::Refresh), 13);
    assert!(
        (16..=18).contains(&world.count(Method::ChannelBind)),
        "{}",
        world.count(Method::ChannelBind)
    );
    assert_eq!(world.count(Method::CreatePermission), 1);
}

#[test]
fn stale_nonces_do_not_end_it() {
    let world = keeps_up(seconds(15), seconds(90));
    assert!(world.count(Method::Refresh) > 13);
}

#[test]
fn an_idle_allocation_lives_too_and_asks_for_nothing_else() {
    let mut world = World::new(seconds(3600 * 3));
    world.pass(millis(10));
    world.exchange(peer(1), 1);
    world.exchange(peer(1), 2);
    let (permissions, channels) = (
        world.count(Method::CreatePermission),
        world.count(Method::ChannelBind),
    );
    world.pass(seconds(65 * 60));
    assert_eq!(world.allocations, 1);
    assert_eq!(world.count(Method::CreatePermission), permissions);
    assert_eq!(world.count(Method::ChannelBind), channels);
    // The peer may not reach us any more, and does after we have written again.
    let relayed = world.client.relayed().unwrap();
    world.carry(peer(1), relayed, b"late".to_vec());
    assert_eq!(world.to_client, []);
    world.exchange(peer(1), 3);
    world.exchange(peer(1), 4);
}

#[test]
fn it_is_given_back() {
    let mut world = World::new(seconds(3600));
    world.pass(millis(10));
    world.client.close(world.now);
    world.pass(millis(10));
    assert!(world.client.is_ended());
    // Nothing renews it: the server has forgotten it and lets nobody in.
    let asked = world.requests.len();
    world.pass(seconds(1200));
    assert_eq!(world.requests.len(), asked);
}
