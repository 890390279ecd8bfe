//! Answering Binding requests, with one address or, as RFC 5780 §6 asks, with two.
//!
//! What a server sends can be aimed at others by whoever forges the sender's address. Therefore:
//!
//! - an answer goes to the address that the request came from, at most to another port of it (RESPONSE-PORT), and is
//!   at most [`Server::MAX_REPLY`] bytes: 56 for IPv4, 92 for IPv6;
//! - one network gets a limited number of answers a second, whatever its addresses claim;
//! - PADDING (RFC 5780 §7.6), which makes answers as large as the sender likes, is refused;
//! - nothing but a well-formed request is answered, so that two servers never answer each other.

mod allowance;

pub(crate) use allowance::{Allowance, customer};

use super::message::{ChangeRequest, ErrorCode, Message, Request, Success};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// At which addresses a server stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One address: it tells where requests come from, and no more.
    Single(SocketAddr),
    /// Two addresses with two ports each, four sockets in all: it can also show how a NAT behaves (RFC 5780).
    Double {
        /// The first address and the first port.
        primary: SocketAddr,
        /// The other address, of the same family, and the other port.
        alternate: SocketAddr,
    },
}

impl Layout {
    /// Every address at which the server must listen.
    pub fn sockets(&self) -> Vec<SocketAddr> {
        match *self {
            Self::Single(addr) => vec![addr],
            Self::Double { primary, alternate } => [primary.ip(), alternate.ip()]
                .into_iter()
                .flat_map(|ip| {
                    [primary.port(), alternate.port()].map(|port| SocketAddr::new(ip, port))
                })
                .collect(),
        }
    }

    /// The other address and port, seen from `local`.
    fn other(&self, local: SocketAddr) -> Option<SocketAddr> {
        let Self::Double { primary, alternate } = *self else {
            return None;
        };
        let ip = if local.ip() == primary.ip() {
            alternate.ip()
        } else {
            primary.ip()
        };
        let port = if local.port() == primary.port() {
            alternate.port()
        } else {
            primary.port()
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// How much a [`Server`] does for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Answers a second for one network (an IPv4 address, an IPv6 /56). Default: 50: a whole test of a NAT takes
    /// about 30 in three seconds, and many may share an address.
    pub per_second: u32,
    /// Answers at once after a pause. Default: 200.
    pub burst: u32,
    /// Networks that are counted at a time; the others share one allowance. Default: 4,096, about 300 KiB.
    pub networks: usize,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            per_second: 50,
            burst: 200,
            networks: 4096,
        }
    }
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// From which of [`Layout::sockets`].
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

/// Answers Binding requests; keeps nothing about those who ask but how often they did.
#[derive(Debug)]
pub struct Server {
    layout: Layout,
    allowance: Allowance,
}

impl Server {
    /// Largest answer, in bytes.
    pub const MAX_REPLY: usize = 92;

    /// A server at these addresses.
    pub fn new(layout: Layout, limits: ServerLimits) -> Self {
        Self {
            layout,
            allowance: Allowance::new(limits),
        }
    }

    /// Where it stands.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// A datagram came from `source` to the socket at `local`, one of [`Layout::sockets`].
    pub fn on_datagram(
        &mut self,
        now: Duration,
        local: SocketAddr,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Option<Reply> {
        let (request, unknown) = self.request(now, source, bytes)?;
        let other = self.layout.other(local);
        let refuse = |code: ErrorCode, unknown: &[u16]| {
            Some(Reply {
                from: local,
                to: source,
                bytes: code.to_bytes(request.transaction, unknown),
            })
        };
        if !unknown.is_empty() {
            return refuse(ErrorCode::UNKNOWN_ATTRIBUTE, &unknown);
        }
        if request.response_port == Some(0) {
            return refuse(ErrorCode::BAD_REQUEST, &[]);
        }
        let from = match (request.change, other) {
            (None, _) => local,
            (Some(change), Some(other)) => changed(local, other, change),
            // RFC 5780 §6.1: a server without a second address does not understand the wish for it.
            (Some(_), None) => {
                return refuse(ErrorCode::UNKNOWN_ATTRIBUTE, &[Request::CHANGE_REQUEST]);
            }
        };
        let to = SocketAddr::new(source.ip(), request.response_port.unwrap_or(source.port()));
        let success = Success {
            transaction: request.transaction,
            mapped: source,
            origin: other.map(|_| from),
            other,
        };
        Some(Reply {
            from,
            to,
            bytes: success.to_bytes(),
        })
    }

    /// A message came over a connection from `source`; the answer goes back over it. The tests of RFC 5780 make no
    /// sense here and are refused.
    pub fn on_stream(
        &mut self,
        now: Duration,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        let (request, mut unknown) = self.request(now, source, bytes)?;
        unknown.extend(request.change.map(|_| Request::CHANGE_REQUEST));
        unknown.extend(request.response_port.map(|_| Request::RESPONSE_PORT));
        if !unknown.is_empty() {
            return Some(ErrorCode::UNKNOWN_ATTRIBUTE.to_bytes(request.transaction, &unknown));
        }
        let success = Success {
            transaction: request.transaction,
            mapped: source,
            origin: None,
            other: None,
        };
        Some(success.to_bytes())
    }

    /// The request, if it may be answered.
    fn request(
        &mut self,
        now: Duration,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Option<(Request, Vec<u16>)> {
        if !answerable(source) {
            return None;
        }
        let Ok(Message::Request { request, unknown }) = Message::parse(bytes) else {
            return None;
        };
        self.allowance
            .take(now, source.ip())
            .then_some((request, unknown))
    }
}

fn changed(local: SocketAddr, other: SocketAddr, change: ChangeRequest) -> SocketAddr {
    match change {
        ChangeRequest::Port => SocketAddr::new(local.ip(), other.port()),
        ChangeRequest::Address => SocketAddr::new(other.ip(), local.port()),
        ChangeRequest::AddressAndPort => other,
    }
}

/// Whether one host stands behind this address.
fn answerable(source: SocketAddr) -> bool {
    let one = match source.ip().to_canonical() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    one && source.port() != 0
}

#[cfg(test)]
mod tests;
