//! Check packets: the datagrams that open NATs and prove a path.
//!
//! | bytes | field |
//! |---|---|
//! | 8 | magic |
//! | 8 | tag of the attempt |
//! | 1 | kind: 0 request, 1 response |
//! | 1 | role of the sender: 0 initiator, 1 responder |
//! | 1 | method that the request belongs to |
//! | 3 | zeros, ignored |
//! | 8 | transaction, of the requester's choice |
//! | 18 | response: where the request came from, IPv6 or mapped IPv4, and port; request: zeros |
//! | 16 | HMAC-SHA256 of all before, truncated |
//!
//! A response is as long as its request, so nobody is ever sent more than he sent.

use super::keys::{Keys, MAGIC, Role, Tag, method_number, method_of};
use bytes::Bytes;
use dig_types::Method;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Length of every check packet.
pub const CHECK: usize = 64;

/// What a check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Are you there?
    Request,
    /// I am, and you came from there.
    Response(SocketAddr),
}

/// A check packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) role: Role,
    pub(super) method: Method,
    pub(super) transaction: u64,
}

impl Check {
    pub(super) fn encode(&self, keys: &Keys) -> Bytes {
        let mut bytes = [0; CHECK];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&keys.tag().0);
        bytes[17] = self.role.number();
        bytes[18] = method_number(self.method);
        bytes[22..30].copy_from_slice(&self.transaction.to_be_bytes());
        if let Kind::Response(observed) = self.kind {
            bytes[16] = 1;
            bytes[30..46].copy_from_slice(&wide(observed.ip()).octets());
            bytes[46..48].copy_from_slice(&observed.port().to_be_bytes());
        }
        keys.seal(&mut bytes);
        Bytes::copy_from_slice(&bytes)
    }

    /// The check in a datagram that the other side sent for this attempt; `None` for anything else.
    pub(super) fn decode(bytes: &[u8], keys: &Keys, from: Role) -> Option<Self> {
        let bytes: &[u8; CHECK] = bytes.try_into().ok()?;
        if Tag::read(bytes) != Some(keys.tag()) || bytes[17] != from.number() || !keys.verify(bytes)
        {
            return None;
        }
        let (transaction, _) = bytes[22..].split_first_chunk()?;
        let (ip, _) = bytes[30..].split_first_chunk::<16>()?;
        let ip = Ipv6Addr::from(*ip).to_canonical();
        let kind = match bytes[16] {
            0 => Kind::Request,
            1 => Kind::Response(SocketAddr::new(
                ip,
                u16::from_be_bytes([bytes[46], bytes[47]]),
            )),
            _ => return None,
        };
        let transaction = u64::from_be_bytes(*transaction);
        Some(Self {
            kind,
            role: from,
            method: method_of(bytes[18])?,
            transaction,
        })
    }
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::AttemptId;
    use proptest::prelude::*;

    fn keys() -> Keys {
        Keys::new(AttemptId([7; 16]), &[1; 32], &[2; 32])
    }

    fn check(kind: Kind) -> Check {
        Check {
            kind,
            role: Role::Responder,
            method: Method::UdpHolePunch,
            transaction: 0x0102_0304_0506_0708,
        }
    }

    #[test]
    fn checks_survive_the_wire_and_a_response_is_no_larger() {
        let responses =
            ["44.1.2.3:4", "[2a0d::1]:65535"].map(|addr| Kind::Response(addr.parse().unwrap()));
        for kind in [Kind::Request, responses[0], responses[1]] {
            let bytes = check(kind).encode(&keys());
            assert_eq!(bytes.len(), CHECK);
            assert_eq!(
                Check::decode(&bytes, &keys(), Role::Responder),
                Some(check(kind))
            );
            assert_eq!(
                Check::decode(&bytes, &keys(), Role::Initiator),
                None,
                "reflected"
            );
            for at in 0..CHECK {
                let mut bad = bytes.to_vec();
                bad[at] ^= 0x80;
                assert_eq!(
                    Check::decode(&bad, &keys(), Role::Responder),
                    None,
                    "byte {at}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn anything_else_is_no_check(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Check::decode(&bytes, &keys(), Role::Initiator), None);
        }

        #[test]
        fn authentic_packets_of_any_content_do_no_harm(mut bytes in prop::array::uniform32(any::<u8>())) {
            bytes[0] &= 3;
            let mut packet = check(Kind::Request).encode(&keys()).to_vec();
            packet[16..48].copy_from_slice(&bytes);
            keys().seal(&mut packet);
            let _ = Check::decode(&packet, &keys(), Role::Initiator);
        }
    }
}
