//! The sockets: everything else in this crate gives and takes bytes.
//!
//! One UDP port and one TCP port carry all that a node does, because a NAT's mapping belongs to the port that made it: a port
//! opened for hole punching alone would be punched in vain. [`UdpHub`] tells our packets from those of QUIC, [`TcpPort`] dials from
//! the port that listens, and sorts the streams that arrive there.

mod extra;
mod hub;
mod seats;
mod tcp;
mod ttl;
mod udp;
mod watch;

pub use extra::OwnUdp;
pub(crate) use extra::{ExtraSockets, bind};
pub(crate) use hub::UdpArrivals;
pub use hub::{AskError, UdpHub, Verdict};
pub(crate) use seats::{Seat, Seats};
pub(crate) use tcp::{Arrived, TcpArrivals, Trial};
pub use tcp::{FreshPort, Sorted, TcpPort};
pub use udp::{OsUdp, UdpPort, UdpReader};
pub use watch::NetworkWatch;

use std::net::SocketAddr;

/// An address as it travels: IPv4 never in IPv6 clothes, as dual-stack sockets show it.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(ip) => SocketAddr::new(ip.into(), v6.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}
