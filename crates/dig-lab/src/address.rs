//! Who has which address: fixed by the number of a site, so that a failed run reads like the next one.
//!
//! | what | IPv4 | IPv6 |
//! | --- | --- | --- |
//! | public segment, servers | 44.128.0.0/24 | 2a0d:1ab::/64 |
//! | link from the internet to site *i* | 44.128.*i*.0/24 | 2a0d:1ab:0:*i*::/64 |
//! | between two routers of site *i* | 100.64.*i*.0/24 (carrier) or 10.64.*i*.0/24 (private) | 2a0d:1ab:2:*i*::/64 |
//! | local network of site *i* | 192.168.*i*.0/24, or 44.129.*i*.0/24 where it is public | 2a0d:1ab:1:*i*::/64 |
//!
//! The far end of a link (towards the internet) is .1, the near end .2; machines of a local network begin at .10. The public range
//! is one that miniupnpd takes for public (it refuses documentation ranges); nothing here leads out of the laboratory.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Sites of a laboratory, at most.
pub(crate) const SITES: u8 = 120;
/// Machines of a local network or of the public segment, at most.
pub(crate) const MACHINES: u8 = 100;

/// A network of both families, or of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    /// First three bytes of its /24.
    pub(crate) v4: Option<[u8; 3]>,
    /// Third and fourth group of its /64.
    pub(crate) v6: Option<[u16; 2]>,
}

/// What kind of network joins two routers of a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Between {
    /// Shared address space of carriers (RFC 6598).
    Carrier,
    /// Private address space (RFC 1918).
    Private,
}

impl Network {
    /// The public segment.
    pub(crate) const SERVERS: Self = Self {
        v4: Some([44, 128, 0]),
        v6: Some([0, 0]),
    };

    /// The link of a site to the internet.
    pub(crate) fn uplink(site: u8) -> Self {
        Self {
            v4: Some([44, 128, site]),
            v6: Some([0, site.into()]),
        }
    }

    /// The link between two routers of a site.
    pub(crate) fn between(site: u8, kind: Between) -> Self {
        let v4 = match kind {
            Between::Carrier => [100, 64, site],
            Between::Private => [10, 64, site],
        };
        Self {
            v4: Some(v4),
            v6: Some([2, site.into()]),
        }
    }

    /// A local network with private IPv4 addresses.
    pub(crate) fn private(site: u8) -> Self {
        Self {
            v4: Some([192, 168, site]),
            v6: Some([1, site.into()]),
        }
    }

    /// A local network with public IPv4 addresses.
    pub(crate) fn public(site: u8) -> Self {
        Self {
            v4: Some([44, 129, site]),
            v6: Some([1, site.into()]),
        }
    }

    /// The same network of fewer families.
    pub(crate) fn only(self, v4: bool, v6: bool) -> Self {
        Self {
            v4: self.v4.filter(|_| v4),
            v6: self.v6.filter(|_| v6),
        }
    }

    /// The IPv4 address with this last byte.
    pub(crate) fn ipv4(self, last: u8) -> Option<Ipv4Addr> {
        self.v4.map(|[a, b, c]| Ipv4Addr::new(a, b, c, last))
    }

    /// The IPv6 address with this last group.
    pub(crate) fn ipv6(self, last: u8) -> Option<Ipv6Addr> {
        self.v6.map(|[third, fourth]| {
            Ipv6Addr::new(0x2a0d, 0x1ab, third, fourth, 0, 0, 0, last.into())
        })
    }

    /// Lines of `ip -batch` that give `device` the addresses with this last part.
    pub(crate) fn assign(self, last: u8, device: &str) -> String {
        let v4 = self
            .ipv4(last)
            .map(|address| format!("addr add {address}/24 dev {device}\n"));
        let v6 = self
            .ipv6(last)
            .map(|address| format!("addr add {address}/64 dev {device} nodad\n"));
        [v4, v6].into_iter().flatten().collect()
    }

    /// Lines of `ip -batch` that send everything else through the machine with this last part.
    pub(crate) fn default_route(self, last: u8) -> String {
        let v4 = self
            .ipv4(last)
            .map(|gateway| format!("route add default via {gateway}\n"));
        let v6 = self
            .ipv6(last)
            .map(|gateway| format!("route add default via {gateway}\n"));
        [v4, v6].into_iter().flatten().collect()
    }

    /// The IPv4 network as nft writes it.
    pub(crate) fn v4_prefix(self) -> Option<String> {
        self.ipv4(0).map(|address| format!("{address}/24"))
    }

    /// The IPv6 network.
    pub(crate) fn v6_prefix(self) -> Option<String> {
        self.ipv6(0).map(|address| format!("{address}/64"))
    }
}
