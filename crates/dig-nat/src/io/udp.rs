//! The UDP socket as this crate sends on it.

use super::{canonical, hub::UdpHub, hub::Verdict, ttl};
use socket2::SockRef;
use std::{
    fmt, io,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};
use tokio::task::JoinHandle;

/// Sends datagrams from the port on which the node also receives.
pub trait UdpPort: Send + Sync + fmt::Debug {
    /// Sends one datagram, with a time to live of its own if one is given. It never waits: a datagram for which the system has
    /// no room is dropped, as the network might have done; whatever this crate sends it repeats.
    ///
    /// # Errors
    /// What the system says, such as that there is no way to that network.
    fn send(&self, to: SocketAddr, bytes: &[u8], ttl: Option<u8>) -> io::Result<()>;

    /// The address it is bound to.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// The sending side of a UDP socket of the operating system. Whoever owns the socket keeps reading from it.
#[derive(Debug)]
pub struct OsUdp {
    socket: UdpSocket,
    local: SocketAddr,
}

impl OsUdp {
    /// Shares a bound socket, and makes it non-blocking.
    pub fn new(socket: &UdpSocket) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local })
    }
}

impl UdpPort for OsUdp {
    fn send(&self, to: SocketAddr, bytes: &[u8], ttl: Option<u8>) -> io::Result<()> {
        let to = dress(self.local, to);
        let sent = match ttl {
            Some(ttl) => ttl::send(&SockRef::from(&self.socket), to, bytes, ttl),
            None => self.socket.send_to(bytes, to).map(drop),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }
}

/// An IPv6 socket takes IPv4 destinations in IPv6 clothes only.
pub(super) fn dress(local: SocketAddr, to: SocketAddr) -> SocketAddr {
    match (local, to) {
        (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
            SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
        }
        _ => to,
    }
}

/// Longest pause after a receive error, so that one which repeats does not take a core.
pub(super) const BREATH: Duration = Duration::from_millis(10);
/// No datagram is longer (RFC 768).
const LARGEST: usize = 65_535;

/// Reads a socket for a hub, where nobody else does: for programs that have no QUIC on it, and for tests.
///
/// Dropping it stops reading.
#[derive(Debug)]
pub struct UdpReader(JoinHandle<()>);

impl UdpReader {
    /// Reads `socket` on the current tokio runtime. What is not the hub's goes to `pass`.
    ///
    /// # Errors
    /// The system cannot share the socket.
    pub fn start(
        socket: &UdpSocket,
        hub: UdpHub,
        mut pass: impl FnMut(SocketAddr, &[u8]) + Send + 'static,
    ) -> io::Result<Self> {
        let socket = socket.try_clone()?;
        socket.set_nonblocking(true)?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self(tokio::spawn(async move {
            let mut buffer = vec![0; LARGEST];
            loop {
                match socket.recv_from(&mut buffer).await {
                    Ok((length, source)) => {
                        let bytes = &buffer[..length];
                        if hub.receive(source, bytes) == Verdict::Pass {
                            pass(canonical(source), bytes);
                        }
                    }
                    // Some systems report a refusal by one peer as an error of the socket; it concerns nobody else.
                    Err(error) => {
                        tracing::debug!(%error, "udp receive");
                        tokio::time::sleep(BREATH).await;
                    }
                }
            }
        })))
    }
}

impl Drop for UdpReader {
    fn drop(&mut self) {
        self.0.abort();
    }
}
