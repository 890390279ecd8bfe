//! Allocations with sockets: [`Relays`] keeps them while they are wanted, a [`Relay`] is one of them.
//!
//! A [`leg`](self) chooses a server and keeps a line to it; a line is a link (a socket or a connection) and the client that speaks on it.

mod leg;
mod line;
mod link;
mod relay;
mod relays;
mod tls;

pub use relay::Relay;
pub use relays::{RelayStatus, RelayWanted, Relays, RelaysConfig};
