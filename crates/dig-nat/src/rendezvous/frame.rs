//! The frames of a rendezvous (`docs/protocol.md` §13). All types are odd: a peer that knows none of them ignores them.

use super::address::{put, take, take_array};
use crate::signaling::{MAX_SIGNAL, Observed, Signal, prekey::SignedPrekey};
use bytes::Bytes;
use dig_types::{Frame, FrameType, NodeId};
use std::time::Duration;

const REGISTER: u16 = 0x0041;
const REGISTERED: u16 = 0x0043;
const FIND: u16 = 0x0045;
const FOUND: u16 = 0x0047;
const INTRODUCE: u16 = 0x0049;
const INTRODUCED: u16 = 0x004B;
const RESULT: u16 = 0x004D;

/// Who acts on a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addressee {
    /// The peer in the middle: a [`Broker`](super::Broker).
    Broker,
    /// A peer at the edge: a [`Client`](super::Client).
    Client,
}

impl Addressee {
    /// Who acts on frames of this type; `None` if it is not one of a rendezvous.
    pub const fn of(kind: FrameType) -> Option<Self> {
        match kind.0 {
            REGISTER | FIND | INTRODUCE => Some(Self::Broker),
            REGISTERED | FOUND | INTRODUCED | RESULT => Some(Self::Client),
            _ => None,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was done: the message was handed on.
    Done,
    /// The other node is not registered here.
    NotFound,
    /// Too many requests; what to wait before the next.
    Busy(Duration),
    /// The asking node is not registered here.
    NotRegistered,
    /// The request is malformed or too large.
    Malformed,
    /// No more nodes are registered here, or this peer introduces nobody.
    Full,
}

impl Status {
    const fn code(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::NotFound => 1,
            Self::Busy(_) => 2,
            Self::NotRegistered => 3,
            Self::Malformed => 4,
            Self::Full => 5,
        }
    }
}

/// A frame of a rendezvous, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// This node may be found here and introduced, over this lane; empty bytes take it back.
    Register {
        /// The signed prekey to give out.
        prekey: Bytes,
        /// Nobody is to be told where this node comes from.
        discreet: bool,
    },
    /// It may; and this is where it is seen.
    Registered {
        /// Where this lane comes from.
        observed: Observed,
    },
    /// Asks for a node's prekey.
    Find {
        /// Chosen by the asking side; the answer has it too.
        request: u32,
        /// Whose.
        node: NodeId,
    },
    /// A node's prekey.
    Found {
        /// Of the question.
        request: u32,
        /// Whose.
        node: NodeId,
        /// As that node registered it; whoever asked checks it.
        prekey: Bytes,
    },
    /// Asks to hand a message on.
    Introduce {
        /// Chosen by the asking side; the answer has it too.
        request: u32,
        /// To whom.
        to: NodeId,
        /// The sealed message.
        message: Bytes,
    },
    /// A message that somebody wants to be handed on.
    Introduced {
        /// Who.
        from: NodeId,
        /// Where the lanes of that sender come from.
        observed: Vec<Observed>,
        /// The sealed message.
        message: Bytes,
    },
    /// What became of a request: always after `Introduce`, after the others only if they failed.
    Result {
        /// Of the request; 0 of `Register`.
        request: u32,
        /// What became of it.
        status: Status,
    },
}

