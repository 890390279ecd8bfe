//! A client: writes to relays, reads from them, and hears of changes.
//!
//! [`Gun`] keeps a connection to each of its relays, gun.js's or this crate's, for as long as it lives:
//!
//! - a relay that is lost is dialled again, after a wait that grows from a quarter of a second to half a minute;
//! - what is subscribed is asked for again on each new connection;
//! - what was written is kept until every relay has acknowledged or refused it, and sent again on each new connection, within bounds
//!   of time and memory ([`ClientConfig`]). Merging makes that harmless. gun.js drops what it writes while it is not connected;
//! - gun.js's relays do not acknowledge what changes nothing. If no answer comes, the client reads back what it wrote.
//!
//! What a relay sends is merged into what this client knows of the subscribed nodes, so subscribers hear of each change once and in an
//! order in which states only grow, however many relays tell of it. A relay is not trusted with more than that: it may hide, delay or invent
//! writes, but cannot make the client panic, grow without bound or wait for ever. Whoever cares who wrote something signs it.
//!
//! A client passes nothing on. But if a relay asks for a node that is subscribed here, it is told what is known, as gun.js's clients do: so a
//! relay that has forgotten something, or does not find it (gun.js's, after a restart, shows only what was written since once somebody has
//! asked for the whole node), has it again.

pub(crate) mod backoff;
pub(crate) mod chance;
mod config;
mod core;
pub(crate) mod dial;
mod engine;
mod get;
mod link;
mod put;
mod status;
mod subscription;
mod url;

pub use config::ClientConfig;
pub use get::GetError;
pub use put::{PutError, Refusal, Stored};
pub use status::{LinkState, RelayStatus};
pub use subscription::Subscription;
pub use url::{RelayUrl, RelayUrlError};

use crate::{
    graph::{Graph, Node},
    lex::Query,
    value::{Soul, State},
};
use engine::Engine;
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// A client. Clones are the same client; it ends with the last of them, or with [`Gun::close`].
#[derive(Debug, Clone)]
pub struct Gun(Arc<Handle>);

/// Ends the client when nobody holds it any more.
#[derive(Debug)]
struct Handle(Arc<Engine>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Gun {
    /// Starts a client, which begins to dial its relays at once. None is fine: see [`Gun::add_relay`].
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime with time and network enabled: it is where the client's tasks live.
    pub fn start(config: ClientConfig) -> Self {
        Self(Arc::new(Handle(Engine::start(config))))
    }

    /// Uses one more relay. One that is used already is left alone.
    pub fn add_relay(&self, url: RelayUrl) {
        self.0.0.add_relay(url);
    }

    /// Writes nodes, and waits until a relay has acknowledged all of them; at most [`ClientConfig::put_timeout`].
    ///
    /// After an error that says that nobody answered, a relay may still have them. Dropping the future does not withdraw the write.
    pub async fn put(&self, nodes: Vec<Node>) -> Result<Stored, PutError> {
        self.0.0.put(nodes).await
    }

    /// Writes nodes without waiting: they are sent to each relay that is connected, and to others when they are.
    pub fn put_soon(&self, nodes: Vec<Node>) -> Result<(), PutError> {
        self.0.0.put_soon(nodes)
    }

    /// Writes an object as gun.js does: objects within it become nodes of their own, linked to. See [`Graph::from_json`].
    pub async fn put_json(&self, soul: Soul, data: serde_json::Value) -> Result<Stored, PutError> {
        let graph = Graph::from_json(soul, data, self.state())?;
        self.put(graph.into_nodes().collect()).await
    }

    /// Asks the relays: what they hold, merged; nothing if those that answered hold nothing.
    ///
    /// Waits for the first answer, and a tenth of a second more for the rest of it and for other relays; if none answers, at most
    /// [`ClientConfig::get_patience`].
    pub async fn once(&self, query: Query) -> Result<Vec<Node>, GetError> {
        self.0.0.once(query).await
    }

    /// What is known of this and, from now on, each change of it, until the subscription is dropped. This client's own writes are among
    /// them. Gun knows no end of a subscription: relays go on telling this client, which drops it, until the connection ends.
    ///
    /// A range ([`Lex`](crate::lex::Lex)) is fully followed by this crate's relays only: gun.js's answer what they hold of it, and then tell
    /// nothing.
    pub fn subscribe(&self, query: Query) -> Subscription {
        self.0.0.subscribe(query)
    }

    /// A state for the next write: the time by the client's clock, but always later than any that it gave before.
    pub fn state(&self) -> State {
        self.0.0.state()
    }

    /// How each relay does, in the order in which they were added.
    pub fn status(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.0.0.status()
    }

    /// Waits until a relay is connected, at most so long; whether one is.
    pub async fn connected(&self, patience: Duration) -> bool {
        let mut status = self.status();
        let up = status.wait_for(|relays| relays.iter().any(RelayStatus::is_up));
        // An error says that the client is closed.
        matches!(tokio::time::timeout(patience, up).await, Ok(Ok(_)))
    }

    /// Ends the client: all that wait get an error, subscriptions end, and what was not acknowledged is forgotten. Waits until the
    /// connections are closed, at most a second.
    pub async fn close(&self) {
        self.0.0.shut_down().await;
    }
}

#[cfg(test)]
mod tests;
