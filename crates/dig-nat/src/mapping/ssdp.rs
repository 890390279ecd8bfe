//! Whose answer to a search for UPnP routers is believed, and what is fetched because of it.
//!
//! SSDP has no authentication: anybody who can send us a datagram can name a URL that we then fetch. So an answer counts only from
//! a machine on the own link, for a URL on that very machine, on a port where descriptions live; the default
//! gateway's comes first, and few are followed.
//!
//! Over IPv6 a router answers from its link-local address and names a global one. There the two cannot be compared, so one of
//! them must be the default gateway's, and the other one on the own link.

use super::network::Link;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// UPnP Device Architecture 2.0 §1.2 and annex A.
const PORT: u16 = 1900;
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(239, 255, 255, 250);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc);
/// What is searched for: the devices of IGD 2 and 1, and their services for routers that answer to nothing else.
const TARGETS_V4: &[&str] = &[
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
const TARGETS_V6: &[&str] = &[
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1",
];
/// Most answers that are looked at: a network with a dozen routers sends fewer.
const MAX_ANSWERS: u32 = 64;
/// Most URLs that are fetched.
const MAX_LOCATIONS: usize = 4;
/// Longest path of a URL.
const MAX_PATH: usize = 256;

/// Where a search is sent: to the group, and to the gateway itself for networks that swallow multicast (§1.3.2 allows both).
pub(super) fn targets(link: &Link) -> [SocketAddr; 2] {
    let group = match link.local() {
        IpAddr::V4(_) => SocketAddr::new(GROUP_V4.into(), PORT),
        IpAddr::V6(_) => SocketAddr::V6(SocketAddrV6::new(GROUP_V6, PORT, 0, link.scope())),
    };
    [group, link.gateway(PORT)]
}

/// The datagrams of a search.
pub(super) fn questions(link: &Link) -> impl Iterator<Item = String> + use<> {
    let (group, targets) = match link.local() {
        IpAddr::V4(_) => (GROUP_V4.to_string(), TARGETS_V4),
        IpAddr::V6(_) => (format!("[{GROUP_V6}]"), TARGETS_V6),
    };
    targets.iter().map(move |target| {
        format!(
            "M-SEARCH * HTTP/1.1\r\nHOST: {group}:{PORT}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n"
        )
    })
}

/// Where a description is to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) addr: SocketAddr,
    pub(super) path: String,
    /// Whether it is the default gateway's.
    is_gateway: bool,
}

/// What a search brought.
#[derive(Debug)]
pub(super) struct Search {
    link: Link,
    answers: u32,
    known: Vec<Location>,
    followed: usize,
    misleading: bool,
}

impl Search {
    pub(super) const fn new(link: Link) -> Self {
        Self {
            link,
            answers: 0,
            known: Vec::new(),
            followed: 0,
            misleading: false,
        }
    }

    /// A datagram came.
    pub(super) fn heard(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.answers += 1;
        if self.answers > MAX_ANSWERS {
            return;
        }
        let Some(location) = location_header(datagram) else {
            return;
        };
        match self.vet(from, location) {
            Some(location) if self.known.contains(&location) => {}
            Some(location) if location.is_gateway => {
                self.known.insert(self.followed, location);
                self.known.truncate(MAX_LOCATIONS);
            }
            Some(location) if self.known.len() < MAX_LOCATIONS => self.known.push(location),
            Some(_) => {}
            None => self.misleading = true,
        }
    }

    /// The next description to fetch: the gateway's, or with `patience` at its end, anybody's on the link.
    pub(super) fn next(&mut self, patience_is_over: bool) -> Option<Location> {
        let next = self.known.get(self.followed)?;
        if !patience_is_over && !next.is_gateway {
            return None;
        }
        self.followed += 1;
        Some(next.clone())
    }

    /// Whether somebody tried to send us elsewhere.
    pub(super) const fn was_misled(&self) -> bool {
        self.misleading
    }

    /// The location, if it is on the neighbour that named it.
    fn vet(&self, from: SocketAddr, url: &str) -> Option<Location> {
        let rest = strip_scheme(url)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !br#"#"<>\^`{|}"#.contains(&byte);
        let usual_port = port == 80 || port >= 1024;
        let fits = path.len() <= MAX_PATH && path.bytes().all(plain);
        let is_gateway = self.link.is_gateway(host) || self.link.is_gateway(from.ip());
        (self.belongs(from, host) && usual_port && fits).then(|| Location {
            addr: SocketAddr::new(host, port),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            is_gateway,
        })
    }

