//! Tickets: one shell-safe word that says what to fetch and from whom (`docs/protocol.md` §8).

use crate::{
    ContentHash, ContentKind, ContentName, MappedAddr, Method, NodeId, PeerAddr, Transport,
};
use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::Arc,
};

mod magnet;

const PREFIX: &str = "dig1";
const VERSION: u8 = 1;
const CHECKSUM_LEN: usize = 4;

const FIELD_HASH: u8 = 0;
const FIELD_SIZE: u8 = 1;
const FIELD_NODE: u8 = 2;
const FIELD_NAME: u8 = 3;
const FIELD_KIND: u8 = 5;
const NODE_ID: u8 = 0;
const NODE_ADDR: u8 = 2;
const NODE_RELAY: u8 = 5;
const NODE_VIA: u8 = 7;
const NODE_MAPPED: u8 = 9;

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The text starts neither with `dig1` nor with `magnet:`.
    #[error("a ticket starts with dig1 or magnet:?xt=urn:dig:")]
    Prefix,
    /// The text has more than [`Ticket::MAX_LEN`] characters.
    #[error("a ticket has at most {} characters", Ticket::MAX_LEN)]
    TooLong,
    /// A character is not one of base32.
    #[error("the ticket has a character that tickets do not have; copy it again, whole")]
    Alphabet,
    /// The checksum does not fit: a part is missing or mistyped.
    #[error("the ticket is damaged or cut off; copy it again, whole")]
    Checksum,
    /// The ticket was made by a later version of this program.
    #[error("the ticket has version {0}, this program reads version 1; get a newer program")]
    Version(u8),
    /// A field has the wrong length, stands twice, or is missing.
    #[error("the ticket is malformed: {0}")]
    Field(&'static str),
}

/// A node that a ticket names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TicketNode {
    /// Who must answer.
    pub node: NodeId,
    /// Where it may answer, best first; at most [`Ticket::MAX_ADDRS`].
    pub addrs: Vec<SocketAddr>,
    /// Where a router maps a port to it; at most [`Ticket::MAX_MAPPED`].
    pub mapped: Vec<MappedAddr>,
    /// Who can introduce us to it, best first; at most [`Ticket::MAX_VIA`], each with its node id.
    pub via: Vec<PeerAddr>,
    /// URLs of the Gun relays over which signals reach it, best first; at most [`Ticket::MAX_RELAYS`], and only those with TLS
    /// (`wss://`): whoever is sent there by a stranger's ticket is to be seen by as few as possible.
    pub relays: Vec<Arc<str>>,
}

/// What to fetch, and from whom. Only the hash and the node ids are believed; size, name and kind are hints.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// What to fetch.
    pub hash: ContentHash,
    /// Bytes, as the maker says.
    pub size: Option<u64>,
    /// What the maker calls it.
    pub name: Option<ContentName>,
    /// File or folder, as the maker says.
    pub kind: Option<ContentKind>,
    /// Who has it; at most [`Ticket::MAX_NODES`].
    pub nodes: Vec<TicketNode>,
    /// Addresses whose identity is not known (magnet form only); at most [`Ticket::MAX_NODES`].
    pub anonymous: Vec<SocketAddr>,
}

impl Ticket {
    /// Most nodes in a ticket.
    pub const MAX_NODES: usize = 16;
    /// Most addresses of one node.
    pub const MAX_ADDRS: usize = 8;
    /// Most peers that can introduce to one node.
    pub const MAX_VIA: usize = 4;
    /// Most mapped addresses of one node.
    pub const MAX_MAPPED: usize = 4;
    /// Most Gun relays of one node.
    pub const MAX_RELAYS: usize = 2;
    /// Longest URL of a Gun relay in bytes.
    pub const MAX_RELAY_LEN: usize = 255;
    /// Longest ticket in characters.
    pub const MAX_LEN: usize = 4096;

    /// A ticket that says what, but neither from whom nor how large.
    pub const fn new(hash: ContentHash) -> Self {
        Self {
            hash,
            size: None,
            name: None,
            kind: None,
            nodes: Vec::new(),
            anonymous: Vec::new(),
        }
    }

    /// The magnet form, for programs that open links.
    pub fn to_magnet(&self) -> String {
        magnet::write(self)
    }

