//! PCP (RFC 6887): the MAP exchange, encoded and decoded here.
//!
//! The crate `crab_nat` speaks it too, but its socket is bound to no address: over IPv6 the system then takes the
//! link-local address towards the gateway, which is not the client address in the request, and the server must refuse that with
//! ADDRESS_MISMATCH (§8.1). It also gives up at the first datagram that is not the answer, where §8.3 says to ignore it.

use super::{
    exchange::{SERVER_PORT, ask, connect},
    leases::Granted,
    network::Link,
    refusal::Refusal,
};
use crate::candidate::Transport;
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

const VERSION: u8 = 2;
const MAP: u8 = 1;
const RESPONSE: u8 = 0x80;
/// Header and MAP data (§7.1, §11.1).
const LENGTH: usize = 60;
/// §7: no message is longer.
const MAX_LENGTH: usize = 1100;
/// A response without its MAP data: what some servers send with an error.
const HEADER: usize = 24;

/// Proves that a later request is from who made the mapping (§11.1).
pub(super) type Nonce = [u8; 12];

/// A request to map a port of this machine (§11.1).
#[derive(Debug, Clone, Copy)]
pub(super) struct MapRequest {
    pub(super) nonce: Nonce,
    pub(super) transport: Transport,
    /// What is to be mapped; its address is that which the request comes from.
    pub(super) internal: SocketAddr,
    /// The outside port that is asked for.
    pub(super) external_port: u16,
    /// In seconds; 0 removes the mapping (§15).
    pub(super) lifetime: u32,
}

impl MapRequest {
    fn encode(&self) -> [u8; LENGTH] {
        let any: IpAddr = match self.internal {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let mut bytes = [0; LENGTH];
        let fields: [(usize, &[u8]); 8] = [
            (0, &[VERSION, MAP]),
            (4, &self.lifetime.to_be_bytes()),
            (8, &octets(self.internal.ip())),
            (24, &self.nonce),
            (36, &[protocol(self.transport)]),
            (40, &self.internal.port().to_be_bytes()),
            (42, &self.external_port.to_be_bytes()),
            // §11.1: no wish for an address is "any" of the right family.
            (44, &octets(any)),
        ];
        for (at, field) in fields {
            bytes[at..at + field.len()].copy_from_slice(field);
        }
        bytes
    }

    /// The answer to this request; `None` if it is not one (§8.3: ignored).
    fn decode(&self, bytes: &[u8]) -> Option<Result<Granted, Refusal>> {
        let (&[version, opcode, _, code], rest) = bytes.split_first_chunk::<4>()?;
        // §9: a server of another version, or of NAT-PMP alone, answers in its own that it does not support this one.
        if opcode & RESPONSE != 0 && (version == 0 || code == 1) {
            return Some(Err(Refusal::Unsupported));
        }
        let well_formed =
            (HEADER..=MAX_LENGTH).contains(&bytes.len()) && bytes.len().is_multiple_of(4);
        if version != VERSION || opcode != RESPONSE | MAP || !well_formed {
            return None;
        }
        let lifetime = u32::from_be_bytes(*rest.first_chunk()?);
        let epoch = u32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
        let Some(data) = bytes.get(HEADER..LENGTH) else {
            return (code != 0).then_some(Err(refusal(code)));
        };
        let own = data.get(..12)? == self.nonce
            && *data.get(12)? == protocol(self.transport)
            && data.get(16..18)? == self.internal.port().to_be_bytes();
        if !own {
            return None;
        }
        if code != 0 {
            return Some(Err(refusal(code)));
        }
        let port = u16::from_be_bytes(*data.get(18..)?.first_chunk()?);
        let external = Ipv6Addr::from(*data.get(20..)?.first_chunk::<16>()?).to_canonical();
        let same_family = external.is_ipv4() == self.internal.is_ipv4();
        // §15: a deletion is answered with lifetime 0, and the port may be anything.
        if !same_family || (port == 0 || lifetime == 0) && self.lifetime != 0 {
            return Some(Err(Refusal::Nonsense));
        }
        Some(Ok(Granted {
            external: Some(external),
            port,
            lifetime: Some(Duration::from_secs(lifetime.into())),
            epoch: Some(epoch),
            token: None,
        }))
    }

    /// Asks the gateway of that link.
    pub(super) async fn ask(&self, link: &Link) -> Result<Granted, Refusal> {
        let socket = connect(self.internal.ip(), link.gateway(SERVER_PORT)).await?;
        ask(&socket, &self.encode(), |bytes| self.decode(bytes)).await?
    }
}

/// IANA's protocol numbers.
const fn protocol(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    }
}

