//! What stands between this machine and the public network: the report, and how it comes about.
//!
//! [`Discovery`] asks STUN servers the questions of RFC 5780 over a handful of fresh sockets, for one address family;
//! [`io::discover`] drives it and makes a [`NatReport`]. Which questions have an answer depends on the servers:
//!
//! | servers | what can be told |
//! |---|---|
//! | one with two addresses (RFC 5780) | everything |
//! | several plain ones on distinct addresses | all but filtering; whether a mapping depends on the port asked too, not always |
//! | one plain one | public address, port preservation, the step of a sequential allocator, hairpinning, hops |
//!
//! A report is a prior, not a verdict: NATs change their ways with load and differ per network, so that plain
//! hole punching is tried whatever the report says.

mod discovery;
mod family;
pub mod io;
mod words;

pub use discovery::{Discovery, DiscoveryConfig, Probe};
pub use family::{CarrierSign, FamilyReport, Hop, Lifetime, NatKind};

use serde::{Serialize, Serializer};
use std::{fmt, net::IpAddr, time::Duration};

/// What a NAT's mappings, or a filter's permissions, depend on (RFC 4787 §4.1 and §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Behaviour {
    /// On nothing: the same for all destinations.
    EndpointIndependent,
    /// On the destination's address.
    AddressDependent,
    /// On the destination's address and port.
    AddressAndPortDependent,
}

impl fmt::Display for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

/// What a TCP connection reaches, tried when UDP gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpReach {
    /// The STUN servers' own ports.
    Any,
    /// Ports 80 or 443 of the STUN servers only: as behind a firewall that lets the web through.
    WebOnly,
    /// Nothing: there is no network, or the servers are down.
    Nothing,
}

/// What a port-mapping protocol says, as whoever runs the port mapper tells the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortMapping {
    /// The protocol: `upnp`, `nat-pmp` or `pcp`.
    pub protocol: String,
    /// What became of it, in words.
    pub result: String,
    /// The outside address that the router claims, if it does.
    pub external: Option<IpAddr>,
    /// Whether a port is mapped.
    pub mapped: bool,
}

/// What stands between this machine and the public network.
///
/// Serialises to one JSON object whose absent values mean "could not be told". Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct NatReport {
    /// IPv4; `None` if this machine has no IPv4 route to the servers, or none of them has such an address.
    pub ipv4: Option<FamilyReport>,
    /// IPv6, likewise.
    pub ipv6: Option<FamilyReport>,
    /// Servers were asked and none answered over UDP.
    pub udp_blocked: bool,
    /// What TCP reaches; told only if UDP is blocked.
    pub tcp: Option<TcpReach>,
    /// What the router says about port mapping; filled by [`Self::add_port_mapping`].
    pub port_mappings: Vec<PortMapping>,
    /// How long the tests took.
    #[serde(serialize_with = "millis")]
    pub took: Duration,
}

impl NatReport {
    /// The outside addresses: IPv4 first.
    pub fn public_addresses(&self) -> Vec<IpAddr> {
        [&self.ipv4, &self.ipv6]
            .into_iter()
            .flatten()
            .filter_map(|family| family.public)
            .collect()
    }

    /// Hops to the outermost NAT of IPv4: a datagram with this time to live dies there, with one more it makes a
    /// mapping and dies behind it. `None` if there is no NAT or the routers do not say.
    pub fn hops_to_nat(&self) -> Option<u8> {
        self.ipv4.as_ref().and_then(|family| family.hops_to_nat)
    }

    /// Adds what a port-mapping protocol said. A router whose outside address is not the public one stands behind
    /// another NAT: that is a sign of carrier NAT.
    pub fn add_port_mapping(&mut self, mapping: PortMapping) {
        if let (Some(family), Some(external)) = (&mut self.ipv4, mapping.external) {
            family.compare_router(external);
        }
        self.port_mappings.push(mapping);
    }

    /// The report in plain words, one sentence or two an entry, the most important first.
    pub fn explain(&self) -> Vec<String> {
        words::explain(self)
    }

    /// The one thing that would help most; `None` if nothing is in the way of direct connections.
    pub fn remedy(&self) -> Option<String> {
        words::remedy(self)
    }
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