    /// The ticket as bytes: what its text spells.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, FIELD_HASH, self.hash.as_bytes());
        if let Some(size) = self.size {
            put(&mut out, FIELD_SIZE, &size.to_be_bytes());
        }
        if let Some(name) = &self.name {
            put(&mut out, FIELD_NAME, name.as_str().as_bytes());
        }
        if let Some(kind) = self.kind {
            put(&mut out, FIELD_KIND, &[kind.code()]);
        }
        for node in self.nodes.iter().take(Self::MAX_NODES) {
            let mut value = Vec::new();
            put(&mut value, NODE_ID, node.node.as_bytes());
            for addr in node.addrs.iter().take(Self::MAX_ADDRS) {
                put(&mut value, NODE_ADDR, &encode_addr(addr));
            }
            for mapped in node.mapped.iter().take(Self::MAX_MAPPED) {
                put(&mut value, NODE_MAPPED, &encode_mapped(mapped));
            }
            for via in node.via.iter().take(Self::MAX_VIA) {
                // Whoever introduces must be known, or a stranger at that address could listen in.
                if let Some(id) = via.node {
                    let addr = encode_addr(&via.addr);
                    put(&mut value, NODE_VIA, &[&id.as_bytes()[..], &addr].concat());
                }
            }
            let relays = node.relays.iter().filter(|relay| is_relay(relay));
            for relay in relays.take(Self::MAX_RELAYS) {
                put(&mut value, NODE_RELAY, relay.as_bytes());
            }
            put(&mut out, FIELD_NODE, &value);
        }
        let checksum = Sha256::digest(&out);
        out.extend_from_slice(&checksum[..CHECKSUM_LEN]);
        out
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TicketError> {
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_LEN>()
            .ok_or(TicketError::Checksum)?;
        if Sha256::digest(body)[..CHECKSUM_LEN] != *checksum {
            return Err(TicketError::Checksum);
        }
        let (&version, fields) = body.split_first().ok_or(TicketError::Checksum)?;
        if version != VERSION {
            return Err(TicketError::Version(version));
        }
        let mut hash = None;
        let mut ticket = Self::new(ContentHash::from_bytes([0; 32]));
        for field in Fields(fields) {
            match field? {
                (FIELD_HASH, value) => set(&mut hash, ContentHash::from_bytes(array(value)?))?,
                (FIELD_SIZE, value) => set(&mut ticket.size, u64::from_be_bytes(array(value)?))?,
                (FIELD_NAME, value) => set(&mut ticket.name, decode_name(value)?)?,
                (FIELD_KIND, value) => {
                    let [code] = array(value)?;
                    let kind =
                        ContentKind::from_code(code).ok_or(TicketError::Field("unknown kind"))?;
                    set(&mut ticket.kind, kind)?;
                }
                (FIELD_NODE, value) => ticket.nodes.push(decode_node(value)?),
                (id, _) if id % 2 == 0 => return Err(TicketError::Field("unknown required field")),
                _ => {}
            }
            if ticket.nodes.len() > Self::MAX_NODES {
                return Err(TicketError::Field("more than 16 nodes"));
            }
        }
        ticket.hash = hash.ok_or(TicketError::Field("no content hash"))?;
        Ok(ticket)
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        f.write_str(&BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        if text.len() > Self::MAX_LEN {
            return Err(TicketError::TooLong);
        }
        if text.starts_with("magnet:") {
            return magnet::parse(text);
        }
        let word = text.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        if word
            .bytes()
            .any(|byte| !byte.is_ascii_lowercase() && !(b'2'..=b'7').contains(&byte))
        {
            return Err(TicketError::Alphabet);
        }
        // A wrong length or stray bits at the end mean that characters are missing.
        let bytes = BASE32_NOPAD
            .decode(word.to_ascii_uppercase().as_bytes())
            .map_err(|_| TicketError::Checksum)?;
        Self::from_bytes(&bytes)
    }
}

/// Walks {id u8, length u16, value} fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u8, &'a [u8]), TicketError>;

    fn next(&mut self) -> Option<Self::Item> {
        let [id, high, low, rest @ ..] = self.0 else {
            let cut = !std::mem::take(&mut self.0).is_empty();
            return cut.then_some(Err(TicketError::Field("a field is cut off")));
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, rest)) = rest.split_at_checked(length) else {
            self.0 = &[];
            return Some(Err(TicketError::Field("a field is cut off")));
        };
        self.0 = rest;
        Some(Ok((*id, value)))
    }
}

fn put(out: &mut Vec<u8>, id: u8, value: &[u8]) {
    out.push(id);
    out.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend_from_slice(value);
}

fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), TicketError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(TicketError::Field("a field stands twice")),
    }
}

fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], TicketError> {
    value
        .try_into()
        .map_err(|_| TicketError::Field("a field has the wrong length"))
}

fn decode_name(value: &[u8]) -> Result<ContentName, TicketError> {
    let text =
        std::str::from_utf8(value).map_err(|_| TicketError::Field("the name is not UTF-8"))?;
    ContentName::new(text).map_err(|_| TicketError::Field("the name is not allowed"))
}

