//! The two nodes: each drives its attempt as the manager does.

use crate::{
    case::{Case, GETTER, HOST, Kind},
    guess::{EXTRA, Extra},
    relay::{FIRST, Turn},
    world::{Event, World},
};
use bytes::Bytes;
use dig_lab::packet::Packet;
use dig_nat::{
    attempt::{
        Attempt, AttemptConfig, Ended, Local, Message, NatHint, Output, Port, RelayUse, Subnet, Tag,
    },
    candidate::{Candidate, CandidateKind, Transport},
    signaling::Observed,
    trace::AttemptId,
    traversal::Wish,
};
use dig_types::{Method, NodeId};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// The one port of a node.
pub(crate) const PORT: u16 = 4000;
/// What of TCP there is to simulate is simulated beside the attempt itself.
const METHODS: [Method; 6] = [
    Method::Local,
    Method::Direct,
    Method::Pcp,
    Method::UdpHolePunch,
    Method::Ice,
    Method::Turn,
];

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) ip: IpAddr,
    pub(crate) site: usize,
    pub(crate) asleep: bool,
    pub(crate) attempt: Option<Attempt>,
    wish: Wish,
    pub(crate) turn: Option<Turn>,
    /// When it wants to be called next.
    pub(crate) wake: Option<Duration>,
    opener_ttl: u8,
    pub(crate) extra: Extra,
}

impl Node {
    pub(crate) fn new(case: &Case, node: usize) -> Self {
        let site = if case.together { GETTER } else { node };
        Self {
            ip: inside(&case.kinds[site], site, node),
            site,
            asleep: false,
            attempt: None,
            wish: Wish::Any,
            turn: case.turn[node].then(Turn::new),
            wake: None,
            opener_ttl: opener_ttl(&case.kinds[site]),
            extra: Extra::new(),
        }
    }

    /// It is on another network.
    pub(crate) fn move_to(&mut self, kind: &Kind, site: usize, node: usize) {
        self.ip = inside(kind, site, node);
        self.site = site;
        self.opener_ttl = opener_ttl(kind);
    }

    pub(crate) fn end(&self) -> SocketAddr {
        SocketAddr::new(self.ip, PORT)
    }

    /// The attempt, if it may use relays.
    pub(crate) fn relaying(&mut self) -> Option<&mut Attempt> {
        self.attempt.as_mut().filter(|_| self.wish == Wish::Any)
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        let attempt = self.attempt.as_ref().and_then(Attempt::deadline);
        let turn = self.turn.as_ref().and_then(Turn::deadline);
        [attempt, turn].into_iter().flatten().min()
    }
}

/// The address of a node's machine.
fn inside(kind: &Kind, site: usize, node: usize) -> IpAddr {
    match kind {
        Kind::Open => IpAddr::from([44, 128, site as u8 + 1, 1]),
        _ => IpAddr::from([192, 168, site as u8 + 1, 5 + node as u8]),
    }
}

fn opener_ttl(kind: &Kind) -> u8 {
    kind.layers().len().max(1) as u8 + 1
}

/// What two answers of STUN servers tell of a NAT.
fn hint(host: SocketAddr, seen: [Option<SocketAddr>; 2]) -> NatHint {
    match seen {
        [Some(first), Some(second)] if first != second => {
            let step = second.port().wrapping_sub(first.port()) as i16;
            let step = (step.abs() <= 16).then_some(step);
            NatHint::Dependent { step }
        }
        [Some(first), Some(_)] if first == host => NatHint::Open,
        [Some(_), Some(_)] => NatHint::Independent,
        _ => NatHint::Unknown,
    }
}

