//! What an attempt may do, and what this side has to do it with.

use crate::candidate::{Candidate, CandidateKind, Transport};
use dig_types::Method;
use serde::Serialize;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::Duration,
};

/// Rounds of TCP simultaneous open: each burns one fresh port on both sides.
pub const ROUNDS: usize = 3;

/// In which order methods are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// All at once; the best path that answers is kept, the others are cancelled.
    #[default]
    Race,
    /// One after the other, in the order of [`Method::ALL`] (whitepaper section 9).
    Sequential,
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Race => "race",
            Self::Sequential => "sequential",
        })
    }
}

/// The text names no strategy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such strategy; there are race and sequential")]
pub struct UnknownStrategy;

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, UnknownStrategy> {
        match text {
            "race" => Ok(Self::Race),
            "sequential" => Ok(Self::Sequential),
            _ => Err(UnknownStrategy),
        }
    }
}

/// What an attempt does with relays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RelayUse {
    /// A relayed path is used until there is a better one.
    #[default]
    Yes,
    /// Only a direct path is wanted: there is a relayed one already.
    No,
    /// Nothing leaves this side but through own allocations, and nothing else is told to the peer: it does not learn this side's addresses.
    Only,
}

impl RelayUse {
    /// Leaves of what this side may and has what can be used.
    pub(super) fn restrict(self, methods: &mut Vec<Method>, local: &mut Local) {
        let relayed = |c: &Candidate| c.kind == CandidateKind::Relayed;
        match self {
            Self::Yes => {}
            Self::No => {
                methods.retain(|method| *method != Method::Turn);
                local.candidates.retain(|c| !relayed(c));
                local.relays.clear();
            }
            Self::Only => {
                methods.retain(|method| matches!(method, Method::Turn | Method::Ice));
                local.candidates.retain(relayed);
                local.subnets.clear();
                local.fresh.clear();
                local.nat = NatHint::Unknown;
            }
        }
    }
}

/// How an attempt goes about it.
#[derive(Clone)]
pub struct AttemptConfig {
    /// The methods that may be used, tried in the order of [`Method::ALL`] whatever their order here. Default: all.
    pub methods: Vec<Method>,
    /// What is tried before the others, if it is one of [`methods`](Self::methods): what worked last time. Default: none.
    pub first: Option<Method>,
    /// In which order. The initiator's choice stands. Default: [`Strategy::Race`].
    pub strategy: Strategy,
    /// How long one method may take. Default: 5 s (design §7); the kernel resends a lost SYN after 1 s and 3 s.
    pub method_timeout: Duration,
    /// How long the peer may take to answer the offer. Default: 5 s, ten offers.
    pub offer_timeout: Duration,
    /// How long a path waits for a better one to answer too (race). Default: 20 ms: little beside what a worse path
    /// costs, enough for the scheduling of a busy machine.
    pub grace: Duration,
    /// The time-to-live of packets that shall open this side's NAT without reaching the peer's: the hops to the
    /// outermost NAT on this side, plus one. Default: 2, one home router.
    pub opener_ttl: u8,
    /// What it does with relays. Default: [`RelayUse::Yes`].
    pub relay: RelayUse,
    /// 32 bytes from the operating system, fresh for each attempt: this side's share of the attempt's key, and what jitter and
    /// transaction numbers come from.
    pub seed: [u8; 32],
}

impl AttemptConfig {
    /// The defaults, with this seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            methods: Method::ALL.to_vec(),
            first: None,
            strategy: Strategy::Race,
            method_timeout: Duration::from_secs(5),
            offer_timeout: Duration::from_secs(5),
            grace: Duration::from_millis(20),
            opener_ttl: 2,
            relay: RelayUse::Yes,
            seed,
        }
    }
}

impl fmt::Debug for AttemptConfig {
    /// Without the seed, which is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptConfig")
            .field("methods", &self.methods)
            .field("first", &self.first)
            .field("strategy", &self.strategy)
            .field("method_timeout", &self.method_timeout)
            .field("offer_timeout", &self.offer_timeout)
            .field("grace", &self.grace)
            .field("opener_ttl", &self.opener_ttl)
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}

/// A network that this machine is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subnet {
    /// Any address in it.
    pub ip: IpAddr,
    /// Its prefix length in bits.
    pub prefix: u8,
}

