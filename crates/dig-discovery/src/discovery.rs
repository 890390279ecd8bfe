//! The trait that every mechanism implements, and the values it speaks.

use dig_types::{
    ContentHash, ContentKind, ContentName, DiscoveryKey, PeerRecord, PeerSource, Sha256Hash,
};
use futures::{
    future::{self, BoxFuture},
    stream::BoxStream,
};
use std::{error::Error, fmt};

/// Most claims that are kept of one peer about one lookup: what one RESOLVED holds (`docs/protocol.md` §7).
pub const MAX_CLAIMS: usize = 16;

/// A way to learn who has a content.
///
/// Mechanisms are independent: none needs another, and none fails a lookup. What goes wrong while
/// looking is traced and ends or silences the stream.
pub trait Discovery: Send + Sync + fmt::Debug {
    /// Makes it known that this node has what `key` stands for, until [`Self::withdraw`].
    /// Announcing a key again replaces the announcement. Returns when the announcement is on its way.
    fn announce(
        &self,
        key: DiscoveryKey,
        announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>>;

    /// Takes an announcement back, as far as the mechanism can. A key never announced is no error.
    fn withdraw(&self, key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>>;

    /// Who has it: at once what is known, then what becomes known.
    ///
    /// A peer may come again, when more addresses or claims of it are known; such an item replaces
    /// the earlier one. The stream ends when nothing more can come (a list has been read); a
    /// live mechanism keeps it open until it is dropped, which stops all work for it. Nothing is
    /// done before the first poll.
    fn find(&self, lookup: Lookup) -> BoxStream<'static, Found>;

    /// Takes everything back and stops, within 300 ms: a program that ends does not wait longer.
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(future::ready(()))
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// A content by its hash.
    Content(ContentHash),
    /// A file by the SHA-256 of its bytes.
    Sha256(Sha256Hash),
    /// Whatever somebody calls so; every claimant is reported.
    Name(ContentName),
}

impl Lookup {
    /// Where it is announced.
    pub fn key(&self) -> DiscoveryKey {
        match self {
            Self::Content(hash) => DiscoveryKey::content(hash),
            Self::Sha256(hash) => DiscoveryKey::sha256(hash),
            Self::Name(name) => DiscoveryKey::name(name),
        }
    }
}

/// What a node says of itself when it announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Where it listens, UDP and TCP.
    pub port: u16,
    /// How far the word may go. Default: [`AnnounceLevel::High`].
    pub level: AnnounceLevel,
    /// What the key stands for, for mechanisms that seal their word to those who look for it. Never to be published: it
    /// is the right to fetch. Default: nothing; such mechanisms can announce nothing then.
    pub secret: Option<Lookup>,
    /// What the node has there, for mechanisms that carry claims. Never to be published in the
    /// clear under a content key: the hash is the right to fetch. Default: nothing.
    pub claim: Option<Claim>,
}

impl Announcement {
    /// Everywhere, with nothing but the port.
    pub const fn new(port: u16) -> Self {
        Self {
            port,
            level: AnnounceLevel::High,
            secret: None,
            claim: None,
        }
    }

    /// Everywhere, with the port and what is looked for by whom it is meant for.
    pub fn of(lookup: Lookup, port: u16) -> Self {
        Self {
            secret: Some(lookup),
            ..Self::new(port)
        }
    }
}

/// How far an announcement may go (the whitepaper's `announceLevel`, 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum AnnounceLevel {
    /// The local network only.
    Low,
    /// The local network and Gun.
    Medium,
    /// Every mechanism: whoever shares wants to be found.
    #[default]
    High,
}

impl AnnounceLevel {
    /// Whether the word may go to this mechanism.
    pub const fn reaches(self, mechanism: PeerSource) -> bool {
        match mechanism {
            PeerSource::Explicit | PeerSource::Ticket | PeerSource::Local => true,
            PeerSource::Gun => !matches!(self, Self::Low),
            _ => matches!(self, Self::High),
        }
    }
}

/// What a peer says it has. Size, kind and name are hints; the hash is proved by fetching.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Which content; `None` if the mechanism does not say.
    pub hash: Option<ContentHash>,
    /// File or folder.
    pub kind: ContentKind,
    /// Bytes.
    pub size: u64,
    /// What the peer calls it, if that is an allowed name.
    pub name: Option<ContentName>,
}

/// A peer that may have what was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who, where, and from whom we know.
    pub peer: PeerRecord,
    /// What it says it has: over a lane or in a record that it signed. Hearsay is no claim: a mechanism
    /// that only knows that the peer has it leaves this empty. At most [`MAX_CLAIMS`].
    pub claims: Vec<Claim>,
}

impl From<PeerRecord> for Found {
    fn from(peer: PeerRecord) -> Self {
        Self {
            peer,
            claims: Vec::new(),
        }
    }
}

/// Why something could not be announced or withdrawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryError {
    /// Nobody would dial this port on a stranger's word, so announcing it is vain.
    #[error("port {0} cannot be announced; listen on a port from 1024 on")]
    Port(u16),
    /// The mechanism did not answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It was closed.
    #[error("this mechanism was closed")]
    Closed,
    /// The mechanism failed; the source says how.
    #[error("{0}")]
    Mechanism(#[source] Box<dyn Error + Send + Sync>),
    /// No mechanism that was asked succeeded; each says why.
    #[error("announced nowhere: {}", list(.0))]
    Everywhere(Vec<(PeerSource, DiscoveryError)>),
}

fn list(failures: &[(PeerSource, DiscoveryError)]) -> String {
    let texts: Vec<_> = failures
        .iter()
        .map(|(source, error)| format!("{source:?}: {error}"))
        .collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_reach_as_far_as_they_say() {
        use AnnounceLevel::{High, Low, Medium};
        for (mechanism, levels) in [
            (PeerSource::Local, [true, true, true]),
            (PeerSource::Gun, [false, true, true]),
            (PeerSource::Dht, [false, false, true]),
            (PeerSource::Exchange, [false, false, true]),
        ] {
            assert_eq!(
                [Low, Medium, High].map(|level| level.reaches(mechanism)),
                levels
            );
        }
    }
}
