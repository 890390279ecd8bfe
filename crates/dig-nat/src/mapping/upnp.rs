//! UPnP IGD 1 and 2, by the crate `igd-next`.
//!
//! The crate takes the first answer to its search, fetches from any port of it, and stops listening while it does: one slow machine
//! on the link hides the router. So the search is our own ([`super::ssdp`]), and the crate is told only the one
//! answer that passed, by a socket of this process which plays the part of the network. It bounds what it reads (1 MiB, 64 levels of XML);
//! time is bounded here.

use super::{
    leases::Granted,
    network::Link,
    refusal::Refusal,
    ssdp::{GROUP, Location, Search, questions},
};
use crate::candidate::Transport;
use igd_next::{
    AddPortError, GetExternalIpError, PinholeError, PortMappingProtocol, RemovePortError,
    RequestError, SearchOptions,
    aio::{
        Gateway,
        tokio::{Tokio, search_gateway},
    },
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, sleep_until, timeout},
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
/// One request; slow routers take a second.
const REQUEST: Duration = Duration::from_secs(3);
/// Most arguments that an action may ask for; the longest of the standard has 8.
const MAX_ARGUMENTS: usize = 16;
/// IGD 2 §2.4.3 of `WANIPv6FirewallControl`: a pinhole stays a day at most.
const MAX_PINHOLE: u32 = 86400;
/// Shown in the router's list.
const DESCRIPTION: &str = "dignet";

/// A router that maps ports by UPnP.
#[derive(Debug)]
pub(super) struct Router {
    gateway: Gateway<Tokio>,
    local: IpAddr,
}

/// Searches for the router of a link; takes a few seconds at most.
pub(super) async fn find(link: Link) -> Result<Router, Refusal> {
    let socket = open(link.local())?;
    let mut search = Search::new(link);
    let began = Instant::now();
    let mut questions_at = QUESTIONS_AT.into_iter().peekable();
    let mut failure = Refusal::NoAnswer;
    let mut buffer = [0; 1500];
    loop {
        let elapsed = began.elapsed();
        if questions_at.next_if(|at| *at <= elapsed).is_some() {
            send_questions(&socket, &link).await?;
        }
        while let Some(location) = search.next(elapsed >= PATIENCE) {
            match describe(&location).await {
                Ok(gateway) => {
                    let local = link.local();
                    return Ok(Router { gateway, local });
                }
                Err(refusal) => failure = refusal,
            }
        }
        if elapsed >= SEARCH {
            let misled = failure == Refusal::NoAnswer && search.was_misled();
            return Err(if misled { Refusal::Elsewhere } else { failure });
        }
        let patience = (elapsed < PATIENCE).then_some(PATIENCE);
        let next = questions_at
            .peek()
            .copied()
            .into_iter()
            .chain(patience)
            .min();
        tokio::select! {
            () = sleep_until(began + next.unwrap_or(SEARCH)) => {}
            received = socket.recv_from(&mut buffer) => {
                // Errors of a datagram socket are about earlier datagrams.
                if let Ok((length, from)) = received {
                    search.heard(from, &buffer[..length]);
                }
            }
        }
    }
}