impl World {
    /// What a node knows of itself.
    fn gather(&mut self, node: usize, wish: Wish) -> Local {
        let host = self.nodes[node].end();
        let seen = [0, 1].map(|server| self.seen(node, host, server));
        let candidate = |kind, addr| Candidate {
            kind,
            transport: Transport::Udp,
            addr,
        };
        let mut candidates = vec![candidate(CandidateKind::Host, host)];
        let site = &self.sites[self.nodes[node].site];
        if let Some(mapped) = site.mapped.filter(|_| node == self.mapped_node(node)) {
            candidates.push(candidate(CandidateKind::Mapped(Method::Pcp), mapped));
        }
        if let Some(addr) = seen[1].filter(|addr| *addr != host) {
            candidates.push(candidate(CandidateKind::ServerReflexive, addr));
        }
        let relayed = self.nodes[node].turn.as_ref().and_then(|turn| turn.relayed);
        let relayed = relayed.filter(|_| wish == Wish::Any);
        candidates.extend(relayed.map(|addr| candidate(CandidateKind::Relayed, addr)));
        Local {
            candidates,
            subnets: vec![Subnet {
                ip: host.ip(),
                prefix: 24,
            }],
            preserves_ports: seen[1].map(|seen| seen.port() == PORT),
            relays: relayed.into_iter().collect(),
            nat: hint(host, seen),
            ..Local::default()
        }
    }

    /// Who of the nodes at a site got its router's port.
    fn mapped_node(&self, node: usize) -> usize {
        let site = self.nodes[node].site;
        let first = self.nodes.iter().position(|other| other.site == site);
        first.unwrap_or(node)
    }

    fn config(&mut self, node: usize, wish: Wish) -> AttemptConfig {
        let mut seed = [0; 32];
        self.rng.fill(&mut seed);
        let mut config = AttemptConfig::new(seed);
        config.methods = METHODS.to_vec();
        config.relay = match wish {
            Wish::Any => RelayUse::Yes,
            Wish::Direct => RelayUse::No,
        };
        config.opener_ttl = self.nodes[node].opener_ttl;
        config
    }

    /// The getter's upkeep asks for an attempt.
    pub(crate) fn begin(&mut self, wish: Wish) {
        let now = self.now;
        self.log(|| format!("attempt at {wish:?}"));
        self.begun.push(now);
        if let Some(attempt) = &mut self.nodes[GETTER].attempt {
            attempt.stop(now);
            self.farewell();
        }
        self.want_relay(GETTER, wish);
        let (local, config) = (self.gather(GETTER, wish), self.config(GETTER, wish));
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        self.nodes[GETTER].wish = wish;
        let host = NodeId::from_bytes([2; 32]);
        self.nodes[GETTER].attempt =
            Some(Attempt::initiate(now, config, local, host, AttemptId(id)));
    }

    /// Tells the host that the attempt is over; paths that it had are of no use.
    fn farewell(&mut self) {
        let Some(mut attempt) = self.nodes[GETTER].attempt.take() else {
            return;
        };
        let id = attempt.id();
        while let Some(output) = attempt.poll() {
            if let Output::Signal(bytes) = output {
                self.signal(GETTER, id, bytes);
            }
        }
        self.nodes[GETTER].extra.close();
    }

    fn want_relay(&mut self, node: usize, wish: Wish) {
        let now = self.now;
        if let Some(turn) = self.nodes[node].turn.as_mut().filter(|_| wish == Wish::Any) {
            turn.want(now);
        }
        self.turn_due(node);
    }

    /// Does what attempts ask for, until they ask for nothing.
    pub(crate) fn flush(&mut self, node: usize) -> bool {
        let mut any = false;
        while let Some(attempt) = &mut self.nodes[node].attempt
            && let Some(output) = attempt.poll()
        {
            any = true;
            let id = attempt.id();
            self.perform(node, id, output);
        }
        any
    }

    fn perform(&mut self, node: usize, id: AttemptId, output: Output) {
        match output {
            Output::Signal(bytes) => self.signal(node, id, bytes),
            Output::Datagram {
                from,
                to,
                bytes,
                ttl,
            } => {
                let from = self.nodes[node].extra.outside(from);
                self.emit(node, from, to, bytes, ttl);
            }
            Output::Path(path) => {
                self.nodes[node].extra.keep(path.from);
                if node == GETTER {
                    self.open_lane(id, path);
                }
            }
            Output::OpenPorts { count, measure, .. } => self.open_ports(node, id, count, measure),
            Output::OpenFresh => self.open_fresh(node, id),
            Output::AskSpray { packets, .. } => self.ask_spray(node, packets),
            Output::TacticEnded { .. } => self.nodes[node].extra.close(),
            Output::Permit { relay, ip } => self.permit(node, relay, ip),
            Output::Ended(ended) => self.ended(node, &ended),
            _ => {}
        }
    }

