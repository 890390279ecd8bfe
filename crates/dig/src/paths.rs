//! How a node finds paths through NATs and firewalls.

use dig_nat::{attempt::Strategy, turn::TurnServer};
use dig_types::{Method, NodeId, PeerAddr};
use std::{collections::BTreeSet, fmt, io, net::SocketAddr, str::FromStr};

/// The port of STUN (RFC 8489 §18.6).
const STUN_PORT: u16 = 3478;

/// A STUN server: `HOST:PORT`, `HOST`, or `stun:HOST:PORT` (RFC 7064).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StunServer {
    host: String,
    port: u16,
}

/// The text names no STUN server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected HOST:PORT, such as stun.example.org:3478 or 192.0.2.1:3478")]
pub struct StunServerError;

impl FromStr for StunServer {
    type Err = StunServerError;

    fn from_str(text: &str) -> Result<Self, StunServerError> {
        let text = text.strip_prefix("stun:").unwrap_or(text);
        if let Ok(addr) = text.parse::<SocketAddr>() {
            return Self::new(&addr.ip().to_string(), addr.port());
        }
        if let Ok(ip) = text.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            return Self::new(&ip.to_string(), STUN_PORT);
        }
        match text.rsplit_once(':') {
            Some((host, port)) => Self::new(host, port.parse().map_err(|_| StunServerError)?),
            // A bare word is more likely a mistake than a host of this network.
            None if text.contains('.') => Self::new(text, STUN_PORT),
            None => Err(StunServerError),
        }
    }
}

impl fmt::Display for StunServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl StunServer {
    /// Public servers, asked where the user names none and allows it. Several operators, so that no single one sees everybody.
    pub fn public() -> Vec<Self> {
        [
            "stun.cloudflare.com",
            "stun.nextcloud.com",
            "stun.l.google.com",
        ]
        .iter()
        .zip([STUN_PORT, 443, 19302])
        .map(|(host, port)| Self {
            host: (*host).to_owned(),
            port,
        })
        .collect()
    }

    fn new(host: &str, port: u16) -> Result<Self, StunServerError> {
        let plausible = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
        if host.is_empty() || port == 0 || !host.chars().all(plausible) {
            return Err(StunServerError);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Its addresses; asks the system's resolver if it is a name.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        Ok(found.collect())
    }
}

/// How a node finds paths through NATs and firewalls.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PathOptions {
    /// Servers that tell the node its outside address. Default: none.
    pub stun: Vec<StunServer>,
    /// Which ways of getting a path may be used. Default: all.
    pub methods: Vec<Method>,
    /// All at once, or one after the other. Default: all at once.
    pub strategy: Strategy,
    /// Whether routers are asked to map the node's port. Default: yes; never where the node listens on loopback only.
    pub port_mapping: bool,
    /// Servers that relay where nothing direct is possible, and until it is. Default: none.
    pub turn: Vec<TurnServer>,
    /// Whether nothing but relays may be used: peers then learn no address of this node. Default: no.
    pub relay_only: bool,
    /// Whether a NAT that gives each destination another port may be met by many packets to one peer (the birthday method). Default: yes; it
    /// fills some hundred entries of the router's table for half a minute.
    pub birthday: bool,
    /// Peers that introduce this node to others. Default: none.
    pub via: Vec<PeerAddr>,
    /// The only peers whose offers are answered; [`NodeBuilder::trust`](crate::NodeBuilder::trust) sets it too. Default: everybody's.
    pub peers: Option<BTreeSet<NodeId>>,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self {
            stun: Vec::new(),
            methods: Method::ALL.to_vec(),
            strategy: Strategy::Race,
            port_mapping: true,
            turn: Vec::new(),
            relay_only: false,
            birthday: true,
            via: Vec::new(),
            peers: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_servers_in_every_spelling() {
        for (text, shown) in [
            ("stun.example.org", "stun.example.org:3478"),
            ("stun:stun.example.org:19302", "stun.example.org:19302"),
            ("192.0.2.1", "192.0.2.1:3478"),
            ("[2001:db8::1]:5349", "[2001:db8::1]:5349"),
            ("2001:db8::1", "[2001:db8::1]:3478"),
        ] {
            assert_eq!(text.parse::<StunServer>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "nowhere",
            ":3478",
            "host:0",
            "host:99999",
            "a b:1",
            "http://x.y:1",
        ] {
            assert_eq!(text.parse::<StunServer>(), Err(StunServerError), "{text}");
        }
    }
}