fn open(local: IpAddr) -> Result<UdpSocket, Refusal> {
    let IpAddr::V4(local) = local else {
        return Err(Refusal::Unsupported);
    };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.bind(&SocketAddr::new(local.into(), 0).into())?;
    socket.set_multicast_if_v4(&local)?;
    // UPnP Device Architecture 2.0 §1.3.2.
    socket.set_multicast_ttl_v4(2)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// To the group, and to the gateway itself for networks that swallow multicast (§1.3.2 allows both).
async fn send_questions(socket: &UdpSocket, link: &Link) -> Result<(), Refusal> {
    let gateway = link.gateway(GROUP.port());
    let mut sent = Err(Refusal::NoAnswer);
    for target in [SocketAddr::V4(GROUP), gateway] {
        for question in questions() {
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
async fn describe(location: &Location) -> Result<Gateway<Tokio>, Refusal> {
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
    options.allowed_gateway_ips = vec![(*location.addr.ip()).into()];
    let play_network = async {
        let mut question = [0; 1500];
        if let Ok((_, asker)) = network.recv_from(&mut question).await {
            // If it is lost, the search below runs out of time.
            let _ = network.send_to(answer.as_bytes(), asker).await;
        }
        std::future::pending().await
    };
    let gateway = tokio::select! {
        gateway = search_gateway(options) => gateway.map_err(|_| Refusal::Nonsense)?,
        never = play_network => never,
    };
    let same_machine = gateway.addr == SocketAddr::V4(location.addr);
    let reasonable = (gateway.control_schema.values()).all(|args| args.len() <= MAX_ARGUMENTS);
    if same_machine && reasonable {
        Ok(gateway)
    } else {
        Err(Refusal::Elsewhere)
    }
}

impl Router {
    /// Maps an outside port to a port of this machine. `lease` in seconds; 0 is for ever.
    pub(super) async fn map(
        &self,
        transport: Transport,
        external_port: u16,
        internal_port: u16,
        lease: u32,
    ) -> Result<Granted, Refusal> {
        let internal = SocketAddr::new(self.local, internal_port);
        let protocol = protocol(transport);
        let add = (self.gateway).add_port(protocol, external_port, internal, lease, DESCRIPTION);
        let both = async { tokio::join!(add, self.gateway.get_external_ip()) };
        let (added, external) = timeout(REQUEST, both)
            .await
            .map_err(|_| Refusal::NoAnswer)?;
        added.map_err(|error| add_refusal(&error))?;
        Ok(Granted {
            external: match external {
                Ok(ip) => Some(ip),
                Err(GetExternalIpError::ActionNotAuthorized) => None,
                Err(GetExternalIpError::RequestError(_)) => None,
            },
            port: external_port,
            lifetime: (lease > 0).then(|| Duration::from_secs(lease.into())),
            epoch: None,
            token: None,
        })
    }

    /// Removes a mapping of this machine. One that is not there is fine.
    pub(super) async fn unmap(
        &self,
        transport: Transport,
        external_port: u16,
    ) -> Result<(), Refusal> {
        let remove = self.gateway.remove_port(protocol(transport), external_port);
        match timeout(REQUEST, remove).await {
            Ok(Ok(()) | Err(RemovePortError::NoSuchPortMapping)) => Ok(()),
            Ok(Err(RemovePortError::ActionNotAuthorized)) => Err(Refusal::Denied),
            Ok(Err(RemovePortError::RequestError(error))) => Err(request_refusal(&error)),
            Err(_) => Err(Refusal::NoAnswer),
        }
    }

    /// Opens the firewall for a port of this machine, or keeps a pinhole open.
    pub(super) async fn open_pinhole(
        &self,
        transport: Transport,
        internal: SocketAddrV6,
        lease: u32,
        token: Option<u16>,
    ) -> Result<Granted, Refusal> {
        let lease = if lease == 0 {
            MAX_PINHOLE
        } else {
            lease.min(MAX_PINHOLE)
        };
        let open = async {
            if let Some(token) = token {
                match self.gateway.update_pinhole(token, lease).await {
                    Ok(()) => return Ok(token),
                    Err(PinholeError::NoSuchEntry) => {}
                    Err(error) => return Err(error),
                }
            }
            (self.gateway)
                .add_pinhole(protocol(transport), internal, lease)
                .await
        };
        let opened = timeout(REQUEST, open)
            .await
            .map_err(|_| Refusal::NoAnswer)?;
        Ok(Granted {
            external: Some((*internal.ip()).into()),
            port: internal.port(),
            lifetime: Some(Duration::from_secs(lease.into())),
            epoch: None,
            token: Some(opened.map_err(|error| pinhole_refusal(&error))?),
        })
    }

    /// Closes a pinhole. One that is not there is fine.
    pub(super) async fn close_pinhole(&self, token: u16) -> Result<(), Refusal> {
        match timeout(REQUEST, self.gateway.remove_pinhole(token)).await {
            Ok(Ok(()) | Err(PinholeError::NoSuchEntry)) => Ok(()),
            Ok(Err(error)) => Err(pinhole_refusal(&error)),
            Err(_) => Err(Refusal::NoAnswer),
        }
    }
}

const fn protocol(transport: Transport) -> PortMappingProtocol {
    match transport {
        Transport::Udp => PortMappingProtocol::UDP,
        Transport::Tcp => PortMappingProtocol::TCP,
    }
}

fn add_refusal(error: &AddPortError) -> Refusal {
    match error {
        AddPortError::ActionNotAuthorized => Refusal::Denied,
        AddPortError::PortInUse => Refusal::Conflict,
        AddPortError::SamePortValuesRequired => Refusal::SamePortOnly,
        AddPortError::OnlyPermanentLeasesSupported => Refusal::OnlyPermanent,
        AddPortError::RequestError(error) => request_refusal(error),
        _ => Refusal::Nonsense,
    }
}

fn pinhole_refusal(error: &PinholeError) -> Refusal {
    match error {
        PinholeError::FirewallControlUnavailable => Refusal::Unsupported,
        PinholeError::ActionNotAuthorized | PinholeError::InboundPinholeNotAllowed => {
            Refusal::Denied
        }
        PinholeError::PinholeSpaceExhausted => Refusal::Exhausted,
        PinholeError::RequestError(error) => request_refusal(error),
        _ => Refusal::Nonsense,
    }
}

/// The errors of UPnP Device Architecture 2.0 §3.2.2 and of `WANIPConnection` 2 §2.5.16.
fn request_refusal(error: &RequestError) -> Refusal {
    match error {
        RequestError::ErrorCode(401 | 602, _) | RequestError::UnsupportedAction(_) => {
            Refusal::Unsupported
        }
        RequestError::ErrorCode(606 | 729, _) => Refusal::Denied,
        RequestError::ErrorCode(718, _) => Refusal::Conflict,
        RequestError::ErrorCode(724, _) => Refusal::SamePortOnly,
        RequestError::ErrorCode(725, _) => Refusal::OnlyPermanent,
        RequestError::ErrorCode(728, _) => Refusal::Exhausted,
        RequestError::ErrorCode(code, _) => Refusal::Code(*code),
        RequestError::IoError(_)
        | RequestError::HyperError(_)
        | RequestError::HyperClientError(_) => Refusal::NoAnswer,
        // What the router wrote stays out of messages and logs.
        _ => Refusal::Nonsense,
    }
}
