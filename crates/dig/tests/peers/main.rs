//! A whole node against other peers over loopback: peers that lie, and peers that share the work.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test that cannot go on must fail at once, and what is measured is shown"
)]

mod content;
mod getter;
mod hostile;
mod peer;
mod swarm;
