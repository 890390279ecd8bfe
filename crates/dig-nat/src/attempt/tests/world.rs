//! Two peers, their NATs, the internet between them and a carrier of signals, on a virtual clock.

use super::{
    peer::{EXTRA, PORT, Peer},
    tcp::{Timer, Wire},
};
use crate::{
    attempt::{Attempt, Drift, FreshPort, Message, Output, Path, Port, Probe},
    candidate::{Candidate, CandidateKind, Transport},
    signaling::Observed,
    stun::is_stun,
    trace::AttemptId,
};
use bytes::Bytes;
use dig_lab::{
    nat::{Behaviour, Habit, Nat, NatConfig, Verdict},
    packet::{Content, Packet, Protocol, TcpFlags},
};
use dig_types::NodeId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// What stands between a host and the internet, at one hop.
#[derive(Debug)]
pub(super) enum Layer {
    Nat(Box<Nat>),
    /// Lets in only what answers; translates nothing.
    Firewall(Habit, BTreeSet<(SocketAddr, SocketAddr, bool)>),
    NoUdp,
    /// Of datagrams it lets STUN pass, and nothing else.
    StunOnly,
}

impl Layer {
    fn outbound(&mut self, now: Duration, packet: Packet) -> Verdict {
        match self {
            Self::Nat(nat) => nat.outbound(now, packet),
            Self::Firewall(_, flows) => {
                flows.insert((
                    packet.source,
                    packet.destination,
                    packet.content == Content::Udp,
                ));
                Verdict::Forward(packet)
            }
            Self::NoUdp if packet.content == Content::Udp => Verdict::Drop,
            Self::StunOnly if packet.content == Content::Udp && !passes(&packet) => Verdict::Drop,
            Self::NoUdp | Self::StunOnly => Verdict::Forward(packet),
        }
    }

    fn inbound(&mut self, now: Duration, packet: Packet) -> Verdict {
        match self {
            Self::Nat(nat) => nat.inbound(now, packet),
            Self::Firewall(habit, flows) => {
                if flows.contains(&(
                    packet.destination,
                    packet.source,
                    packet.content == Content::Udp,
                )) {
                    return Verdict::Forward(packet);
                }
                match (packet.content, *habit) {
                    (Content::Tcp(flags), Habit::Reject) if !flags.rst => Verdict::Reject(
                        Packet::tcp(packet.destination, packet.source, TcpFlags::RST),
                    ),
                    _ => Verdict::Drop,
                }
            }
            Self::NoUdp if packet.content == Content::Udp => Verdict::Drop,
            Self::StunOnly if packet.content == Content::Udp && !passes(&packet) => Verdict::Drop,
            Self::NoUdp | Self::StunOnly => Verdict::Forward(packet),
        }
    }
}

/// Whether a firewall for STUN lets a datagram pass. What the world asks of its servers is empty.
fn passes(packet: &Packet) -> bool {
    packet.payload.is_empty()
        || packet.payload.starts_with(b"data")
        || packet.payload.starts_with(b"echo")
        || is_stun(&packet.payload)
}

/// A network with one way to the internet; the layer next to the hosts comes first.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) layers: Vec<Layer>,
    pub(super) delay: Duration,
    pub(super) owns: Vec<IpAddr>,
}

#[derive(Debug)]
pub(super) enum Event {
    Arrive {
        site: usize,
        packet: Packet,
    },
    Deliver {
        packet: Packet,
    },
    Signal {
        to: usize,
        bytes: Bytes,
    },
    Timer {
        peer: usize,
        timer: Timer,
    },
    /// Data over the path that was found, which is the one of this number.
    Data {
        path: Path,
        number: usize,
    },
    /// The session over a path is made.
    Confirm(Path),
    /// A datagram that a relay passes on to the peer that owns it.
    Relayed {
        relay: usize,
        source: SocketAddr,
        bytes: Bytes,
    },
    /// A server has heard whom to let in.
    Permit {
        relay: usize,
        ip: IpAddr,
    },
    /// An allocation of that peer's comes up.
    RelayUp {
        relay: usize,
    },
    /// Something in the network changes.
    Change(fn(&mut World)),
    /// The fresh port is open, and its outside end known.
    Fresh {
        peer: usize,
        port: Option<FreshPort>,
    },
    /// The sockets for guesses are open.
    Ports {
        peer: usize,
        opened: u16,
        drift: Option<Drift>,
    },
    Wake,
}

/// An allocation on a TURN server, which its owner reaches whatever its NAT lets through (by TCP, if need be).
#[derive(Debug)]
pub(super) struct RelayModel {
    pub(super) owner: usize,
    pub(super) relayed: SocketAddr,
    /// Whom its owner has sent to (RFC 8656 §9).
    permissions: BTreeSet<IpAddr>,
}

