//! How this crate gets links to peers.

use dig_transfer::link::Link;
pub use dig_types::Method;
use dig_types::{NodeId, PeerRecord};
use futures::stream::BoxStream;
use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

/// Why a peer could not be reached at one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialFailure {
    /// Who was expected there.
    pub node: Option<NodeId>,
    /// Where, if an address was dialled at all.
    pub addr: Option<SocketAddr>,
    /// What the failure means for the search.
    pub class: DialFailureClass,
    /// What happened, for people.
    pub reason: String,
}

/// What a failed dial means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DialFailureClass {
    /// Nobody answers there (now).
    Unreachable,
    /// Somebody answers who is not who was asked for, or cannot prove who it is.
    Identity,
    /// The other side does not want to deal with this node.
    Refused,
    /// This node does not dial such an address (a ticket may not point inside a foreign network).
    NotDialled,
}

/// How long it took to get a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timing {
    /// Since the dialling began.
    pub elapsed: Duration,
    /// Where the peer helped to find the path, how much of that passed after it had answered the first signal.
    pub after_signaling: Option<Duration>,
}

/// News of dialling a peer.
#[derive(Debug)]
#[non_exhaustive]
pub enum Dial {
    /// A way is being tried.
    Attempt {
        /// Who is expected there.
        node: Option<NodeId>,
        /// Where, if at an address that is known beforehand.
        addr: Option<SocketAddr>,
        /// How.
        method: Method,
    },
    /// A link is up. More may follow: QUIC and TLS over TCP are dialled at once.
    Up {
        /// The link.
        link: Arc<Link>,
        /// How its path was found.
        method: Method,
        /// How long it took.
        timing: Timing,
    },
    /// An address did not work.
    Failed(DialFailure),
    /// All that is known of the peer has been tried. What follows are improvements: links over better paths, and new ones in
    /// place of those that ended.
    Settled,
}

/// Links to peers, by whatever way there is.
pub trait Connector: Send + Sync + fmt::Debug {
    /// Dials a peer. A link that is up already is given at once.
    ///
    /// The stream ends when nothing is left to try, or says [`Dial::Settled`] and stays open as long as the connector looks
    /// after this peer: it then gives better paths as they are found, and replaces links that end. Dropping the stream ends
    /// the dialling and the looking after; links that are up stay up.
    fn connect(&self, peer: PeerRecord) -> BoxStream<'static, Dial>;
}
