//! Ports of a router mapped to this machine: PCP (RFC 6887), NAT-PMP (RFC 6886) and UPnP IGD 1 and 2, for IPv4, and pinholes
//! in the firewall of a router (PCP, IGD 2) for IPv6.
//!
//! The rules:
//!
//! - Nobody waits for a router. [`PortMapper::start`] returns at once; what is mapped appears in [`PortMapper::mappings`].
//! - All protocols are looked for at the same time, and each transport and address family gets **one** mapping: from the most
//!   preferred protocol that grants it (the order of [`Method::ALL`]), and if that stays silent for a second, from the next. Mapping the same
//!   port by several protocols would be mapping it several times in the same table: routers then let one protocol
//!   overwrite, and refuse to renew, what another one made.
//! - The outside port is the inside one if it is free; UDP and TCP fall back to the same other ports.
//! - Leases are renewed at half time, made again when a router forgot them (it tells by its epoch), and removed at the end; after
//!   a kill they run out. A router that knows only permanent mappings gets those, and they are removed at the end too.
//! - A router is not believed: see [`Verified`]. A mapping with an outside address that cannot be the right one is kept, since it
//!   opens the inner of two NATs, but [`Mapping::is_advertised`] says no.
//! - Only the default gateway is asked, from the address that leads there; an SSDP answer makes us fetch only from the address it
//!   came from, on our own link, on a port where such servers live. Every answer is bounded in size and time.
//!
//! IPv6 pinholes, and PCP over IPv6, need the routing table of Linux; elsewhere only IPv4 is mapped.

mod aside;
mod client;
mod exchange;
mod leases;
mod nat_pmp;
mod network;
mod pcp;
mod refusal;
mod run;
mod ssdp;
mod upnp;

pub use refusal::Refusal;

use crate::candidate::Transport;
use dig_types::Method;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// What [`PortMapper::shutdown`] takes at most: who presses Ctrl-C does not wait longer. Leases that a router did not remove in
/// time run out by themselves.
pub const SHUTDOWN: Duration = Duration::from_millis(800);

/// How ports are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortMapperConfig {
    /// Whether to ask by UPnP IGD. Default yes: the protocol that most home routers speak.
    pub upnp: bool,
    /// Whether to ask by NAT-PMP. Default yes: one datagram.
    pub nat_pmp: bool,
    /// Whether to ask by PCP. Default yes: one datagram.
    pub pcp: bool,
    /// Whether to open pinholes for IPv6 too. Default yes: a firewall is all that stands between two IPv6 nodes.
    pub ipv6: bool,
    /// How long a router is asked to keep a mapping, in whole seconds. Default 2 h (RFC 6886 §3.3 recommends it): what a killed
    /// process leaves behind is gone after that.
    pub lease: Duration,
    /// The interface whose default gateway is asked. Default: the one with the best default route, because answers to
    /// what comes in through another one would leave by this one. Only on Linux.
    pub interface: Option<String>,
    /// The IPv4 gateway. Default: the default route's.
    pub gateway: Option<Ipv4Addr>,
}

impl Default for PortMapperConfig {
    fn default() -> Self {
        Self {
            upnp: true,
            nat_pmp: true,
            pcp: true,
            ipv6: true,
            lease: Duration::from_secs(7200),
            interface: None,
            gateway: None,
        }
    }
}

/// A port of a router that leads to this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// The protocol that the router granted it by: [`Method::Pcp`], [`Method::NatPmp`] or [`Method::Upnp`].
    pub method: Method,
    /// What is mapped.
    pub transport: Transport,
    /// Where the router says that it is reachable. Of a pinhole, the same as `internal`.
    pub external: SocketAddr,
    /// Where it leads.
    pub internal: SocketAddr,
    /// How long the router keeps it unless it is renewed; `None`: until it is removed.
    pub lifetime: Option<Duration>,
    /// Whether `external` is to be believed.
    pub verified: Verified,
}

