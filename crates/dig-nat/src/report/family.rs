//! What is known about one address family.

use super::{Behaviour, millis};
use serde::{Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

/// The customary names of what stands in the way (RFC 3489 §5, as RFC 4787 cuts it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NatKind {
    /// No translation, no filter: anybody can connect.
    Open,
    /// No translation, but only answers come in.
    Firewall,
    /// One outside port for all destinations, open to all.
    FullCone,
    /// One outside port for all destinations, open to addresses that were sent to.
    AddressRestricted,
    /// One outside port for all destinations, open to address and port that were sent to.
    PortRestricted,
    /// An outside port for each destination.
    Symmetric,
    /// Translated; the servers could not tell how.
    Unknown,
}

impl fmt::Display for NatKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Firewall => "firewall",
            Self::FullCone => "full cone",
            Self::AddressRestricted => "address-restricted cone",
            Self::PortRestricted => "port-restricted cone",
            Self::Symmetric => "symmetric",
            Self::Unknown => "unknown",
        })
    }
}

/// A router on the way to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hop {
    /// Time to live with which a datagram dies there.
    pub ttl: u8,
    /// Its address; `None` if it does not say.
    pub router: Option<IpAddr>,
}

/// Something that hints at a NAT of the provider's beside the one at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "sign", content = "address")]
#[non_exhaustive]
pub enum CarrierSign {
    /// This machine's own address is of the space that providers share among customers (100.64.0.0/10, RFC 6598).
    SharedLocalAddress(IpAddr),
    /// A router on the way has such an address.
    SharedRouter(IpAddr),
    /// Behind the first router comes another with a private address: a second NAT, at home or at the provider's.
    SecondPrivateRouter(IpAddr),
    /// The router's outside address, as it says itself, is not the public one.
    RouterNotPublic(IpAddr),
}

/// For how long an idle mapping stays (RFC 4787 §4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Lifetime {
    /// It was still there after this.
    #[serde(serialize_with = "millis")]
    pub at_least: Duration,
    /// It was gone after this; `None` if it outlived the test.
    #[serde(serialize_with = "optional_millis")]
    pub less_than: Option<Duration>,
}

/// What is known about one address family; `None` always means that it could not be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FamilyReport {
    /// This machine's own address on the way to the servers.
    pub local: IpAddr,
    /// The address from which servers see it come.
    pub public: Option<IpAddr>,
    /// Whether addresses or ports are translated.
    pub translated: Option<bool>,
    /// On what the outside port depends.
    pub mapping: Option<Behaviour>,
    /// Whether the outside port differs from one destination to another, which also plain servers can show.
    pub mapping_varies: Option<bool>,
    /// From whom packets come in.
    pub filtering: Option<Behaviour>,
    /// Whether the outside port is the local one.
    pub port_preservation: Option<bool>,
    /// The step from one new outside port to the next, if they come in sequence.
    pub port_delta: Option<i32>,
    /// Whether two programs behind the NAT reach each other by their outside addresses.
    pub hairpin: Option<bool>,
    /// For how long a mapping stays; told only when asked for.
    pub lifetime: Option<Lifetime>,
    /// The routers on the way, as far as they were looked for.
    pub hops: Vec<Hop>,
    /// Hops to the outermost NAT: the last router with a private address.
    pub hops_to_nat: Option<u8>,
    /// Signs of carrier NAT.
    pub carrier_nat: Vec<CarrierSign>,
    /// The servers that answered.
    pub servers: Vec<SocketAddr>,
}

impl FamilyReport {
    /// A report in which nothing is known yet.
    pub(super) const fn new(local: IpAddr) -> Self {
        Self {
            local,
            public: None,
            translated: None,
            mapping: None,
            mapping_varies: None,
            filtering: None,
            port_preservation: None,
            port_delta: None,
            hairpin: None,
            lifetime: None,
            hops: Vec::new(),
            hops_to_nat: None,
            carrier_nat: Vec::new(),
            servers: Vec::new(),
        }
    }

    /// What stands in the way, by its customary name; `None` if no server answered.
    pub fn kind(&self) -> Option<NatKind> {
        use Behaviour::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
        let translated = self.translated?;
        Some(match (translated, self.mapping_varies, self.filtering) {
            (true, Some(true), _) => NatKind::Symmetric,
            (true, _, None) | (false, _, None) => NatKind::Unknown,
            (true, None, Some(_)) => NatKind::Unknown,
            (false, _, Some(EndpointIndependent)) => NatKind::Open,
            (false, _, Some(AddressDependent | AddressAndPortDependent)) => NatKind::Firewall,
            (true, Some(false), Some(EndpointIndependent)) => NatKind::FullCone,
            (true, Some(false), Some(AddressDependent)) => NatKind::AddressRestricted,
            (true, Some(false), Some(AddressAndPortDependent)) => NatKind::PortRestricted,
        })
    }

    /// Whether anything hints at a NAT behind the own router.
    pub fn is_behind_carrier(&self) -> bool {
        !self.carrier_nat.is_empty()
    }

    /// Takes the routers that were found on the way, nearest first, and what they say about NATs.
    pub(super) fn take_hops(&mut self, hops: Vec<Hop>) {
        self.hops = hops;
        if self.translated != Some(true) || self.local.is_ipv6() {
            return;
        }
        let inside: Vec<(u8, IpAddr)> = self
            .hops
            .iter()
            .filter_map(|hop| {
                hop.router
                    .filter(|router| is_inside(*router))
                    .map(|router| (hop.ttl, router))
            })
            .collect();
        self.hops_to_nat = inside.last().map(|(ttl, _)| *ttl);
        for (ttl, router) in inside {
            if is_shared(router) {
                self.carrier_nat.push(CarrierSign::SharedRouter(router));
            } else if ttl > 1 {
                self.carrier_nat
                    .push(CarrierSign::SecondPrivateRouter(router));
            }
        }
    }

    /// Takes the outside address that the router itself claims.
    pub(super) fn compare_router(&mut self, external: IpAddr) {
        let sign = CarrierSign::RouterNotPublic(external);
        if self.public.is_some_and(|public| public != external) && !self.carrier_nat.contains(&sign)
        {
            self.carrier_nat.push(sign);
        }
    }
}

/// 100.64.0.0/10 (RFC 6598).
pub(super) fn is_shared(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22)
}

/// An address that only routers in front of the outermost NAT have.
pub(super) fn is_inside(ip: IpAddr) -> bool {
    is_shared(ip) || matches!(ip, IpAddr::V4(ip) if ip.is_private() || ip.is_link_local())
}

fn optional_millis<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => millis(time, serializer),
        None => serializer.serialize_none(),
    }
}
