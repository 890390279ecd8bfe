//! Lanes as a program sees them: over QUIC and TCP on loopback, and over pipes in virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod auth;
mod hostile;
mod identity;
mod keeping;
mod lanes;
mod liveness;
mod moving;
mod net;
mod pair;
mod quic;
mod sockets;
mod stranger;
