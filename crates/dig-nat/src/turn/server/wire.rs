//! TURN messages, byte by byte (RFC 8656 §12 and §18, RFC 8489 §5 and §14).

use crate::stun::is_stun;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str,
};
use stun_types::{
    attribute::{AttributeType, RawAttribute},
    message::{
        IntegrityAlgorithm, IntegrityKey, Message, MessageClass, MessageType, MessageWriteVec,
        Method as MethodNumber, TransactionId,
    },
    prelude::{MessageWrite, MessageWriteExt},
};

/// Bytes of a header (RFC 8489 §5).
const HEADER: usize = 20;
/// Longest request that is read, in bytes: more than any that makes sense.
const LONGEST_REQUEST: usize = 2048;
/// Most attributes that are looked at; bounds the work that a datagram causes.
const MAX_ATTRIBUTES: usize = 32;
/// Most peers in one request for permissions.
const MAX_PEERS: usize = 16;
const COOKIE: u32 = 0x2112_A442;
/// An indication with data: class indication, method Data.
const DATA_INDICATION: u16 = 0x0017;
/// An indication with data from a client: class indication, method Send.
const SEND_INDICATION: [u8; 2] = [0x00, 0x16];

/// Numbers of attributes.
pub(super) mod attribute {
    pub(in super::super) const USERNAME: u16 = 0x0006;
    pub(in super::super) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(in super::super) const ERROR_CODE: u16 = 0x0009;
    pub(in super::super) const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub(in super::super) const CHANNEL_NUMBER: u16 = 0x000C;
    pub(in super::super) const LIFETIME: u16 = 0x000D;
    pub(in super::super) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(in super::super) const DATA: u16 = 0x0013;
    pub(in super::super) const REALM: u16 = 0x0014;
    pub(in super::super) const NONCE: u16 = 0x0015;
    pub(in super::super) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(in super::super) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(in super::super) const EVEN_PORT: u16 = 0x0018;
    pub(in super::super) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(in super::super) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub(in super::super) const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub(in super::super) const USERHASH: u16 = 0x001E;
    pub(in super::super) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(in super::super) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(in super::super) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(in super::super) const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub(in super::super) const FINGERPRINT: u16 = 0x8028;
    pub(in super::super) const MOBILITY_TICKET: u16 = 0x8030;
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Allocate,
    Refresh,
    CreatePermission,
    ChannelBind,
}

impl Method {
    const fn of(number: u16) -> Option<Self> {
        match number {
            0x0003 => Some(Self::Allocate),
            0x0004 => Some(Self::Refresh),
            0x0008 => Some(Self::CreatePermission),
            0x0009 => Some(Self::ChannelBind),
            _ => None,
        }
    }
}

/// A family of addresses, as REQUESTED-ADDRESS-FAMILY names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    Unknown,
}

impl Family {
    fn of(value: &[u8]) -> Option<Self> {
        Some(match *value.first()? {
            1 => Self::V4,
            2 => Self::V6,
            _ => Self::Unknown,
        })
    }

    /// The family of an address.
    pub(super) const fn of_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// A request of a client, read but not believed.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) method: Method,
    pub(super) transaction: [u8; 12],
    pub(super) username: Option<&'a str>,
    pub(super) realm: Option<&'a [u8]>,
    pub(super) nonce: Option<&'a [u8]>,
    /// Whether it carries MESSAGE-INTEGRITY.
    pub(super) proved: bool,
    /// Whether it carries FINGERPRINT, as the answer then does.
    pub(super) fingerprint: bool,
    pub(super) lifetime: Option<u32>,
    pub(super) transport: Option<u8>,
    pub(super) family: Option<Family>,
    pub(super) additional: Option<Family>,
    /// EVEN-PORT, and whether the next port is to be kept, too.
    pub(super) even_port: Option<bool>,
    pub(super) reservation: Option<[u8; 8]>,
    /// MOBILITY-TICKET; empty where one is asked for (RFC 8016 §3.1).
    pub(super) ticket: Option<&'a [u8]>,
    pub(super) channel: Option<u16>,
    pub(super) peers: Vec<SocketAddr>,
    /// Attributes that it demands to be understood and that are not.
    pub(super) unknown: Vec<u16>,
    /// An attribute has a value that it cannot have.
    pub(super) malformed: bool,
}

