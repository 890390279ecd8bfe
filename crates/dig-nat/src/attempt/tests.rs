//! Two peers in a simulated network: what connects, how, how fast, and what may never happen.

mod conduct;
mod fresh;
mod guessing;
mod ice;
mod matrix;
mod peer;
mod relayed;
mod scenarios;
mod tcp;
mod vectors;
mod victims;
mod world;

use super::{AttemptConfig, Ended, FreshPort, NatHint, Path, RelayUse, Strategy, Subnet};
use crate::{
    candidate::{Candidate, CandidateKind, Transport},
    trace::Outcome,
};
use dig_lab::nat::{Allocation, Behaviour, Habit, NatConfig};
use dig_types::Method;
use peer::{PORT, Peer};
use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use world::{Event, Layer, RelayModel, Site, World, is_stable, nat, pin};

/// Where a peer is.
#[derive(Debug, Clone)]
enum Kind {
    Open,
    Nat(NatConfig),
    /// Two layers.
    Double(NatConfig, NatConfig),
    /// A NAT with a port mapped by this method.
    Mapped(NatConfig, Method),
    /// IPv6 behind a firewall that keeps state.
    Firewall6(Habit),
    /// A NAT that lets no datagrams out.
    NoUdp(NatConfig),
}

impl Kind {
    fn layers(&self) -> Vec<&NatConfig> {
        match self {
            Self::Open | Self::Firewall6(_) => Vec::new(),
            Self::Nat(config) | Self::Mapped(config, _) | Self::NoUdp(config) => vec![config],
            Self::Double(inner, outer) => vec![inner, outer],
        }
    }

    fn stable(&self) -> bool {
        self.layers().iter().all(|config| is_stable(config))
    }
}

/// One attempt to simulate.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    kinds: [Kind; 2],
    methods: Vec<Method>,
    strategy: Strategy,
    delays: [Duration; 2],
    signal_delay: Duration,
    signal_jitter: Duration,
    loss: f64,
    /// Both behind the same NAT, which is that of the first.
    together: bool,
    /// When each side's allocation on a TURN server comes up, if it has one.
    relays: [Option<Duration>; 2],
    relay: RelayUse,
    /// The carrier says nothing of where signals come from.
    blind: bool,
    /// Each knows how its NAT maps ports, so that they may be guessed.
    hints: bool,
}

impl Case {
    fn new(seed: u64, a: Kind, b: Kind) -> Self {
        let ms = Duration::from_millis;
        Self {
            seed,
            kinds: [a, b],
            methods: Method::ALL.to_vec(),
            strategy: Strategy::Race,
            delays: [ms(10), ms(15)],
            signal_delay: ms(2),
            signal_jitter: Duration::ZERO,
            loss: 0.0,
            together: false,
            relays: [None; 2],
            relay: RelayUse::Yes,
            blind: false,
            hints: false,
        }
    }

    fn alone(self, method: Method) -> Self {
        Self {
            methods: vec![method],
            ..self
        }
    }

    fn rtt(&self) -> Duration {
        (self.delays[0] + self.delays[1]) * 2
    }

    fn world(&self) -> World {
        let mut sites = vec![self.site(0)];
        if !self.together {
            sites.push(self.site(1));
        }
        let peer = |at: usize| {
            let mut config = AttemptConfig::new([at as u8 + 1 + (self.seed % 200) as u8; 32]);
            config.methods = self.methods.clone();
            config.strategy = self.strategy;
            config.relay = self.relay;
            let layers = if self.together {
                self.kinds[0].layers()
            } else {
                self.kinds[at].layers()
            };
            config.opener_ttl = layers.len().max(1) as u8 + 1;
            let site = if self.together { 0 } else { at };
            Peer::new(site, &[self.host(at)], config)
        };
        let peers = vec![peer(0), peer(1)];
        let mut world = World::new(sites, peers, self.seed);
        world.loss = self.loss;
        world.blind = self.blind;
        world.signal_delay = self.signal_delay;
        world.signal_jitter = self.signal_jitter;
        for (at, up) in self.relays.iter().enumerate() {
            if let Some(up) = up {
                world.relays.push(RelayModel::new(at, relayed(at)));
                let relay = world.relays.len() - 1;
                world.at(*up, Event::RelayUp { relay });
            }
        }
        world
    }

