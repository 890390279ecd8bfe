//! Lanes as a program sees them: over QUIC and TCP on loopback, and over pipes in virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod auth;
mod hostile;
mod identity;
mod lanes;
mod liveness;
mod pair;
mod quic;
mod stranger;
