//! Binding messages, byte by byte (RFC 8489 §5 and §14, RFC 5780 §7).

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};
use stun_types::{
    attribute::{Attribute, AttributeType, MappedSocketAddr, RawAttribute, XorMappedAddress},
    message::{BINDING, Message as Parsed, MessageClass, MessageType, MessageWriteVec},
    prelude::{AttributeWrite, MessageWrite},
};

/// Bytes of a header.
pub(super) const HEADER: usize = 20;
/// Largest message that is read or written: what fits into any path's datagram with IPv6 (RFC 8489 §6.1).
pub(super) const MAX_MESSAGE: usize = 1280 - 40 - 8;
/// Most attributes that are looked at. A Binding exchange has no use for more; it bounds the work a datagram causes.
const MAX_ATTRIBUTES: usize = 24;
/// RFC 8489 §5.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

const MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0001);
const CHANGE_REQUEST: AttributeType = AttributeType::new(Request::CHANGE_REQUEST);
const ERROR_CODE: AttributeType = AttributeType::new(0x0009);
const UNKNOWN_ATTRIBUTES: AttributeType = AttributeType::new(0x000A);
const XOR_MAPPED_ADDRESS: AttributeType = AttributeType::new(0x0020);
const RESPONSE_PORT: AttributeType = AttributeType::new(Request::RESPONSE_PORT);
const RESPONSE_ORIGIN: AttributeType = AttributeType::new(0x802B);
const OTHER_ADDRESS: AttributeType = AttributeType::new(0x802C);

/// Attributes of authentication, which a server without credentials need not understand to answer: USERNAME,
/// MESSAGE-INTEGRITY, REALM, NONCE, MESSAGE-INTEGRITY-SHA256, PASSWORD-ALGORITHM, USERHASH.
const IGNORED: [AttributeType; 7] = [
    AttributeType::new(0x0006),
    AttributeType::new(0x0008),
    AttributeType::new(0x0014),
    AttributeType::new(0x0015),
    AttributeType::new(0x001C),
    AttributeType::new(0x001D),
    AttributeType::new(0x001E),
];

const CHANGE_IP: u32 = 0x04;
const CHANGE_PORT: u32 = 0x02;

/// Whether a datagram is a STUN message, and so not one of another protocol on the same socket: the first two bits,
/// the magic cookie and the length (RFC 9443, RFC 8489 §6.3).
pub fn is_stun(datagram: &[u8]) -> bool {
    let Some(header) = datagram.first_chunk::<HEADER>() else {
        return false;
    };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[0] < 4
        && header[4..8] == MAGIC_COOKIE
        && length % 4 == 0
        && datagram.len() == HEADER + length
}

/// Names one exchange. Drawn at random: it is what a spoofed answer would have to guess (RFC 8489 §5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransactionId(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl From<TransactionId> for stun_types::message::TransactionId {
    fn from(id: TransactionId) -> Self {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&id.0);
        u128::from_be_bytes(wide).into()
    }
}

impl From<stun_types::message::TransactionId> for TransactionId {
    fn from(id: stun_types::message::TransactionId) -> Self {
        let mut narrow = [0; 12];
        narrow.copy_from_slice(&u128::from(id).to_be_bytes()[4..]);
        Self(narrow)
    }
}

/// From where the server is asked to answer instead of the address that was asked (CHANGE-REQUEST, RFC 5780 §7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeRequest {
    /// The other port of the same address.
    Port,
    /// The same port of the other address.
    Address,
    /// The other port of the other address.
    AddressAndPort,
}

impl ChangeRequest {
    const fn bits(self) -> u32 {
        match self {
            Self::Port => CHANGE_PORT,
            Self::Address => CHANGE_IP,
            Self::AddressAndPort => CHANGE_IP | CHANGE_PORT,
        }
    }

    const fn of(bits: u32) -> Option<Self> {
        match (bits & CHANGE_IP != 0, bits & CHANGE_PORT != 0) {
            (true, true) => Some(Self::AddressAndPort),
            (true, false) => Some(Self::Address),
            (false, true) => Some(Self::Port),
            (false, false) => None,
        }
    }
}

