//! The tests over real sockets.

mod errors;
mod hops;

pub use hops::hops_to_nat;

use super::{Discovery, DiscoveryConfig, FamilyReport, NatReport, Probe, TcpReach};
use crate::stun::io::query_stream;
use futures::future::{join, join_all};
use std::{
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::Poll,
    time::Duration,
};
use tokio::{
    io::ReadBuf,
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep_until, timeout},
};

/// How long a TCP connection to a STUN server may take: two sendings of the first segment.
const CONNECT: Duration = Duration::from_secs(2);
/// Ports that firewalls let through if they let anything through.
const WEB: [u16; 2] = [443, 80];
/// Larger than any message that counts; a longer datagram is cut, and then no message.
const DATAGRAM: usize = 1500;

/// What to ask whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoverConfig {
    /// STUN servers, IPv4 and IPv6, the most wanted first; at most four of each are asked. One with two addresses
    /// (RFC 5780) tells most.
    pub servers: Vec<SocketAddr>,
    /// The address of this machine to test from; its family alone is then tested. Default: the system's choice.
    pub bind: Option<IpAddr>,
    /// Whether to find out how long mappings stay: takes as long as they do, at most five minutes. Default: no.
    pub lifetime: bool,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoverError {
    /// Nobody to ask.
    #[error("no STUN server to ask; name one with --stun HOST:PORT")]
    NoServers,
    /// The system has no way to any server.
    #[error("this machine has no route to the STUN servers: {0}; check the network connection")]
    NoRoute(io::Error),
    /// Sockets cannot be had.
    #[error("cannot open the sockets for the tests: {0}")]
    Sockets(io::Error),
}

/// Finds out what stands between this machine and the public network.
///
/// Takes 0.1 s without a NAT or firewall, about a second and a half behind one and four if the servers are 200 ms away, three to five if
/// UDP is blocked, never more than 15; up to five minutes with [`DiscoverConfig::lifetime`]. Sends fewer than 100 datagrams to each server.
pub async fn discover(config: DiscoverConfig) -> Result<NatReport, DiscoverError> {
    let started = Instant::now();
    let (ipv4, ipv6) = join(
        family(&config, SocketAddr::is_ipv4, Ipv4Addr::UNSPECIFIED.into()),
        family(&config, SocketAddr::is_ipv6, Ipv6Addr::UNSPECIFIED.into()),
    )
    .await;
    let mut report = NatReport::default();
    match (ipv4, ipv6) {
        (Err(error), Err(_) | Ok(None)) | (Ok(None), Err(error)) => return Err(error),
        (Ok(None), Ok(None)) => return Err(DiscoverError::NoServers),
        (ipv4, ipv6) => {
            report.ipv4 = ipv4.ok().flatten();
            report.ipv6 = ipv6.ok().flatten();
        }
    }
    report.udp_blocked = report.public_addresses().is_empty();
    if report.udp_blocked {
        report.tcp = Some(tcp_reach(&config).await);
    }
    report.took = started.elapsed();
    Ok(report)
}

/// The tests of one family; `None` if there is nobody to ask.
async fn family(
    config: &DiscoverConfig,
    is_family: impl Fn(&SocketAddr) -> bool,
    any: IpAddr,
) -> Result<Option<FamilyReport>, DiscoverError> {
    let servers: Vec<SocketAddr> = config.servers.iter().copied().filter(is_family).collect();
    let bind = config.bind.unwrap_or(any);
    let Some(first) = servers
        .first()
        .filter(|server| server.is_ipv4() == bind.is_ipv4())
    else {
        return Ok(None);
    };
    let local = local_address(bind, *first)
        .await
        .map_err(DiscoverError::NoRoute)?;
    let needed = DiscoveryConfig::sockets_needed(config.lifetime);
    let sockets = Sockets::open(local, needed)
        .await
        .map_err(DiscoverError::Sockets)?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| DiscoverError::Sockets(io::Error::other(error)))?;
    let discovery = DiscoveryConfig {
        sockets: sockets.addresses().map_err(DiscoverError::Sockets)?,
        servers,
        lifetime: config.lifetime,
        seed,
    };
    Ok(Some(drive(&sockets, discovery).await))
}