impl Subnet {
    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let shift = 32u32.saturating_sub(self.prefix.into());
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let shift = 128u32.saturating_sub(self.prefix.into());
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift)
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

/// A port bound for this attempt, and used for nothing before: a TCP port for one round of simultaneous open, or the UDP port of
/// [`Output::OpenFresh`](super::Output::OpenFresh).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FreshPort {
    /// The port on this machine.
    pub port: u16,
    /// Whether it is bound for IPv6, else for IPv4.
    pub ipv6: bool,
    /// Where the NAT shows it, where a STUN server was asked from this very port; otherwise
    /// it follows from [`Local::preserves_ports`].
    pub external: Option<SocketAddr>,
}

/// How this side's NAT maps the shared UDP port towards different destinations (RFC 4787 §4.1): what the peer needs to know to choose
/// a tactic, and no promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "kebab-case", tag = "mapping")]
pub enum NatHint {
    /// Nobody was asked, or only one server.
    #[default]
    Unknown,
    /// There is no NAT.
    Open,
    /// One outside port for all destinations.
    Independent,
    /// An outside port for each destination.
    Dependent {
        /// By how much the port of a new destination is above that of the one before, if that is regular.
        step: Option<i16>,
    },
}

/// What this side has.
#[derive(Debug, Clone, Default)]
pub struct Local {
    /// Its candidates. A server-reflexive TCP candidate is the listening port as the NAT shows it.
    pub candidates: Vec<Candidate>,
    /// The networks that it is on.
    pub subnets: Vec<Subnet>,
    /// Ports for simultaneous open, one a round; [`ROUNDS`] are used.
    pub fresh: Vec<FreshPort>,
    /// Relayed addresses of own allocations; each is one of the [candidates](Self::candidates) too.
    pub relays: Vec<SocketAddr>,
    /// How the NAT maps the UDP port.
    pub nat: NatHint,
    /// Whether the NAT is known to keep port numbers (`Some(false)`: known not to). From it the outside addresses
    /// of TCP ports are predicted which no server was asked about.
    pub preserves_ports: Option<bool>,
}

impl Local {
    /// Whether an address lies on a network that this machine is on.
    pub fn shares_network(&self, ip: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(ip))
    }

    /// Adds the server-reflexive TCP candidates that follow from those of UDP and a NAT that keeps port numbers:
    /// UDP and TCP listen on the same port.
    pub(super) fn predict(&mut self) {
        if self.preserves_ports == Some(false) {
            return;
        }
        for addr in self
            .reflexive_ips()
            .into_iter()
            .map(|ip| self.listening(ip))
            .collect::<Vec<_>>()
        {
            let Some(addr) = addr else { continue };
            let known = |c: &Candidate| c.transport == Transport::Tcp && c.addr.ip() == addr.ip();
            if !self.candidates.iter().any(known) {
                let kind = CandidateKind::ServerReflexive;
                self.candidates.push(Candidate {
                    kind,
                    transport: Transport::Tcp,
                    addr,
                });
            }
        }
    }

    /// Where the peer finds each fresh port, if it can be told.
    pub(super) fn fresh_addresses(&self) -> Vec<SocketAddr> {
        let ports = self.fresh.iter().take(ROUNDS);
        ports.map_while(|port| self.outside(port)).collect()
    }

    /// Where the peer finds a port, if it can be told.
    pub(super) fn outside(&self, port: &FreshPort) -> Option<SocketAddr> {
        let predicted = || {
            let public = self.outside_ip(port.ipv6);
            let ip = public.filter(|_| self.preserves_ports != Some(false))?;
            Some(SocketAddr::new(ip, port.port))
        };
        port.external.or_else(predicted)
    }

    /// Whether the internet knows this machine by an address of that family.
    pub(crate) fn is_outside(&self, ipv6: bool) -> bool {
        self.outside_ip(ipv6).is_some()
    }

    /// The address of that family by which the internet knows this machine.
    fn outside_ip(&self, ipv6: bool) -> Option<IpAddr> {
        let hosts = self
            .candidates
            .iter()
            .filter(|c| c.kind == CandidateKind::Host && is_public(c.addr.ip()));
        let mut ips: Vec<IpAddr> = hosts.map(|c| c.addr.ip()).collect();
        ips.extend(self.reflexive_ips());
        ips.into_iter().find(|ip| ip.is_ipv6() == ipv6)
    }

    fn reflexive_ips(&self) -> Vec<IpAddr> {
        let reflexive = self
            .candidates
            .iter()
            .filter(|c| c.kind == CandidateKind::ServerReflexive);
        reflexive.map(|c| c.addr.ip()).collect()
    }

    /// The port that this machine listens on for TCP, seen at an outside address.
    fn listening(&self, ip: IpAddr) -> Option<SocketAddr> {
        let listens = |c: &&Candidate| {
            c.kind == CandidateKind::Host
                && c.transport == Transport::Tcp
                && c.addr.is_ipv4() == ip.is_ipv4()
        };
        let host = self.candidates.iter().find(listens)?;
        Some(SocketAddr::new(ip, host.addr.port()))
    }
}

