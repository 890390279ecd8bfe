//! The interfaces of this machine: which addresses are worth telling, and who is near.

use crate::attempt::{Subnet, is_public};
use std::net::IpAddr;

/// One address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    name: String,
    subnet: Subnet,
}

/// The addresses of this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Interfaces(Vec<Entry>);

/// Networks that containers and virtual machines of this machine have among themselves begin like this; from elsewhere
/// their addresses mean another machine, or none.
const INNER: &[&str] = &["docker", "br-", "virbr", "vmnet", "vboxnet", "lxcbr", "cni"];

impl Interfaces {
    /// Those that are up now; none if the system does not say.
    pub(super) fn current() -> Self {
        let found = if_addrs::get_if_addrs().unwrap_or_else(|error| {
            tracing::debug!(%error, "the system does not tell its interfaces");
            Vec::new()
        });
        let up = found.into_iter().filter(if_addrs::Interface::is_oper_up);
        Self::new(up.map(|interface| {
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                if_addrs::IfAddr::V6(addr) => addr.prefixlen,
            };
            let ip = interface.ip();
            (interface.name, Subnet { ip, prefix })
        }))
    }

    fn new(entries: impl IntoIterator<Item = (String, Subnet)>) -> Self {
        let mut entries: Vec<Entry> = entries
            .into_iter()
            .map(|(name, subnet)| Entry { name, subnet })
            .collect();
        entries.sort();
        Self(entries)
    }

    /// The subnets of this machine; that of loopback only for a port bound there, where nothing else is near.
    pub(super) fn subnets(&self, bound: IpAddr) -> Vec<Subnet> {
        self.0
            .iter()
            .map(|entry| entry.subnet)
            .filter(|subnet| subnet.ip.is_loopback() == bound.is_loopback())
            .collect()
    }

    /// Own addresses that mean something elsewhere, best first and at most `most`: of a port bound to one address, that address.
    ///
    /// Public before private, and IPv4 and IPv6 by turns, so that many addresses of one family do not crowd out the other.
    pub(super) fn reachable(&self, bound: IpAddr, most: usize) -> Vec<IpAddr> {
        let bound = bound.to_canonical();
        if !bound.is_unspecified() {
            return vec![bound];
        }
        let elsewhere = |entry: &&Entry| means_something(entry.subnet.ip);
        let outer: Vec<&Entry> = self.0.iter().filter(elsewhere).collect();
        let has_outer = outer.iter().any(|entry| !entry.is_inner());
        let mut ranked: Vec<IpAddr> = outer
            .into_iter()
            .filter(|entry| !has_outer || !entry.is_inner())
            .map(|entry| entry.subnet.ip)
            .filter(|ip| bound.is_ipv6() || ip.is_ipv4())
            .collect();
        ranked.sort_by_key(|ip| (!is_public(*ip), *ip));
        ranked.dedup();
        let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = ranked.into_iter().partition(IpAddr::is_ipv4);
        let mut turns: Vec<(usize, IpAddr)> = v4.into_iter().enumerate().collect();
        turns.extend(v6.into_iter().enumerate());
        turns.sort_by_key(|(turn, ip)| (*turn, ip.is_ipv6()));
        turns.into_iter().map(|(_, ip)| ip).take(most).collect()
    }
}

impl Entry {
    fn is_inner(&self) -> bool {
        INNER.iter().any(|prefix| self.name.starts_with(prefix))
    }
}

/// Neither loopback nor link-local.
fn means_something(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || link_local)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(entries: &[(&str, &str)]) -> Interfaces {
        Interfaces::new(entries.iter().map(|(name, ip)| {
            let ip: IpAddr = ip.parse().unwrap();
            let prefix = if ip.is_ipv4() { 24 } else { 64 };
            (String::from(*name), Subnet { ip, prefix })
        }))
    }

    fn reachable(entries: &[(&str, &str)], bound: &str, most: usize) -> Vec<String> {
        let ips = interfaces(entries).reachable(bound.parse().unwrap(), most);
        ips.iter().map(IpAddr::to_string).collect()
    }

    const MACHINE: &[(&str, &str)] = &[
        ("lo", "127.0.0.1"),
        ("lo", "::1"),
        ("eth0", "10.0.0.5"),
        ("eth0", "fe80::5"),
        ("eth0", "fd00::5"),
        ("eth0", "2001:db8::5"),
        ("eth0", "2001:db8::6"),
        ("eth1", "192.0.2.5"),
        ("eth1", "169.254.3.3"),
        ("docker0", "172.17.0.1"),
    ];

    #[test]
    fn what_means_something_elsewhere_best_first() {
        assert_eq!(
            reachable(MACHINE, "::", 8),
            [
                "192.0.2.5",
                "2001:db8::5",
                "10.0.0.5",
                "2001:db8::6",
                "fd00::5"
            ]
        );
        assert_eq!(
            reachable(MACHINE, "::", 3),
            ["192.0.2.5", "2001:db8::5", "10.0.0.5"]
        );
        assert_eq!(reachable(MACHINE, "0.0.0.0", 8), ["192.0.2.5", "10.0.0.5"]);
    }

    #[test]
    fn a_bound_address_is_the_only_one() {
        assert_eq!(reachable(MACHINE, "127.0.0.1", 8), ["127.0.0.1"]);
        assert_eq!(reachable(MACHINE, "::ffff:10.0.0.5", 8), ["10.0.0.5"]);
    }

    #[test]
    fn a_network_of_containers_counts_where_there_is_no_other() {
        assert_eq!(
            reachable(&[("br-lan", "192.168.1.1")], "::", 8),
            ["192.168.1.1"]
        );
    }

    #[test]
    fn loopback_is_near_only_to_what_is_bound_there() {
        let near = |bound: &str, ip: &str| {
            interfaces(MACHINE)
                .subnets(bound.parse().unwrap())
                .iter()
                .any(|subnet| subnet.contains(ip.parse().unwrap()))
        };
        assert!(near("::", "10.0.0.200"));
        assert!(!near("::", "10.0.1.200"));
        assert!(!near("::", "127.0.0.1"));
        assert!(near("127.0.0.1", "127.0.0.1"));
        assert!(!near("127.0.0.1", "10.0.0.200"));
    }
}
