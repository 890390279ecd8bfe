//! TURN's messages, byte by byte (RFC 8489 §5 and §14, RFC 8656 §18, RFC 8016 §3.5).
//!
//! Written here rather than with a STUN library: keys stay out of foreign buffers, what strangers send leaves no lines in logs,
//! and the path that every datagram takes copies it once.

use super::credentials::Key;
use crate::stun::{TransactionId, is_stun};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header.
pub(super) const HEADER: usize = 20;
/// RFC 8489 §5.
pub(super) const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
/// Most attributes that are looked at; no message of TURN has use for more. It bounds the work that a datagram causes.
const MAX_ATTRIBUTES: usize = 32;

/// What a message is about; the numbers are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Binding = 0x001,
    Allocate = 0x003,
    Refresh = 0x004,
    Send = 0x006,
    Data = 0x007,
    CreatePermission = 0x008,
    ChannelBind = 0x009,
}

impl Method {
    const ALL: [Self; 7] = [
        Self::Binding,
        Self::Allocate,
        Self::Refresh,
        Self::Send,
        Self::Data,
        Self::CreatePermission,
        Self::ChannelBind,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Request = 0,
    Indication = 1,
    Success = 2,
    Error = 3,
}

impl Class {
    const ALL: [Self; 4] = [Self::Request, Self::Indication, Self::Success, Self::Error];

    /// The message type; all of TURN's methods have four bits, which stand below those of the class.
    const fn of(self, method: Method) -> u16 {
        let class = self as u16;
        method as u16 | (class & 1) << 4 | (class & 2) << 7
    }
}

/// Attribute types.
pub(super) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(crate) const LIFETIME: u16 = 0x000D;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub(crate) const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub(crate) const ALTERNATE_SERVER: u16 = 0x8023;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const MOBILITY_TICKET: u16 = 0x8030;
}

/// A message that is being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(class: Class, method: Method, transaction: TransactionId) -> Self {
        Self::reuse(Vec::with_capacity(256), class, method, transaction)
    }

    /// The same in a buffer that was there.
    pub(super) fn reuse(
        mut bytes: Vec<u8>,
        class: Class,
        method: Method,
        transaction: TransactionId,
    ) -> Self {
        bytes.clear();
        bytes.extend(class.of(method).to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(COOKIE);
        bytes.extend(transaction.0);
        Self(bytes)
    }

    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.0.extend(kind.to_be_bytes());
        self.0.extend((value.len() as u16).to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self.state_length(0);
    }

    /// An address, xored so that no NAT on the way rewrites it (RFC 8489 §14.2).
    pub(super) fn put_address(&mut self, kind: u16, addr: SocketAddr) {
        let mask = mask(&self.0);
        let port = addr.port() ^ u16::from_be_bytes([mask[0], mask[1]]);
        let [high, low] = port.to_be_bytes();
        match addr.ip() {
            IpAddr::V4(ip) => {
                let mut value = [0, 1, high, low, 0, 0, 0, 0];
                value[4..].copy_from_slice(&ip.octets());
                xor(&mut value[4..], &mask);
                self.put(kind, &value);
            }
            IpAddr::V6(ip) => {
                let mut value = [0; 20];
                value[..4].copy_from_slice(&[0, 2, high, low]);
                value[4..].copy_from_slice(&ip.octets());
                xor(&mut value[4..], &mask);
                self.put(kind, &value);
            }
        }
    }

    /// Adds the integrity, after which nothing more is put in (RFC 8489 §14.5 and §14.6).
    pub(super) fn sign(&mut self, key: &Key) {
        self.state_length(4 + key.tag_length());
        let tag = key.sign(&self.0);
        self.put(key.attribute(), tag.as_ref());
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Writes into the header how long the message is, with as much more to come.
    fn state_length(&mut self, more: usize) {
        let length = (self.0.len() - HEADER + more) as u16;
        self.0[2..4].copy_from_slice(&length.to_be_bytes());
    }
}

/// A message that was read. Its attributes are whole; those after its integrity are not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    pub(super) class: Class,
    pub(super) method: Method,
    bytes: &'a [u8],
    /// Where the attributes end that integrity covers: at it, at the fingerprint, or at the end.
    end: usize,
}