impl RelayModel {
    pub(super) fn new(owner: usize, relayed: SocketAddr) -> Self {
        let permissions = BTreeSet::new();
        Self {
            owner,
            relayed,
            permissions,
        }
    }
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    sequence: u64,
    queue: BTreeMap<(Duration, u64), Event>,
    pub(super) sites: Vec<Site>,
    pub(super) peers: Vec<Peer>,
    pub(super) relays: Vec<RelayModel>,
    pub(super) rng: fastrand::Rng,
    /// Of packets between sites and of signals.
    pub(super) loss: f64,
    /// Of a signal, one way, beside the way between the sites.
    pub(super) signal_delay: Duration,
    pub(super) signal_jitter: Duration,
    pub(super) repeat_signals: bool,
    pub(super) signals: [u32; 2],
    /// Datagrams that left each peer's own port, and no relay of its.
    pub(super) shared: [u32; 2],
    /// Every datagram that left a host: from whom, where to.
    pub(super) sent: Vec<(usize, SocketAddr)>,
    /// The same with the time.
    pub(super) left: Vec<(Duration, usize, SocketAddr)>,
    /// Mappings that others make on a NAT between the look at it and the guess.
    pub(super) others: u16,
    /// Whether STUN servers answer meanwhile.
    pub(super) measurable: bool,
    pub(super) answered: Option<Duration>,
    /// Whether the carrier says nothing of where signals come from.
    pub(super) blind: bool,
    /// Whether sessions come about over the paths found.
    pub(super) confirm: bool,
}

/// What a session takes to be made, even with loss.
const SESSION: Duration = Duration::from_secs(3);

const SERVERS: [&str; 2] = ["44.0.0.1:3478", "44.0.0.2:3478"];
const SERVERS6: [&str; 2] = ["[2a0d:0:0:1::1]:3478", "[2a0d:0:0:2::1]:3478"];

