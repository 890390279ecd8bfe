//! Rendezvous: a peer that two others are connected to introduces them to each other (as BEP 55 does;
//! `docs/protocol.md` §13).
//!
//! Both must have registered with it, over a lane, which proves who they are. It hands on one hop, small sealed messages
//! only, so many a second and no more, and adds where it sees the sender; it never tells anybody where the recipient is.
//!
//! [`Broker`] is the peer in the middle, [`Client`] one at the edge; both are sans-IO and speak [`frame`]s of lanes.
//! [`RendezvousSignaling`] makes of a client what [`Signaling`](crate::signaling::Signaling) asks for.

mod address;
pub mod broker;
mod carrier;
pub mod client;
pub mod frame;

pub use broker::{Broker, BrokerLimits};
pub use carrier::{CarrierEvent, RendezvousSignaling};
pub use client::{Client, Event};
pub use frame::Message;

/// One lane of this node, as whoever holds the lanes numbers them; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u64);
