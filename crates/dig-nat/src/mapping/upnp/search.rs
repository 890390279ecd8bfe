//! Finding a router.
//!
//! `igd-next` takes the first answer to its search, fetches from any port of it, and stops listening while it does: one slow machine
//! on the link hides the router. So the search is our own ([`crate::mapping::ssdp`]), and the crate is told only the one answer
//! that passed, by a socket of this process which plays the part of the network. It bounds what it reads (1 MiB, 64 levels of XML);
//! time is bounded here.

use super::{Firewall, Router};
use crate::mapping::{
    network::Link,
    refusal::Refusal,
    ssdp::{Location, Search, questions, targets},
};
use igd_next::{
    SearchError, SearchOptions,
    aio::{
        Gateway,
        tokio::{Tokio, search_gateway, search_ipv6_firewall_gateway},
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until},
};

/// When the questions are sent: datagrams get lost, and nobody tells.
const QUESTIONS_AT: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(400),
    Duration::from_millis(1200),
];
/// How long the search is open for answers; they may take the second that `MX` allows them.
const SEARCH: Duration = Duration::from_secs(3);
/// How long the default gateway has, before another machine of the link is believed to be the router.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Reading the two documents of a router; slow ones take a second.
const DESCRIBE: Duration = Duration::from_secs(3);
/// Most arguments that an action may ask for; the longest of the standard has 8.
const MAX_ARGUMENTS: usize = 16;

/// Searches a link for the router that maps ports of IPv4; takes a few seconds at most.
pub(in crate::mapping) async fn find_router(link: Link) -> Result<Router, Refusal> {
    let mut candidates = Candidates::search(link)?;
    loop {
        let location = candidates.next().await?;
        match read_router(&location).await {
            Ok(gateway) => {
                let local = link.local();
                return Ok(Router { gateway, local });
            }
            Err(refusal) => candidates.failure = refusal,
        }
    }
}

/// Searches a link for the router that opens its firewall for IPv6.
pub(in crate::mapping) async fn find_firewall(link: Link) -> Result<Firewall, Refusal> {
    let mut candidates = Candidates::search(link)?;
    loop {
        let location = candidates.next().await?;
        match describe(&location, search_ipv6_firewall_gateway).await {
            Ok(firewall) => return Ok(Firewall(firewall)),
            Err(refusal) => candidates.failure = refusal,
        }
    }
}

async fn read_router(location: &Location) -> Result<Gateway<Tokio>, Refusal> {
    let gateway = describe(location, search_gateway).await?;
    let mut actions = gateway.control_schema.values();
    let excessive = actions.any(|arguments| arguments.len() > MAX_ARGUMENTS);
    if gateway.addr != location.addr || excessive {
        return Err(Refusal::Nonsense);
    }
    Ok(gateway)
}

/// The descriptions to read, as they are heard of.
struct Candidates {
    link: Link,
    socket: UdpSocket,
    search: Search,
    began: Instant,
    /// How often the questions were sent.
    asked: usize,
    /// What became of the last candidate.
    failure: Refusal,
}

impl Candidates {
    fn search(link: Link) -> Result<Self, Refusal> {
        Ok(Self {
            link,
            socket: open(&link)?,
            search: Search::new(link),
            began: Instant::now(),
            asked: 0,
            failure: Refusal::NoAnswer,
        })
    }

    /// The next one; an error is how the search ends.
    async fn next(&mut self) -> Result<Location, Refusal> {
        let mut buffer = [0; 1500];
        loop {
            let elapsed = self.began.elapsed();
            if QUESTIONS_AT
                .get(self.asked)
                .is_some_and(|at| *at <= elapsed)
            {
                self.asked += 1;
                send_questions(&self.socket, &self.link).await?;
            }
            if let Some(location) = self.search.next(elapsed >= PATIENCE) {
                return Ok(location);
            }
            if elapsed >= SEARCH {
                let misled = self.failure == Refusal::NoAnswer && self.search.was_misled();
                return Err(if misled {
                    Refusal::Elsewhere
                } else {
                    self.failure.clone()
                });
            }
            let question = QUESTIONS_AT.get(self.asked).copied();
            let patience = (elapsed < PATIENCE).then_some(PATIENCE);
            let next = question.into_iter().chain(patience).min();
            tokio::select! {
                () = sleep_until(self.began + next.unwrap_or(SEARCH)) => {}
                received = self.socket.recv_from(&mut buffer) => {
                    // Errors of a datagram socket are about earlier datagrams.
                    if let Ok((length, from)) = received {
                        self.search.heard(from, &buffer[..length]);
                    }
                }
            }
        }
    }
}

fn open(link: &Link) -> Result<UdpSocket, Refusal> {
    let local = SocketAddr::new(link.local(), 0);
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(local),
        socket2::Type::DGRAM,
        None,
    )?;
    socket.bind(&local.into())?;
    // Two hops: UPnP Device Architecture 2.0 §1.3.2. The IPv6 group does not leave the link anyway.
    match link.local() {
        IpAddr::V4(local) => {
            socket.set_multicast_if_v4(&local)?;
            socket.set_multicast_ttl_v4(2)?;
        }
        IpAddr::V6(_) => socket.set_multicast_if_v6(link.scope())?,
    }
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket.into())?)
}

async fn send_questions(socket: &UdpSocket, link: &Link) -> Result<(), Refusal> {
    let mut sent = Err(Refusal::NoAnswer);
    for target in targets(link) {
        for question in questions(link) {
            match socket.send_to(question.as_bytes(), target).await {
                Ok(_) => sent = Ok(()),
                Err(error) if sent.is_err() => sent = Err(error.into()),
                Err(_) => {}
            }
        }
    }
    sent
}

/// Has the crate read the documents of one router.
async fn describe<T, F: Future<Output = Result<T, SearchError>>>(
    location: &Location,
    read: impl FnOnce(SearchOptions) -> F,
) -> Result<T, Refusal> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nLOCATION: http://{}{}\r\n\r\n",
        location.addr, location.path
    );
    let loopback = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    let network = UdpSocket::bind(loopback).await?;
    let mut options = SearchOptions::default();
    options.bind_addr = loopback.into();
    options.broadcast_address = network.local_addr()?;
    options.timeout = Some(DESCRIBE);
    options.allowed_gateway_ips = vec![location.addr.ip()];
    let play_network = async {
        let mut question = [0; 1500];
        if let Ok((_, asker)) = network.recv_from(&mut question).await {
            // If it is lost, the search below runs out of time.
            let _ = network.send_to(answer.as_bytes(), asker).await;
        }
        std::future::pending().await
    };
    tokio::select! {
        found = read(options) => found.map_err(|_| Refusal::Nonsense),
        never = play_network => never,
    }
}
