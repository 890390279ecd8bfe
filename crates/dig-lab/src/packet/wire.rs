//! The same on real bytes: read an IPv4 packet, rewrite its ends in place, make the answers of a router.
//!
//! A packet may be an aggregate of segments whose transport checksum the kernel left to the device: then its field
//! holds the sum of the pseudo header only. [`Sum::Partial`] says so, and rewriting keeps it that way.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bytes::Bytes;

use super::{Content, Flow, IcmpError, Packet, Protocol, TcpFlags, checksum};

#[cfg(test)]
mod tests;

const UDP: u8 = 17;
const TCP: u8 = 6;
const ICMP: u8 = 1;
const IP_HEADER: usize = 20;

/// What the transport checksum of a packet covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sum {
    /// Everything: ready to be sent.
    Full,
    /// The pseudo header: to be finished by the device.
    Partial,
}

/// Reads an IPv4 packet; its payload is left out. `None` for what a translator does not carry: other versions and
/// protocols, fragments, and what is malformed.
#[must_use]
pub fn read(bytes: &[u8]) -> Option<Packet> {
    let header = Header::read(bytes)?;
    let body = bytes.get(header.length..header.total)?;
    let (content, from, to) = match header.protocol {
        UDP if body.len() >= 8 => (Content::Udp, word(body, 0)?, word(body, 2)?),
        TCP if body.len() >= 20 => (
            Content::Tcp(flags(body[13])),
            word(body, 0)?,
            word(body, 2)?,
        ),
        ICMP if body.len() >= 8 => match body[0] {
            8 => (Content::EchoRequest, word(body, 4)?, 0),
            0 => (Content::EchoReply, 0, word(body, 4)?),
            3 | 11 | 12 => (
                Content::Error(error(body[0], body[1]), quoted(&body[8..])?),
                0,
                0,
            ),
            _ => return None,
        },
        _ => return None,
    };
    Some(Packet {
        source: SocketAddr::new(header.source.into(), from),
        destination: SocketAddr::new(header.destination.into(), to),
        ttl: header.ttl,
        content,
        payload: Bytes::new(),
    })
}

/// Gives a packet the ends of `to`: its own and, of an error, those that it quotes. `bytes` must be what
/// [`read`] read `from` from; anything else is left as it is.
pub fn rewrite(bytes: &mut [u8], from: &Packet, to: &Packet, sum: Sum) {
    let Some(header) = Header::read(bytes) else {
        return;
    };
    let (Some(old), Some(new)) = (Ends::of(from), Ends::of(to)) else {
        return;
    };
    replace_addresses(bytes, old, new);
    let Some(body) = bytes.get_mut(header.length..header.total) else {
        return;
    };
    match (to.content, from.content) {
        (Content::Udp, _) => {
            replace_ports(body, new);
            replace_checksum(body, 6, old, new, sum, true);
        }
        (Content::Tcp(_), _) => {
            replace_ports(body, new);
            replace_checksum(body, 16, old, new, sum, false);
        }
        (Content::EchoRequest, _) => replace_identifier(body, new.from),
        (Content::EchoReply, _) => replace_identifier(body, new.to),
        (Content::Error(_, about), Content::Error(_, before)) => rewrite_quote(body, before, about),
        (Content::Error(..), _) => {}
    }
}

/// Gives a packet another hop limit.
pub fn set_ttl(bytes: &mut [u8], ttl: u8) {
    if Header::read(bytes).is_none() {
        return;
    }
    let old = u16::from_be_bytes([bytes[8], bytes[9]]);
    bytes[8] = ttl;
    let new = u16::from_be_bytes([bytes[8], bytes[9]]);
    let field = checksum::update(u16::from_be_bytes([bytes[10], bytes[11]]), old, new);
    bytes[10..12].copy_from_slice(&field.to_be_bytes());
}

/// The bytes of an answer of the router to `cause`, as [`Verdict::Reject`](crate::nat::Verdict::Reject) gives it: an
/// error that quotes the cause, or a reset that fits it. `None` for any other packet.
#[must_use]
pub fn answer(packet: &Packet, cause: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(cause)?;
    let (protocol, body) = match packet.content {
        Content::Error(error, _) => (ICMP, error_body(error, cause, &header)),
        Content::Tcp(flags) if flags.rst => (
            TCP,
            reset_body(packet, cause.get(header.length..header.total)?)?,
        ),
        _ => return None,
    };
    let ends = Ends::of(packet)?;
    let total = u16::try_from(IP_HEADER + body.len()).ok()?;
    let mut bytes = vec![0_u8; IP_HEADER];
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&total.to_be_bytes());
    bytes[8] = packet.ttl;
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&ends.source.octets());
    bytes[16..20].copy_from_slice(&ends.destination.octets());
    let field = checksum::finish(checksum::sum(&bytes, 0));
    bytes[10..12].copy_from_slice(&field.to_be_bytes());
    bytes.extend_from_slice(&body);
    Some(bytes)
}

