//! A host, NATs and servers on a virtual clock.

use super::{
    super::{Discovery, DiscoveryConfig},
    HOST, PUBLIC, double,
};
use crate::{
    report::FamilyReport,
    stun::{Layout, Server, ServerLimits},
};
use bytes::Bytes;
use dig_lab::{
    nat::{Nat, NatConfig, Verdict},
    packet::Packet,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Where a packet is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// At the host.
    Inside,
    /// At the outside of the outermost NAT.
    Outside,
}

/// A host, the NATs in front of it (the nearest first), and STUN servers, with a delay each way.
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) delay: Duration,
    pub(super) loss: f64,
    pub(super) random: fastrand::Rng,
    sockets: Vec<SocketAddr>,
    /// Each with the address of its inside, which routers give in errors.
    nats: Vec<(Nat, IpAddr)>,
    servers: Vec<Server>,
    on_the_way: BTreeMap<(Duration, u64), (Place, Packet)>,
    sent: u64,
    probes: u64,
}

impl World {
    pub(super) fn new(seed: u64, nats: Vec<(NatConfig, &str, &str)>, layouts: &[Layout]) -> Self {
        let local: IpAddr = if nats.is_empty() { PUBLIC } else { HOST }.parse().unwrap();
        let mut random = fastrand::Rng::with_seed(seed);
        let sockets = (0..DiscoveryConfig::sockets_needed(true))
            .map(|_| SocketAddr::new(local, random.u16(20_000..60_000)))
            .collect();
        let nats = nats
            .into_iter()
            .map(|(config, inside, outside)| {
                let public = vec![outside.parse().unwrap()];
                (
                    Nat::new(config, public, random.u64(..)),
                    inside.parse().unwrap(),
                )
            })
            .collect();
        Self {
            now: Duration::from_secs(1000),
            delay: Duration::from_millis(20),
            loss: 0.0,
            random,
            sockets,
            nats,
            servers: layouts
                .iter()
                .map(|layout| Server::new(*layout, ServerLimits::default()))
                .collect(),
            on_the_way: BTreeMap::new(),
            sent: 0,
            probes: 0,
        }
    }

    pub(super) fn behind(seed: u64, config: NatConfig) -> Self {
        Self::new(seed, vec![(config, "192.168.77.1", PUBLIC)], &[double()])
    }

    fn post(&mut self, place: Place, packet: Packet) {
        if self.random.f64() >= self.loss {
            self.sent += 1;
            self.on_the_way
                .insert((self.now + self.delay, self.sent), (place, packet));
        }
    }

    /// A packet leaves the host: through all NATs, as long as its time to live lasts.
    fn leave(&mut self, mut packet: Packet) {
        for index in 0..self.nats.len() {
            let (nat, inside) = &mut self.nats[index];
            if packet.ttl <= 1 {
                let router = SocketAddr::new(*inside, 0);
                // An error, in this world, is a packet from port 0 that quotes the payload.
                return self.enter(index, Packet::udp(router, packet.source, packet.payload));
            }
            packet.ttl -= 1;
            match nat.outbound(self.now, packet) {
                Verdict::Forward(out) => packet = out,
                Verdict::Hairpin(back) => return self.enter(index, back),
                Verdict::Reject(_) | Verdict::Drop => return,
            }
        }
        if packet.ttl <= 1 {
            let router = "44.128.200.1:0".parse().unwrap();
            return self.enter(
                self.nats.len(),
                Packet::udp(router, packet.source, packet.payload),
            );
        }
        self.post(Place::Outside, packet);
    }

    /// A packet goes inwards through the NATs nearer than this one. An error is let in as the answer that it is.
    fn enter(&mut self, outermost: usize, mut packet: Packet) {
        let error = packet.source.port() == 0;
        for (nat, _) in self.nats[..outermost].iter_mut().rev() {
            if error {
                let server = self.servers[0].layout().sockets()[0];
                let mut answer = packet.clone();
                answer.source = server;
                match nat.inbound(self.now, answer) {
                    Verdict::Forward(inner) => packet.destination = inner.destination,
                    _ => return,
                }
            } else {
                match nat.inbound(self.now, packet) {
                    Verdict::Forward(inner) => packet = inner,
                    _ => return,
                }
            }
        }
        self.post(Place::Inside, packet);
    }

    fn at_servers(&mut self, packet: &Packet) {
        let mut replies = Vec::new();
        for server in &mut self.servers {
            if server.layout().sockets().contains(&packet.destination) {
                replies.extend(server.on_datagram(
                    self.now,
                    packet.destination,
                    packet.source,
                    &packet.payload,
                ));
            }
        }
        for reply in replies {
            assert!(reply.bytes.len() <= Server::MAX_REPLY);
            self.post(
                Place::Outside,
                Packet::udp(reply.from, reply.to, Bytes::from(reply.bytes)),
            );
        }
    }

    fn deliver(&mut self, discovery: &mut Discovery, place: Place, packet: Packet) {
        let at_host = self
            .sockets
            .iter()
            .position(|addr| *addr == packet.destination);
        match (place, at_host) {
            (Place::Inside, Some(socket)) if packet.source.port() == 0 => {
                discovery.on_time_exceeded(self.now, socket, packet.source.ip(), &packet.payload);
            }
            (Place::Inside, Some(socket)) => {
                discovery.on_datagram(self.now, socket, packet.source, &packet.payload)
            }
            (Place::Inside, None) => {}
            (Place::Outside, Some(_)) if self.nats.is_empty() => self.enter(0, packet),
            (Place::Outside, _) if self.is_server(packet.destination) => self.at_servers(&packet),
            (Place::Outside, _) => self.enter(self.nats.len(), packet),
        }
    }

    fn is_server(&self, addr: SocketAddr) -> bool {
        self.servers
            .iter()
            .any(|server| server.layout().sockets().contains(&addr))
    }

    pub(super) fn config(&self, lifetime: bool) -> DiscoveryConfig {
        DiscoveryConfig {
            sockets: self.sockets.clone(),
            servers: self
                .servers
                .iter()
                .map(|server| server.layout().sockets()[0])
                .collect(),
            lifetime,
            seed: [7; 32],
        }
    }

    pub(super) fn run(&mut self, lifetime: bool) -> FamilyReport {
        let start = self.now;
        let mut discovery = Discovery::new(self.now, self.config(lifetime));
        loop {
            while let Some(probe) = discovery.poll(self.now) {
                self.probes += 1;
                let mut packet = Packet::udp(
                    self.sockets[probe.socket],
                    probe.to,
                    Bytes::from(probe.bytes),
                );
                packet.ttl = probe.ttl.unwrap_or(Packet::TTL);
                self.leave(packet);
            }
            let Some(due) = discovery.timeout() else {
                break;
            };
            match self.on_the_way.first_key_value().map(|(key, _)| *key) {
                Some(key) if key.0 <= due => {
                    self.now = self.now.max(key.0);
                    let (place, packet) = self.on_the_way.remove(&key).unwrap();
                    self.deliver(&mut discovery, place, packet);
                }
                _ => self.now = self.now.max(due),
            }
        }
        let took = self.now - start;
        let most = if lifetime {
            Duration::from_secs(320)
        } else {
            Duration::from_secs(8)
        };
        assert!(took < most, "took {took:?}");
        assert!(self.probes < 120, "{} datagrams", self.probes);
        discovery.into_report()
    }
}
