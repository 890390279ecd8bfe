//! How the connections to relays do.

use super::RelayUrl;
use std::time::Duration;

/// How a relay does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// Which one.
    pub url: RelayUrl,
    /// How it does.
    pub state: LinkState,
}

impl RelayStatus {
    /// Whether it is connected.
    pub const fn is_up(&self) -> bool {
        matches!(self.state, LinkState::Up)
    }
}

/// How the connection to a relay does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// It is being dialled.
    Connecting,
    /// It is there.
    Up,
    /// It is not there.
    Down {
        /// Why, in words for the user.
        why: String,
        /// From when this was told, until the next try.
        again_in: Duration,
    },
}