/// The IPv4 header, checked.
struct Header {
    length: usize,
    total: usize,
    ttl: u8,
    protocol: u8,
    source: Ipv4Addr,
    destination: Ipv4Addr,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = Self::read_cut(bytes)?;
        (header.total <= bytes.len() && header.length <= header.total).then_some(header)
    }

    /// The same of a packet that may be cut, as an error quotes it.
    fn read_cut(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; IP_HEADER] = bytes.first_chunk()?;
        let length = usize::from(fixed[0] & 0x0F) * 4;
        let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3FFF;
        if fixed[0] >> 4 != 4 || length < IP_HEADER || length > bytes.len() || fragment != 0 {
            return None;
        }
        Some(Self {
            length,
            total: usize::from(u16::from_be_bytes([fixed[2], fixed[3]])),
            ttl: fixed[8],
            protocol: fixed[9],
            source: Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]),
            destination: Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]),
        })
    }
}

/// Both ends in the form of the wire.
#[derive(Clone, Copy)]
struct Ends {
    source: Ipv4Addr,
    destination: Ipv4Addr,
    from: u16,
    to: u16,
}

impl Ends {
    fn new(source: SocketAddr, destination: SocketAddr) -> Option<Self> {
        match (source.ip(), destination.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => Some(Self {
                source: from,
                destination: to,
                from: source.port(),
                to: destination.port(),
            }),
            _ => None,
        }
    }

    fn of(packet: &Packet) -> Option<Self> {
        Self::new(packet.source, packet.destination)
    }

    fn addresses(self) -> u16 {
        checksum::sum(
            &self.destination.octets(),
            checksum::sum(&self.source.octets(), 0),
        )
    }

    fn ports(self) -> u16 {
        checksum::sum(&self.to.to_be_bytes(), self.from)
    }

    fn everything(self) -> u16 {
        checksum::sum(&self.ports().to_be_bytes(), self.addresses())
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..at + 2)
        .map(|word| u16::from_be_bytes([word[0], word[1]]))
}

fn flags(bits: u8) -> TcpFlags {
    TcpFlags {
        fin: bits & 1 != 0,
        syn: bits & 2 != 0,
        rst: bits & 4 != 0,
        ack: bits & 16 != 0,
    }
}

fn error(kind: u8, code: u8) -> IcmpError {
    match (kind, code) {
        (3, 3) => IcmpError::PortUnreachable,
        (3, code) => IcmpError::Unreachable(code),
        (11, 0) => IcmpError::TimeExceeded,
        (kind, code) => IcmpError::Other(kind, code),
    }
}

fn error_code(error: IcmpError) -> [u8; 2] {
    match error {
        IcmpError::PortUnreachable => [3, 3],
        IcmpError::Unreachable(code) => [3, code],
        IcmpError::TimeExceeded => [11, 0],
        IcmpError::Other(kind, code) => [kind, code],
    }
}

/// The ends of the packet that an error quotes: at least its header and 8 bytes (RFC 792).
fn quoted(bytes: &[u8]) -> Option<Flow> {
    let header = Header::read_cut(bytes)?;
    let body = bytes.get(header.length..header.length + 8)?;
    let (protocol, from, to) = match header.protocol {
        UDP => (Protocol::Udp, word(body, 0)?, word(body, 2)?),
        TCP => (Protocol::Tcp, word(body, 0)?, word(body, 2)?),
        ICMP if body[0] == 8 => (Protocol::Echo, word(body, 4)?, 0),
        ICMP if body[0] == 0 => (Protocol::Echo, 0, word(body, 4)?),
        _ => return None,
    };
    Some(Flow {
        protocol,
        source: SocketAddr::new(header.source.into(), from),
        destination: SocketAddr::new(header.destination.into(), to),
    })
}

fn replace_addresses(bytes: &mut [u8], old: Ends, new: Ends) {
    let Some(header) = bytes.first_chunk_mut::<IP_HEADER>() else {
        return;
    };
    let field = u16::from_be_bytes([header[10], header[11]]);
    let field = checksum::update(field, old.addresses(), new.addresses());
    header[10..12].copy_from_slice(&field.to_be_bytes());
    header[12..16].copy_from_slice(&new.source.octets());
    header[16..20].copy_from_slice(&new.destination.octets());
}

