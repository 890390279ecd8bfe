//! UPnP IGD 1 and 2, by the crate `igd-next`.

mod search;

pub(super) use search::{find_firewall, find_router};

use super::{leases::Granted, refusal::Refusal};
use crate::candidate::Transport;
use igd_next::{
    AddPortError, PinholeError, PortMappingProtocol, RemovePortError, RequestError,
    aio::{Gateway, Ipv6FirewallGateway, tokio::Tokio},
};
use std::{
    net::{IpAddr, SocketAddr, SocketAddrV6},
    time::Duration,
};
use tokio::time::timeout;

/// One request; slow routers take a second.
const REQUEST: Duration = Duration::from_secs(3);
/// `WANIPv6FirewallControl` 1 §2.4: a pinhole stays a day at most.
const MAX_PINHOLE: u32 = 86400;
/// Shown in the router's list.
const DESCRIPTION: &str = "dignet";

/// A router that maps ports of IPv4.
#[derive(Debug)]
pub(super) struct Router {
    gateway: Gateway<Tokio>,
    local: IpAddr,
}

/// A router that opens its firewall for IPv6. It listens to who asks for its own address only, so it is asked over IPv6.
#[derive(Debug)]
pub(super) struct Firewall(Ipv6FirewallGateway<Tokio>);

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
            external: external.ok(),
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
}

impl Firewall {
    /// Opens the firewall for a port of this machine, or keeps a pinhole open.
    pub(super) async fn open(
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
        let opened = async {
            if let Some(token) = token {
                match self.0.update_pinhole(token, lease).await {
                    Ok(()) => return Ok(token),
                    Err(PinholeError::NoSuchEntry) => {}
                    Err(error) => return Err(error),
                }
            }
            (self.0)
                .add_pinhole(protocol(transport), internal, lease)
                .await
        };
        let opened = timeout(REQUEST, opened)
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
    pub(super) async fn close(&self, token: u16) -> Result<(), Refusal> {
        match timeout(REQUEST, self.0.remove_pinhole(token)).await {
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