/// The address that this machine has on the way to a server. Nothing is sent.
async fn local_address(bind: IpAddr, server: SocketAddr) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((bind, 0)).await?;
    socket.connect(server).await?;
    Ok(socket.local_addr()?.ip())
}

async fn drive(sockets: &Sockets, config: DiscoveryConfig) -> FamilyReport {
    let started = Instant::now();
    let mut discovery = Discovery::new(Duration::ZERO, config);
    loop {
        while let Some(probe) = discovery.poll(started.elapsed()) {
            sockets.send(&probe).await;
        }
        let Some(due) = discovery.timeout() else {
            return discovery.into_report();
        };
        let mut buffer = [0; DATAGRAM];
        tokio::select! {
            (socket, source, length) = sockets.receive(&mut buffer) => {
                discovery.on_datagram(started.elapsed(), socket, source, &buffer[..length]);
            }
            error = errors::time_exceeded(&sockets.0[DiscoveryConfig::DYING]) => {
                discovery.on_time_exceeded(started.elapsed(), DiscoveryConfig::DYING, error.router, &error.quoted);
            }
            () = sleep_until(started + due) => {}
        }
    }
}

/// The sockets of one family's tests.
#[derive(Debug)]
struct Sockets(Vec<UdpSocket>);

impl Sockets {
    async fn open(local: IpAddr, count: usize) -> io::Result<Self> {
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            sockets.push(UdpSocket::bind((local, 0)).await?);
        }
        errors::enable(&sockets[DiscoveryConfig::DYING]);
        Ok(Self(sockets))
    }

    fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.0.iter().map(UdpSocket::local_addr).collect()
    }

    /// What cannot be sent is lost: the tests send again.
    async fn send(&self, probe: &Probe) {
        let socket = &self.0[probe.socket];
        if let Some(ttl) = probe.ttl {
            let _ = socket.set_ttl(ttl.into());
        }
        if socket.send_to(&probe.bytes, probe.to).await.is_err() {
            // The system reports an earlier datagram's fate here once, and sends nothing.
            let _ = socket.send_to(&probe.bytes, probe.to).await;
        }
    }

    /// The next datagram at any socket. Cancelling it loses nothing.
    async fn receive(&self, buffer: &mut [u8]) -> (usize, SocketAddr, usize) {
        poll_fn(|context| {
            for (index, socket) in self.0.iter().enumerate() {
                // Errors are the fate of what was sent earlier; after one there may be datagrams.
                for _ in 0..4 {
                    let mut room = ReadBuf::new(buffer);
                    match socket.poll_recv_from(context, &mut room) {
                        Poll::Ready(Ok(source)) => {
                            return Poll::Ready((index, source, room.filled().len()));
                        }
                        Poll::Ready(Err(_)) => {}
                        Poll::Pending => break,
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// What TCP reaches at the servers, asked all at once.
async fn tcp_reach(config: &DiscoverConfig) -> TcpReach {
    let servers = config.servers.iter().filter(|server| {
        config
            .bind
            .is_none_or(|bind| bind.is_ipv4() == server.is_ipv4())
    });
    let servers: Vec<SocketAddr> = servers.copied().take(4).collect();
    let own = join_all(servers.iter().map(|server| answers(*server)));
    let web = servers
        .iter()
        .flat_map(|server| WEB.map(|port| SocketAddr::new(server.ip(), port)));
    let web = join_all(web.map(connects));
    let (own, web) = join(own, web).await;
    let own = servers.iter().zip(own).filter(|(_, answered)| *answered);
    let own: Vec<u16> = own.map(|(server, _)| server.port()).collect();
    if own.iter().any(|port| !WEB.contains(port)) {
        TcpReach::Any
    } else if !own.is_empty() || web.contains(&true) {
        TcpReach::WebOnly
    } else {
        TcpReach::Nothing
    }
}

async fn connects(addr: SocketAddr) -> bool {
    matches!(timeout(CONNECT, TcpStream::connect(addr)).await, Ok(Ok(_)))
}

async fn answers(server: SocketAddr) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect(server).await?;
        query_stream(&mut stream).await.map_err(io::Error::other)
    };
    matches!(timeout(CONNECT, ask).await, Ok(Ok(_)))
}