    fn ended(&mut self, node: usize, ended: &Ended) {
        self.nodes[node].extra.close();
        if self.logging() && node == GETTER {
            let attempt = self.nodes[node].attempt.as_ref();
            let runs = attempt.map(|attempt| attempt.trace().methods);
            let runs: Vec<String> = runs
                .iter()
                .flatten()
                .map(|run| format!("{} {}", run.method, run.outcome))
                .collect();
            self.log(|| format!("attempt ended: {ended:?}; {}", runs.join("; ")));
        }
        if node == GETTER {
            self.upkeep.attempt_ended(self.now);
        }
    }

    /// A datagram leaves one of a node's ports.
    pub(crate) fn emit(
        &mut self,
        node: usize,
        from: Port,
        to: SocketAddr,
        bytes: Bytes,
        ttl: Option<u8>,
    ) {
        let ip = self.nodes[node].ip;
        let source = match from {
            Port::Shared => SocketAddr::new(ip, PORT),
            Port::Extra(port) => SocketAddr::new(ip, port),
            Port::Relay(relayed) => return self.send_relayed(node, relayed, to, bytes),
        };
        let packet = Packet::udp(source, to, bytes).with_ttl(ttl.unwrap_or(Packet::TTL));
        self.send(node, packet);
    }

    /// A datagram comes to one of a node's ports.
    pub(crate) fn datagram(&mut self, node: usize, packet: Packet) {
        let (port, source) = (packet.destination.port(), packet.source);
        let at = match port {
            PORT => Port::Shared,
            FIRST..EXTRA => return self.turn_datagram(node, port, &packet.payload),
            _ => Port::Extra(port),
        };
        if self.nodes[node].extra.is_open(at) {
            self.payload(node, at, source, &packet.payload);
        }
    }

    /// What a datagram carries, however it came.
    pub(crate) fn payload(&mut self, node: usize, at: Port, source: SocketAddr, bytes: &Bytes) {
        if bytes.first() == Some(&b'L') && Tag::read(bytes).is_none() {
            return self.lane_packet(node, at, source, bytes);
        }
        let Some(at) = self.nodes[node].extra.inside(at) else {
            return;
        };
        let now = self.now;
        let Some(attempt) = &mut self.nodes[node].attempt else {
            return;
        };
        if Tag::read(bytes).is_none_or(|tag| tag == attempt.tag()) {
            attempt.on_datagram(now, at, source, bytes);
        }
    }

    /// A message leaves for the other node.
    fn signal(&mut self, from: usize, id: AttemptId, bytes: Bytes) {
        if self.lost() {
            return;
        }
        let way = self.signal_way();
        self.at(
            self.now + way,
            Event::Signal {
                to: 1 - from,
                id,
                bytes,
            },
        );
    }

    /// How long a signal takes.
    pub(crate) fn signal_way(&self) -> Duration {
        let ways = self.nodes.iter().map(|node| self.sites[node.site].delay);
        ways.sum::<Duration>() + self.case.signal_delay
    }

    /// A message comes.
    pub(crate) fn signalled(&mut self, to: usize, id: AttemptId, bytes: &Bytes) {
        let now = self.now;
        if self.nodes[to].asleep {
            return;
        }
        let other = self.nodes[1 - to].end();
        let seen = self.seen(1 - to, other, 0);
        // A carrier that is reached by TCP sees the address all the same.
        let public = SocketAddr::new(self.sites[self.nodes[1 - to].site].public, 443);
        let (transport, addr) =
            seen.map_or((Transport::Tcp, public), |addr| (Transport::Udp, addr));
        let observed = [Observed { transport, addr }];
        if let Some(attempt) = &mut self.nodes[to].attempt
            && attempt.id() == id
        {
            return attempt.on_signal(now, bytes, &observed);
        }
        if to == HOST
            && let Ok(Message::Offer(offer)) = Message::decode(bytes)
        {
            self.nodes[HOST].extra.close();
            self.want_relay(HOST, Wish::Any);
            let (local, config) = (self.gather(HOST, Wish::Any), self.config(HOST, Wish::Any));
            let getter = NodeId::from_bytes([1; 32]);
            self.nodes[HOST].attempt =
                Attempt::respond(now, config, local, (getter, id), offer, &observed).ok();
        }
    }
}
