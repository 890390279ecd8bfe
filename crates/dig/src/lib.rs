//! The DIG peer-to-peer file-sharing stack, wired together.
//!
//! A [`Node`] shares files and folders and gets them from other nodes: encrypted, from every peer that has them,
//! each chunk verified the moment it arrives.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = dig::Node::builder().start().await?;
//! let share = node.share("movie.mp4".into(), dig::ShareOptions::default(), |_, _| {}).await?;
//! println!("dignet get {}", node.ticket(&share));
//! # node.stop().await;
//! # Ok(()) }
//! ```
//!
//! Paths are found and kept by themselves: between neighbours, through NATs, over TURN servers that [`PathOptions::turn`] names until a direct path is
//! there, and again when networks change. [`Node::diagnose`] says how a peer is reached, or why not.
//!
//! Here is nothing but wiring: the adapters between crates that do not know each other, the sockets
//! ([`NetworkManager`]), and the [`Home`] folder. Each part is a crate to be taken alone: [`identity`], [`session`],
//! [`nat`], [`transfer`], [`discovery`], [`host`],
//! [`client`].

mod datagrams;
mod diagnosis;
mod examination;
pub mod gun;
mod home;
mod interfaces;
mod introductions;
mod network;
mod node;
mod paths;
mod ports;
mod spool;

pub use dig_client as client;
pub use dig_discovery as discovery;
pub use dig_host as host;
pub use dig_identity as identity;
pub use dig_nat as nat;
pub use dig_session as session;
pub use dig_transfer as transfer;
pub use dig_types as types;

pub use diagnosis::{Diagnosis, FoundLink};
pub use dig_client::{
    Destination, Download, DownloadError, DownloadErrorKind, DownloadEvent, DownloadOptions,
    Downloaded, FileClient, Listing, PathFilter, Progress, Verified, What,
};
pub use dig_discovery::AnnounceLevel;
pub use dig_host::{FileHost, HostEvent, Share, ShareError, ShareOptions};
pub use dig_identity::Algorithm;
pub use dig_nat::{attempt::Strategy as PathStrategy, turn::TurnServer};
pub use dig_transfer::{lane::Carrier, scheduler::Strategy};
pub use dig_types::{
    ContentHash, ContentKind, ContentName, HexError, Method, NodeId, PeerAddr, Sha256Hash, Ticket,
};
pub use examination::{ExamineError, ExamineOptions, examine};
pub use home::{Home, HomeError};
pub use interfaces::reachable as reachable_addresses;
pub use network::{NetworkError, NetworkManager};
pub use node::{HomeIdentity, Identity, Node, NodeBuilder, SpoolError, StartError, home_identity};
pub use paths::{PathOptions, StunServer, StunServerError};