/// A Binding request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its name.
    pub transaction: TransactionId,
    /// From where to answer; `None`: from where it was asked.
    pub change: Option<ChangeRequest>,
    /// To which port of the sender's address to answer; `None`: to the one it came from (RFC 5780 §7.5).
    pub response_port: Option<u16>,
}

impl Request {
    /// The number of the CHANGE-REQUEST attribute.
    pub(super) const CHANGE_REQUEST: u16 = 0x0003;
    /// The number of the RESPONSE-PORT attribute.
    pub(super) const RESPONSE_PORT: u16 = 0x0027;

    /// A plain request.
    pub const fn new(transaction: TransactionId) -> Self {
        Self {
            transaction,
            change: None,
            response_port: None,
        }
    }

    /// Its bytes; at most 48.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = write(MessageClass::Request, self.transaction);
        if let Some(change) = self.change {
            add(&mut writer, CHANGE_REQUEST, &change.bits().to_be_bytes());
        }
        if let Some(port) = self.response_port {
            let [high, low] = port.to_be_bytes();
            add(&mut writer, RESPONSE_PORT, &[high, low, 0, 0]);
        }
        writer.finish()
    }
}

/// A Binding success response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    /// The request's name.
    pub transaction: TransactionId,
    /// From where the server saw the request come.
    pub mapped: SocketAddr,
    /// From where it says that it answers (RFC 5780 §7.3).
    pub origin: Option<SocketAddr>,
    /// Its other address and other port, for tests (RFC 5780 §7.4).
    pub other: Option<SocketAddr>,
}

impl Success {
    /// Its bytes; at most 92.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = write(MessageClass::Success, self.transaction);
        let mapped = XorMappedAddress::new(canonical(self.mapped), self.transaction.into());
        writer.push_attribute_unchecked(&mapped.to_raw());
        for (kind, addr) in [(RESPONSE_ORIGIN, self.origin), (OTHER_ADDRESS, self.other)] {
            if let Some(addr) = addr {
                writer
                    .push_attribute_unchecked(&MappedSocketAddr::new(canonical(addr)).to_raw(kind));
            }
        }
        writer.finish()
    }
}

/// A Binding error response's code (RFC 8489 §14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// The request was malformed.
    pub const BAD_REQUEST: Self = Self(400);
    /// The server does not understand an attribute that it must understand.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);

    /// The bytes of an error response, naming at most eight attributes; never longer than the request that names them.
    pub(super) fn to_bytes(self, transaction: TransactionId, unknown: &[u16]) -> Vec<u8> {
        let mut writer = write(MessageClass::Error, transaction);
        let (class, number) = ((self.0 / 100) as u8, (self.0 % 100) as u8);
        add(&mut writer, ERROR_CODE, &[0, 0, class, number]);
        let named: Vec<u8> = unknown
            .iter()
            .take(8)
            .flat_map(|kind| kind.to_be_bytes())
            .collect();
        if !named.is_empty() {
            add(&mut writer, UNKNOWN_ATTRIBUTES, &named);
        }
        writer.finish()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A Binding message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Somebody asks.
    Request {
        /// What.
        request: Request,
        /// Attributes that it demands to be understood and that are not: at most 24.
        unknown: Vec<u16>,
    },
    /// Somebody answers.
    Success(Success),
    /// Somebody refuses.
    Error {
        /// The request's name.
        transaction: TransactionId,
        /// Why.
        code: ErrorCode,
    },
    /// Somebody keeps a binding alive; it is not answered.
    Indication,
}

