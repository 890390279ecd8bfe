//! `dignet` as people and programs use it: real processes, real files, and where several machines are needed, network namespaces.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

mod bad_input;
mod changed;
mod disk;
mod gun;
mod lan;
mod moving;
mod paths;
mod program;
mod python;
mod relay;
mod resume;
mod sandbox;
mod tickets;
mod transfer;
