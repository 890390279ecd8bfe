//! The way out of this machine: its default gateways, and the addresses that lead there.

use super::PortMapperConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

/// A default gateway and the own address that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    local: IpAddr,
    /// Length of the prefix that is on the link.
    prefix: u8,
    gateway: IpAddr,
    /// The interface of an IPv6 gateway, whose address is link-local as a rule (RFC 4861 §4.2).
    scope: u32,
}

impl Link {
    pub(super) const fn new(local: IpAddr, prefix: u8, gateway: IpAddr, scope: u32) -> Self {
        Self {
            local,
            prefix,
            gateway,
            scope,
        }
    }

    /// The own address; of IPv6 the one that others on the Internet see.
    pub(super) const fn local(&self) -> IpAddr {
        self.local
    }

    /// A port of the gateway.
    pub(super) const fn gateway(&self, port: u16) -> SocketAddr {
        match self.gateway {
            IpAddr::V4(_) => SocketAddr::new(self.gateway, port),
            IpAddr::V6(ip) => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.scope)),
        }
    }

    /// The interface of an IPv6 gateway.
    pub(super) const fn scope(&self) -> u32 {
        self.scope
    }

    /// Whether this is the default gateway.
    pub(super) fn is_gateway(&self, ip: IpAddr) -> bool {
        ip == self.gateway
    }

    /// Whether an address is another machine of this link.
    pub(super) fn is_neighbour(&self, ip: IpAddr) -> bool {
        let on_link = match (self.local, ip) {
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
            _ => return false,
        };
        ip != self.local && (on_link || self.is_gateway(ip))
    }
}

/// The ways out, one for each address family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) v4: Option<Link>,
    pub(super) v6: Option<Link>,
}

impl Network {
    /// The ways out now. Reads a few files of the system; quick.
    pub(super) fn find(config: &PortMapperConfig) -> Self {
        let only = config.interface.as_deref();
        let v4 = config.gateway.or_else(|| routes::default_v4(only));
        Self {
            v4: v4.and_then(v4_link),
            v6: (config.ipv6.then(|| routes::default_v6(only)).flatten())
                .and_then(|(gateway, interface)| v6_link(gateway, &interface)),
        }
    }
}

fn v4_link(gateway: Ipv4Addr) -> Option<Link> {
    let local = source_towards(SocketAddr::new(gateway.into(), 9))?;
    let prefix = if_addrs::get_if_addrs()
        .ok()?
        .into_iter()
        .find_map(|interface| match interface.addr {
            if_addrs::IfAddr::V4(addr) if IpAddr::V4(addr.ip) == local => Some(addr.prefixlen),
            _ => None,
        });
    Some(Link::new(local, prefix.unwrap_or(32), gateway.into(), 0))
}

fn v6_link(gateway: Ipv6Addr, interface: &str) -> Option<Link> {
    let scope = if_addrs::get_if_addrs()
        .ok()?
        .into_iter()
        .find_map(|known| (known.name == interface).then_some(known.index)?)?;
    // Any global unicast address (RFC 4291 §2.4): the system's choice of source (RFC 6724) is what peers see.
    let outside = SocketAddr::new(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 1).into(), 9);
    let local = source_towards(outside).filter(|ip| super::leases::is_public(*ip))?;
    Some(Link::new(local, 64, gateway.into(), scope))
}

/// The own address from which packets to `remote` leave. Connecting a datagram socket sends nothing.
fn source_towards(remote: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(remote).ok()?;
    let local = socket.local_addr().ok()?.ip();
    (!local.is_unspecified() && !local.is_loopback() && local != remote.ip()).then_some(local)
}

/// Where the system tells its default routes.
#[cfg(target_os = "linux")]
mod routes {
    use std::{
        fs,
        net::{Ipv4Addr, Ipv6Addr},
    };

    /// Of this thread, not of this process: threads may be in different network namespaces.
    const TABLES: &str = "/proc/thread-self/net";

    pub(super) fn default_v4(only: Option<&str>) -> Option<Ipv4Addr> {
        parse_v4(&fs::read_to_string(format!("{TABLES}/route")).ok()?, only)
    }

    pub(super) fn default_v6(only: Option<&str>) -> Option<(Ipv6Addr, String)> {
        parse_v6(
            &fs::read_to_string(format!("{TABLES}/ipv6_route")).ok()?,
            only,
        )
    }

