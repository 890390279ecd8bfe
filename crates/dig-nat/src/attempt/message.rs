//! What both sides of an attempt tell each other through signaling.
//!
//! Messages are idempotent: any may be lost, repeated or reordered. An offer and an answer are the same from one
//! copy to the next but for their stamps, and grow (`revision`) when a side finds more candidates.
//!
//! ```text
//! message   = version (u8 = 1) ‖ kind (u8) ‖ body; unknown kinds are ignored, bytes after the body too
//! offer   1 = terms ‖ stamp (u32, the initiator's milliseconds) ‖ strategy (u8: 0 race, 1 sequential)
//! answer  2 = terms ‖ stamp (u32, of the offer answered) ‖ held (u16, milliseconds from that offer to this answer)
//! go      3 = round (u8) ‖ method (u8)         the initiator begins this round of this method
//! ready   4 = round (u8) ‖ method (u8)         the responder has begun it
//! opened  5 = round (u8)                       the initiator's NAT lets the responder's datagrams in
//! widen   7 = round (u8)                       open many ports: this side will guess one of them
//! wide    8 = round (u8) ‖ count (u16) ‖ last (u16) ‖ step (i16)   so many are open; the NAT gave `last` before them and goes on by `step`
//!             (count 0: no port is opened; step 0: they are irregular)
//! fresh   9 = address     this side punches from a new port, too, which is there (port 0: it opens none)
//! stop    6 = reason (u8): 0 connected, 1 no path ‖ method (u8, 0 without one)
//! terms     = share (32 bytes) ‖ revision (u8) ‖ methods (u16, bit n: the method of number n + 1) ‖
//!             count (u16) ‖ candidates ‖ count (u8) ‖ addresses of fresh ports ‖ nat
//! nat       = mapping of the UDP port (u8: 0 unknown, 1 no NAT, 2 one port for all destinations, 3 a port for each) ‖
//!             step (i16: from one destination's port to the next one's; 0 if irregular)
//! candidate = kind (u8: 0 host, 1 server-reflexive, 2 relayed, 3 to 5 mapped by the method of this number) ‖ transport (u8: 0 UDP, 1 TCP) ‖ address
//! address   = 4 or 6 (u8) ‖ 4 or 16 bytes ‖ port (u16)
//! ```

use super::{
    config::{NatHint, ROUNDS, Strategy},
    keys::{method_number, method_of},
};
use crate::candidate::{Candidate, CandidateKind, Transport};
use bytes::{BufMut, Bytes, BytesMut};
use dig_types::Method;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Candidates used of one side; more are read over.
pub const MAX_CANDIDATES: usize = 16;

const VERSION: u8 = 1;

/// What a side brings to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Its share of the key.
    pub share: [u8; 32],
    /// Counts how often its candidates changed.
    pub revision: u8,
    /// The methods that it takes part in.
    pub methods: Vec<Method>,
    /// Where it may be reached: at most [`MAX_CANDIDATES`].
    pub candidates: Vec<Candidate>,
    /// Where its ports for simultaneous open are, one a round.
    pub fresh: Vec<SocketAddr>,
    /// How its NAT maps the UDP port.
    pub nat: NatHint,
}

/// The initiator's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What it brings.
    pub terms: Terms,
    /// Its clock, in milliseconds since the attempt began there.
    pub stamp: u32,
    /// How the attempt goes.
    pub strategy: Strategy,
}

/// The responder's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it brings.
    pub terms: Terms,
    /// The stamp of the offer answered.
    pub stamp: u32,
    /// How long that offer lay with the responder.
    pub held: Duration,
}

/// A round of a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Counted from 0.
    pub round: u8,
    /// Of which method.
    pub method: Method,
}

/// A message of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Let us find a path.
    Offer(Offer),
    /// Yes, let us.
    Answer(Answer),
    /// The initiator begins this now; TCP: the responder connects at once, the initiator half a round trip after sending it.
    Go(Step),
    /// The responder has begun it.
    Ready(Step),
    /// The initiator's first checks have left: the responder's may follow.
    Opened(u8),
    /// It is over, with a path by this method or without one.
    Stop(Option<Method>),
    /// The responder's NAT gives each destination a port of its own: it is to open many, of which the initiator guesses one.
    Widen(u8),
    /// Many ports are open.
    Wide(Wide),
    /// This side punches from a new port, too, seen at this end; `None`: it opens none.
    Fresh(Option<SocketAddr>),
}

