//! What an attempt did, for people and programs that ask why.

mod verdict;

pub use verdict::{Reached, Verdict};

use crate::attempt::{NatHint, Tactic};
use dig_types::{Method, NodeId};
use serde::Serialize;
use std::{fmt, net::SocketAddr, time::Duration};

/// Names one attempt; the same on both sides.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId(pub [u8; 16]);

impl Serialize for AttemptId {
    /// As it is shown: 32 hexadecimal digits.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttemptId({self})")
    }
}

/// How far a method got: the first layer that failed is the useful hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
#[non_exhaustive]
pub enum Outcome {
    /// It has not ended.
    Running,
    /// It gave the path that is used.
    Connected,
    /// It could not be tried: why.
    Skipped(String),
    /// Nothing came from the peer.
    NoAnswer,
    /// The peer's packets came, ours did not reach it: its NAT or firewall filters them.
    OneWay,
    /// Somebody answered, and refused.
    Refused(String),
    /// The system could not do it.
    Failed(String),
    /// Another method was first.
    Cancelled,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running => f.write_str("is running"),
            Self::Connected => f.write_str("connected"),
            Self::Skipped(reason) => write!(f, "was not tried: {reason}"),
            Self::NoAnswer => f.write_str("got no answer"),
            Self::OneWay => {
                f.write_str("heard the peer, but the peer's NAT or firewall lets nothing in")
            }
            Self::Refused(reason) => write!(f, "was refused: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
            Self::Cancelled => f.write_str("was not needed"),
        }
    }
}

/// What one method did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MethodTrace {
    /// The method's name.
    #[serde(serialize_with = "name")]
    pub method: Method,
    /// When it began, since the attempt did.
    pub started: Duration,
    /// How long it took; until now, if it has not ended.
    pub took: Duration,
    /// Packets or connections tried.
    pub sent: u32,
    /// Packets or connections that came from the peer.
    pub received: u32,
    /// Where the peer was tried.
    pub remotes: Vec<SocketAddr>,
    /// How it ended.
    pub outcome: Outcome,
    /// How it guessed ports, if it did (UDP hole punching).
    pub tactic: Option<Tactic>,
}

/// What an attempt did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Trace {
    /// Which attempt.
    pub attempt: AttemptId,
    /// With whom.
    pub peer: NodeId,
    /// From offer to answer; `None` if none came.
    pub signaling: Option<Duration>,
    /// How this side's NAT maps UDP ports, as far as is known.
    pub own_nat: NatHint,
    /// How the peer's does, as the peer says; `None` if it said nothing.
    pub peer_nat: Option<NatHint>,
    /// Every method, in the order in which they began.
    pub methods: Vec<MethodTrace>,
}

fn name<S: serde::Serializer>(method: &Method, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(method.name())
}
