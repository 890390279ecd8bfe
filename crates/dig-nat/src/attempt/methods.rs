//! The methods: each is one way of getting a path, in a file of its own, and usable alone.
//!
//! A method is a rule, not a process: out of what both sides have it makes a [`Plan`], or says why it cannot apply. The attempt
//! carries plans out, all alike: it sends the checks, makes the connections and keeps the order that the plan's
//! [`Pace`] asks for.

mod direct;
mod ice;
mod local;
mod mapped;
mod tcp_hole_punch;
mod tcp_simultaneous_open;
mod turn;
mod udp_hole_punch;

use super::{
    config::{Local, is_public},
    event::{LocalPort, Port},
    remote::Remote,
};
use crate::candidate::{Candidate, CandidateKind, Transport};
use dig_types::Method;
use std::{fmt, net::SocketAddr};

pub use {
    direct::Direct, ice::Ice, local::LocalNetwork, mapped::Mapped, tcp_hole_punch::TcpHolePunch,
    tcp_simultaneous_open::TcpSimultaneousOpen, turn::Turn, udp_hole_punch::UdpHolePunch,
};

/// One way of getting a path.
pub trait TraversalMethod: fmt::Debug + Send + Sync {
    /// Which one.
    fn method(&self) -> Method;

    /// What this side does; the error says why the method cannot apply to this pair.
    fn plan(&self, sides: &Sides<'_>) -> Result<Plan, String>;
}

/// The method of that name; `None` for one that this version does not know.
pub fn method(method: Method) -> Option<Box<dyn TraversalMethod>> {
    Some(match method {
        Method::Local => Box::new(LocalNetwork),
        Method::Direct => Box::new(Direct),
        Method::Pcp | Method::NatPmp | Method::Upnp => Box::new(Mapped(method)),
        Method::TcpHolePunch => Box::new(TcpHolePunch),
        Method::UdpHolePunch => Box::new(UdpHolePunch),
        Method::TcpSimultaneousOpen => Box::new(TcpSimultaneousOpen),
        Method::Ice => Box::new(Ice),
        Method::Turn => Box::new(Turn),
        _ => return None,
    })
}

/// When the two sides of a method begin, as seen from one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Whenever they like: nothing that comes early does harm.
    AtOnce,
    /// The responder opens its NAT with packets that do not reach the initiator's, then the initiator sends, then the responder.
    Barrier,
    /// Both at the same time, in several rounds.
    Synchronised,
}

/// A TCP connection that a plan makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// In which round; `None`: in each that finds it idle.
    pub round: Option<u8>,
    /// From where.
    pub from: LocalPort,
    /// Where to.
    pub to: SocketAddr,
}

/// An address that a plan checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Probe {
    /// From where.
    pub from: Port,
    /// Where to.
    pub to: SocketAddr,
}

impl Probe {
    /// From the node's one port.
    pub fn shared(to: SocketAddr) -> Self {
        let from = Port::Shared;
        Self { from, to }
    }

    /// From an own allocation with that relayed address.
    pub fn relay(relayed: SocketAddr, to: SocketAddr) -> Self {
        let from = Port::Relay(relayed);
        Self { from, to }
    }
}

/// What one side does for a method. It may be nothing: then the peer does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// When.
    pub pace: Pace,
    /// How many times.
    pub rounds: u8,
    /// Where checks go.
    pub probes: Vec<Probe>,
    /// Which connections are made.
    pub dials: Vec<Dial>,
}

impl Plan {
    /// Checks and connections to candidates as they are, at once.
    fn at_once(targets: &[Candidate]) -> Self {
        let of = |transport| {
            targets
                .iter()
                .filter(move |c| c.transport == transport)
                .map(|c| c.addr)
        };
        let dial = |to| Dial {
            round: None,
            from: LocalPort::Ephemeral,
            to,
        };
        let (probes, dials) = (
            of(Transport::Udp).map(Probe::shared).collect(),
            of(Transport::Tcp).map(dial).collect(),
        );
        Self {
            pace: Pace::AtOnce,
            rounds: 1,
            probes,
            dials,
        }
    }
}

/// What both sides have, seen from one of them.
#[derive(Debug)]
pub struct Sides<'a> {
    local: &'a Local,
    peer: Vec<Candidate>,
    fresh: Vec<Option<SocketAddr>>,
}

impl<'a> Sides<'a> {
    pub(super) fn new(local: &'a Local, remote: &Remote) -> Self {
        let speaks = |addr: &SocketAddr| {
            let candidates = local.candidates.iter().map(|c| c.addr.is_ipv4());
            candidates
                .chain(local.subnets.iter().map(|s| s.ip.is_ipv4()))
                .any(|v4| v4 == addr.is_ipv4())
        };
        let peer = remote
            .candidates(local)
            .into_iter()
            .filter(|c| speaks(&c.addr))
            .collect();
        let fresh = remote
            .fresh(local)
            .into_iter()
            .map(|addr| addr.filter(speaks))
            .collect();
        Self { local, peer, fresh }
    }

    /// The peer's candidates which this side may and can reach.
    pub(super) fn peer(&self) -> &[Candidate] {
        &self.peer
    }

    /// Those of that sort.
    fn targets(&self, sort: impl Fn(&Candidate) -> bool) -> Vec<Candidate> {
        self.peer.iter().copied().filter(sort).collect()
    }

    /// Whether either side has a candidate of that sort which the other can reach.
    fn either_has(&self, sort: impl Fn(&Candidate) -> bool) -> bool {
        let speaks = |c: &Candidate| {
            self.peer.is_empty()
                || self
                    .peer
                    .iter()
                    .any(|p| p.addr.is_ipv4() == c.addr.is_ipv4())
        };
        self.peer.iter().any(&sort) || self.local.candidates.iter().any(|c| sort(c) && speaks(c))
    }
}

fn public_host(candidate: &Candidate) -> bool {
    candidate.kind == CandidateKind::Host && is_public(candidate.addr.ip())
}

/// An outside address of the listening port: as a server saw it, or the port itself where no NAT stands before it (a
/// firewall may).
fn outside(candidate: &Candidate, transport: Transport) -> bool {
    let reflexive = matches!(
        candidate.kind,
        CandidateKind::ServerReflexive | CandidateKind::PeerReflexive
    );
    candidate.transport == transport && (reflexive || public_host(candidate))
}
