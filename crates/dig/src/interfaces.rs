//! The addresses by which other machines may reach this one.

use if_addrs::Interface;
use std::net::{IpAddr, Ipv6Addr};

/// Own addresses worth naming in a ticket, best first: IPv4 before IPv6, public before private; neither loopback nor
/// link-local ones, which mean nothing elsewhere.
pub fn reachable() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let up = interfaces.iter().filter(|interface| interface.is_oper_up());
    rank(up.map(Interface::ip))
}

fn rank(addrs: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let mut addrs: Vec<IpAddr> = addrs.filter(|ip| is_reachable(*ip)).collect();
    addrs.sort_by_key(|ip| (ip.is_ipv6(), is_inside(*ip), *ip));
    addrs.dedup();
    addrs
}

fn is_reachable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || link_local)
}

fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => Ipv6Addr::is_unique_local(&ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_can_dial_best_first() {
        let own = [
            "127.0.0.1",
            "fd00::1",
            "fe80::1",
            "10.0.0.1",
            "::1",
            "192.0.2.1",
            "169.254.1.1",
            "2001:db8::1",
            "10.0.0.1",
        ];
        let ranked = rank(own.iter().map(|ip| ip.parse().unwrap()));
        let expected = ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"];
        assert_eq!(ranked, expected.map(|ip| ip.parse::<IpAddr>().unwrap()));
    }
}