impl<'a> Request<'a> {
    /// Reads a request that fills `bytes`; `None` for all else, of which nobody is told.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !is_stun(bytes) || bytes.len() > LONGEST_REQUEST {
            return None;
        }
        // Also checks the lengths of all attributes, and the fingerprint.
        let message = Message::from_bytes(bytes).ok()?;
        if message.class() != MessageClass::Request {
            return None;
        }
        let mut request = Self {
            bytes,
            method: Method::of(message.method().value())?,
            transaction: *bytes[8..].first_chunk()?,
            username: None,
            realm: None,
            nonce: None,
            proved: false,
            fingerprint: false,
            lifetime: None,
            transport: None,
            family: None,
            additional: None,
            even_port: None,
            reservation: None,
            ticket: None,
            channel: None,
            peers: Vec::new(),
            unknown: Vec::new(),
            malformed: false,
        };
        for (index, (kind, value)) in Attributes::of(bytes).enumerate() {
            if index >= MAX_ATTRIBUTES {
                return None;
            }
            if request.take(kind, value).is_none() {
                request.malformed = true;
            }
        }
        Some(request)
    }

    /// `None` if the value is none that the attribute can have. Of an attribute that comes twice the first counts (RFC 8489
    /// §14), except for peers.
    fn take(&mut self, kind: u16, value: &'a [u8]) -> Option<()> {
        // Nothing behind the integrity is proved by it (RFC 8489 §14.5).
        if self.proved && kind != attribute::FINGERPRINT {
            return Some(());
        }
        match kind {
            attribute::USERNAME => first(&mut self.username, str::from_utf8(value).ok()?),
            attribute::REALM => first(&mut self.realm, value),
            attribute::NONCE => first(&mut self.nonce, value),
            attribute::MESSAGE_INTEGRITY => self.proved = true,
            attribute::FINGERPRINT => self.fingerprint = true,
            attribute::LIFETIME => first(&mut self.lifetime, u32::from_be_bytes(exact(value)?)),
            attribute::REQUESTED_TRANSPORT => {
                let [protocol, _, _, _] = exact(value)?;
                first(&mut self.transport, protocol);
            }
            attribute::REQUESTED_ADDRESS_FAMILY => first(&mut self.family, Family::of(value)?),
            attribute::ADDITIONAL_ADDRESS_FAMILY => {
                first(&mut self.additional, Family::of(value)?);
            }
            attribute::EVEN_PORT => first(&mut self.even_port, value.first()? & 0x80 != 0),
            attribute::RESERVATION_TOKEN => first(&mut self.reservation, exact(value)?),
            attribute::MOBILITY_TICKET => first(&mut self.ticket, value),
            attribute::CHANNEL_NUMBER => {
                let [high, low, _, _] = exact(value)?;
                first(&mut self.channel, u16::from_be_bytes([high, low]));
            }
            attribute::XOR_PEER_ADDRESS => {
                let peer = address(value, self.transaction)?;
                if self.peers.len() >= MAX_PEERS {
                    return None;
                }
                self.peers.push(peer);
            }
            attribute::DATA
            | attribute::MESSAGE_INTEGRITY_SHA256
            | attribute::PASSWORD_ALGORITHM
            | attribute::USERHASH => {}
            kind if kind < 0x8000 => self.unknown.push(kind),
            _ => {}
        }
        Some(())
    }

    /// Whether it was made with this key.
    pub(super) fn is_proved_by(&self, key: &IntegrityKey) -> bool {
        Message::from_bytes(self.bytes)
            .is_ok_and(|message| message.validate_integrity_with_key(key).is_ok())
    }
}

fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

fn exact<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// The attributes of a message whose lengths have been checked; ends where they do not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    fn of(message: &'a [u8]) -> Self {
        Self(message.get(HEADER..).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([a, b, c, d], rest) = self.0.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        let value = rest.get(..length)?;
        self.0 = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_be_bytes([*a, *b]), value))
    }
}

/// What a Send indication says (RFC 8656 §11.1): to whom, and what. `None` if it says neither or demands anything else, for
/// which it is dropped in silence.
pub(super) fn send_indication(bytes: &[u8]) -> Option<(SocketAddr, &[u8])> {
    if !bytes.starts_with(&SEND_INDICATION) || !is_stun(bytes) {
        return None;
    }
    let transaction = *bytes[8..].first_chunk()?;
    let (mut peer, mut data) = (None, None);
    for (kind, value) in Attributes::of(bytes).take(MAX_ATTRIBUTES) {
        match kind {
            attribute::XOR_PEER_ADDRESS => first(&mut peer, address(value, transaction)?),
            attribute::DATA => first(&mut data, value),
            kind if kind < 0x8000 => return None,
            _ => {}
        }
    }
    Some((peer?, data?))
}

/// What a ChannelData message says (RFC 8656 §12.4): by which channel, and what. Padding may follow.
pub(super) fn channel_data(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes([*c, *d]));
    Some((u16::from_be_bytes([*a, *b]), rest.get(..length)?))
}

/// How many bytes a message over a connection has, of which these are the first, its padding included (RFC 8656 §12.5,
/// RFC 8489 §6.2.2). `None` if it is of another protocol: the two are lost for each other then.
#[must_use]
pub fn frame_length(first: [u8; 4]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([first[2], first[3]]));
    match first[0] >> 6 {
        0 if length % 4 == 0 => Some(HEADER + length),
        1 => Some((4 + length).next_multiple_of(4)),
        _ => None,
    }
}