fn decode_node(value: &[u8]) -> Result<TicketNode, TicketError> {
    let mut node = None;
    let (mut addrs, mut mapped, mut via) = (Vec::new(), Vec::new(), Vec::new());
    let mut relays = Vec::new();
    for field in Fields(value) {
        match field? {
            (NODE_ID, value) => set(&mut node, NodeId::from_bytes(array(value)?))?,
            (NODE_ADDR, value) => addrs.push(decode_addr(value)?),
            (NODE_MAPPED, value) if mapped.len() < Ticket::MAX_MAPPED => {
                mapped.extend(decode_mapped(value)?);
            }
            (NODE_VIA, value) if via.len() < Ticket::MAX_VIA => via.push(decode_via(value)?),
            (NODE_RELAY, value) if relays.len() < Ticket::MAX_RELAYS => {
                relays.extend(decode_relay(value));
            }
            (id, _) if id % 2 == 0 => return Err(TicketError::Field("unknown required field")),
            _ => {}
        }
        if addrs.len() > Ticket::MAX_ADDRS {
            return Err(TicketError::Field("a node has more than 8 addresses"));
        }
    }
    let node = node.ok_or(TicketError::Field("a node without id"))?;
    Ok(TicketNode {
        node,
        addrs,
        mapped,
        via,
        relays,
    })
}

/// Whether a ticket may name this Gun relay.
fn is_relay(url: &str) -> bool {
    url.len() <= Ticket::MAX_RELAY_LEN
        && url
            .strip_prefix("wss://")
            .is_some_and(|rest| !rest.is_empty())
        && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `None` for one that a ticket may not name: it is a hint, and others may be of use.
fn decode_relay(value: &[u8]) -> Option<Arc<str>> {
    let url = std::str::from_utf8(value).ok()?;
    is_relay(url).then(|| url.into())
}

fn decode_via(value: &[u8]) -> Result<PeerAddr, TicketError> {
    let (node, addr) = value
        .split_first_chunk::<32>()
        .ok_or(TicketError::Field("a field has the wrong length"))?;
    Ok(PeerAddr {
        node: Some(NodeId::from_bytes(*node)),
        addr: decode_addr(addr)?,
    })
}

/// Method u8 (1 PCP, 2 NAT-PMP, 3 UPnP), transport u8 (IANA protocol number), address.
fn encode_mapped(mapped: &MappedAddr) -> Vec<u8> {
    let method = match mapped.method {
        Method::Pcp => 1,
        Method::NatPmp => 2,
        _ => 3,
    };
    let transport = match mapped.transport {
        Transport::Tcp => 6,
        Transport::Udp => 17,
    };
    [&[method, transport][..], &encode_addr(&mapped.addr)].concat()
}

/// `None` for a method or transport of a later version.
fn decode_mapped(value: &[u8]) -> Result<Option<MappedAddr>, TicketError> {
    let [method, transport, addr @ ..] = value else {
        return Err(TicketError::Field("a field has the wrong length"));
    };
    let method = match method {
        1 => Method::Pcp,
        2 => Method::NatPmp,
        3 => Method::Upnp,
        _ => return Ok(None),
    };
    let transport = match transport {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return Ok(None),
    };
    let addr = decode_addr(addr)?;
    Ok(Some(MappedAddr {
        method,
        transport,
        addr,
    }))
}

fn encode_addr(addr: &SocketAddr) -> Vec<u8> {
    let mut out = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    out.extend_from_slice(&addr.port().to_be_bytes());
    out
}

fn decode_addr(value: &[u8]) -> Result<SocketAddr, TicketError> {
    const LENGTH: TicketError = TicketError::Field("an address has the wrong length");
    let (ip, port) = value.split_last_chunk::<2>().ok_or(LENGTH)?;
    let ip = match ip.len() {
        4 => IpAddr::from(array::<4>(ip)?),
        16 => IpAddr::from(array::<16>(ip)?),
        _ => return Err(LENGTH),
    };
    match u16::from_be_bytes(*port) {
        0 => Err(TicketError::Field("an address has port 0")),
        port => Ok(SocketAddr::new(ip.to_canonical(), port)),
    }
}

fn hash_from_hex(text: &str) -> Result<ContentHash, TicketError> {
    let bytes = HEXLOWER
        .decode(text.to_ascii_lowercase().as_bytes())
        .map_err(|_| TicketError::Field("the content hash is not hexadecimal"))?;
    Ok(ContentHash::from_bytes(array(&bytes)?))
}

#[cfg(test)]
mod tests;
