//! The magnet form of a ticket.

use super::{Ticket, TicketError, TicketNode, hash_from_hex, set};
use crate::{ContentName, PeerAddr};
use std::fmt::Write as _;

const TOPIC: &str = "urn:dig:";

pub(super) fn write(ticket: &Ticket) -> String {
    let mut out = format!("magnet:?xt={TOPIC}{}", ticket.hash);
    if let Some(size) = ticket.size {
        let _ = write!(out, "&xl={size}");
    }
    if let Some(name) = &ticket.name {
        let _ = write!(out, "&dn={}", escape(name.as_str()));
    }
    for node in &ticket.nodes {
        for addr in &node.addrs {
            let _ = write!(out, "&x.pe={}@{addr}", node.node);
        }
    }
    for addr in &ticket.anonymous {
        let _ = write!(out, "&x.pe={addr}");
    }
    out
}

pub(super) fn parse(text: &str) -> Result<Ticket, TicketError> {
    let query = text.strip_prefix("magnet:?").ok_or(TicketError::Prefix)?;
    let mut hash = None;
    let mut size = None;
    let mut name = None;
    let mut peers = Vec::new();
    for pair in query.split('&') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        let value = unescape(value)?;
        match key {
            "xt" => {
                if let Some(hex) = value.strip_prefix(TOPIC) {
                    set(&mut hash, hash_from_hex(hex)?)?;
                }
            }
            "xl" => {
                let bytes = value
                    .parse()
                    .map_err(|_| TicketError::Field("`xl` is no number"))?;
                set(&mut size, bytes)?;
            }
            "dn" => {
                let text = ContentName::new(&value);
                set(
                    &mut name,
                    text.map_err(|_| TicketError::Field("the name is not allowed"))?,
                )?;
            }
            "x.pe" => {
                let peer: PeerAddr = value
                    .parse()
                    .map_err(|_| TicketError::Field("`x.pe` is not [NODEID@]IP:PORT"))?;
                peers.push(peer);
            }
            _ => {}
        }
    }
    if peers.len() > Ticket::MAX_NODES {
        return Err(TicketError::Field("more than 16 peers"));
    }
    let mut ticket = Ticket::new(hash.ok_or(TicketError::Field("no xt=urn:dig: in the link"))?);
    (ticket.size, ticket.name) = (size, name);
    peers
        .into_iter()
        .try_for_each(|peer| add(&mut ticket, peer))?;
    Ok(ticket)
}

/// Adds an address to the node that has it, or a node of its own.
fn add(ticket: &mut Ticket, peer: PeerAddr) -> Result<(), TicketError> {
    let Some(id) = peer.node else {
        ticket.anonymous.push(peer.addr);
        return Ok(());
    };
    match ticket.nodes.iter_mut().find(|node| node.node == id) {
        Some(node) if node.addrs.len() == Ticket::MAX_ADDRS => {
            return Err(TicketError::Field("a node has more than 8 addresses"));
        }
        Some(node) => node.addrs.push(peer.addr),
        None => ticket.nodes.push(TicketNode {
            node: id,
            addrs: vec![peer.addr],
            mapped: Vec::new(),
            via: Vec::new(),
            relays: Vec::new(),
        }),
    }
    Ok(())
}

fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn unescape(text: &str) -> Result<String, TicketError> {
    const BAD: TicketError = TicketError::Field("a `%` without two hexadecimal digits");
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        let digits = rest.get(..2).ok_or(BAD)?;
        out.extend(
            data_encoding::HEXLOWER_PERMISSIVE
                .decode(digits)
                .map_err(|_| BAD)?,
        );
        rest = &rest[2..];
    }
    String::from_utf8(out).map_err(|_| TicketError::Field("the link is not UTF-8"))
}
