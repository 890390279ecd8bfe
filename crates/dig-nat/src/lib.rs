//! A usable path between two peers, whatever NATs stand between them, and a trace of every attempt.

pub mod attempt;
pub mod candidate;
pub mod gather;
pub mod io;
pub mod manager;
pub mod mapping;
pub mod rendezvous;
pub mod report;
pub mod signaling;
pub mod stun;
pub mod trace;
