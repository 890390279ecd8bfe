//! A UDP socket that nobody has heard of, and where the NAT shows it.

use crate::{
    io::{UdpHub, bind, canonical},
    stun::{Answer, Query, TransactionId},
};
use socket2::SockRef;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout, timeout_at},
};

/// Servers that are asked at once: one may be gone.
const SERVERS: usize = 2;
/// How long they may take: the peer waits for it.
const PATIENCE: Duration = Duration::from_millis(700);
/// No answer is longer (RFC 8489 §6.1).
const LARGEST: usize = 1280;

/// A UDP socket that nobody but STUN servers has heard of.
#[derive(Debug)]
pub(crate) struct FreshUdp {
    pub(crate) socket: UdpSocket,
    pub(crate) local: SocketAddr,
    /// Where servers see it, if one answered.
    pub(crate) outside: Option<SocketAddr>,
}

/// Opens one for IPv4 and asks the first of these servers by it.
pub(super) async fn open(hub: &UdpHub, servers: &[SocketAddr]) -> Option<FreshUdp> {
    let bound = bind(hub, false);
    let (socket, local) = bound
        .inspect_err(|error| tracing::debug!(%error, "no fresh port"))
        .ok()?;
    let servers = &servers[..servers.len().min(SERVERS)];
    let answer = timeout(PATIENCE, first_answer(&socket, servers)).await;
    let outside = answer.ok().flatten().map(|answer| answer.mapped);
    Some(FreshUdp {
        socket,
        local,
        outside,
    })
}

/// The first answer of one of these servers to a question from this socket.
pub(super) async fn first_answer(socket: &UdpSocket, servers: &[SocketAddr]) -> Option<Answer> {
    let start = Instant::now();
    let mut queries = Vec::new();
    for server in servers {
        let mut id = [0; 12];
        getrandom::fill(&mut id).ok()?;
        queries.push(Query::new(Duration::ZERO, *server, TransactionId(id)));
    }
    loop {
        for query in &mut queries {
            if let Some(request) = query.poll(start.elapsed()) {
                SockRef::from(socket)
                    .send_to(&request, &query.server().into())
                    .ok()?;
            }
        }
        let due = queries.iter().filter_map(Query::timeout).min()?;
        if let Ok(arrived) = timeout_at(start + due, receive(socket)).await {
            let (source, bytes) = arrived?;
            for query in &mut queries {
                query.on_datagram(start.elapsed(), source, &bytes);
            }
        }
        let answered = queries.iter().find_map(|query| query.outcome()?.ok());
        if answered.is_some() {
            return answered;
        }
    }
}

async fn receive(socket: &UdpSocket) -> Option<(SocketAddr, Vec<u8>)> {
    let mut buffer = vec![0; LARGEST];
    let (length, source) = socket.recv_from(&mut buffer).await.ok()?;
    buffer.truncate(length);
    Some((canonical(source), buffer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{io::OsUdp, stun::io::serve};
    use std::sync::Arc;

    fn hub() -> UdpHub {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()))
    }

    #[tokio::test]
    async fn its_outside_end_is_learned_by_itself_from_whoever_answers() {
        let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let serving = serve("127.0.0.1:0".parse().unwrap(), None).await.unwrap();
        let servers = [gone.local_addr().unwrap(), serving.layout().sockets()[0]];
        let fresh = open(&hub(), &servers).await.unwrap();
        assert_eq!(fresh.outside, Some(fresh.local));
        assert_eq!(fresh.socket.local_addr().unwrap(), fresh.local);
    }

    #[tokio::test]
    async fn it_is_open_even_where_no_server_answers() {
        let gone = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let gone = gone.local_addr().unwrap();
        for servers in [&[][..], &[gone]] {
            let fresh = open(&hub(), servers).await.unwrap();
            assert_eq!(fresh.outside, None);
            assert_ne!(fresh.local.port(), 0);
        }
    }
}
