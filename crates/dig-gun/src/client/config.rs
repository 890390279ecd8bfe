//! What a client is told when it starts.

use super::RelayUrl;
use dig_types::{Clock, SystemClock};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};

/// What a client is told when it starts.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// The relays. Default: none; see [`Gun::add_relay`](super::Gun::add_relay).
    pub relays: Vec<RelayUrl>,
    /// Bytes of memory for what is known of the subscribed nodes. Over it, those that changed least recently are forgotten: later changes of them are
    /// told without comparison with what was known. Default: 16 MiB, many thousand small records.
    pub max_bytes: usize,
    /// Bytes of memory for writes that not all relays have answered. Over it, those go first that a relay has acknowledged; then there is
    /// [`PutError::Full`](super::PutError::Full). Default: 16 MiB.
    pub max_held: usize,
    /// How long a write without a relay's answer is kept by [`put_soon`](super::Gun::put_soon), and one that some relay has acknowledged for the other
    /// relays. Default: 10 minutes, longer than relays take to restart.
    pub hold_for: Duration,
    /// Bytes of the longest frame taken from a relay; a longer one ends the connection. Default: 8 MiB. gun.js puts a node's whole
    /// answer from disk into one frame.
    pub max_frame: usize,
    /// How long [`put`](super::Gun::put) waits for an acknowledgement. Default: 10 s: two reconnections, or a relay that does not answer for what changes
    /// nothing, which takes some seconds to find out.
    pub put_timeout: Duration,
    /// How long [`once`](super::Gun::once) waits for an answer. Default: 2 s, several times what a relay takes that answers.
    pub get_patience: Duration,
    /// How often relays are asked again for what is subscribed to, in case they have not pushed all of it; less often where there are over 1,000
    /// subscriptions, or more than 16 KiB a second to ask about. Default: 30 s.
    pub refresh: Duration,
    /// Certificates in DER that are trusted for `wss` beside those of the system. Default: none.
    pub roots: Vec<Vec<u8>>,
    /// Where message ids and the waits between tries are drawn from. Nothing secret depends on it. Default: another one each time.
    pub seed: u64,
    /// What time it is, for states. Default: the system's clock.
    pub clock: Arc<dyn Clock>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            relays: Vec::new(),
            max_bytes: 16 << 20,
            max_held: 16 << 20,
            hold_for: Duration::from_secs(600),
            max_frame: 8 << 20,
            put_timeout: Duration::from_secs(10),
            get_patience: Duration::from_secs(2),
            refresh: Duration::from_secs(30),
            roots: Vec::new(),
            seed: RandomState::new().build_hasher().finish(),
            clock: Arc::new(SystemClock),
        }
    }
}