    fn host(&self, at: usize) -> &'static str {
        let kind = if self.together {
            &self.kinds[0]
        } else {
            &self.kinds[at]
        };
        match kind {
            Kind::Open => ["44.128.1.1", "44.128.2.1"][at],
            Kind::Firewall6(_) => ["2a0d:1::5", "2a0d:2::5"][at],
            _ if self.together => ["192.168.1.5", "192.168.1.6"][at],
            _ => ["192.168.1.5", "192.168.2.5"][at],
        }
    }

    fn site(&self, at: usize) -> Site {
        let public = ["44.128.1.1", "44.128.2.1"][at];
        let seed = self.seed * 4 + at as u64;
        let (layers, owns) = match &self.kinds[at] {
            Kind::Open => (Vec::new(), public),
            Kind::Nat(config) => (vec![nat(config, &[public], seed)], public),
            Kind::Mapped(config, _) => {
                let mut layer = nat(config, &[public], seed);
                pin(
                    &mut layer,
                    SocketAddr::new(public.parse().unwrap(), 7777),
                    self.inside(at),
                );
                (vec![layer], public)
            }
            Kind::Double(inner, outer) => (
                vec![
                    nat(inner, &["100.64.0.9"], seed + 2),
                    nat(outer, &[public], seed),
                ],
                public,
            ),
            Kind::Firewall6(habit) => (
                vec![Layer::Firewall(*habit, BTreeSet::new())],
                self.host(at),
            ),
            Kind::NoUdp(config) => (vec![nat(config, &[public], seed), Layer::NoUdp], public),
        };
        Site {
            layers,
            delay: self.delays[at],
            owns: vec![owns.parse().unwrap()],
        }
    }

    fn inside(&self, at: usize) -> SocketAddr {
        SocketAddr::new(self.host(at).parse().unwrap(), PORT)
    }

    /// What each side knows of itself: what STUN and its router told.
    fn gather(&self, world: &mut World, at: usize) {
        let host = self.inside(at);
        let v4 = host.is_ipv4();
        let seen = |world: &mut World, transport| {
            world.seen(at, transport, 0, v4);
            world.seen(at, transport, 1, v4)
        };
        let udp = seen(world, Transport::Udp);
        let tcp = seen(world, Transport::Tcp);
        let preserves = udp.or(tcp).map(|seen| seen.port() == PORT);
        let hint = self.hint(at);
        let local = &mut world.peers[at].local;
        let mut add = |kind, transport, addr| {
            local.candidates.push(Candidate {
                kind,
                transport,
                addr,
            })
        };
        for transport in [Transport::Udp, Transport::Tcp] {
            add(CandidateKind::Host, transport, host);
            if let Kind::Mapped(_, method) = self.kinds[at] {
                let public = ["44.128.1.1", "44.128.2.1"][at].parse::<IpAddr>().unwrap();
                add(
                    CandidateKind::Mapped(method),
                    transport,
                    SocketAddr::new(public, 7777),
                );
            }
        }
        for (transport, seen) in [(Transport::Udp, udp), (Transport::Tcp, tcp)] {
            let unknown = transport == Transport::Tcp && !self.kinds[at].stable();
            if let Some(addr) = seen.filter(|addr| *addr != host && !unknown) {
                add(CandidateKind::ServerReflexive, transport, addr);
            }
        }
        local.subnets = vec![Subnet {
            ip: host.ip(),
            prefix: if v4 { 24 } else { 64 },
        }];
        local.fresh = (5000..5003)
            .map(|port| FreshPort {
                ipv6: false,
                port,
                external: None,
            })
            .collect();
        local.preserves_ports = preserves;
        local.nat = hint;
    }

    /// What STUN servers would show.
    fn hint(&self, at: usize) -> NatHint {
        let step = |config: &&NatConfig| match config.allocation {
            Allocation::Sequential { delta } => Some(delta),
            _ => None,
        };
        match &self.kinds[at] {
            _ if !self.hints => NatHint::Unknown,
            Kind::Open => NatHint::Open,
            kind if kind.stable() => NatHint::Independent,
            kind => NatHint::Dependent {
                step: kind.layers().last().and_then(step),
            },
        }
    }

    fn run(&self) -> World {
        let mut world = self.world();
        world.start(|world, at| self.gather(world, at));
        world.run(Duration::from_secs(90));
        assert!(
            world.peers[0].ended.is_some(),
            "the initiator never ends: {self:?}"
        );
        assert!(
            world.peers[1].attempt.is_none() || world.peers[1].ended.is_some(),
            "the responder never ends: {self:?} {world:?}"
        );
        world
    }
}

