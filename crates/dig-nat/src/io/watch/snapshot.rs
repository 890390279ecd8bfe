//! What makes up the network that this machine is on: if any of it differs, it is another network.

use std::{collections::BTreeSet, net::IpAddr};

/// Networks that containers and virtual machines of this machine have among themselves begin like this; they come and go without
/// any meaning for the world outside.
const INNER: &[&str] = &[
    "docker", "br-", "virbr", "vmnet", "vboxnet", "lxcbr", "cni", "veth",
];

/// The addresses of this machine and its ways out, as far as they mean anything elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    addresses: BTreeSet<(String, IpAddr, u8)>,
    /// Routes, each as the system writes it.
    routes: BTreeSet<String>,
}

impl Snapshot {
    /// As it is now; what the system does not tell is left out.
    pub(super) fn now() -> Self {
        let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
        let up = interfaces.into_iter().filter(|interface| {
            interface.is_oper_up() && !is_inner(&interface.name) && means_something(interface.ip())
        });
        let addresses = up.map(|interface| {
            let prefix = match &interface.addr {
                if_addrs::IfAddr::V4(addr) => addr.prefixlen,
                if_addrs::IfAddr::V6(addr) => addr.prefixlen,
            };
            let ip = interface.ip();
            (interface.name, ip, prefix)
        });
        Self {
            addresses: addresses.collect(),
            routes: system::routes(),
        }
    }
}

fn is_inner(interface: &str) -> bool {
    INNER.iter().any(|prefix| interface.starts_with(prefix))
}

/// Neither loopback nor link-local.
fn means_something(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || link_local)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use super::is_inner;
    use std::{collections::BTreeSet, fs};

    /// The network of the calling thread: the one of the process may be another.
    const HERE: &str = "/proc/thread-self/net";

    /// Routes through a gateway, and IPv6 addresses with their state: one that is still being checked for duplicates
    /// (RFC 4862 §5.4) cannot be used, and the kernel does not count its coming to use as a change of addresses.
    pub(super) fn routes() -> BTreeSet<String> {
        let read = |file: &str| fs::read_to_string(format!("{HERE}/{file}")).unwrap_or_default();
        let mut routes = BTreeSet::new();
        routes.extend(read("route").lines().filter_map(ipv4));
        routes.extend(read("ipv6_route").lines().filter_map(ipv6));
        routes.extend(read("if_inet6").lines().filter_map(address));
        routes
    }

    /// Interface, destination, gateway, flags, counters, metric, mask, ...
    pub(super) fn ipv4(line: &str) -> Option<String> {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [interface, to, gateway, _, _, _, metric, mask, ..] = columns[..] else {
            return None;
        };
        let outwards = gateway != "00000000" && gateway != "Gateway" || mask == "00000000";
        (outwards && !is_inner(interface))
            .then(|| format!("{to}/{mask} via {gateway} dev {interface} metric {metric}"))
    }

    /// Destination, its length, source, its length, next hop, metric, counters, flags, interface.
    pub(super) fn ipv6(line: &str) -> Option<String> {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [to, length, _, _, hop, metric, _, _, _, interface] = columns[..] else {
            return None;
        };
        let outwards = hop.bytes().any(|digit| digit != b'0');
        (outwards && !is_inner(interface))
            .then(|| format!("{to}/{length} via {hop} dev {interface} metric {metric}"))
    }

    /// Address, interface number, prefix length, scope (00: global), flags, interface.
    pub(super) fn address(line: &str) -> Option<String> {
        /// `IFA_F_TENTATIVE` and `IFA_F_DADFAILED`.
        const UNUSABLE: u8 = 0x48;
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let [address, _, _, "00", flags, interface] = columns[..] else {
            return None;
        };
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (!is_inner(interface)).then(|| {
            let usable = flags & UNUSABLE == 0;
            format!("{address} dev {interface} usable {usable}")
        })
    }
}

/// Elsewhere the addresses are all that is looked at.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::collections::BTreeSet;

    pub(super) fn routes() -> BTreeSet<String> {
        BTreeSet::new()
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use super::system::{address, ipv4, ipv6};

    #[test]
    fn only_routes_that_lead_out_count() {
        let header = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU";
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        let link = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let tunnel = "tun0\t00000000\t00000000\t0001\t0\t0\t50\t00000000\t0\t0\t0";
        assert_eq!(ipv4(header), None);
        assert!(ipv4(default).is_some());
        assert_eq!(ipv4(link), None);
        assert!(ipv4(tunnel).is_some(), "a tunnel has no gateway");
        assert_eq!(ipv4(&default.replace("eth0", "docker0")), None);
        assert_eq!(ipv4("eth0 00000000"), None);
    }

    #[test]
    fn counters_of_routes_are_no_change() {
        let route = |hop: &str, used: &str| {
            let zero = "0".repeat(32);
            ipv6(&format!(
                "{zero} 00 {zero} 00 {hop} 00000400 {used} {used} 00000003 eth0"
            ))
        };
        let hop = "fd000000000000000000000000000001";
        assert!(route(hop, "00000001").is_some());
        assert_eq!(route(hop, "00000001"), route(hop, "00000009"));
        assert_eq!(route(&"0".repeat(32), "00000001"), None);
    }

    #[test]
    fn an_address_counts_again_when_it_can_be_used() {
        let line = |scope: &str, flags: &str| {
            address(&format!(
                "fd000000000000000000000000000002 04 40 {scope} {flags}     eth0"
            ))
        };
        assert!(line("00", "40").is_some());
        assert_ne!(line("00", "40"), line("00", "80"));
        assert_eq!(line("20", "80"), None, "link-local");
    }
}
