//! A TURN server and its clients, as far as paths notice them: allocations, permissions, and what passes.
//!
//! Requests are repeated every 250 ms, twice as long each time; a client asks whether its allocation still lives whenever an attempt
//! begins, and makes a new one from a new port if it does not. Networks without datagrams use a stream, which loses nothing and
//! breaks with its network.

use crate::{
    node::Node,
    world::{Event, World},
};
use bytes::Bytes;
use dig_lab::packet::Packet;
use dig_nat::{
    attempt::Port,
    candidate::{Candidate, CandidateKind, Transport},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Its port for clients.
const PORT: u16 = 3478;
/// The first port of clients; each allocation has its own.
pub(crate) const FIRST: u16 = 6000;
/// Between repetitions.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(2);
/// Repetitions of what lets a peer in.
const PERMITS: u8 = 3;
/// An allocation about which the server does not answer is gone.
const SILENT: Duration = Duration::from_millis(1500);
/// An allocation about which the server answered so long ago is not asked about again.
const FRESH: Duration = Duration::from_secs(1);

/// What passes between a client and the server.
#[derive(Debug, Clone)]
enum Frame {
    Allocate,
    Allocated(SocketAddr),
    Refresh,
    Refreshed,
    Unknown,
    Permit(SocketAddr),
    Send(SocketAddr, Bytes),
    Data(SocketAddr, Bytes),
}

impl Frame {
    fn encode(&self) -> Bytes {
        let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let (tag, addr, data) = match self {
            Self::Allocate => (0, none, None),
            Self::Allocated(addr) => (1, *addr, None),
            Self::Refresh => (2, none, None),
            Self::Refreshed => (3, none, None),
            Self::Unknown => (4, none, None),
            Self::Permit(addr) => (5, *addr, None),
            Self::Send(addr, data) => (6, *addr, Some(data)),
            Self::Data(addr, data) => (7, *addr, Some(data)),
        };
        let IpAddr::V4(ip) = addr.ip() else {
            panic!("there is only IPv4 here");
        };
        let mut bytes = vec![tag];
        bytes.extend(ip.octets());
        bytes.extend(addr.port().to_be_bytes());
        bytes.extend(data.into_iter().flatten());
        bytes.into()
    }

    fn decode(bytes: &Bytes) -> Self {
        let ip = Ipv4Addr::new(bytes[1], bytes[2], bytes[3], bytes[4]);
        let addr = SocketAddr::from((ip, u16::from_be_bytes([bytes[5], bytes[6]])));
        match bytes[0] {
            0 => Self::Allocate,
            1 => Self::Allocated(addr),
            2 => Self::Refresh,
            3 => Self::Refreshed,
            4 => Self::Unknown,
            5 => Self::Permit(addr),
            6 => Self::Send(addr, bytes.slice(7..)),
            _ => Self::Data(addr, bytes.slice(7..)),
        }
    }
}

/// Whose an allocation is: the five-tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Udp(SocketAddr),
    Stream { node: usize, number: u16 },
}

#[derive(Debug)]
struct Allocation {
    client: Client,
    relayed: SocketAddr,
    permitted: BTreeSet<IpAddr>,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) up: bool,
    ports: u16,
    allocations: Vec<Allocation>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        Self {
            up: true,
            ports: 49_152,
            allocations: Vec::new(),
        }
    }

    pub(crate) fn ip(&self) -> IpAddr {
        IpAddr::from([44, 0, 0, 9])
    }

    /// It stops, and forgets everything.
    pub(crate) fn stop(&mut self) {
        self.up = false;
        self.allocations.clear();
    }

    fn of(&mut self, client: Client) -> Option<&mut Allocation> {
        self.allocations.iter_mut().find(|a| a.client == client)
    }

    fn allocate(&mut self, client: Client) -> SocketAddr {
        if let Some(known) = self.of(client) {
            return known.relayed;
        }
        self.ports += 1;
        let relayed = SocketAddr::new(self.ip(), self.ports);
        self.allocations.push(Allocation {
            client,
            relayed,
            permitted: BTreeSet::new(),
        });
        relayed
    }
}

/// A node's own allocation.
#[derive(Debug)]
pub(crate) struct Turn {
    /// How many ports were used before.
    number: u16,
    pub(crate) relayed: Option<SocketAddr>,
    /// A request that was not answered: since when, when it is repeated, and the pause after that.
    asked: Option<(Duration, Duration, Duration)>,
    answered: Duration,
    /// Whom it shall let in, and how many times that is said again.
    permits: Vec<(SocketAddr, u8)>,
}