impl Message {
    /// The frame on the wire.
    pub fn encode(&self) -> Frame {
        let (kind, request, payload) = match self {
            Self::Register { prekey, discreet } => (REGISTER, u32::from(*discreet), prekey.clone()),
            Self::Registered { observed } => {
                let mut out = Vec::new();
                put(&mut out, observed);
                (REGISTERED, 0, out.into())
            }
            Self::Find { request, node } => {
                (FIND, *request, Bytes::copy_from_slice(node.as_bytes()))
            }
            Self::Found {
                request,
                node,
                prekey,
            } => (
                FOUND,
                *request,
                [&node.as_bytes()[..], prekey].concat().into(),
            ),
            Self::Introduce {
                request,
                to,
                message,
            } => {
                let payload = [&to.as_bytes()[..], message].concat();
                (INTRODUCE, *request, payload.into())
            }
            Self::Introduced {
                from,
                observed,
                message,
            } => {
                let mut out = from.as_bytes().to_vec();
                let shown = &observed[..observed.len().min(Signal::MAX_OBSERVED)];
                out.push(u8::try_from(shown.len()).unwrap_or(0));
                shown.iter().for_each(|observed| put(&mut out, observed));
                out.extend_from_slice(message);
                (INTRODUCED, 0, out.into())
            }
            Self::Result { request, status } => {
                let wait = match status {
                    Status::Busy(wait) => u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
                    _ => 0,
                };
                let mut out = status.code().to_be_bytes().to_vec();
                out.extend(wait.to_be_bytes());
                (RESULT, *request, out.into())
            }
        };
        Frame::new(FrameType(kind), request, payload)
    }

    /// Reads a frame. `Ok(None)`: not one of a rendezvous, or a result of a later version.
    pub fn decode(frame: &Frame) -> Result<Option<Self>, Malformed> {
        let request = frame.request;
        let mut rest = &frame.payload[..];
        let message = match frame.kind.0 {
            REGISTER if rest.len() <= SignedPrekey::MAX_LEN => Self::Register {
                prekey: frame.payload.clone(),
                discreet: request & 1 != 0,
            },
            REGISTERED => {
                let observed = take(&mut rest).ok_or(Malformed)?;
                if !rest.is_empty() {
                    return Err(Malformed);
                }
                Self::Registered { observed }
            }
            FIND => Self::Find {
                request,
                node: NodeId::from_bytes(rest.try_into().map_err(|_| Malformed)?),
            },
            FOUND => Self::Found {
                request,
                node: take_node(&mut rest)?,
                prekey: tail(frame, rest, SignedPrekey::MAX_LEN)?,
            },
            INTRODUCE => Self::Introduce {
                request,
                to: take_node(&mut rest)?,
                message: tail(frame, rest, MAX_SIGNAL)?,
            },
            INTRODUCED => {
                let from = take_node(&mut rest)?;
                let [count] = take_array(&mut rest).ok_or(Malformed)?;
                if usize::from(count) > Signal::MAX_OBSERVED {
                    return Err(Malformed);
                }
                let observed = (0..count).map(|_| take(&mut rest));
                Self::Introduced {
                    from,
                    observed: observed.collect::<Option<_>>().ok_or(Malformed)?,
                    message: tail(frame, rest, MAX_SIGNAL)?,
                }
            }
            RESULT => {
                let code = u16::from_be_bytes(take_array(&mut rest).ok_or(Malformed)?);
                let wait = u32::from_be_bytes(take_array(&mut rest).ok_or(Malformed)?);
                let status = match code {
                    0 => Status::Done,
                    1 => Status::NotFound,
                    2 => Status::Busy(Duration::from_millis(wait.into())),
                    3 => Status::NotRegistered,
                    4 => Status::Malformed,
                    5 => Status::Full,
                    _ => return Ok(None),
                };
                Self::Result { request, status }
            }
            REGISTER => return Err(Malformed),
            _ => return Ok(None),
        };
        Ok(Some(message))
    }
}

fn take_node(rest: &mut &[u8]) -> Result<NodeId, Malformed> {
    take_array(rest).map(NodeId::from_bytes).ok_or(Malformed)
}

/// What is left of a payload: not nothing, and not more than may be.
fn tail(frame: &Frame, rest: &[u8], most: usize) -> Result<Bytes, Malformed> {
    if rest.is_empty() || rest.len() > most {
        return Err(Malformed);
    }
    Ok(frame.payload.slice(frame.payload.len() - rest.len()..))
}

/// A frame of a rendezvous that does not follow the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a rendezvous frame does not follow the protocol")]
pub struct Malformed;

#[cfg(test)]
mod tests;