impl<'a> Message<'a> {
    /// Reads a message that fills its datagram; nothing, if it is none of TURN's or malformed.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !is_stun(bytes) {
            return None;
        }
        let kind = u16::from_be_bytes([bytes[0], bytes[1]]);
        let (class, method) = Class::ALL.into_iter().find_map(|class| {
            let method = Method::ALL
                .into_iter()
                .find(|method| class.of(*method) == kind)?;
            Some((class, method))
        })?;
        let (mut end, mut at) = (None, HEADER);
        for _ in 0..MAX_ATTRIBUTES {
            if at == bytes.len() {
                return Some(Self {
                    class,
                    method,
                    bytes,
                    end: end.unwrap_or(at),
                });
            }
            let (kind, value) = attribute_at(bytes, at)?;
            let last = [
                attribute::MESSAGE_INTEGRITY,
                attribute::MESSAGE_INTEGRITY_SHA256,
                attribute::FINGERPRINT,
            ];
            if last.contains(&kind) {
                end.get_or_insert(at);
            }
            at += 4 + value.len().next_multiple_of(4);
        }
        None
    }

    pub(super) fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        TransactionId(id)
    }

    /// The value of the first attribute of that kind, and where in the message it begins.
    pub(super) fn find(&self, kind: u16) -> Option<(usize, &'a [u8])> {
        self.attributes(HEADER, self.end)
            .find(|(_, found, _)| *found == kind)
            .map(|(at, _, value)| (at + 4, value))
    }

    pub(super) fn value(&self, kind: u16) -> Option<&'a [u8]> {
        self.find(kind).map(|(_, value)| value)
    }

    pub(super) fn number(&self, kind: u16) -> Option<u32> {
        let value = self.value(kind)?.try_into().ok()?;
        Some(u32::from_be_bytes(value))
    }

    /// An address that was xored; an IPv4 address is never in IPv6 clothes.
    pub(super) fn address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.value(kind)?, &mask(self.bytes))
    }

    /// An address in the clear.
    pub(super) fn plain_address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.value(kind)?, &[0; 16])
    }

    /// The code of an error response (RFC 8489 §14.8).
    pub(super) fn error(&self) -> Option<u16> {
        let [_, _, class, number] = *self.value(attribute::ERROR_CODE)?.first_chunk()?;
        let (class, number) = (u16::from(class & 0x07), u16::from(number));
        ((3..=6).contains(&class) && number < 100).then_some(class * 100 + number)
    }

    /// Whether the message has an integrity that this key gives.
    pub(super) fn is_signed(&self, key: &Key) -> bool {
        let mut tags = self.attributes(self.end, self.bytes.len());
        let Some((at, _, tag)) = tags.find(|(_, kind, _)| *kind == key.attribute()) else {
            return false;
        };
        // It covers the header as if the message ended with it.
        let mut covered = self.bytes[..at].to_vec();
        let length = (at - HEADER + 4 + tag.len()) as u16;
        covered[2..4].copy_from_slice(&length.to_be_bytes());
        key.verify(&covered, tag)
    }

    fn attributes(
        &self,
        from: usize,
        to: usize,
    ) -> impl Iterator<Item = (usize, u16, &'a [u8])> + use<'a> {
        let (bytes, mut at) = (self.bytes, from);
        std::iter::from_fn(move || {
            if at >= to {
                return None;
            }
            let (kind, value) = attribute_at(bytes, at)?;
            let found = (at, kind, value);
            at += 4 + value.len().next_multiple_of(4);
            Some(found)
        })
    }
}

/// The attribute that begins there, if it and its padding are whole.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let rest = bytes.get(at..)?;
    let [k0, k1, l0, l1] = *rest.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    if rest.len() < 4 + length.next_multiple_of(4) {
        return None;
    }
    Some((u16::from_be_bytes([k0, k1]), &rest[4..4 + length]))
}

/// What addresses are xored with: the cookie and the transaction.
fn mask(message: &[u8]) -> [u8; 16] {
    let mut mask = [0; 16];
    mask.copy_from_slice(&message[4..HEADER]);
    mask
}

fn xor(bytes: &mut [u8], mask: &[u8; 16]) {
    for (byte, mask) in bytes.iter_mut().zip(mask) {
        *byte ^= mask;
    }
}

fn read_address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let [_, family, high, low] = *value.first_chunk()?;
    let port = u16::from_be_bytes([high ^ mask[0], low ^ mask[1]]);
    let ip: IpAddr = match family {
        1 => {
            let mut octets: [u8; 4] = value[4..].try_into().ok()?;
            xor(&mut octets, mask);
            Ipv4Addr::from(octets).into()
        }
        2 => {
            let mut octets: [u8; 16] = value[4..].try_into().ok()?;
            xor(&mut octets, mask);
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests;