    /// Whether `host` is a neighbour, and the machine from which an answer came.
    fn belongs(&self, from: SocketAddr, host: IpAddr) -> bool {
        let link = &self.link;
        match (from, host) {
            (SocketAddr::V4(_), IpAddr::V4(_)) => from.ip() == host && link.is_neighbour(host),
            (SocketAddr::V6(from), IpAddr::V6(host)) => {
                let near = from.ip().is_unicast_link_local() && from.scope_id() == link.scope();
                let near = near || link.is_neighbour((*from.ip()).into());
                let either = link.is_gateway((*from.ip()).into()) || link.is_gateway(host.into());
                // From a link-local address the router would see another machine than the pinhole is for.
                let global = !host.is_unicast_link_local();
                near && either && global && link.is_neighbour(host.into())
            }
            _ => false,
        }
    }
}

/// The host of a URL, which must be an address in its one spelling: names are never resolved.
fn host_and_port(authority: &str) -> Option<(IpAddr, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host.parse::<Ipv6Addr>().ok()?.into(), port)
        }
        None => {
            let host = authority.split(':').next()?;
            (
                host.parse::<Ipv4Addr>().ok()?.into(),
                &authority[host.len()..],
            )
        }
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok()?,
        None if port.is_empty() => 80,
        None => return None,
    };
    Some((host, port))
}

fn strip_scheme(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_at_checked("http://".len())?;
    scheme.eq_ignore_ascii_case("http://").then_some(rest)
}