/// Writes data of a peer as ChannelData; padded for streams.
pub(super) fn write_channel_data(out: &mut Vec<u8>, channel: u16, data: &[u8], padded: bool) {
    let length = u16::try_from(data.len()).unwrap_or(u16::MAX);
    let data = &data[..usize::from(length)];
    out.extend(channel.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(data);
    if padded {
        pad(out);
    }
}

/// Writes data of a peer as a Data indication (RFC 8656 §11.3).
pub(super) fn write_data_indication(
    out: &mut Vec<u8>,
    transaction: [u8; 12],
    peer: SocketAddr,
    data: &[u8],
) {
    let peer = xor(peer, transaction);
    let padded = data.len().next_multiple_of(4);
    // No datagram is long enough to overflow it together with its address.
    let length = u16::try_from(4 + peer.len() + 4 + padded).unwrap_or(u16::MAX);
    out.extend(DATA_INDICATION.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(COOKIE.to_be_bytes());
    out.extend(transaction);
    for (kind, value) in [
        (attribute::XOR_PEER_ADDRESS, peer.as_slice()),
        (attribute::DATA, data),
    ] {
        out.extend(kind.to_be_bytes());
        out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(value);
        pad(out);
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// An XOR address (RFC 8489 §14.2), of exactly the length that its family has.
fn address(value: &[u8], transaction: [u8; 12]) -> Option<SocketAddr> {
    let ([_, family, a, b], rest) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([*a, *b]) ^ (COOKIE >> 16) as u16;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from_bits(
            u32::from_be_bytes(exact(rest)?) ^ COOKIE,
        )),
        2 => IpAddr::V6(Ipv6Addr::from_bits(
            u128::from_be_bytes(exact(rest)?) ^ mask(transaction),
        )),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn xor(addr: SocketAddr, transaction: [u8; 12]) -> Vec<u8> {
    let port = addr.port() ^ (COOKIE >> 16) as u16;
    let mut value = vec![0, if addr.is_ipv4() { 1 } else { 2 }];
    value.extend(port.to_be_bytes());
    match addr.ip() {
        IpAddr::V4(ip) => value.extend((ip.to_bits() ^ COOKIE).to_be_bytes()),
        IpAddr::V6(ip) => value.extend((ip.to_bits() ^ mask(transaction)).to_be_bytes()),
    }
    value
}

fn mask(transaction: [u8; 12]) -> u128 {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE.to_be_bytes());
    mask[4..].copy_from_slice(&transaction);
    u128::from_be_bytes(mask)
}

/// An answer being written.
pub(super) struct Response {
    writer: MessageWriteVec,
    transaction: [u8; 12],
    fingerprint: bool,
}

impl Response {
    pub(super) fn success(request: &Request<'_>) -> Self {
        Self::new(MessageClass::Success, request)
    }

    /// A refusal. Without a reason in words it is short enough for whoever has not proved anything.
    pub(super) fn error(request: &Request<'_>, code: u16, reason: &str) -> Self {
        let [_, class] = (code / 100).to_be_bytes();
        let [_, number] = (code % 100).to_be_bytes();
        let mut value = vec![0, 0, class, number];
        value.extend(reason.as_bytes());
        Self::new(MessageClass::Error, request).with(attribute::ERROR_CODE, &value)
    }

    fn new(class: MessageClass, request: &Request<'_>) -> Self {
        let method = match request.method {
            Method::Allocate => 0x0003,
            Method::Refresh => 0x0004,
            Method::CreatePermission => 0x0008,
            Method::ChannelBind => 0x0009,
        };
        let kind = MessageType::from_class_method(class, MethodNumber::new(method));
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&request.transaction);
        let transaction = TransactionId::from(u128::from_be_bytes(wide));
        Self {
            writer: Message::builder(kind, transaction, MessageWriteVec::new()),
            transaction: request.transaction,
            fingerprint: request.fingerprint,
        }
    }

    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Self {
        let kind = AttributeType::new(kind);
        self.writer
            .push_attribute_unchecked(&RawAttribute::new(kind, value));
        self
    }

    pub(super) fn with_address(self, kind: u16, addr: SocketAddr) -> Self {
        let value = xor(addr, self.transaction);
        self.with(kind, &value)
    }

    /// The bytes, proved with a key.
    pub(super) fn prove(mut self, key: &IntegrityKey) -> Vec<u8> {
        // Fails only where the message already has one.
        let _ = self
            .writer
            .add_message_integrity_with_key(key, IntegrityAlgorithm::Sha1);
        if self.fingerprint {
            let _ = self.writer.add_fingerprint();
        }
        self.writer.finish()
    }

    /// The bytes, proved by nothing.
    pub(super) fn finish(self) -> Vec<u8> {
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests;
