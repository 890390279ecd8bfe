//! Sockets for allocations.

use super::SOCKET_BUFFER;
use crate::turn::server::{Opening, OpeningError};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};
use tokio::net::UdpSocket;

/// How many ports are tried before the relay is said to be full.
const TRIES: u16 = 64;

/// Where sockets of allocations are opened.
#[derive(Debug)]
pub(super) struct Ports {
    ips: Vec<IpAddr>,
    public: Vec<IpAddr>,
    range: RangeInclusive<u16>,
}

/// A socket at a port.
#[derive(Debug)]
pub(super) struct Kept {
    /// The address that peers are told.
    pub(super) relayed: SocketAddr,
    pub(super) socket: UdpSocket,
}

/// The socket of an allocation.
#[derive(Debug)]
pub(super) struct Opened {
    /// The address that peers are told.
    pub(super) relayed: SocketAddr,
    pub(super) socket: UdpSocket,
    /// The next port, where it was asked for.
    pub(super) kept: Option<Kept>,
}

impl Ports {
    /// `None` without a port above the privileged ones.
    pub(super) fn new(
        ips: Vec<IpAddr>,
        public: Vec<IpAddr>,
        range: RangeInclusive<u16>,
    ) -> Option<Self> {
        let good = !range.is_empty() && *range.start() >= 1024;
        good.then_some(Self { ips, public, range })
    }

    /// Opens what is asked for; `kept` is the port that was kept for it.
    pub(super) fn open(
        &self,
        opening: &Opening,
        kept: Option<Kept>,
    ) -> Result<Opened, OpeningError> {
        if opening.reserved.is_some() {
            let Kept { relayed, socket } = kept.ok_or(OpeningError::Full)?;
            return Ok(Opened {
                relayed,
                socket,
                kept: None,
            });
        }
        let asked = opening.client().local.ip();
        // Peers see the address that the client trusts to be reachable, if it has that family.
        let mut ips = [asked].into_iter().chain(self.ips.iter().copied());
        let ip = ips.find(|ip| ip.is_ipv6() == opening.ipv6);
        let ip = ip.ok_or(OpeningError::Family)?;
        for _ in 0..TRIES {
            let port = self.draw(opening.even).ok_or(OpeningError::Full)?;
            let Ok(first) = self.bind(ip, port) else {
                continue;
            };
            let second = match (opening.reserve, port.checked_add(1)) {
                (false, _) => None,
                (true, Some(next)) if self.range.contains(&next) => match self.bind(ip, next) {
                    Ok(second) => Some(second),
                    Err(_) => continue,
                },
                (true, _) => continue,
            };
            return Ok(Opened {
                relayed: first.relayed,
                socket: first.socket,
                kept: second,
            });
        }
        Err(OpeningError::Full)
    }

    /// A port of the range. Drawn, not counted: peers must not know which port the next client gets (RFC 8656 §7.2).
    fn draw(&self, even: bool) -> Option<u16> {
        let (start, end) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let mut random = [0; 4];
        getrandom::fill(&mut random).ok()?;
        let mut port = start + u32::from_be_bytes(random) % (end - start + 1);
        if even && port % 2 == 1 {
            port = if port > start { port - 1 } else { port + 1 };
        }
        let port = u16::try_from(port).ok()?;
        self.range.contains(&port).then_some(port)
    }

    fn bind(&self, ip: IpAddr, port: u16) -> io::Result<Kept> {
        let local = SocketAddr::new(ip, port);
        let domain = Domain::for_address(local);
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        enlarge(&socket);
        socket.set_nonblocking(true)?;
        socket.bind(&local.into())?;
        Ok(Kept {
            relayed: told(local, &self.public),
            socket: UdpSocket::from_std(socket.into())?,
        })
    }
}

/// An address as others are to name it.
pub(super) fn told(local: SocketAddr, public: &[IpAddr]) -> SocketAddr {
    let mut same = public.iter().filter(|ip| ip.is_ipv4() == local.is_ipv4());
    let ip = same.next().copied().unwrap_or(local.ip());
    SocketAddr::new(ip, local.port())
}

/// Asks for buffers that outlast a burst; the system may grant less.
pub(super) fn enlarge(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
}
