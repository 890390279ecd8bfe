//! A laboratory of networks: namespaces with real NATs, a user-space NAT of any kind, and a link emulator.
//!
//! For tests; never published. A [`Lab`] is an internet of one router with a public segment ([`Lab::server`]) and any number of
//! [`Site`]s, each with routers that translate by netfilter, as home routers do, and machines behind them. Between any two sites
//! lies at least one router, so that hop limits matter. Programs and closures run on a [`Machine`].
//!
//! Nothing in it reaches the machine's own network, and nothing of it outlives the process that made it: see `holder`.

mod address;
mod carrier;
mod conntrack;
mod coturn;
mod holder;
mod lab;
pub mod link;
mod machine;
mod miniupnpd;
pub mod nat;
mod npm;
pub mod packet;
mod site;
pub mod tun;

pub use coturn::{Coturn, CoturnSpec};
pub use holder::HolderError;
pub use lab::{Lab, LabError, Unavailable};
pub use machine::{Machine, MachineError};
pub use miniupnpd::{Miniupnpd, OpenPort};
pub use nat::Habit;
pub use npm::{NpmError, node_modules};
pub use site::{Site, SiteKind, SiteSpec};
