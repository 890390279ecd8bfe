//! UDP sockets beside the shared one, opened for one attempt: where a NAT gives every destination another outside port, many
//! sockets are many ports at which the peer may hit (`docs/protocol.md` §14).

use super::{
    UdpHub, canonical, ttl,
    udp::{BREATH, dress},
};
use crate::{
    attempt::{Port, Tag},
    stun::is_stun,
};
use bytes::Bytes;
use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use socket2::SockRef;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
};

/// Sockets of one attempt at most: twice what a tactic uses at a time, so that a second round is possible.
const MAX_SOCKETS: usize = 512;
/// Datagrams of the peer's session that are kept until the socket is handed on: a QUIC handshake begins with fewer.
const MAX_EARLY: usize = 16;
/// Larger datagrams are cut: neither checks nor the beginning of a session are as long.
const LARGEST: usize = 2048;

/// A UDP socket of its own, found to be the one that the peer can reach.
///
/// Whoever reads it hands every datagram to [`UdpHub::receive_at`] with this port first: packets of the attempt still come there.
#[derive(Debug)]
pub struct OwnUdp {
    /// The socket, non-blocking.
    pub socket: UdpSocket,
    /// Its name in the attempt.
    pub port: Port,
    /// What came before it was handed on and is not of the attempt: the beginning of the peer's session, oldest first.
    pub early: Vec<(SocketAddr, Bytes)>,
    /// Takes the packets of the attempt.
    pub hub: UdpHub,
}

/// The further sockets of one attempt; those that are not handed on are closed with it.
pub(crate) struct ExtraSockets {
    hub: UdpHub,
    /// By number; `None` if it was closed.
    sockets: Vec<Option<Extra>>,
    reading: FuturesUnordered<BoxFuture<'static, Option<Arrival>>>,
}

struct Extra {
    socket: Arc<tokio::net::UdpSocket>,
    local: SocketAddr,
    /// Ends the reading.
    stop: AbortHandle,
    handed_on: bool,
    early: Vec<(SocketAddr, Bytes)>,
}

struct Arrival {
    number: u16,
    source: SocketAddr,
    bytes: Bytes,
}

impl std::fmt::Debug for ExtraSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExtraSockets")
            .field("sockets", &self.sockets.len())
            .finish_non_exhaustive()
    }
}

impl ExtraSockets {
    /// None yet.
    pub(crate) fn new(hub: UdpHub) -> Self {
        Self {
            hub,
            sockets: Vec::new(),
            reading: FuturesUnordered::new(),
        }
    }

    /// Opens so many more, which are numbered on from those that there are; gives how many it were. The system may have fewer left.
    pub(crate) fn open(&mut self, count: u16, ipv6: bool) -> u16 {
        let mut opened = 0;
        while opened < count && self.sockets.len() < MAX_SOCKETS {
            match bind(&self.hub, ipv6) {
                Ok((socket, local)) => self.add(socket, local),
                Err(error) => {
                    tracing::debug!(%error, opened, "no more sockets");
                    break;
                }
            }
            opened += 1;
        }
        opened
    }

    /// Takes in one that was opened elsewhere, which is the next in number; whether there was room for it.
    pub(crate) fn adopt(&mut self, socket: tokio::net::UdpSocket, local: SocketAddr) -> bool {
        let room = self.sockets.len() < MAX_SOCKETS;
        if room {
            self.add(socket, local);
        }
        room
    }

    fn add(&mut self, socket: tokio::net::UdpSocket, local: SocketAddr) {
        // Their number is bounded.
        let number = u16::try_from(self.sockets.len()).unwrap_or(u16::MAX);
        let socket = Arc::new(socket);
        let stop = self.read(number, Arc::clone(&socket));
        self.sockets.push(Some(Extra {
            socket,
            local,
            stop,
            handed_on: false,
            early: Vec::new(),
        }));
    }

    fn read(&self, number: u16, socket: Arc<tokio::net::UdpSocket>) -> AbortHandle {
        let (reading, stop) = abortable(async move {
            let (source, bytes) = receive(&socket).await;
            Arrival {
                number,
                source,
                bytes,
            }
        });
        self.reading.push(reading.map(Result::ok).boxed());
        stop
    }

