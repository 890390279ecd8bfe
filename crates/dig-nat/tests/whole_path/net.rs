//! The internet between the sites: layers of translators, delays, loss, and what is let through at all.

use crate::{
    case::Kind,
    world::{Event, World},
};
use bytes::Bytes;
use dig_lab::{
    nat::{Nat, Verdict},
    packet::{Content, Packet, Protocol},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Where a rendezvous peer and a STUN server see nodes from.
pub(crate) const SERVERS: [&str; 2] = ["44.0.0.1:3478", "44.0.0.2:3478"];

/// On a network of its own, and behind one that both share.
const LAN: Duration = Duration::from_micros(300);

/// A network with one way to the internet; the layer next to the hosts comes first.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) layers: Vec<Nat>,
    pub(crate) delay: Duration,
    /// Its outside address.
    pub(crate) public: IpAddr,
    /// The address that PCP got a port at.
    pub(crate) mapped: Option<SocketAddr>,
    udp: bool,
}

impl Site {
    pub(crate) fn new(number: usize, kind: &Kind, delay: Duration, seed: u64) -> Self {
        let public = IpAddr::from([44, 128, number as u8 + 1, 1]);
        let mut configs = kind.layers().into_iter();
        let outer = configs.next_back();
        let inner = configs.map(|config| {
            let shared = IpAddr::from([100, 64, number as u8 + 1, 9]);
            Nat::new(config.clone(), vec![shared], seed ^ 1)
        });
        let mut layers: Vec<Nat> = inner.collect();
        layers.extend(outer.map(|config| Nat::new(config.clone(), vec![public], seed)));
        let mapped = matches!(kind, Kind::Mapped(_)).then(|| SocketAddr::new(public, 7777));
        Self {
            layers,
            delay,
            public,
            mapped,
            udp: kind.has_udp(),
        }
    }

    pub(crate) fn has_udp(&self) -> bool {
        self.udp
    }

    /// Keeps the port that PCP got for that end.
    pub(crate) fn pin(&mut self, internal: SocketAddr) {
        if let (Some(mapped), Some(nat)) = (self.mapped, self.layers.last_mut()) {
            nat.pin(Protocol::Udp, mapped, internal);
        }
    }
}

impl World {
    /// Where a server sees the datagrams of one of a node's ports come from.
    pub(crate) fn seen(
        &mut self,
        node: usize,
        source: SocketAddr,
        server: usize,
    ) -> Option<SocketAddr> {
        let now = self.now;
        let site = &mut self.sites[self.nodes[node].site];
        if !site.udp {
            return None;
        }
        let server = SERVERS[server].parse().ok()?;
        let mut packet = Packet::udp(source, server, Bytes::new());
        for layer in &mut site.layers {
            let Verdict::Forward(next) = layer.outbound(now, packet) else {
                return None;
            };
            packet = next;
        }
        Some(packet.source)
    }

    pub(crate) fn lost(&mut self) -> bool {
        self.case.loss > 0.0 && self.rng.f64() < self.case.loss
    }

    /// A datagram leaves a node.
    pub(crate) fn send(&mut self, node: usize, packet: Packet) {
        let site = self.nodes[node].site;
        let destination = packet.destination.ip();
        let neighbour = self
            .nodes
            .iter()
            .any(|other| other.site == site && other.ip == destination);
        if neighbour {
            self.at(self.now + LAN, Event::Deliver { packet });
        } else if self.sites[site].udp {
            self.outward(site, 0, packet);
        }
    }

    /// Passes the layers from one on, towards the internet.
    fn outward(&mut self, site: usize, from: usize, mut packet: Packet) {
        for at in from..self.sites[site].layers.len() {
            packet.ttl = packet.ttl.saturating_sub(1);
            if packet.ttl == 0 {
                return;
            }
            match self.sites[site].layers[at].outbound(self.now, packet) {
                Verdict::Forward(next) => packet = next,
                Verdict::Hairpin(back) | Verdict::Reject(back) => {
                    return self.inward(site, at, back);
                }
                Verdict::Drop => return,
            }
        }
        packet.ttl = packet.ttl.saturating_sub(1);
        if packet.ttl > 0 {
            let delay = self.sites[site].delay;
            self.cross(Some(site), delay, packet);
        }
    }

    /// Passes the middle of the internet, from a site or from the relay.
    pub(crate) fn cross(&mut self, from: Option<usize>, delay: Duration, packet: Packet) {
        if self.lost() {
            return;
        }
        let destination = packet.destination.ip();
        if destination == self.relay.ip() {
            let when = self.now + delay + self.case.relay_delay;
            return self.at(when, Event::AtRelay { packet });
        }
        let owner = |site: &Site| site.public == destination;
        let Some(to) = self.sites.iter().position(owner) else {
            return;
        };
        if self.blocked && from.is_some_and(|from| from != to) {
            return;
        }
        let when = self.now + delay + self.sites[to].delay;
        self.at(when, Event::Arrive { site: to, packet });
    }

    pub(crate) fn arrive(&mut self, site: usize, packet: Packet) {
        let all = self.sites[site].layers.len();
        if self.sites[site].udp {
            self.inward(site, all, packet);
        }
    }

    /// Passes the layers below one, towards the nodes.
    fn inward(&mut self, site: usize, above: usize, mut packet: Packet) {
        for at in (0..above).rev() {
            packet.ttl = packet.ttl.saturating_sub(1);
            if packet.ttl == 0 {
                return;
            }
            match self.sites[site].layers[at].inbound(self.now, packet) {
                Verdict::Forward(next) => packet = next,
                Verdict::Reject(back) => return self.outward(site, at + 1, back),
                Verdict::Hairpin(_) | Verdict::Drop => return,
            }
        }
        self.deliver(packet);
    }

    /// Comes to a node.
    pub(crate) fn deliver(&mut self, packet: Packet) {
        let owner = |node: &crate::node::Node| node.ip == packet.destination.ip();
        if let Some(node) = self.nodes.iter().position(owner)
            && !self.nodes[node].asleep
            && packet.content == Content::Udp
        {
            self.datagram(node, packet);
        }
    }
}
