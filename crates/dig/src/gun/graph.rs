//! What the adapters need of a Gun graph.

use dig_gun::{graph::Node, value::Soul};
use futures::{future::BoxFuture, stream::BoxStream};
use std::{fmt, sync::Arc};

/// A graph that others write and read too, reached through relays that come and go.
pub trait SharedGraph: Send + Sync + fmt::Debug {
    /// Writes fields; `Ok` when a relay has them for good. While no relay is connected it waits for one, for a while; then it fails, but
    /// the fields are held, and sent when one is connected.
    fn put(&self, node: Node) -> BoxFuture<'static, Result<(), GraphError>>;

    /// What the relays have of a node now; `None` if those that answer have nothing.
    fn read(&self, soul: Soul) -> BoxFuture<'static, Result<Option<Node>, GraphError>>;

    /// What is known of a node, then what changes in it, some fields at a time; until it is dropped. Nothing is done before the
    /// first poll.
    fn subscribe(&self, soul: Soul) -> BoxStream<'static, Node>;

    /// Whether any relay was named, be it connected or not.
    fn has_relays(&self) -> bool;

    /// The URLs of the relays that are connected.
    fn relays(&self) -> Vec<Arc<str>>;

    /// Waits until a relay was connected or lost.
    fn relays_changed(&self) -> BoxFuture<'static, ()>;
}

/// Why the graph was not written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// No relay is connected, or none answered in time.
    #[error("no Gun relay answers")]
    Unreachable,
    /// Every relay that answered refused it; the text is theirs.
    #[error("refused by the Gun relay: {0}")]
    Refused(String),
}