impl Mapping {
    /// Whether strangers may be told to dial it.
    pub const fn is_advertised(&self) -> bool {
        matches!(self.verified, Verified::Confirmed | Verified::Unconfirmed)
    }
}

/// Whether the outside address that a router names is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verified {
    /// It is public, and nobody outside has told yet where we are seen.
    Unconfirmed,
    /// It is where others see us.
    Confirmed,
    /// Others see us elsewhere: there is another NAT behind this one, or the router is wrong.
    Contradicted {
        /// Where others see us.
        seen: IpAddr,
    },
    /// Nobody on the Internet can reach it: it is private, a carrier's (RFC 6598) or reserved, so there is another NAT behind this one.
    NotPublic,
}

/// How a protocol does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MethodState {
    /// It is switched off.
    Off,
    /// There is no default gateway that could be asked.
    NoGateway,
    /// No answer yet.
    Asking,
    /// The router speaks it; what was wanted is mapped by another one.
    Available,
    /// It holds mappings.
    Mapped,
    /// It does not work here.
    Refused(Refusal),
}

impl fmt::Display for MethodState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("switched off"),
            Self::NoGateway => f.write_str("this machine has no default gateway"),
            Self::Asking => f.write_str("no answer yet"),
            Self::Available => f.write_str("available"),
            Self::Mapped => f.write_str("mapped"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

/// How a protocol does, for the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MethodStatus {
    /// Which: [`Method::Pcp`], [`Method::NatPmp`] or [`Method::Upnp`].
    pub method: Method,
    /// How it does.
    pub state: MethodState,
}

/// What the task publishes, in one piece.
#[derive(Debug)]
struct Board {
    mappings: watch::Sender<Vec<Mapping>>,
    status: watch::Sender<Vec<MethodStatus>>,
}

/// What the task is told.
#[derive(Debug)]
enum Command {
    Seen(SocketAddr),
    Shutdown(oneshot::Sender<()>),
}

/// Keeps one port of this machine mapped, UDP and TCP. Dropping it begins the removal without waiting for it.
#[derive(Debug)]
pub struct PortMapper {
    commands: mpsc::UnboundedSender<Command>,
    mappings: watch::Receiver<Vec<Mapping>>,
    status: watch::Receiver<Vec<MethodStatus>>,
}

impl PortMapper {
    /// Begins, in the background, to map `port`, UDP and TCP. To be called within a tokio runtime.
    pub fn start(config: PortMapperConfig, port: u16) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let (mappings, mapped) = watch::channel(Vec::new());
        let (status, told) = watch::channel(Vec::new());
        let board = Board { mappings, status };
        tokio::spawn(run::run(config, port, board, inbox));
        Self {
            commands,
            mappings: mapped,
            status: told,
        }
    }

    /// What is mapped, the most preferred first; changes as it changes.
    pub fn mappings(&self) -> watch::Receiver<Vec<Mapping>> {
        self.mappings.clone()
    }

    /// How each protocol does: one entry for each, in the order of preference.
    pub fn status(&self) -> watch::Receiver<Vec<MethodStatus>> {
        self.status.clone()
    }

    /// Somebody outside sees this machine at this address (a STUN server, a rendezvous peer): mappings are compared with it.
    /// Addresses that are not public tell nothing about a router and are ignored.
    pub fn external_seen(&self, addr: SocketAddr) {
        // A task that has ended has nothing left to verify.
        let _ = self.commands.send(Command::Seen(addr));
    }

    /// Removes every mapping, all at the same time; takes at most [`SHUTDOWN`].
    pub async fn shutdown(self) {
        let (done, removed) = oneshot::channel();
        if self.commands.send(Command::Shutdown(done)).is_ok() {
            // The task keeps the limit itself; this one is for a runtime that is shutting down as well.
            let _ = tokio::time::timeout(SHUTDOWN, removed).await;
        }
    }
}