/// §5: an IPv4 address is written as IPv4-mapped.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// §7.4.
const fn refusal(code: u8) -> Refusal {
    match code {
        1 | 4 | 5 | 9 => Refusal::Unsupported,
        2 => Refusal::Denied,
        7 => Refusal::NoOutside,
        8 | 10 => Refusal::Exhausted,
        11 => Refusal::Conflict,
        12 => Refusal::Distant,
        _ => Refusal::Code(code as u16),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(internal: &str, lifetime: u32) -> MapRequest {
        MapRequest {
            nonce: *b"nonce nonce!",
            transport: Transport::Udp,
            internal: internal.parse().unwrap(),
            external_port: 40000,
            lifetime,
        }
    }

    /// The answer of a server that grants the request at an address.
    fn grant(request: &MapRequest, external: &str, lifetime: u32) -> Vec<u8> {
        let mut bytes = request.encode().to_vec();
        bytes[1] |= RESPONSE;
        bytes[4..8].copy_from_slice(&lifetime.to_be_bytes());
        bytes[8..12].copy_from_slice(&77_u32.to_be_bytes());
        bytes[12..24].fill(0);
        bytes[44..60].copy_from_slice(&octets(external.parse().unwrap()));
        bytes
    }

    #[test]
    fn a_request_is_written_as_rfc_6887_says() {
        let bytes = request("192.168.1.20:40000", 7200).encode();
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0x1c, 0x20];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 20]);
        expected.extend(b"nonce nonce!");
        expected.extend([17, 0, 0, 0, 0x9c, 0x40, 0x9c, 0x40]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(bytes[..], expected);
    }

    #[test]
    fn grants_are_read_for_both_families() {
        for (internal, external) in [
            ("192.168.1.20:40000", "44.128.0.2"),
            ("[2a0d::20]:40000", "2a0d::20"),
        ] {
            let request = request(internal, 7200);
            let granted = request.decode(&grant(&request, external, 3600));
            let expected = Granted {
                external: external.parse().ok(),
                port: 40000,
                lifetime: Some(Duration::from_secs(3600)),
                epoch: Some(77),
                token: None,
            };
            assert_eq!(granted, Some(Ok(expected)));
        }
    }

    #[test]
    fn useless_grants_are_refused_and_foreign_ones_ignored() {
        let request = request("192.168.1.20:40000", 7200);
        let nonsense = Some(Err(Refusal::Nonsense));
        assert_eq!(request.decode(&grant(&request, "2a0d::20", 3600)), nonsense);
        assert_eq!(request.decode(&grant(&request, "44.128.0.2", 0)), nonsense);
        for at in [0, 1, 24, 35, 36, 40, 41] {
            let mut bytes = grant(&request, "44.128.0.2", 3600);
            bytes[at] ^= 0x55;
            assert_eq!(request.decode(&bytes), None, "byte {at}");
        }
    }

    #[test]
    fn a_removal_is_confirmed_with_no_lifetime() {
        let request = request("192.168.1.20:40000", 0);
        let answer = request.decode(&grant(&request, "44.128.0.2", 0));
        assert!(matches!(answer, Some(Ok(_))));
    }

    #[test]
    fn errors_are_told_apart() {
        let request = request("192.168.1.20:40000", 7200);
        for (code, expected) in [
            (1, Refusal::Unsupported),
            (2, Refusal::Denied),
            (8, Refusal::Exhausted),
            (12, Refusal::Distant),
            (200, Refusal::Code(200)),
        ] {
            let mut bytes = grant(&request, "44.128.0.2", 30);
            bytes[3] = code;
            assert_eq!(request.decode(&bytes), Some(Err(expected.clone())));
            assert_eq!(request.decode(&bytes[..HEADER]), Some(Err(expected)));
        }
        // A server of NAT-PMP alone (RFC 6886 §3.5).
        let old = [0, 0x81, 0, 1, 0, 0, 0, 9];
        assert_eq!(request.decode(&old), Some(Err(Refusal::Unsupported)));
    }

    proptest! {
        #[test]
        fn no_datagram_panics(bytes in prop::collection::vec(any::<u8>(), 0..1200), head in any::<bool>()) {
            let request = request("192.168.1.20:40000", 7200);
            let mut datagram = if head { grant(&request, "44.128.0.2", 9)[..44].to_vec() } else { Vec::new() };
            datagram.extend(bytes);
            request.decode(&datagram);
        }
    }
}
