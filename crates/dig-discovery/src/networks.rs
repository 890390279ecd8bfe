//! Which addresses a stranger may make us dial.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

/// An address of this machine and the length of its network prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet {
    addr: IpAddr,
    prefix: u8,
    interface: u32,
}

impl Subnet {
    /// The subnet around `addr`; a prefix longer than the address means the address alone.
    pub const fn new(addr: IpAddr, prefix: u8) -> Self {
        Self {
            addr,
            prefix,
            interface: 0,
        }
    }

    fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let host_bits = 32 - u32::from(self.prefix.min(32));
                let differ = own.to_bits() ^ ip.to_bits();
                differ.checked_shr(host_bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let host_bits = 128 - u32::from(self.prefix.min(128));
                let differ = own.to_bits() ^ ip.to_bits();
                differ.checked_shr(host_bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// The networks that this machine is part of, and what may be dialled there on a stranger's word.
///
/// Addresses are judged after unwrapping IPv4 from its IPv6 disguises (mapped, compatible, 6to4,
/// Teredo, NAT64), so no spelling gets around the rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Subnet>);

impl Networks {
    /// The given subnets.
    pub fn new(subnets: impl IntoIterator<Item = Subnet>) -> Self {
        Self(subnets.into_iter().collect())
    }

    /// The networks of this machine now.
    pub fn current() -> io::Result<Self> {
        let subnet = |interface: if_addrs::Interface| Subnet {
            addr: interface.ip(),
            prefix: match &interface.addr {
                if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                if_addrs::IfAddr::V6(addr) => addr.prefixlen,
            },
            interface: interface.index.unwrap_or(0),
        };
        Ok(Self::new(if_addrs::get_if_addrs()?.into_iter().map(subnet)))
    }

    /// Whether the address is in a subnet of this machine, loopback not counted.
    pub fn on_link(&self, ip: IpAddr) -> bool {
        let ip = unwrap_ipv4(ip);
        self.0
            .iter()
            .any(|subnet| !subnet.addr.is_loopback() && subnet.contains(ip))
    }

    /// Whether a ticket may make us dial it: a public address, or a private one in a subnet of our own;
    /// never loopback, multicast, broadcast or unspecified (`docs/protocol.md` §8).
    pub fn allows_ticket(&self, addr: &SocketAddr) -> bool {
        let ip = unwrap_ipv4(addr.ip());
        addr.port() != 0
            && is_unicast(ip)
            && !ip.is_loopback()
            && (!is_private(ip) || self.on_link(ip))
    }

    /// Whether an answer heard by multicast on these interfaces may make us dial it: an address on
    /// the link, a private one, or loopback where it was heard on loopback; ports from 1024 on, so
    /// that a liar cannot point us at the system services of others.
    pub fn allows_local(&self, addr: &SocketAddr, heard_on: &[u32]) -> bool {
        let ip = unwrap_ipv4(addr.ip());
        if addr.port() < 1024 || !is_unicast(ip) {
            return false;
        }
        if ip.is_loopback() {
            return self
                .0
                .iter()
                .any(|subnet| subnet.addr.is_loopback() && heard_on.contains(&subnet.interface));
        }
        is_private(ip) || self.on_link(ip)
    }
}

/// Unwraps an IPv4 address from the IPv6 forms that carry one to an IPv4 host.
fn unwrap_ipv4(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let low = Ipv4Addr::from_bits((v6.to_bits() & u128::from(u32::MAX)) as u32);
    match v6.segments() {
        _ if v6.is_loopback() || v6.is_unspecified() => ip,
        // Mapped (RFC 4291 §2.5.5.2), compatible (§2.5.5.1), translated (RFC 2765).
        [0, 0, 0, 0, 0, 0xffff | 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => low.into(),
        // NAT64, RFC 6052 §2.1 and RFC 8215.
        [0x64, 0xff9b, 0 | 1, ..] => low.into(),
        // 6to4, RFC 3056 §2.
        [0x2002, high, low, ..] => {
            Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
        }
        // Teredo, RFC 4380 §4: the client's address with all bits turned.
        [0x2001, 0, ..] => Ipv4Addr::from_bits(!low.to_bits()).into(),
        _ => ip,
    }
}

fn is_unicast(ip: IpAddr) -> bool {
    match ip {
        // 0.0.0.0/8 (RFC 791), 224.0.0.0/4 and 240.0.0.0/4 (RFC 1112 §4) name no host.
        IpAddr::V4(ip) => ip.octets()[0] != 0 && ip.octets()[0] < 224,
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    }
}

fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || is_link_local(&ip),
    }
}

pub(crate) fn is_link_local(ip: &Ipv6Addr) -> bool {
    ip.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks() -> Networks {
        let subnet = |addr: &str, prefix, interface| Subnet {
            interface,
            ..Subnet::new(addr.parse().unwrap(), prefix)
        };
        Networks::new([
            subnet("127.0.0.1", 8, 1),
            subnet("10.77.3.1", 24, 2),
            subnet("198.51.100.9", 28, 2),
            subnet("2001:db8:1::9", 64, 2),
        ])
    }

    fn addr(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 4433)
    }

    #[test]
    fn tickets_reach_neither_inside_nor_loopback() {
        let networks = networks();
        for allowed in ["192.0.2.1", "10.77.3.200", "2001:db8:5::1", "100.64.0.1"] {
            assert!(networks.allows_ticket(&addr(allowed)), "{allowed}");
        }
        for refused in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001:0:1:2:3:4:80ff:fffe",
            "10.77.4.1",
            "192.168.0.1",
            "172.16.0.1",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fd00::1",
            "fe80::1",
            "224.0.0.251",
            "ff02::fb",
            "255.255.255.255",
            "240.0.0.1",
        ] {
            assert!(!networks.allows_ticket(&addr(refused)), "{refused}");
        }
        assert!(!networks.allows_ticket(&SocketAddr::new("192.0.2.1".parse().unwrap(), 0)));
    }

    #[test]
    fn multicast_answers_reach_only_what_is_near() {
        let networks = networks();
        for allowed in [
            "10.77.3.2",
            "192.168.9.1",
            "198.51.100.1",
            "2001:db8:1::1",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(networks.allows_local(&addr(allowed), &[2]), "{allowed}");
        }
        for refused in [
            "198.51.100.16",
            "192.0.2.1",
            "2001:db8:2::1",
            "127.0.0.1",
            "::1",
            "::ffff:127.0.0.1",
            "224.0.0.1",
        ] {
            assert!(!networks.allows_local(&addr(refused), &[2]), "{refused}");
        }
        assert!(networks.allows_local(&addr("127.0.0.1"), &[1]));
        assert!(!networks.allows_local(&SocketAddr::new("10.77.3.2".parse().unwrap(), 80), &[2]));
    }

    #[test]
    fn prefixes_of_any_length() {
        for (prefix, inside) in [(0, true), (8, true), (24, false), (32, false), (255, false)] {
            let subnet = Subnet::new("10.0.0.1".parse().unwrap(), prefix);
            assert_eq!(
                subnet.contains("10.9.0.1".parse().unwrap()),
                inside,
                "{prefix}"
            );
        }
        let all = Subnet::new("::1".parse().unwrap(), 0);
        assert!(all.contains("2001:db8::1".parse().unwrap()));
        assert!(!all.contains("10.0.0.1".parse().unwrap()));
    }
}
