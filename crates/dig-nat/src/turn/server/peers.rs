//! To whom the relay forwards.
//!
//! A relay stands where its users do not: beside the cloud's metadata service, the router's configuration page, the
//! database that trusts the local network. Whoever has a password could reach them through it. Therefore:
//!
//! - a peer is an address of the public Internet, or of a network that the operator named;
//! - the same holds for every IPv6 spelling of an IPv4 address that some router or kernel would translate back;
//! - the relay's own addresses are peers at ports that are allocated and at no other, which [`super::Server`] sees to.

use super::network::Network;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// IPv4 networks that are not the public Internet (RFC 6890 and the registry that it set up; multicast and reserved space
/// besides).
const REFUSED_V4: [(Ipv4Addr, u8); 18] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// IPv6 networks within 2000::/3 that are not the public Internet. All else outside of 2000::/3 is refused as a whole:
/// loopback, unique local, link-local, site-local, multicast, discard, local NAT64, segment routing, what is not assigned.
const REFUSED_V6: [(Ipv6Addr, u8); 3] = [
    // IETF protocol assignments: benchmarking, ORCHID, drone ids; of these Teredo is looked into instead.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Which addresses may be peers.
#[derive(Debug, Clone, Default)]
pub struct PeerPolicy {
    allowed: Vec<Network>,
    own: BTreeSet<IpAddr>,
}

impl PeerPolicy {
    /// Also allows these networks, though they are not public: for a laboratory, or a relay that joins two local networks.
    #[must_use]
    pub fn allow(mut self, networks: impl IntoIterator<Item = Network>) -> Self {
        self.allowed.extend(networks);
        self
    }

    /// Names addresses of the machine that relays, public ones that a router forwards to it included.
    #[must_use]
    pub fn own(mut self, addrs: impl IntoIterator<Item = IpAddr>) -> Self {
        self.own
            .extend(addrs.into_iter().map(|addr| addr.to_canonical()));
        self
    }

    /// Whether this is an address of the machine that relays.
    #[must_use]
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.own.contains(&ip)
    }

    /// Whether a peer may have this address.
    #[must_use]
    pub fn admits(&self, ip: IpAddr) -> bool {
        if self.allowed.iter().any(|network| network.contains(ip)) {
            return true;
        }
        match ip {
            IpAddr::V4(ip) => self.is_own(ip.into()) && !is_local(ip) || is_public_v4(ip),
            IpAddr::V6(ip) => match embedded(ip) {
                // Own addresses are known by their plain spelling only, so a translated one of them is nobody's.
                Some(inner) => {
                    inner.into_iter().all(is_public_v4)
                        && !inner.into_iter().any(|inner| self.is_own(inner.into()))
                }
                None => is_public_v6(ip) || self.is_own(ip.into()),
            },
        }
    }
}

/// Whether an address never leaves its machine.
fn is_local(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let refused = REFUSED_V4.iter();
    !refused
        .filter_map(|(addr, prefix)| Network::v4(*addr, *prefix))
        .any(|network| network.contains(ip.into()))
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let global = ip.segments()[0] & 0xE000 == 0x2000;
    let refused = REFUSED_V6.iter();
    global
        && !refused
            .filter_map(|(addr, prefix)| Network::v6(*addr, *prefix))
            .any(|network| network.contains(ip.into()))
}

/// The IPv4 addresses that an IPv6 address stands for, if it is of a kind that is translated or tunnelled: mapped and
/// compatible (RFC 4291 §2.5.5), translated (RFC 2765), NAT64 (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380: the server's and the
/// client's, the latter inverted), ISATAP (RFC 5214).
fn embedded(ip: Ipv6Addr) -> Option<[Ipv4Addr; 2]> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let one = |addr| Some([addr, addr]);
    match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xFFFF, high, low] | [0, 0, 0, 0, 0xFFFF, 0, high, low] => {
            one(v4(high, low))
        }
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => one(v4(high, low)),
        [0x2002, high, low, ..] => one(v4(high, low)),
        [0x2001, 0, server, server_low, _, _, high, low] => {
            Some([v4(server, server_low), v4(!high, !low)])
        }
        [first, _, _, _, 0 | 0x200, 0x5EFE, high, low] if first & 0xE000 == 0x2000 => {
            one(v4(high, low))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
