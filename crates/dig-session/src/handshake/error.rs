//! Why no lane came to be.

use crate::wire::{ByeCode, FrameError, HelloError};
use dig_identity::{auth::AuthError, certificate::CertificateError};
use dig_types::NodeId;
use std::{fmt, io};

/// How far a handshake had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The encrypted connection was not up yet.
    Connect,
    /// The connection was up; HELLO had not come.
    Hello,
    /// HELLO had come; challenge–response was not over.
    Auth,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => {
                "no answer in time: nothing listens there, or a firewall or NAT stands between"
            }
            Self::Hello => "the other side answers, but does not begin the DIG protocol in time",
            Self::Auth => "authentication did not finish in time: try again",
        })
    }
}

/// The peer broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame is longer than allowed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// HELLO is malformed.
    #[error(transparent)]
    Hello(#[from] HelloError),
    /// Something else came before HELLO.
    #[error("a frame of type {0:#06x} came before HELLO")]
    HelloMissing(u16),
    /// A session frame is unknown, or came at the wrong time.
    #[error("a frame of type {0:#06x} is unknown or came at the wrong time")]
    Unexpected(u16),
    /// A session frame has a payload that it cannot have.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// More came than may come before the lane is open.
    #[error("too much came before the lane was open")]
    TooEarly,
}

/// Why a connection did not become a lane. Shared by both sides.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The other side did not answer, or did not go on.
    #[error("{0}")]
    Timeout(Stage),
    /// The other side is not the node that was asked for. Nothing was sent to it.
    #[error(
        "another node answers there: expected {expected}, found {found}. The address may have passed to somebody else; ask for a fresh ticket"
    )]
    WrongIdentity {
        /// Who was asked for.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The other side's certificate has expired, or is not valid yet.
    #[error(
        "the other side's certificate is not valid now: check the clocks of both machines, or restart the other side"
    )]
    CertificateExpired,
    /// The other side's certificate is refused.
    #[error("the other side's certificate is refused: {0}")]
    BadCertificate(CertificateError),
    /// The other side sent several certificates.
    #[error("the other side sent {0} certificates, where exactly one is required")]
    CertificateChain(usize),
    /// The other side has no certificate.
    #[error("the other side showed no certificate, so it has no identity")]
    NoCertificate,
    /// The other side refuses our certificate.
    #[error(
        "the other side refuses this node's certificate ({0}): check the clocks of both machines"
    )]
    CertificateRefused(String),
    /// The other side expects somebody else here.
    #[error("the other side expected another node here and ended the connection")]
    NotExpectedHere,
    /// The other side speaks another protocol.
    #[error("what answers there does not speak the DIG protocol: {0}")]
    NotDig(String),
    /// The two sides have no version of the protocol in common.
    #[error("no common version: this program speaks {}, the other side {}; update the older one", range(.ours), range(.theirs))]
    Version {
        /// Lowest and highest of ours.
        ours: (u16, u16),
        /// Lowest and highest of theirs.
        theirs: (u16, u16),
    },
    /// The connection leads back to this very program.
    #[error("the address leads back to this program itself")]
    Oneself,
    /// The other side broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The other side ended the conversation with a reason.
    #[error("the other side refused: {code}{}", note(.text))]
    RefusedByPeer {
        /// Why.
        code: ByeCode,
        /// In its words.
        text: String,
    },
    /// The other side demands authentication and does not admit this node.
    #[error(
        "the other side does not admit this node: ask its owner to trust this node's id (`dignet id` prints it)"
    )]
    AuthRefused,
    /// Challenge–response failed here.
    #[error("authentication failed: {0}")]
    Auth(#[from] AuthError),
    /// The peer proved who it is; the policy does not admit it.
    #[error("node {0} is not admitted by this node's policy")]
    NotAdmitted(NodeId),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

fn range((low, high): &(u16, u16)) -> String {
    if low == high {
        format!("version {low}")
    } else {
        format!("versions {low} to {high}")
    }
}

fn note(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(" ({text})")
    }
}