/// Ports that are open towards the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    /// Of which round of UDP hole punching.
    pub round: u8,
    /// How many; none, if this side does not take part.
    pub count: u16,
    /// Where the NAT put them, if it goes by a rule.
    pub drift: Option<Drift>,
}

/// Where a NAT that gives its outside ports in order stood just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Drift {
    /// The outside port that it gave last.
    pub last: u16,
    /// By how much the next one is above that; not 0.
    pub step: i16,
}

/// The bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// They end too early.
    #[error("a signal of the attempt ends in its middle")]
    Short,
    /// Of another version of the protocol.
    #[error(
        "a signal of version {0}; this program knows version 1: update the older one of the two"
    )]
    Version(u8),
    /// Of a kind unknown here, which is to be ignored.
    #[error("a signal of unknown kind {0}")]
    Kind(u8),
    /// A value that means nothing.
    #[error("a signal of the attempt is malformed")]
    Malformed,
}

impl Message {
    /// The bytes: at most 500.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(512);
        out.put_u8(VERSION);
        match self {
            Self::Offer(Offer {
                terms,
                stamp,
                strategy,
            }) => {
                out.put_u8(1);
                put_terms(&mut out, terms);
                out.put_u32(*stamp);
                out.put_u8((*strategy == Strategy::Sequential).into());
            }
            Self::Answer(Answer { terms, stamp, held }) => {
                out.put_u8(2);
                put_terms(&mut out, terms);
                out.put_u32(*stamp);
                out.put_u16(held.as_millis().try_into().unwrap_or(u16::MAX));
            }
            Self::Go(step) => put_step(&mut out, 3, *step),
            Self::Ready(step) => put_step(&mut out, 4, *step),
            Self::Opened(round) => out.put_slice(&[5, *round]),
            Self::Stop(method) => {
                out.put_slice(&[6, method.is_none().into(), method.map_or(0, method_number)]);
            }
            Self::Widen(round) => out.put_slice(&[7, *round]),
            Self::Wide(Wide {
                round,
                count,
                drift,
            }) => {
                out.put_slice(&[8, *round]);
                out.put_u16(*count);
                out.put_u16(drift.map_or(0, |drift| drift.last));
                out.put_i16(drift.map_or(0, |drift| drift.step));
            }
            Self::Fresh(end) => {
                out.put_u8(9);
                let none = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
                put_address(&mut out, end.unwrap_or(none));
            }
        }
        out.freeze()
    }

    /// Reads a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        let mut input = Input(bytes);
        let version = input.u8()?;
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        Ok(match input.u8()? {
            1 => Self::Offer(Offer {
                terms: input.terms()?,
                stamp: input.u32()?,
                strategy: if input.u8()? == 1 {
                    Strategy::Sequential
                } else {
                    Strategy::Race
                },
            }),
            2 => Self::Answer(Answer {
                terms: input.terms()?,
                stamp: input.u32()?,
                held: Duration::from_millis(input.u16()?.into()),
            }),
            3 => Self::Go(input.step()?),
            4 => Self::Ready(input.step()?),
            5 => Self::Opened(input.u8()?),
            6 => {
                let (_reason, method) = (input.u8()?, input.u8()?);
                Self::Stop(method_of(method))
            }
            7 => Self::Widen(input.u8()?),
            8 => {
                let (round, count, last) = (input.u8()?, input.u16()?, input.u16()?);
                let step = i16::from_be_bytes(input.take()?);
                let drift = (step != 0).then_some(Drift { last, step });
                Self::Wide(Wide {
                    round,
                    count,
                    drift,
                })
            }
            9 => Self::Fresh(Some(input.address()?).filter(|end| end.port() != 0)),
            kind => return Err(MessageError::Kind(kind)),
        })
    }
}

fn put_step(out: &mut BytesMut, kind: u8, step: Step) {
    out.put_slice(&[kind, step.round, method_number(step.method)]);
}

