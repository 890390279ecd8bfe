//! What a translator sees of a packet: a plain value for simulations, and the same read from and written to real bytes in place.
//!
//! [`Packet`] is what the model in [`nat`](crate::nat) works on. A simulator builds it directly; the device shells
//! read it from an IPv4 packet with [`wire::read`] and write the model's answer back into the same bytes.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

pub mod checksum;
pub mod wire;

/// What a mapping is for. Ports of different protocols have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// User datagrams; the port is the port.
    Udp,
    /// Streams; the port is the port.
    Tcp,
    /// Echo requests and replies; the "port" of the inner side is the identifier, that of the outer side is 0
    /// (RFC 5508 §3.1).
    Echo,
}

/// The control bits of a segment that a translator acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct TcpFlags {
    /// Opens.
    pub syn: bool,
    /// Acknowledges.
    pub ack: bool,
    /// Closes one way.
    pub fin: bool,
    /// Aborts.
    pub rst: bool,
}

impl TcpFlags {
    /// The first segment of whoever opens.
    pub const SYN: Self = Self {
        syn: true,
        ack: false,
        fin: false,
        rst: false,
    };
    /// The answer of whoever accepts.
    pub const SYN_ACK: Self = Self {
        syn: true,
        ack: true,
        fin: false,
        rst: false,
    };
    /// An ordinary segment.
    pub const ACK: Self = Self {
        syn: false,
        ack: true,
        fin: false,
        rst: false,
    };
    /// The last segment one way.
    pub const FIN: Self = Self {
        syn: false,
        ack: true,
        fin: true,
        rst: false,
    };
    /// A refusal.
    pub const RST: Self = Self {
        syn: false,
        ack: true,
        fin: false,
        rst: true,
    };
}

/// Why a router or a host sent a packet back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// Nobody listens there (type 3 code 3).
    PortUnreachable,
    /// Any other "unreachable"; the code of RFC 792, 13 for "administratively prohibited".
    Unreachable(u8),
    /// The hop limit ran out on the way (type 11).
    TimeExceeded,
    /// Any other error, by type and code.
    Other(u8, u8),
}

/// A packet by its ends, as quoted inside an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Protocol of the quoted packet.
    pub protocol: Protocol,
    /// Who had sent it.
    pub source: SocketAddr,
    /// Where it was going.
    pub destination: SocketAddr,
}

/// What a packet carries, as far as a translator cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A datagram.
    Udp,
    /// A segment.
    Tcp(TcpFlags),
    /// An echo request: the identifier is the port of the source.
    EchoRequest,
    /// An echo reply: the identifier is the port of the destination.
    EchoReply,
    /// An error about an earlier packet. The ports of the packet itself are 0.
    Error(IcmpError, Flow),
}

/// A packet as a translator sees it.
///
/// The payload is never looked at and may be empty. The hop limit is carried but not counted: whoever moves packets
/// (a simulator, or the kernel around the device shell) decrements it and answers when it runs out, before the
/// translator sees the packet, as a router does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sender, as seen at this point of the way.
    pub source: SocketAddr,
    /// Receiver, as seen at this point of the way.
    pub destination: SocketAddr,
    /// Hops left.
    pub ttl: u8,
    /// Protocol and what matters of its header.
    pub content: Content,
    /// What it carries.
    pub payload: Bytes,
}

impl Packet {
    /// Hop limit of packets made here; what Linux uses.
    pub const TTL: u8 = 64;

    /// A datagram.
    #[must_use]
    pub fn udp(source: SocketAddr, destination: SocketAddr, payload: Bytes) -> Self {
        Self {
            source,
            destination,
            ttl: Self::TTL,
            content: Content::Udp,
            payload,
        }
    }

    /// A segment without data.
    #[must_use]
    pub fn tcp(source: SocketAddr, destination: SocketAddr, flags: TcpFlags) -> Self {
        Self {
            source,
            destination,
            ttl: Self::TTL,
            content: Content::Tcp(flags),
            payload: Bytes::new(),
        }
    }

    /// The error that `reporter` sends to the source of `about`.
    #[must_use]
    pub fn error(reporter: IpAddr, error: IcmpError, about: Flow) -> Self {
        Self {
            source: SocketAddr::new(reporter, 0),
            destination: SocketAddr::new(about.source.ip(), 0),
            ttl: Self::TTL,
            content: Content::Error(error, about),
            payload: Bytes::new(),
        }
    }

    /// The same packet with another hop limit.
    #[must_use]
    pub fn with_ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// The protocol whose ports this packet uses; of an error, that of the packet it is about.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        match self.content {
            Content::Udp => Protocol::Udp,
            Content::Tcp(_) => Protocol::Tcp,
            Content::EchoRequest | Content::EchoReply => Protocol::Echo,
            Content::Error(_, about) => about.protocol,
        }
    }

    /// Its ends as an error about it would quote them.
    #[must_use]
    pub fn flow(&self) -> Flow {
        Flow {
            protocol: self.protocol(),
            source: self.source,
            destination: self.destination,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} {} -> {} ttl {}",
            self.content, self.source, self.destination, self.ttl
        )
    }
}
