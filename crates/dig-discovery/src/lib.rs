//! Who has this content: one narrow trait, [`Discovery`], its mechanisms, and
//! [`PeerDiscoveryManager`], which asks them all and merges what they say.
//!
//! Mechanisms here: [`LocalDiscovery`] (multicast DNS), [`ExplicitPeers`] (named by the user or by
//! a ticket) and [`MemoryDiscovery`] (for tests). Whoever has another one implements [`Discovery`]
//! and registers it.
//!
//! What a mechanism reports is a hint: who is really there is proved by the handshake, and what
//! they have by the content hash. So this crate promises bounds, not truth: a lookup yields at
//! most [`DiscoveryConfig::max_peers`] peers whatever is claimed, no mechanism can displace
//! another, and the local network makes us dial none but near addresses ([`Networks`]). It opens
//! no connection of its own: nodes of the local network are asked through [`NodeQuery`].
//!
//! ```
//! use dig_discovery::{
//!     DiscoveryConfig, ExplicitPeers, Lookup, PeerDiscoveryManager,
//! };
//! use dig_types::{ContentHash, PeerSource};
//! use std::time::Duration;
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! let mut discovery = PeerDiscoveryManager::new(DiscoveryConfig::default());
//! let named = ExplicitPeers::new(["192.168.1.5:4433".parse()?]);
//! discovery.register(PeerSource::Explicit, Box::new(named));
//!
//! let lookup = Lookup::Content(ContentHash::from_bytes([7; 32]));
//! let found = discovery.find_peers(lookup, Duration::from_secs(2)).await;
//! assert_eq!(found[0].peer.addrs, ["192.168.1.5:4433".parse()?]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod discovery;
mod explicit;
mod local;
mod memory;
mod merge;
mod networks;
mod peer_discovery;
mod query;

pub use discovery::{
    AnnounceLevel, Announcement, Claim, Discovery, DiscoveryError, Found, Lookup, MAX_CLAIMS,
};
pub use explicit::ExplicitPeers;
pub use local::{LocalConfig, LocalDiscovery};
pub use memory::{MemoryDiscovery, MemoryNetwork};
pub use networks::{Networks, Subnet};
pub use peer_discovery::{DiscoveryConfig, PeerDiscoveryManager};
pub use query::{Answer, NodeQuery, QueryError};
