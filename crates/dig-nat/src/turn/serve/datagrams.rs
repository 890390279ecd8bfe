//! What clients send as datagrams.

use super::{LARGEST, Place, ServeError, Shared, ports::enlarge};
use crate::{
    stun,
    turn::server::{Client, Transport},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, PoisonError},
};
use tokio::net::{TcpListener, UdpSocket};

/// Datagrams that are taken before others get their turn.
const BATCH: usize = 64;
/// Most that stands around data: a Send indication for an IPv6 peer.
const AROUND: usize = 20 + 24 + 4 + 3;
/// How often a port is looked for that is free for both transports.
const TRIES: usize = 16;
/// First two bytes of a Binding request.
const BINDING: [u8; 2] = [0, 1];

/// Binds both transports to an address, to a port that is free for both if it is not given.
pub(super) async fn bind(
    addr: SocketAddr,
) -> Result<(SocketAddr, UdpSocket, TcpListener), ServeError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match bind_both(addr).await {
            Err(_) if addr.port() == 0 && tries < TRIES => {}
            bound => return bound.map_err(|error| ServeError::Bind { addr, error }),
        }
    }
}

async fn bind_both(addr: SocketAddr) -> io::Result<(SocketAddr, UdpSocket, TcpListener)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    enlarge(&socket);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    let udp = UdpSocket::from_std(socket.into())?;
    let local = udp.local_addr()?;
    Ok((local, udp, TcpListener::bind(local).await?))
}

/// Answers datagrams until dropped.
pub(super) async fn answer(shared: Arc<Shared>, place: usize) {
    let place = &shared.places[place];
    let mut datagram = vec![0; LARGEST + AROUND + 1];
    let mut buffer = Vec::with_capacity(LARGEST + AROUND);
    loop {
        if place.udp.readable().await.is_err() {
            return;
        }
        for _ in 0..BATCH {
            match place.udp.try_recv_from(&mut datagram) {
                Ok((length, source)) if length < datagram.len() => {
                    on_datagram(&shared, place, source, &datagram[..length], &mut buffer);
                }
                Ok(_) => shared.core().server.on_full(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // A client that is gone, as some systems report it; the others are not concerned.
                Err(_) => {}
            }
        }
        tokio::task::yield_now().await;
    }
}

fn on_datagram(
    shared: &Arc<Shared>,
    place: &Place,
    source: SocketAddr,
    bytes: &[u8],
    buffer: &mut Vec<u8>,
) {
    if bytes.starts_with(&BINDING) {
        return on_binding(shared, place, source, bytes);
    }
    if !place.turn {
        return;
    }
    let client = Client {
        transport: Transport::Udp,
        local: place.local,
        remote: source,
    };
    if let Some(reply) = shared.on_client(client, bytes, buffer) {
        // What cannot be sent is lost, as datagrams may be; the client asks again.
        let _ = place.udp.try_send_to(&reply, source);
    }
}

fn on_binding(shared: &Shared, place: &Place, source: SocketAddr, bytes: &[u8]) {
    let mut server = place.stun.lock().unwrap_or_else(PoisonError::into_inner);
    let reply: Option<stun::Reply> = server.on_datagram(shared.now(), place.local, source, bytes);
    drop(server);
    let Some(reply) = reply else { return };
    let mut places = shared.places.iter();
    if let Some(from) = places.find(|place| place.local == reply.from) {
        let _ = from.udp.try_send_to(&reply.bytes, reply.to);
    }
}