impl Turn {
    pub(crate) fn new() -> Self {
        Self {
            number: 0,
            relayed: None,
            asked: None,
            answered: Duration::ZERO,
            permits: Vec::new(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.asked.map(|(_, next, _)| next)
    }

    /// A relayed address is wanted now, and one that lives.
    pub(crate) fn want(&mut self, now: Duration) {
        let fresh = self.relayed.is_some() && self.answered + FRESH > now;
        if !fresh && self.asked.is_none() {
            self.asked = Some((now, now, LEAST));
        }
    }

    /// The allocation is lost; a new one is asked for from a new port.
    fn renew(&mut self, now: Duration) {
        self.number += 1;
        self.relayed = None;
        self.permits.clear();
        self.asked = Some((now, now, LEAST));
    }

    /// The request that is due.
    fn due(&mut self, now: Duration) -> Option<Frame> {
        let (since, next, gap) = self.asked.filter(|(_, next, _)| *next <= now)?;
        if self.relayed.is_some() && since + SILENT <= now {
            self.renew(now);
            return self.due(now);
        }
        self.asked = Some((since, next.max(now) + gap, (gap * 2).min(MOST)));
        Some(match self.relayed {
            Some(_) => Frame::Refresh,
            None => Frame::Allocate,
        })
    }
}

impl World {
    /// A node's network is another: an allocation that it had is lost, and asked for anew.
    pub(crate) fn turn_moved(&mut self, node: usize) {
        let now = self.now;
        let Some(turn) = &mut self.nodes[node].turn else {
            return;
        };
        let lost = turn.relayed;
        if lost.is_some() || turn.asked.is_some() {
            turn.renew(now);
        }
        self.turn_due(node);
        if let Some(relayed) = lost {
            self.port_lost(node, Port::Relay(relayed));
        }
    }

    /// Sends what a node's client has to send.
    pub(crate) fn turn_due(&mut self, node: usize) {
        let now = self.now;
        let Some(turn) = &mut self.nodes[node].turn else {
            return;
        };
        let before = turn.relayed;
        let frame = turn.due(now);
        let lost = before.filter(|_| turn.relayed.is_none());
        if let Some(frame) = frame {
            self.ask_relay(node, &frame);
        }
        if let Some(relayed) = lost {
            self.port_lost(node, Port::Relay(relayed));
        }
    }

    /// A datagram leaves by a node's allocation.
    pub(crate) fn send_relayed(
        &mut self,
        node: usize,
        from: SocketAddr,
        to: SocketAddr,
        bytes: Bytes,
    ) {
        let turn = self.nodes[node].turn.as_ref();
        if turn.is_some_and(|turn| turn.relayed == Some(from)) && to.is_ipv4() {
            self.ask_relay(node, &Frame::Send(to, bytes));
        }
    }

    /// A node's allocation shall let in what comes from an address.
    pub(crate) fn permit(&mut self, node: usize, relay: SocketAddr, ip: IpAddr) {
        let turn = self.nodes[node].turn.as_mut();
        if let Some(turn) = turn.filter(|turn| turn.relayed == Some(relay) && ip.is_ipv4()) {
            let peer = SocketAddr::new(ip, 0);
            turn.permits.push((peer, PERMITS));
            self.ask_relay(node, &Frame::Permit(peer));
        }
    }

    /// Says again whom allocations let in: what asks for it may be lost.
    pub(crate) fn permit_again(&mut self) {
        for node in 0..self.nodes.len() {
            let Some(turn) = &mut self.nodes[node].turn else {
                continue;
            };
            turn.permits.retain(|(_, left)| *left > 0);
            let mut peers = Vec::new();
            for (peer, left) in &mut turn.permits {
                *left -= 1;
                peers.push(*peer);
            }
            for peer in peers {
                self.ask_relay(node, &Frame::Permit(peer));
            }
        }
    }

    fn ask_relay(&mut self, node: usize, frame: &Frame) {
        let Node {
            ip, site, ref turn, ..
        } = self.nodes[node];
        let Some(number) = turn.as_ref().map(|turn| turn.number) else {
            return;
        };
        if self.sites[site].has_udp() {
            let source = SocketAddr::new(ip, FIRST + number);
            let server = SocketAddr::new(self.relay.ip(), PORT);
            self.send(node, Packet::udp(source, server, frame.encode()));
        } else {
            let when = self.now + self.sites[site].delay + self.case.relay_delay;
            let client = Client::Stream { node, number };
            let bytes = frame.encode();
            self.at(
                when,
                Event::Stream {
                    client,
                    bytes,
                    to_server: true,
                },
            );
        }
    }

    fn tell_client(&mut self, client: Client, frame: &Frame) {
        let delay = self.case.relay_delay;
        match client {
            Client::Udp(client) => {
                let server = SocketAddr::new(self.relay.ip(), PORT);
                self.cross(None, delay, Packet::udp(server, client, frame.encode()));
            }
            Client::Stream { node, .. } => {
                let when = self.now + delay + self.sites[self.nodes[node].site].delay;
                let bytes = frame.encode();
                self.at(
                    when,
                    Event::Stream {
                        client,
                        bytes,
                        to_server: false,
                    },
                );
            }
        }
    }

    /// A datagram comes to the server.
    pub(crate) fn at_relay(&mut self, packet: &Packet) {
        if packet.destination.port() == PORT {
            self.request(Client::Udp(packet.source), &packet.payload);
        } else {
            self.relayed(packet.destination, packet.source, packet.payload.clone());
        }
    }

    /// Something comes over a stream.
    pub(crate) fn stream(&mut self, client: Client, bytes: &Bytes, to_server: bool) {
        let Client::Stream { node, number } = client else {
            return;
        };
        if to_server {
            return self.request(client, bytes);
        }
        let turn = self.nodes[node].turn.as_ref();
        if turn.is_some_and(|turn| turn.number == number) && !self.nodes[node].asleep {
            self.turn_frame(node, bytes);
        }
    }

    fn request(&mut self, client: Client, bytes: &Bytes) {
        if !self.relay.up {
            return;
        }
        match Frame::decode(bytes) {
            Frame::Allocate => {
                let relayed = self.relay.allocate(client);
                self.tell_client(client, &Frame::Allocated(relayed));
            }
            Frame::Refresh => {
                let known = self.relay.of(client).is_some();
                let answer = if known {
                    Frame::Refreshed
                } else {
                    Frame::Unknown
                };
                self.tell_client(client, &answer);
            }
            Frame::Send(to, data) => {
                let Some(allocation) = self.relay.of(client) else {
                    return;
                };
                allocation.permitted.insert(to.ip());
                let relayed = allocation.relayed;
                if to.ip() == self.relay.ip() {
                    self.relayed(to, relayed, data);
                } else {
                    let delay = self.case.relay_delay;
                    self.cross(None, delay, Packet::udp(relayed, to, data));
                }
            }
            Frame::Permit(of) => {
                if let Some(allocation) = self.relay.of(client) {
                    allocation.permitted.insert(of.ip());
                }
            }
            Frame::Allocated(_) | Frame::Refreshed | Frame::Unknown | Frame::Data(..) => {}
        }
    }

    /// A datagram comes to a relayed address.
    fn relayed(&mut self, relayed: SocketAddr, from: SocketAddr, data: Bytes) {
        let allowed = |a: &&Allocation| a.relayed == relayed && a.permitted.contains(&from.ip());
        if let Some(allocation) = self.relay.allocations.iter().find(allowed) {
            let client = allocation.client;
            self.tell_client(client, &Frame::Data(from, data));
        }
    }

    /// A datagram of the server comes to one of a node's ports.
    pub(crate) fn turn_datagram(&mut self, node: usize, port: u16, bytes: &Bytes) {
        let turn = self.nodes[node].turn.as_ref();
        if turn.is_some_and(|turn| FIRST + turn.number == port) {
            self.turn_frame(node, bytes);
        }
    }

    fn turn_frame(&mut self, node: usize, bytes: &Bytes) {
        let now = self.now;
        let Some(turn) = &mut self.nodes[node].turn else {
            return;
        };
        match Frame::decode(bytes) {
            Frame::Allocated(relayed) => {
                (turn.asked, turn.answered) = (None, now);
                if turn.relayed.replace(relayed).is_none() {
                    self.log(|| format!("{node}: allocation {relayed}"));
                    let candidate = Candidate {
                        kind: CandidateKind::Relayed,
                        transport: Transport::Udp,
                        addr: relayed,
                    };
                    if let Some(attempt) = self.nodes[node].relaying() {
                        attempt.add_candidate(now, candidate);
                    }
                }
            }
            Frame::Refreshed => (turn.asked, turn.answered) = (None, now),
            Frame::Unknown => {
                let lost = turn.relayed;
                turn.renew(now);
                self.turn_due(node);
                if let Some(relayed) = lost {
                    self.log(|| format!("{node}: allocation {relayed} is lost"));
                    self.port_lost(node, Port::Relay(relayed));
                }
            }
            Frame::Data(from, data) => {
                let Some(relayed) = turn.relayed else { return };
                self.payload(node, Port::Relay(relayed), from, &data);
            }
            Frame::Allocate | Frame::Refresh | Frame::Permit(_) | Frame::Send(..) => {}
        }
    }
}