/// Whether an address belongs to the internet, and not to a private network, a carrier's shared space (RFC 6598), a link, a machine,
/// or a range that is no place (class E, benchmarks). IPv6 addresses that hold an IPv4 one (6to4, Teredo, NAT64) are none: they
/// would lead inside where that one does.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || a == 0
                || a >= 224
                || (a == 100 && b & 0xc0 == 64)
                || (a == 198 && b & 0xfe == 18))
        }
        // Global unicast is 2000::/3 so far (RFC 4291 §2.4).
        IpAddr::V6(ip) => match ip.segments() {
            [0x2001, 0, ..] | [0x2002, ..] => false,
            [first, ..] => first & 0xe000 == 0x2000,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_contain_what_shares_their_prefix() {
        let check = |net: &str, prefix, ip: &str, expected| {
            let subnet = Subnet {
                ip: net.parse().unwrap(),
                prefix,
            };
            assert_eq!(
                subnet.contains(ip.parse().unwrap()),
                expected,
                "{net}/{prefix} {ip}"
            );
        };
        check("192.168.1.7", 24, "192.168.1.200", true);
        check("192.168.1.7", 24, "192.168.2.200", false);
        check("10.0.0.1", 0, "44.1.1.1", true);
        check("10.0.0.1", 32, "10.0.0.1", true);
        check("10.0.0.1", 32, "10.0.0.2", false);
        check("10.0.0.1", 77, "10.0.0.2", false);
        check("fe80::1", 64, "fe80::2", true);
        check("fe80::1", 0, "2001::2", true);
        check("fe80::1", 64, "10.0.0.1", false);
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        for private in [
            "10.1.1.1",
            "172.16.0.1",
            "192.168.0.1",
            "100.64.1.1",
            "127.0.0.1",
            "0.0.0.0",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["44.128.0.1", "100.128.0.1", "2a0d::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn strategies_have_names() {
        for strategy in [Strategy::Race, Strategy::Sequential] {
            assert_eq!(strategy.to_string().parse(), Ok(strategy));
        }
        assert_eq!("fast".parse::<Strategy>(), Err(UnknownStrategy));
    }

    fn candidate(kind: CandidateKind, transport: Transport, addr: &str) -> Candidate {
        Candidate {
            kind,
            transport,
            addr: addr.parse().unwrap(),
        }
    }

    #[test]
    fn outside_tcp_addresses_are_predicted_where_the_nat_keeps_ports() {
        let mut local = Local {
            candidates: vec![
                candidate(CandidateKind::Host, Transport::Tcp, "10.0.0.2:4000"),
                candidate(
                    CandidateKind::ServerReflexive,
                    Transport::Udp,
                    "44.1.1.1:4000",
                ),
            ],
            fresh: vec![FreshPort {
                ipv6: false,
                port: 5000,
                external: None,
            }],
            ..Local::default()
        };
        let predicted = candidate(
            CandidateKind::ServerReflexive,
            Transport::Tcp,
            "44.1.1.1:4000",
        );
        let mut changing = Local {
            preserves_ports: Some(false),
            ..local.clone()
        };
        changing.predict();
        assert!(!changing.candidates.contains(&predicted));
        assert!(changing.fresh_addresses().is_empty());
        local.predict();
        local.predict();
        assert_eq!(
            local.candidates.iter().filter(|c| **c == predicted).count(),
            1
        );
        assert_eq!(local.fresh_addresses(), ["44.1.1.1:5000".parse().unwrap()]);
    }
}
