//! Allocations with sockets: [`Relays`] keeps them while they are wanted, a [`Relay`] is one of them.

mod relay;
mod relays;

pub use relay::Relay;
pub use relays::{RelayStatus, RelayWanted, Relays};
