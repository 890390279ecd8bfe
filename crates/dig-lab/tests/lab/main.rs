//! The laboratory keeps what it promises: every check uses real sockets on real namespaces.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test may stop where it stands"
)]

mod behaviour;
mod cleanup;
mod hops;
mod links;
mod machines;
mod probe;
mod services;
mod streams;
