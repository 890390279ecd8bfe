//! Interoperation with gun.js as npm has it: its relay, its clients in Node and in Chromium, and ours, mixed.
//!
//! Needs `node`, `npm` with a registry, `unshare` with the right to make network namespaces, and a headless Chromium. Where they are missing the tests say
//! SKIP, except with `CI=true`, where that is a failure. Everything runs in network namespaces that hold nothing but loopback, as gun.js dials
//! public relays and speaks multicast when it is left alone.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test: what cannot go on must fail at once, and a skip is said"
)]

mod bed;
mod held;
mod namespace;
mod ours;
mod peer;
mod relay;
mod replay;

mod scenarios;
mod script;
mod topologies;
