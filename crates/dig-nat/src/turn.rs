//! TURN: a server on the public network that passes datagrams on for us (RFC 8656), for peers between whom nothing else works.
//!
//! - [`TurnServer`] says which server, by which transport, and with which credentials;
//! - [`client::Client`] is one allocation on it, without sockets: the challenge, permissions, channels, renewal, mobility;
//! - [`Relays`] keeps allocations while somebody wants them, over UDP, TCP or TLS, and hands them out as [`Relay`]s;
//! - [`server::Server`] is the other end, without sockets, and [`serve`] serves it over UDP and TCP.
//!
//! A relay is trusted with nothing but availability: it sees who exchanges how much with whom, and may lose or invent
//! datagrams. What passes through it is sealed by the session above, and its own answers count only if they carry the
//! integrity that the credentials give.

pub mod client;
mod credentials;
mod frames;
mod io;
mod message;
pub mod serve;
pub mod server;
mod uri;

pub use io::{Relay, RelayStatus, RelayWanted, Relays, RelaysConfig};
pub use uri::{TurnServer, TurnServerError, TurnTransport};