impl World {
    pub(super) fn new(sites: Vec<Site>, peers: Vec<Peer>, seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            sequence: 0,
            queue: BTreeMap::new(),
            sites,
            peers,
            relays: Vec::new(),
            shared: [0; 2],
            rng: fastrand::Rng::with_seed(seed),
            loss: 0.0,
            signal_delay: Duration::from_millis(1),
            signal_jitter: Duration::ZERO,
            repeat_signals: false,
            signals: [0; 2],
            sent: Vec::new(),
            left: Vec::new(),
            others: 0,
            measurable: true,
            answered: None,
            blind: false,
            confirm: true,
        }
    }

    pub(super) fn at(&mut self, when: Duration, event: Event) {
        self.sequence += 1;
        self.queue.insert((when, self.sequence), event);
    }

    /// Where a server sees a peer's packet come from: server 0 is the carrier of signals, 1 a STUN server.
    pub(super) fn seen(
        &mut self,
        peer: usize,
        transport: Transport,
        server: usize,
        v4: bool,
    ) -> Option<SocketAddr> {
        self.seen_from(PORT, peer, transport, server, v4)
    }

    /// The same of another port.
    fn seen_from(
        &mut self,
        port: u16,
        peer: usize,
        transport: Transport,
        server: usize,
        v4: bool,
    ) -> Option<SocketAddr> {
        let source = *self.peers[peer].ips.iter().find(|ip| ip.is_ipv4() == v4)?;
        let source = SocketAddr::new(source, port);
        let server: SocketAddr = if v4 {
            SERVERS[server]
        } else {
            SERVERS6[server]
        }
        .parse()
        .unwrap();
        let mut packet = match transport {
            Transport::Udp => Packet::udp(source, server, Bytes::new()),
            Transport::Tcp => Packet::tcp(source, server, TcpFlags::SYN),
        };
        let now = self.now;
        for layer in &mut self.sites[self.peers[peer].site].layers {
            let Verdict::Forward(next) = layer.outbound(now, packet) else {
                return None;
            };
            packet = next;
        }
        Some(packet.source)
    }

    fn observed(&mut self, peer: usize) -> Vec<Observed> {
        let mut observed = Vec::new();
        if self.blind {
            return observed;
        }
        for v4 in [true, false] {
            for transport in [Transport::Udp, Transport::Tcp] {
                let addr = self.seen(peer, transport, 0, v4);
                observed.extend(addr.map(|addr| Observed { transport, addr }));
            }
        }
        observed
    }

    fn lost(&mut self) -> bool {
        self.loss > 0.0 && self.rng.f64() < self.loss
    }

    pub(super) fn send(&mut self, peer: usize, packet: Packet) {
        if packet.content == Content::Udp {
            self.sent.push((peer, packet.destination));
            self.left.push((self.now, peer, packet.destination));
        }
        let site = self.peers[peer].site;
        let neighbour =
            |other: &Peer| other.site == site && other.ips.contains(&packet.destination.ip());
        if self.peers.iter().any(neighbour) {
            self.at(
                self.now + Duration::from_micros(300),
                Event::Deliver { packet },
            );
            return;
        }
        self.outward(site, 0, packet);
    }

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
        if packet.ttl == 0 || self.lost() {
            return;
        }
        self.across(self.sites[site].delay, packet);
    }

    /// Carries a packet through the internet, to a site or a relay; `delay` is the way of its sender.
    fn across(&mut self, delay: Duration, packet: Packet) {
        let to = packet.destination;
        if let Some(relay) = self.relays.iter().position(|relay| relay.relayed == to) {
            let RelayModel {
                owner, permissions, ..
            } = &self.relays[relay];
            if permissions.contains(&packet.source.ip()) {
                let when = self.now + delay + self.sites[self.peers[*owner].site].delay;
                let (source, bytes) = (packet.source, packet.payload);
                self.at(
                    when,
                    Event::Relayed {
                        relay,
                        source,
                        bytes,
                    },
                );
            }
            return;
        }
        if let Some(site) = (self.sites.iter()).position(|other| other.owns.contains(&to.ip())) {
            let when = self.now + delay + self.sites[site].delay;
            self.at(when, Event::Arrive { site, packet });
        }
    }

    /// A peer sends from one of its ports.
    fn send_from(&mut self, peer: usize, probe: Probe, bytes: Bytes, ttl: Option<u8>) {
        let Probe { from, to } = probe;
        match from {
            Port::Relay(relayed) => {
                self.sent.push((peer, to));
                let relay = self
                    .relays
                    .iter_mut()
                    .find(|relay| relay.relayed == relayed);
                let relay = relay.expect("a relay of this world");
                assert_eq!(relay.owner, peer);
                relay.permissions.insert(to.ip());
                let delay = self.sites[self.peers[peer].site].delay;
                if !self.lost() {
                    self.across(delay, Packet::udp(relayed, to, bytes));
                }
            }
            _ => {
                if let Some(source) = self.peers[peer].source(from, to) {
                    self.shared[peer] += 1;
                    let packet =
                        Packet::udp(source, to, bytes).with_ttl(ttl.unwrap_or(Packet::TTL));
                    self.send(peer, packet);
                }
            }
        }
    }

    /// Passes the layers below one, towards the hosts.
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

    fn deliver(&mut self, packet: Packet) {
        let owner = |peer: &Peer| peer.ips.contains(&packet.destination.ip());
        let Some(peer) = self.peers.iter().position(owner) else {
            return;
        };
        match packet.content {
            Content::Udp => {
                let now = self.now;
                let Some(at) = self.peers[peer].socket(packet.destination.port()) else {
                    return;
                };
                let reply = self.peers[peer].datagram(now, at, packet.source, &packet.payload);
                if let Some(reply) = reply {
                    let probe = Probe {
                        from: at,
                        to: packet.source,
                    };
                    self.send_from(peer, probe, reply, None);
                }
            }
            Content::Tcp(_) => {
                let now = self.now;
                let wires = self.peers[peer].segment(now, &packet);
                self.carry(peer, wires);
            }
            _ => {}
        }
        self.flush(peer);
    }

    pub(super) fn carry(&mut self, peer: usize, wires: Vec<Wire>) {
        for wire in wires {
            match wire {
                Wire::Send(packet) => self.send(peer, packet),
                Wire::Later(when, timer) => self.at(when, Event::Timer { peer, timer }),
            }
        }
    }

    /// Does what a peer's attempt asks for.
    pub(super) fn flush(&mut self, peer: usize) {
        let mut dry = false;
        while !dry {
            dry = true;
            while let Some(output) = self.peers[peer].attempt.as_mut().and_then(Attempt::poll) {
                dry = false;
                self.perform(peer, output);
            }
        }
        if let Some(when) = self.peers[peer]
            .attempt
            .as_ref()
            .and_then(Attempt::deadline)
        {
            self.at(when.max(self.now), Event::Wake);
        }
    }

    /// Gives a signal to the carrier.
    fn post(&mut self, peer: usize, bytes: &Bytes) {
        self.signals[peer] += 1;
        for _ in 0..=usize::from(self.repeat_signals) {
            if self.lost() {
                continue;
            }
            let peers = self.peers.iter();
            let way: Duration = peers.map(|peer| self.sites[peer.site].delay).sum();
            let jitter = self.signal_jitter.mul_f64(self.rng.f64());
            let (to, bytes) = (1 - peer, bytes.clone());
            self.at(
                self.now + way + self.signal_delay + jitter,
                Event::Signal { to, bytes },
            );
        }
    }

    fn perform(&mut self, peer: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Signal(bytes) => self.post(peer, &bytes),
            Output::Datagram {
                from,
                to,
                bytes,
                ttl,
            } => self.send_from(peer, Probe { from, to }, bytes, ttl),
            Output::Path(path) => {
                let number = self.peers[peer].found.len();
                self.peers[peer].found.push((now, path));
                if peer == 0 && path.transport == Transport::Udp {
                    for copy in 0..8 {
                        self.at(
                            now + Duration::from_millis(100) * copy,
                            Event::Data { path, number },
                        );
                    }
                }
                if peer == 0 && self.confirm {
                    self.at(now + SESSION, Event::Confirm(path));
                }
            }
            Output::OpenPorts { to, count, measure } => self.open_ports(peer, to, count, measure),
            Output::OpenFresh => self.open_fresh(peer),
            Output::AskSpray { packets, .. } => {
                let granted = packets.min(self.peers[peer].packets);
                let attempt = self.peers[peer].attempt.as_mut().unwrap();
                attempt.on_spray(now, granted);
            }
            Output::TacticEnded { keep, unused } => self.peers[peer].close_extra(keep, unused),
            Output::Permit { relay, ip } => {
                let mut relays = self.relays.iter();
                let relay = relays.position(|known| known.relayed == relay).unwrap();
                let when = now + self.sites[self.peers[peer].site].delay;
                self.at(when, Event::Permit { relay, ip });
            }
            Output::Ended(ended) => self.peers[peer].ended = Some((now, ended)),
            other => {
                let wires = self.peers[peer].tcp_output(now, other);
                self.carry(peer, wires);
            }
        }
    }

    fn relayed(&mut self, relay: usize, source: SocketAddr, bytes: &Bytes) {
        let (owner, relayed) = (self.relays[relay].owner, self.relays[relay].relayed);
        let (now, at) = (self.now, Port::Relay(relayed));
        if let Some(reply) = self.peers[owner].datagram(now, at, source, bytes) {
            self.send_from(owner, Probe::relay(relayed, source), reply, None);
        }
        self.flush(owner);
    }

    fn relay_up(&mut self, relay: usize) {
        let (owner, relayed) = (self.relays[relay].owner, self.relays[relay].relayed);
        let now = self.now;
        let candidate = Candidate {
            kind: CandidateKind::Relayed,
            transport: Transport::Udp,
            addr: relayed,
        };
        if let Some(attempt) = &mut self.peers[owner].attempt {
            attempt.add_candidate(now, candidate);
            self.flush(owner);
            return;
        }
        let local = &mut self.peers[owner].local;
        local.candidates.push(candidate);
        local.relays.push(relayed);
    }

    /// Opens sockets, and looks at where the NAT stands by two servers, which takes a round trip.
    fn open_ports(&mut self, peer: usize, to: IpAddr, count: u16, measure: bool) {
        let opened = count.min(self.peers[peer].sockets);
        self.peers[peer].extra = (0..opened).collect();
        let trip = self.sites[self.peers[peer].site].delay * 2;
        let mut drift = None;
        if measure && self.measurable && opened > 0 {
            let mut seen = |server| {
                self.seen_from(30_000, peer, Transport::Udp, server, to.is_ipv4())
                    .map(|addr| addr.port())
            };
            if let (Some(first), Some(last)) = (seen(0), seen(1)) {
                let step = last.wrapping_sub(first).cast_signed();
                drift = (step != 0).then_some(Drift { last, step });
            }
        }
        for other in 0..self.others {
            self.seen_from(31_000 + other, peer, Transport::Udp, 0, to.is_ipv4());
        }
        self.at(
            self.now + if measure { trip } else { Duration::ZERO },
            Event::Ports {
                peer,
                opened,
                drift,
            },
        );
    }

    /// Opens a socket, and asks a server by it where it is seen.
    fn open_fresh(&mut self, peer: usize) {
        let open = self.peers[peer].sockets > 0;
        self.peers[peer].extra = open.then_some(0).into_iter().collect();
        let trip = self.sites[self.peers[peer].site].delay * 2;
        let external = if self.measurable && open {
            self.seen_from(EXTRA, peer, Transport::Udp, 1, true)
        } else {
            None
        };
        let port = open.then_some(FreshPort {
            port: EXTRA,
            ipv6: false,
            external,
        });
        self.at(self.now + trip, Event::Fresh { peer, port });
    }

    fn signal(&mut self, to: usize, bytes: &Bytes) {
        let observed = self.observed(1 - to);
        let now = self.now;
        let message = Message::decode(bytes).unwrap();
        if matches!(message, Message::Answer(_)) {
            self.answered.get_or_insert(now);
        }
        let target = &mut self.peers[to];
        match (&mut target.attempt, message) {
            (Some(attempt), _) => attempt.on_signal(now, bytes, &observed),
            (None, Message::Offer(offer)) => {
                let (config, local) = (target.config.clone(), target.local.clone());
                let party = (NodeId::from_bytes([1; 32]), AttemptId([9; 16]));
                target.attempt = Attempt::respond(now, config, local, party, offer, &observed).ok();
            }
            _ => {}
        }
        self.flush(to);
    }

    /// Begins the attempt.
    pub(super) fn start(&mut self, mut gather: impl FnMut(&mut World, usize)) {
        for peer in 0..self.peers.len() {
            gather(self, peer);
        }
        let (config, local) = (self.peers[0].config.clone(), self.peers[0].local.clone());
        self.peers[0].attempt = Some(Attempt::initiate(
            self.now,
            config,
            local,
            NodeId::from_bytes([2; 32]),
            AttemptId([9; 16]),
        ));
        self.flush(0);
    }

    /// Goes on until nothing happens any more, or that time comes.
    pub(super) fn run(&mut self, until: Duration) {
        let mut steps = 0;
        while let Some(next) = self.queue.first_entry() {
            let when = next.key().0;
            if when > until {
                break;
            }
            let event = next.remove();
            steps += 1;
            assert!(steps < 200_000, "the attempt spins at {when:?}");
            self.now = self.now.max(when);
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { site, packet } => {
                let all = self.sites[site].layers.len();
                self.inward(site, all, packet);
            }
            Event::Deliver { packet } => self.deliver(packet),
            Event::Signal { to, bytes } => self.signal(to, &bytes),
            Event::Fresh { peer, port } => {
                let attempt = self.peers[peer].attempt.as_mut().unwrap();
                attempt.on_fresh(self.now, port);
                self.flush(peer);
            }
            Event::Ports {
                peer,
                opened,
                drift,
            } => {
                let now = self.now;
                let attempt = self.peers[peer].attempt.as_mut().unwrap();
                attempt.on_ports(now, opened, drift);
                self.flush(peer);
            }
            Event::Confirm(path) => {
                let now = self.now;
                let attempt = self.peers[0].attempt.as_mut().unwrap();
                attempt.confirm_path(now, &path);
                self.flush(0);
            }
            Event::Data { path, number } => {
                let probe = Probe {
                    from: path.from,
                    to: path.remote,
                };
                self.send_from(0, probe, format!("data {number}").into(), None);
            }
            Event::Relayed {
                relay,
                source,
                bytes,
            } => self.relayed(relay, source, &bytes),
            Event::Permit { relay, ip } => {
                self.relays[relay].permissions.insert(ip);
            }
            Event::RelayUp { relay } => self.relay_up(relay),
            Event::Change(change) => change(self),
            Event::Timer { peer, timer } => {
                let now = self.now;
                let wires = self.peers[peer].timer(now, timer);
                self.carry(peer, wires);
                self.flush(peer);
            }
            Event::Wake => self.wake(),
        }
    }

    /// Tells attempts that wait for it that time has passed.
    fn wake(&mut self) {
        let now = self.now;
        for peer in 0..self.peers.len() {
            if let Some(attempt) = &mut self.peers[peer].attempt
                && attempt.deadline().is_some_and(|deadline| deadline <= now)
            {
                attempt.on_timeout(now);
                self.flush(peer);
            }
        }
    }
}

/// A NAT with its outside addresses.
pub(super) fn nat(config: &NatConfig, public: &[&str], seed: u64) -> Layer {
    let public = public.iter().map(|ip| ip.parse().unwrap()).collect();
    Layer::Nat(Box::new(Nat::new(config.clone(), public, seed)))
}

/// A mapping behaviour under which every peer sees the same address.
pub(super) fn is_stable(config: &NatConfig) -> bool {
    config.mapping == Behaviour::Independent
}

/// Pins a mapping on a NAT.
pub(super) fn pin(layer: &mut Layer, external: SocketAddr, internal: SocketAddr) {
    let Layer::Nat(nat) = layer else {
        panic!("no NAT")
    };
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        assert!(nat.pin(protocol, external, internal));
    }
}