impl Message {
    /// Reads a message that fills its datagram.
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        if !is_stun(datagram) || datagram.len() > MAX_MESSAGE {
            return Err(ParseError::NotStun);
        }
        let message = Parsed::from_bytes(datagram).map_err(|_| ParseError::Malformed)?;
        if !message.has_method(BINDING) {
            return Err(ParseError::NotBinding);
        }
        if message.iter_attributes().nth(MAX_ATTRIBUTES).is_some() {
            return Err(ParseError::TooManyAttributes);
        }
        match message.class() {
            MessageClass::Request => request(&message),
            MessageClass::Success => success(&message),
            MessageClass::Error => error(&message),
            MessageClass::Indication => Ok(Self::Indication),
        }
    }
}

/// Why bytes are not a Binding message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// The header is that of another protocol, or the length is not the datagram's.
    #[error("not a STUN message")]
    NotStun,
    /// An attribute is cut off or has a value that it cannot have, or the fingerprint is wrong.
    #[error("a malformed STUN message")]
    Malformed,
    /// Another STUN method.
    #[error("a STUN message that is not about bindings")]
    NotBinding,
    /// More attributes than a Binding message has use for.
    #[error("a STUN message with more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
    /// A success response that tells no address.
    #[error("a STUN answer without an address")]
    NoAddress,
}

fn request(message: &Parsed<'_>) -> Result<Message, ParseError> {
    let mut request = Request::new(message.transaction_id().into());
    let mut unknown = Vec::new();
    for (_, attribute) in message.iter_attributes() {
        match attribute.get_type() {
            CHANGE_REQUEST => {
                let value = *attribute.value.first_chunk().ok_or(ParseError::Malformed)?;
                request.change = ChangeRequest::of(u32::from_be_bytes(value));
            }
            RESPONSE_PORT => {
                let value = *attribute.value.first_chunk().ok_or(ParseError::Malformed)?;
                request.response_port = Some(u16::from_be_bytes(value));
            }
            kind if kind.comprehension_required() && !IGNORED.contains(&kind) => {
                unknown.push(kind.value())
            }
            _ => {}
        }
    }
    Ok(Message::Request { request, unknown })
}

fn success(message: &Parsed<'_>) -> Result<Message, ParseError> {
    let transaction = message.transaction_id();
    let address = |kind| {
        let raw: Option<RawAttribute<'_>> = message.raw_attribute(kind);
        raw.map(|raw| MappedSocketAddr::from_raw(&raw).map(|addr| canonical(addr.addr())))
            .transpose()
            .map_err(|_| ParseError::Malformed)
    };
    let mapped = match message.raw_attribute(XOR_MAPPED_ADDRESS) {
        Some(raw) => XorMappedAddress::try_from(&raw)
            .map_err(|_| ParseError::Malformed)?
            .addr(transaction),
        // A server of RFC 3489 knows no other.
        None => address(MAPPED_ADDRESS)?.ok_or(ParseError::NoAddress)?,
    };
    Ok(Message::Success(Success {
        transaction: transaction.into(),
        mapped: canonical(mapped),
        origin: address(RESPONSE_ORIGIN)?,
        other: address(OTHER_ADDRESS)?,
    }))
}

fn error(message: &Parsed<'_>) -> Result<Message, ParseError> {
    let raw = message
        .raw_attribute(ERROR_CODE)
        .ok_or(ParseError::Malformed)?;
    let [_, _, class, number] = *raw.value.first_chunk().ok_or(ParseError::Malformed)?;
    Ok(Message::Error {
        transaction: message.transaction_id().into(),
        code: ErrorCode(u16::from(class & 0x07) * 100 + u16::from(number % 100)),
    })
}

fn write(class: MessageClass, transaction: TransactionId) -> MessageWriteVec {
    let kind = MessageType::from_class_method(class, BINDING);
    Parsed::builder(kind, transaction.into(), MessageWriteVec::new())
}

fn add(writer: &mut MessageWriteVec, kind: AttributeType, value: &[u8]) {
    writer.push_attribute_unchecked(&RawAttribute::new(kind, value));
}

/// An IPv4 address never in IPv6 clothes.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(ip) => SocketAddr::from((ip, addr.port())),
    }
}

#[cfg(test)]
mod tests;