    /// Sends from one of them, without waiting.
    ///
    /// # Errors
    /// There is no such socket, or the system says so.
    pub(crate) fn send(
        &self,
        number: u16,
        to: SocketAddr,
        bytes: &[u8],
        ttl: Option<u8>,
    ) -> io::Result<()> {
        let extra = self.sockets.get(usize::from(number));
        let extra = extra.and_then(Option::as_ref);
        let extra = extra.ok_or(io::ErrorKind::NotConnected)?;
        let to = dress(extra.local, to);
        let socket = SockRef::from(&*extra.socket);
        let sent = match ttl {
            Some(ttl) => ttl::send(&socket, to, bytes, ttl),
            None => socket.send_to(bytes, &to.into()).map(drop),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            sent => sent,
        }
    }

    /// The next datagram of the attempt, and the number of the socket at which it came; for ever pending where there is no socket.
    /// Others are kept for whoever gets the socket.
    pub(crate) async fn next(&mut self) -> (u16, SocketAddr, Bytes) {
        loop {
            let arrival = match self.reading.next().await {
                Some(Some(arrival)) => arrival,
                // It was handed on, or closed.
                Some(None) => continue,
                None => return std::future::pending().await,
            };
            if let Some((source, bytes)) = self.sort(arrival.number, arrival.source, arrival.bytes)
            {
                return (arrival.number, source, bytes);
            }
        }
    }

    /// Reads on, and keeps what is not of the attempt.
    fn sort(
        &mut self,
        number: u16,
        source: SocketAddr,
        bytes: Bytes,
    ) -> Option<(SocketAddr, Bytes)> {
        let at = usize::from(number);
        let socket = Arc::clone(&self.sockets.get(at)?.as_ref()?.socket);
        let stop = self.read(number, socket);
        let extra = self.sockets.get_mut(at)?.as_mut()?;
        extra.stop = stop;
        if Tag::read(&bytes).is_some() || is_stun(&bytes) {
            return Some((source, bytes));
        }
        if extra.early.len() < MAX_EARLY {
            extra.early.push((source, bytes));
        }
        None
    }

    /// Hands a socket on. From then on it is read by whoever has it; packets can still be sent from it here.
    ///
    /// # Errors
    /// There is no such socket, or the system cannot share it.
    pub(crate) fn hand_on(&mut self, number: u16) -> io::Result<OwnUdp> {
        let extra = self.sockets.get_mut(usize::from(number));
        let extra = extra.and_then(Option::as_mut);
        let extra = extra.ok_or(io::ErrorKind::NotConnected)?;
        let socket = SockRef::from(&*extra.socket).try_clone()?;
        extra.stop.abort();
        extra.handed_on = true;
        Ok(OwnUdp {
            socket: socket.into(),
            port: Port::Extra(number),
            early: std::mem::take(&mut extra.early),
            hub: self.hub.clone(),
        })
    }

    /// Closes those that were not handed on.
    pub(crate) fn close_rest(&mut self, keep: Option<u16>) {
        let kept = |at: &usize| keep.is_some_and(|keep| usize::from(keep) == *at);
        let rest = self.sockets.iter_mut().enumerate();
        for (_, place) in rest.filter(|(at, _)| !kept(at)) {
            if let Some(extra) = place.take_if(|extra| !extra.handed_on) {
                extra.stop.abort();
            }
        }
    }
}

/// A socket like the shared one, with a port of the system's choice; and its address.
pub(crate) fn bind(hub: &UdpHub, ipv6: bool) -> io::Result<(tokio::net::UdpSocket, SocketAddr)> {
    let shared = hub.local_addr()?.ip().to_canonical();
    let ip = match (shared, ipv6) {
        (IpAddr::V4(ip), false) => ip.into(),
        (IpAddr::V6(ip), true) => ip.into(),
        (IpAddr::V6(ip), false) if ip.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
        (IpAddr::V4(ip), true) if ip.is_unspecified() => Ipv6Addr::UNSPECIFIED.into(),
        _ => return Err(io::ErrorKind::AddrNotAvailable.into()),
    };
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
    socket.set_nonblocking(true)?;
    let local = socket.local_addr()?;
    Ok((tokio::net::UdpSocket::from_std(socket)?, local))
}

async fn receive(socket: &tokio::net::UdpSocket) -> (SocketAddr, Bytes) {
    loop {
        let received = match socket.readable().await {
            // The buffer is not kept while it waits: there are hundreds that wait.
            Ok(()) => {
                let mut buffer = [0; LARGEST];
                let received = socket.try_recv_from(&mut buffer);
                received.map(|(length, source)| (source, Bytes::copy_from_slice(&buffer[..length])))
            }
            Err(error) => Err(error),
        };
        match received {
            Ok((source, bytes)) => return (canonical(source), bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => {
                tracing::debug!(%error, "udp receive");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