fn replace_ports(body: &mut [u8], new: Ends) {
    if let Some(ports) = body.first_chunk_mut::<4>() {
        ports[..2].copy_from_slice(&new.from.to_be_bytes());
        ports[2..].copy_from_slice(&new.to.to_be_bytes());
    }
}

/// Updates the transport checksum at `at`, where there is one. `optional`: 0 means that there is none (RFC 768).
fn replace_checksum(body: &mut [u8], at: usize, old: Ends, new: Ends, sum: Sum, optional: bool) {
    let Some(field) = word(body, at) else {
        return;
    };
    let field = match sum {
        Sum::Partial => checksum::update_partial(field, old.addresses(), new.addresses()),
        Sum::Full if optional && field == 0 => return,
        Sum::Full => match checksum::update(field, old.everything(), new.everything()) {
            0 if optional => 0xFFFF,
            field => field,
        },
    };
    body[at..at + 2].copy_from_slice(&field.to_be_bytes());
}

/// Echo messages have no pseudo header: only the identifier changes.
fn replace_identifier(body: &mut [u8], identifier: u16) {
    let (Some(field), Some(old)) = (word(body, 2), word(body, 4)) else {
        return;
    };
    let field = checksum::update(field, old, identifier);
    body[2..4].copy_from_slice(&field.to_be_bytes());
    body[4..6].copy_from_slice(&identifier.to_be_bytes());
}

/// Gives the packet inside an error its new ends, and the error its checksum.
fn rewrite_quote(body: &mut [u8], before: Flow, about: Flow) {
    let (Some(old), Some(new)) = (
        Ends::new(before.source, before.destination),
        Ends::new(about.source, about.destination),
    ) else {
        return;
    };
    if let Some(quote) = body.get_mut(8..)
        && let Some(length) = Header::read_cut(quote).map(|header| header.length)
    {
        replace_addresses(quote, old, new);
        let inner = &mut quote[length..];
        match about.protocol {
            Protocol::Udp => {
                replace_ports(inner, new);
                replace_checksum(inner, 6, old, new, Sum::Full, true);
            }
            Protocol::Tcp => {
                replace_ports(inner, new);
                replace_checksum(inner, 16, old, new, Sum::Full, false);
            }
            Protocol::Echo => replace_identifier(inner, new.from.max(new.to)),
        }
    }
    if let Some(field) = body.get_mut(2..4) {
        field.fill(0);
        let field = checksum::finish(checksum::sum(body, 0));
        body[2..4].copy_from_slice(&field.to_be_bytes());
    }
}

fn error_body(error: IcmpError, cause: &[u8], header: &Header) -> Vec<u8> {
    let quote = &cause[..(header.length + 8).min(header.total)];
    let mut body = vec![0_u8; 8];
    body[..2].copy_from_slice(&error_code(error));
    body.extend_from_slice(quote);
    let field = checksum::finish(checksum::sum(&body, 0));
    body[2..4].copy_from_slice(&field.to_be_bytes());
    body
}

/// A reset as RFC 9293 §3.5.2 wants it: with the sequence number that the cause acknowledges, or acknowledging it.
fn reset_body(packet: &Packet, cause: &[u8]) -> Option<Vec<u8>> {
    let ends = Ends::of(packet)?;
    let fixed: &[u8; 20] = cause.first_chunk()?;
    let seen = flags(fixed[13]);
    let mut body = vec![0_u8; 20];
    body[..2].copy_from_slice(&ends.from.to_be_bytes());
    body[2..4].copy_from_slice(&ends.to.to_be_bytes());
    body[12] = 5 << 4;
    if seen.ack {
        body[4..8].copy_from_slice(&fixed[8..12]);
        body[13] = 0b0000_0100;
    } else {
        let data = cause.len().saturating_sub(usize::from(fixed[12] >> 4) * 4);
        let length = u32::try_from(data).ok()? + u32::from(seen.syn) + u32::from(seen.fin);
        let sequence = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
        body[8..12].copy_from_slice(&sequence.wrapping_add(length).to_be_bytes());
        body[13] = 0b0001_0100;
    }
    let pseudo = checksum::sum(&[0, TCP, 0, 20], ends.addresses());
    let field = checksum::finish(checksum::sum(&body, pseudo));
    body[16..18].copy_from_slice(&field.to_be_bytes());
    Some(body)
}
