//! A range of IP addresses.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range of IP addresses that share their first bits (RFC 4632), such as `192.168.0.0/16`; a lone address is a range of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    addr: IpAddr,
    prefix: u8,
}

impl Network {
    /// An IPv4 network; `None` where the prefix is longer than an address. Bits behind the prefix are cleared.
    #[must_use]
    pub const fn v4(addr: Ipv4Addr, prefix: u8) -> Option<Self> {
        if prefix > 32 {
            return None;
        }
        let mask = match prefix {
            0 => 0,
            bits => u32::MAX << (32 - bits),
        };
        let addr = IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask));
        Some(Self { addr, prefix })
    }

    /// An IPv6 network; `None` where the prefix is longer than an address. Bits behind the prefix are cleared.
    #[must_use]
    pub const fn v6(addr: Ipv6Addr, prefix: u8) -> Option<Self> {
        if prefix > 128 {
            return None;
        }
        let mask = match prefix {
            0 => 0,
            bits => u128::MAX << (128 - bits),
        };
        let addr = IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask));
        Some(Self { addr, prefix })
    }

    /// Whether an address is in it. IPv4 in IPv6 clothes is IPv6 here.
    #[must_use]
    pub const fn contains(&self, ip: IpAddr) -> bool {
        let own = match ip {
            IpAddr::V4(ip) => Self::v4(ip, self.prefix),
            IpAddr::V6(ip) => Self::v6(ip, self.prefix),
        };
        match (own, self.addr) {
            (
                Some(Self {
                    addr: IpAddr::V4(one),
                    ..
                }),
                IpAddr::V4(other),
            ) => one.to_bits() == other.to_bits(),
            (
                Some(Self {
                    addr: IpAddr::V6(one),
                    ..
                }),
                IpAddr::V6(other),
            ) => one.to_bits() == other.to_bits(),
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    fn from(addr: IpAddr) -> Self {
        let prefix = if addr.is_ipv4() { 32 } else { 128 };
        Self { addr, prefix }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// The text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a network, such as 192.168.0.0/16 or fd00::/8, or one address")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let Some((addr, prefix)) = text.split_once('/') else {
            let addr: IpAddr = text.parse().map_err(|_| NetworkError)?;
            return Ok(addr.into());
        };
        let prefix = prefix.parse().map_err(|_| NetworkError)?;
        let network = match addr.parse().map_err(|_| NetworkError)? {
            IpAddr::V4(addr) => Self::v4(addr, prefix),
            IpAddr::V6(addr) => Self::v6(addr, prefix),
        };
        network.ok_or(NetworkError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, addr: &str) -> bool {
        let network: Network = network.parse().unwrap();
        network.contains(addr.parse().unwrap())
    }

    #[test]
    fn the_first_bits_decide() {
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(
            holds("10.1.2.3/8", "10.9.9.9"),
            "bits behind the prefix do not count"
        );
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "2a0d::1") && !holds("::/0", "192.0.2.1"));
        assert!(holds("fd00::/8", "fdab::1") && !holds("fd00::/8", "fe80::1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(!holds("0.0.0.0/32", "::"));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10/8",
            "x/8",
            "10.0.0.0/-1",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
        assert_eq!(
            "10.1.2.3/8".parse::<Network>().unwrap().to_string(),
            "10.0.0.0/8"
        );
    }
}
