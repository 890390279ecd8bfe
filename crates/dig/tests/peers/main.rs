//! A whole node against other peers over loopback: peers that lie, and peers that share the work.

mod content;
mod getter;
mod hostile;
mod peer;
mod swarm;