/// The value of the header `LOCATION` of a response.
fn location_header(datagram: &[u8]) -> Option<&str> {
    let text = str::from_utf8(datagram).ok()?;
    let mut lines = text.lines();
    let mut status = lines.next()?.split_ascii_whitespace();
    if !status.next()?.starts_with("HTTP/1.") || status.next()? != "200" {
        return None;
    }
    lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("location")
            .then_some(value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: &str = "192.168.1.1:1900";

    fn search() -> Search {
        let (local, gateway) = ([192, 168, 1, 20].into(), [192, 168, 1, 1].into());
        Search::new(Link::new(IpAddr::V4(local), 24, IpAddr::V4(gateway), 0))
    }

    fn answer(location: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nST: upnp:rootdevice\r\nLocation: {location}\r\n\r\n")
            .into_bytes()
    }

    fn followed(from: &str, location: &str) -> Option<String> {
        let mut search = search();
        search.heard(from.parse().unwrap(), &answer(location));
        let next = search.next(true);
        assert_eq!(search.was_misled(), next.is_none(), "{location}");
        next.map(|location| format!("{}{}", location.addr, location.path))
    }

    #[test]
    fn honest_answers_are_followed() {
        for (location, expected) in [
            (
                "http://192.168.1.1:5000/rootDesc.xml",
                "192.168.1.1:5000/rootDesc.xml",
            ),
            (
                "HTTP://192.168.1.1/igd.xml?a=b",
                "192.168.1.1:80/igd.xml?a=b",
            ),
            ("http://192.168.1.1:49152", "192.168.1.1:49152/"),
        ] {
            assert_eq!(followed(GATEWAY, location).as_deref(), Some(expected));
        }
        let other = followed("192.168.1.2:1900", "http://192.168.1.2:5000/x");
        assert_eq!(other.as_deref(), Some("192.168.1.2:5000/x"));
    }

    #[test]
    fn answers_that_point_elsewhere_are_not() {
        for location in [
            "http://192.168.1.2:5000/x",
            "http://127.0.0.1:5000/x",
            "http://localhost:5000/x",
            "http://8.8.8.8:5000/x",
            "http://0.0.0.0:5000/x",
            "http://169.254.169.254/latest/meta-data",
            "http://192.168.1.20:5000/x",
            "http://192.168.1.1@8.8.8.8:5000/x",
            "http://8.8.8.8#@192.168.1.1:5000/x",
            "http://3232235777:5000/x",
            "http://0300.0250.1.1:5000/x",
            "http://[::ffff:192.168.1.1]:5000/x",
            "http://[::1]:5000/x",
            "https://192.168.1.1:5000/x",
            "file:///etc/passwd",
            "http://192.168.1.1:22/x",
            "http://192.168.1.1:25/x",
            "http://192.168.1.1:443/x",
            "http://192.168.1.1:0/x",
            "http://192.168.1.1:70000/x",
            "http://192.168.1.1:5000/x#y",
            "http://192.168.1.1:5000/x y",
            "http://192.168.1.1:5000/\u{e4}",
            "http://192.168.1.1:5000:80/x",
            "",
        ] {
            assert_eq!(followed(GATEWAY, location), None, "{location}");
        }
        let long = format!("http://192.168.1.1:5000/{}", "a".repeat(MAX_PATH));
        assert_eq!(followed(GATEWAY, &long), None);
    }

    #[test]
    fn only_neighbours_are_heard() {
        for from in ["8.8.8.8", "192.168.2.1", "127.0.0.1", "192.168.1.20"] {
            let (from, location) = (format!("{from}:1900"), format!("http://{from}:5000/x"));
            assert_eq!(followed(&from, &location), None, "{from}");
        }
    }

    /// What is followed over IPv6, with an own address of 2a0d::/64.
    fn followed_v6(gateway: &str, from: &str, location: &str) -> bool {
        let (local, gateway) = ("2a0d::20".parse().unwrap(), gateway.parse().unwrap());
        let mut search = Search::new(Link::new(local, 64, gateway, 2));
        search.heard(from.parse().unwrap(), &answer(location));
        search.next(false).is_some()
    }

    #[test]
    fn an_ipv6_router_is_known_by_either_address() {
        let url = "http://[2a0d::1]:5000/x";
        assert!(followed_v6("fe80::1", "[fe80::1%2]:1900", url));
        assert!(followed_v6("2a0d::1", "[fe80::1%2]:1900", url));
        assert!(followed_v6("2a0d::1", "[2a0d::1]:1900", url));
        for (gateway, from, url) in [
            // Another machine speaks for itself, or for others; the wrong interface; the gateway points elsewhere.
            ("fe80::1", "[fe80::2%2]:1900", "http://[2a0d::2]:5000/x"),
            ("fe80::1", "[2a0d::2]:1900", "http://[2a0d::2]:5000/x"),
            ("2a0d::1", "[fe80::1%3]:1900", url),
            ("fe80::1", "[2600::1]:1900", url),
            ("fe80::1", "[fe80::1%2]:1900", "http://[2600::1]:5000/x"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[::1]:5000/x"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[2a0d::20]:5000/x"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[fe80::1]:5000/x"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[2a0d::1]:22/x"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[2a0d::1]x/"),
            ("fe80::1", "[fe80::1%2]:1900", "http://[2a0d::1/"),
            ("fe80::1", "[fe80::1%2]:1900", "http://192.168.1.1:5000/x"),
            ("fe80::1", "192.168.1.1:1900", "http://192.168.1.1:5000/x"),
        ] {
            assert!(!followed_v6(gateway, from, url), "{gateway} {from} {url}");
        }
    }

    #[test]
    fn the_gateway_comes_first_and_others_only_when_it_stays_silent() {
        let mut search = search();
        let other = answer("http://192.168.1.9:5000/x");
        search.heard("192.168.1.9:1900".parse().unwrap(), &other);
        assert_eq!(search.next(false), None);
        let own = answer("http://192.168.1.1:5000/x");
        search.heard(GATEWAY.parse().unwrap(), &own);
        let next = search.next(false).unwrap();
        assert_eq!(next.addr, "192.168.1.1:5000".parse().unwrap());
        assert_eq!(search.next(false), None);
        let next = search.next(true).unwrap();
        assert_eq!(next.addr, "192.168.1.9:5000".parse().unwrap());
        assert_eq!(search.next(true), None);
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut search = search();
        for n in 0..1000 {
            let url = format!("http://192.168.1.9:5000/{n}");
            search.heard("192.168.1.9:1900".parse().unwrap(), &answer(&url));
        }
        let followed = std::iter::from_fn(|| search.next(true)).count();
        assert_eq!(followed, MAX_LOCATIONS);
        for _ in 0..1000 {
            search.heard(
                GATEWAY.parse().unwrap(),
                &answer("http://192.168.1.1:5000/late"),
            );
        }
        assert_eq!(search.next(true), None);
    }

    #[test]
    fn garbage_is_ignored() {
        for datagram in [
            &b""[..],
            b"\xff\xff",
            b"NOTIFY * HTTP/1.1\r\nLOCATION: http://192.168.1.1:5000/x\r\n\r\n",
            b"HTTP/1.1 500 no\r\nLOCATION: http://192.168.1.1:5000/x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nSERVER: x\r\n\r\n",
        ] {
            let mut search = search();
            search.heard(GATEWAY.parse().unwrap(), datagram);
            assert_eq!(search.next(true), None);
        }
    }
}
