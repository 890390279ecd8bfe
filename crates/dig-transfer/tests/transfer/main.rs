//! Servers and fetches over lanes in memory.
//!
//! Rates and stalls are real ones: batches are hashed and files written on threads, which paused time cannot wait for.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests"
)]

mod fetching;
mod hostile_clients;
mod liars;
mod links;
mod paths;
mod several;
mod world;