    /// The gateway of the default route with the smallest metric: `None` if that route has none, as a VPN's.
    pub(super) fn parse_v4(table: &str, only: Option<&str>) -> Option<Ipv4Addr> {
        let route = |line: &str| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [interface, target, gateway, _, _, _, metric, mask, ..] = *fields else {
                return None;
            };
            let is_default = target == "00000000" && mask == "00000000";
            (is_default && only.is_none_or(|only| only == interface))
                .then_some((metric.parse::<u32>().ok()?, gateway.to_owned()))
        };
        let (_, gateway) = (table.lines().filter_map(route)).min_by_key(|(metric, _)| *metric)?;
        // Written as the number that the four bytes are in memory.
        let bytes = u32::from_str_radix(&gateway, 16).ok()?.to_ne_bytes();
        Some(Ipv4Addr::from(bytes)).filter(|ip| !ip.is_unspecified())
    }

    /// The same for IPv6, and the interface.
    pub(super) fn parse_v6(table: &str, only: Option<&str>) -> Option<(Ipv6Addr, String)> {
        const REJECT: u32 = 0x0200;
        let route = |line: &str| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            let [
                target,
                length,
                _,
                _,
                gateway,
                metric,
                _,
                _,
                flags,
                interface,
            ] = *fields
            else {
                return None;
            };
            let is_default = length == "00" && target.bytes().all(|byte| byte == b'0');
            let flags = u32::from_str_radix(flags, 16).ok()?;
            let wanted = only.is_none_or(|only| only == interface) && interface != "lo";
            let metric = u32::from_str_radix(metric, 16).ok()?;
            (is_default && wanted && flags & REJECT == 0).then(|| {
                let gateway = gateway.to_owned();
                (metric, gateway, interface.to_owned())
            })
        };
        let (_, gateway, interface) =
            (table.lines().filter_map(route)).min_by_key(|(metric, ..)| *metric)?;
        let gateway = Ipv6Addr::from_bits(u128::from_str_radix(&gateway, 16).ok()?);
        (!gateway.is_unspecified()).then_some((gateway, interface))
    }
}

/// Where there is no such file: IPv4 only, by the way of the crate `natpmp`.
#[cfg(not(target_os = "linux"))]
mod routes {
    use std::net::{Ipv4Addr, Ipv6Addr};

    pub(super) fn default_v4(_only: Option<&str>) -> Option<Ipv4Addr> {
        natpmp::get_default_gateway().ok()
    }

    pub(super) fn default_v6(_only: Option<&str>) -> Option<(Ipv6Addr, String)> {
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const V4: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
        wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
        eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const V6: &str = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000002 00000000 00000001     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n\
        00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_best_default_route_counts() {
        let gateway = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(routes::parse_v4(V4, None), Some(gateway));
        assert_eq!(
            routes::parse_v4(V4, Some("wlan0")),
            Some(Ipv4Addr::new(192, 168, 1, 1))
        );
        assert_eq!(routes::parse_v4(V4, Some("eth1")), None);
        let through_vpn =
            format!("{V4}tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0\n");
        assert_eq!(routes::parse_v4(&through_vpn, None), None);
    }

    #[test]
    fn the_best_ipv6_default_route_counts() {
        let gateway = "fe80::1".parse().unwrap();
        assert_eq!(routes::parse_v6(V6, None), Some((gateway, "eth0".into())));
        assert_eq!(routes::parse_v6(V6, Some("lo")), None);
    }

    #[test]
    fn tables_that_make_no_sense_are_none() {
        for table in [
            "",
            "\n\n",
            "a b c d e f g h i j",
            "eth0 00000000 XYZ 3 0 0 1 00000000",
        ] {
            assert_eq!(routes::parse_v4(table, None), None);
            assert_eq!(routes::parse_v6(table, None), None);
        }
    }

    #[test]
    fn neighbours_share_the_link_and_are_not_this_machine() {
        let check = |own: &str, prefix, gateway: &str, ip: &str| {
            let link = Link::new(own.parse().unwrap(), prefix, gateway.parse().unwrap(), 0);
            link.is_neighbour(ip.parse().unwrap())
        };
        let (own, gateway) = ("192.168.1.20", "192.168.1.1");
        assert!(check(own, 24, gateway, "192.168.1.77"));
        for stranger in [
            "192.168.1.20",
            "192.168.2.77",
            "127.0.0.1",
            "2a0d::1",
            "::ffff:192.168.1.1",
        ] {
            assert!(!check(own, 24, gateway, stranger), "{stranger}");
        }
        assert!(check(own, 32, gateway, "192.168.1.1"));
        assert!(!check(own, 32, gateway, "192.168.1.2"));
        let (own, gateway) = ("2a0d:0:0:1::20", "fe80::1");
        assert!(check(own, 64, gateway, "2a0d:0:0:1::1"));
        assert!(check(own, 64, gateway, "fe80::1"));
        for stranger in ["fe80::2", "2a0d:0:0:2::1", "2a0d:0:0:1::20", "::1"] {
            assert!(!check(own, 64, gateway, stranger), "{stranger}");
        }
    }
}
