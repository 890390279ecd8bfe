//! `FileHost`: what a node shares (whitepaper 7).
//!
//! A path that is added is hashed, registered, announced by every mechanism that its
//! [`AnnounceLevel`](dig_discovery::AnnounceLevel) allows, announced again every half an hour, served to whoever asks by
//! content hash, and withdrawn when it changes on disk or is removed. Its SHA-256 is computed in the
//! background and re-checks every chunk.
//!
//! The host speaks only through traits: peers come from a [`Listener`], announcements go to a
//! [`PeerDiscoveryManager`](dig_discovery::PeerDiscoveryManager), bytes are served by a
//! [`Server`](dig_transfer::serve::Server).

mod background;
mod config;
mod event;
mod host;
mod listener;
mod registry;
mod share;

pub use config::HostConfig;
pub use event::HostEvent;
pub use host::FileHost;
pub use listener::{Listener, MemoryListener};
pub use registry::HostStatistics;
pub use share::{Share, ShareError, ShareOptions};
