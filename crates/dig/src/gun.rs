//! Gun as this stack uses it (whitepaper 4.4, `docs/protocol.md` §16): who has what, signals to peers without a path, and signed records by
//! topic, over relays that nobody trusts.
//!
//! - [`GunBus`] publishes and receives signed records by [`Topic`];
//! - [`GunDiscovery`] is a [`Discovery`](dig_discovery::Discovery): announcements are such records, sealed to who knows what it looks for;
//! - [`GunSignaling`] is a [`Signaling`](dig_nat::signaling::Signaling): sealed messages in mailboxes whose names change every five minutes.
//!
//! All three stand on a narrow seam, [`SharedGraph`]; [`GunClient`] is the one with relays behind it, [`MemoryGraph`] one for tests.
//!
//! What a relay can do: hide, delay, forget, and see which node ids announce which discovery key, and when somebody writes to whose
//! mailbox. What it cannot: forge a record, open one, learn an address or a content hash, overwrite somebody's word (records lie under
//! the hash of their own text), or make a reader hold or check more than its bounds.

mod announcement;
mod bus;
mod carriers;
mod client;
mod discovery;
mod graph;
mod layout;
mod mailbox;
mod memory;
mod prekeys;
mod rolling;
mod signaling;
#[cfg(test)]
mod vectors;

pub use bus::{GunBus, PublishError};
pub use client::GunClient;
pub use dig_gun::client::{LinkState, RelayStatus, RelayUrl, RelayUrlError};
pub use dig_gun::{relay, store};
pub use discovery::{GunDiscovery, Presence};
pub use graph::{GraphError, SharedGraph};
pub use layout::Topic;
pub use memory::MemoryGraph;
pub use signaling::{GunSignaling, Listening};

pub(crate) use carriers::Carriers;
