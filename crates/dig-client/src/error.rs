//! Why a download failed, and what to do about it.

use crate::{
    connector::{DialFailure, DialFailureClass},
    names::Claimant,
};
use dig_transfer::fetch::FetchError;
use dig_types::ContentName;
use std::fmt::Write as _;

/// Why a download failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// Nobody was found who has it.
    #[error("nobody was found who has {what}")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// Several nodes mean different things by a name.
    #[error("{} nodes mean different things by {name}:{}", .claims.len(), list(.name, .claims))]
    Ambiguous {
        /// The name.
        name: ContentName,
        /// Who means what.
        claims: Vec<Claimant>,
    },
    /// Peers were found, but none could be reached.
    #[error("could not connect: {}", summary(.failures))]
    NoConnection {
        /// What happened at each address.
        failures: Vec<DialFailure>,
    },
    /// Peers were reached, but they do not want to deal with this node.
    #[error("refused by the other side: {reason}")]
    Refused {
        /// What they said.
        reason: String,
    },
    /// Whoever had it has it no longer.
    #[error("what was shared has changed or is gone, and nobody else has it")]
    Changed,
    /// No byte came for as long as [`timeout`](crate::DownloadOptions::timeout) allows.
    #[error("no progress for {seconds} seconds: {reason}")]
    Stalled {
        /// How long.
        seconds: u64,
        /// What is known of it.
        reason: String,
    },
    /// The transfer itself failed.
    #[error(transparent)]
    Fetch(FetchError),
    /// It was cancelled.
    #[error("interrupted; what is verified is kept, run the same command to go on")]
    Cancelled,
}

/// The class of a failure, one for each exit code of `dignet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DownloadErrorKind {
    /// Anything else.
    Other,
    /// The request makes no sense as it stands.
    Usage,
    /// Nobody has it, or it changed.
    NotFound,
    /// Nobody could be reached.
    Connect,
    /// What came was false.
    Verification,
    /// A file here is missing, in the way or cannot be written.
    Local,
    /// The other side does not want to.
    Refused,
    /// Cancelled.
    Cancelled,
}

impl DownloadError {
    /// None of the peers that the user named answers.
    pub(crate) fn unreachable(peers: &[dig_types::PeerAddr]) -> Self {
        let failures = peers.iter().map(|peer| DialFailure {
            node: peer.node,
            addr: Some(peer.addr),
            class: DialFailureClass::Unreachable,
            reason: "no answer".to_owned(),
        });
        Self::NoConnection {
            failures: failures.collect(),
        }
    }

    /// The class of the failure.
    pub fn kind(&self) -> DownloadErrorKind {
        match self {
            Self::Ambiguous { .. } => DownloadErrorKind::Usage,
            Self::NotFound { .. } | Self::Changed => DownloadErrorKind::NotFound,
            Self::NoConnection { failures } if only_refusals(failures) => {
                DownloadErrorKind::Refused
            }
            Self::NoConnection { .. } | Self::Stalled { .. } => DownloadErrorKind::Connect,
            Self::Refused { .. } => DownloadErrorKind::Refused,
            Self::Fetch(error) => fetch_kind(error),
            Self::Cancelled => DownloadErrorKind::Cancelled,
        }
    }

    /// What to do next, where the error's own text does not say it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotFound { .. } => {
                "is `dignet share` still running there? On another network, use the whole ticket, --peer IP:PORT, or on both sides --gun with the same relay; \
                 --wait waits until somebody shares it"
            }
            Self::Ambiguous { name, claims } => {
                let node = claims
                    .first()
                    .map(|claim| claim.node.to_string())
                    .unwrap_or_default();
                return Some(format!(
                    "say whose you want, such as: dignet get '{name}@{node}'"
                ));
            }
            Self::NoConnection { failures } if has_class(failures, DialFailureClass::Identity) => {
                "the node that answers is not the one that the ticket names; ask for a new ticket"
            }
            Self::NoConnection { .. } => {
                "is the other machine on, and does its firewall let UDP and TCP in on that port? Behind NATs, run \
                 `dignet relay` where both sides reach it and name it on both with --via or --gun; `dignet doctor` says what else helps"
            }
            Self::Refused { .. } => {
                "ask the other side to trust your node id (`dignet id`), then use --identity home"
            }
            Self::Changed => "ask for a new ticket",
            Self::Stalled { .. } => "run the same command again to go on where it stopped",
            Self::Fetch(_) | Self::Cancelled => return None,
        };
        Some(hint.to_owned())
    }
}

fn fetch_kind(error: &FetchError) -> DownloadErrorKind {
    match error {
        FetchError::NotFound | FetchError::Changed => DownloadErrorKind::NotFound,
        FetchError::NoPeers { .. } | FetchError::Stalled(_) => DownloadErrorKind::Connect,
        FetchError::Verification { .. }
        | FetchError::WrongSha256 { .. }
        | FetchError::Malformed(_) => DownloadErrorKind::Verification,
        FetchError::Sink(_) | FetchError::TooLarge { .. } => DownloadErrorKind::Local,
        FetchError::Refused { .. } => DownloadErrorKind::Refused,
        FetchError::Cancelled => DownloadErrorKind::Cancelled,
        _ => DownloadErrorKind::Other,
    }
}

fn has_class(failures: &[DialFailure], class: DialFailureClass) -> bool {
    failures.iter().any(|failure| failure.class == class)
}

fn only_refusals(failures: &[DialFailure]) -> bool {
    has_class(failures, DialFailureClass::Refused)
        && !has_class(failures, DialFailureClass::Identity)
}

/// The reasons, each once, the most telling first.
fn summary(failures: &[DialFailure]) -> String {
    const SHOWN: usize = 4;
    let mut failures: Vec<&DialFailure> = failures.iter().collect();
    // Where the peer itself was asked for help, its inside addresses say nothing more.
    if failures.iter().any(|failure| failure.addr.is_none()) {
        failures.retain(|failure| failure.class != DialFailureClass::NotDialled);
    }
    failures.sort_by_key(|failure| match failure.class {
        DialFailureClass::Identity => 0,
        DialFailureClass::Refused => 1,
        DialFailureClass::Unreachable => 2,
        DialFailureClass::NotDialled => 3,
    });
    let mut lines: Vec<String> = Vec::new();
    for failure in failures {
        let line = match failure.addr {
            Some(addr) => format!("{addr}: {}", failure.reason),
            None => failure.reason.clone(),
        };
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let more = lines.len().saturating_sub(SHOWN);
    lines.truncate(SHOWN);
    let mut text = lines.join("; ");
    if more > 0 {
        let _ = write!(text, "; and {more} more");
    }
    text
}

fn list(name: &ContentName, claims: &[Claimant]) -> String {
    let mut text = String::new();
    for claim in claims.iter().take(10) {
        let _ = write!(text, "\n  {name}@{}  {} bytes", claim.node, claim.size);
    }
    text
}