/// The relayed address of a side's allocation.
fn relayed(at: usize) -> SocketAddr {
    let ip = ["44.9.9.1", "44.9.9.2"][at].parse().unwrap();
    SocketAddr::new(ip, 49_160)
}

/// What the initiator got.
fn path(world: &World) -> Option<Path> {
    world.peers[0].found.last().map(|(_, path)| *path)
}

/// How long after the answer the initiator's path came.
fn took(world: &World) -> Duration {
    world.peers[0].found[0].0 - world.answered.unwrap()
}

/// Checks that a path is one: data goes there and back, both sides know of it, and both ended.
fn check_path(case: &Case, world: &World, path: Path) {
    let context = Context { case, world };
    match path.transport {
        Transport::Udp => {
            let echo = format!("echo {}", world.peers[0].found.len() - 1);
            assert!(
                world.peers[0].data.iter().any(|data| *data == echo),
                "no {echo}: {context}"
            );
        }
        Transport::Tcp => {
            let conns = &world.peers[0].tcp.conns;
            let conn = conns
                .iter()
                .find(|conn| conn.id == path.stream)
                .expect("no such stream");
            assert_eq!(conn.state, tcp::State::Established, "{context}");
            let served = |(_, path): &&(Duration, Path)| {
                let conns = &world.peers[1].tcp.conns;
                conns.iter().any(|conn| {
                    conn.id == path.stream
                        && conn.id.is_some()
                        && conn.state == tcp::State::Established
                })
            };
            assert!(
                world.peers[1].found.iter().any(|found| served(&found)),
                "not served: {context}"
            );
        }
    }
    assert_eq!(
        world.peers[0].ended.as_ref().unwrap().1,
        Ended::Connected(path.method),
        "{context}"
    );
    let outcome = |at: usize, method| {
        let trace = world.peers[at].attempt.as_ref().unwrap().trace();
        trace
            .methods
            .into_iter()
            .find(|run| run.method == method)
            .map(|run| run.outcome)
    };
    assert_eq!(
        outcome(0, path.method),
        Some(Outcome::Connected),
        "{context}"
    );
    let trace = world.peers[0].attempt.as_ref().unwrap().trace();
    assert!(
        trace
            .methods
            .iter()
            .all(|run| run.outcome != Outcome::Running),
        "{context}"
    );
}

/// Everything there is to know about a case that went wrong.
struct Context<'a> {
    case: &'a Case,
    world: &'a World,
}

impl fmt::Display for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.case)?;
        for peer in &self.world.peers {
            writeln!(f, "found {:?}\nended {:?}", peer.found, peer.ended)?;
            if let Some(attempt) = &peer.attempt {
                writeln!(f, "{:#?}", attempt.trace())?;
            }
        }
        Ok(())
    }
}

fn nat_kind(
    mapping: Behaviour,
    filtering: Behaviour,
    allocation: Allocation,
    habit: Habit,
) -> NatConfig {
    NatConfig {
        mapping,
        filtering,
        allocation,
        ..NatConfig::port_restricted().with_habit(habit)
    }
}