fn put_terms(out: &mut BytesMut, terms: &Terms) {
    out.put_slice(&terms.share);
    out.put_u8(terms.revision);
    out.put_u16(
        terms
            .methods
            .iter()
            .fold(0, |bits, method| bits | bit(*method)),
    );
    let candidates = &terms.candidates[..terms.candidates.len().min(MAX_CANDIDATES)];
    out.put_u16(candidates.len() as u16);
    for candidate in candidates {
        out.put_u8(match candidate.kind {
            CandidateKind::Host => 0,
            CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => 1,
            CandidateKind::Relayed => 2,
            CandidateKind::Mapped(method) => method_number(method),
        });
        out.put_u8((candidate.transport == Transport::Tcp).into());
        put_address(out, candidate.addr);
    }
    let fresh = &terms.fresh[..terms.fresh.len().min(ROUNDS)];
    out.put_u8(fresh.len() as u8);
    fresh.iter().for_each(|addr| put_address(out, *addr));
    let (mapping, step) = match terms.nat {
        NatHint::Unknown => (0, None),
        NatHint::Open => (1, None),
        NatHint::Independent => (2, None),
        NatHint::Dependent { step } => (3, step),
    };
    out.put_u8(mapping);
    out.put_i16(step.unwrap_or(0));
}

/// The bit of a method; none for one that an attempt does not know.
fn bit(method: Method) -> u16 {
    (1u16 << method_number(method)) >> 1
}

fn put_address(out: &mut BytesMut, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => {
            out.put_u8(4);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_u8(6);
            out.put_slice(&ip.octets());
        }
    }
    out.put_u16(addr.port());
}

/// What is left of a message.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(MessageError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, MessageError> {
        self.take().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Result<u16, MessageError> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, MessageError> {
        self.take().map(u32::from_be_bytes)
    }

    fn step(&mut self) -> Result<Step, MessageError> {
        let (round, method) = (self.u8()?, self.u8()?);
        Ok(Step {
            round,
            method: method_of(method).ok_or(MessageError::Malformed)?,
        })
    }

    fn terms(&mut self) -> Result<Terms, MessageError> {
        let (share, revision, bits) = (self.take()?, self.u8()?, self.u16()?);
        let methods = Method::ALL
            .into_iter()
            .filter(|method| bits & bit(*method) != 0);
        let mut candidates = Vec::new();
        for _ in 0..self.u16()? {
            let candidate = self.candidate()?;
            if let Some(candidate) = candidate
                && candidates.len() < MAX_CANDIDATES
                && !candidates.contains(&candidate)
            {
                candidates.push(candidate);
            }
        }
        let mut fresh = Vec::new();
        for _ in 0..self.u8()? {
            let addr = self.address()?;
            if fresh.len() < ROUNDS {
                fresh.push(addr);
            }
        }
        let (mapping, step) = (self.u8()?, i16::from_be_bytes(self.take()?));
        let nat = match mapping {
            1 => NatHint::Open,
            2 => NatHint::Independent,
            3 => NatHint::Dependent {
                step: (step != 0).then_some(step),
            },
            _ => NatHint::Unknown,
        };
        Ok(Terms {
            share,
            revision,
            methods: methods.collect(),
            candidates,
            fresh,
            nat,
        })
    }

    /// A candidate; `None` for one that is of no use here: of an unknown kind, or without a port.
    fn candidate(&mut self) -> Result<Option<Candidate>, MessageError> {
        let (kind, transport, addr) = (self.u8()?, self.u8()?, self.address()?);
        let kind = match kind {
            0 => CandidateKind::Host,
            1 => CandidateKind::ServerReflexive,
            2 => CandidateKind::Relayed,
            3..=5 => match method_of(kind) {
                Some(method) => CandidateKind::Mapped(method),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let transport = match transport {
            0 => Transport::Udp,
            1 => Transport::Tcp,
            _ => return Ok(None),
        };
        Ok((addr.port() != 0).then_some(Candidate {
            kind,
            transport,
            addr,
        }))
    }

    fn address(&mut self) -> Result<SocketAddr, MessageError> {
        let ip = match self.u8()? {
            4 => IpAddr::V4(Ipv4Addr::from(self.take::<4>()?)),
            6 => Ipv6Addr::from(self.take::<16>()?).to_canonical(),
            _ => return Err(MessageError::Malformed),
        };
        Ok(SocketAddr::new(ip, self.u16()?))
    }
}

#[cfg(test)]
mod tests;
