//! What stands between this machine and its peers.

use crate::paths::StunServer;
use dig_nat::{
    mapping::{MethodState, MethodStatus, PortMapper, PortMapperConfig},
    report::{
        NatReport, PortMapping,
        io::{DiscoverConfig, DiscoverError, discover},
    },
};
use std::{
    io,
    net::{Ipv6Addr, SocketAddr},
    time::Duration,
};
use tokio::net::UdpSocket;

/// How long routers may take to say whether they map ports: UPnP devices answer within 3 s.
const ROUTER: Duration = Duration::from_secs(3);
/// How long the names of STUN servers may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(3);

/// What to find out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExamineOptions {
    /// Whom to ask how this machine is seen. Default: nobody, which is an error.
    pub stun: Vec<StunServer>,
    /// Whether to ask the router to map a port (for the time of the test). Default: yes.
    pub port_mapping: bool,
    /// Whether to measure how long the NAT keeps an unused binding, which takes minutes. Default: no.
    pub lifetime: bool,
}

impl Default for ExamineOptions {
    fn default() -> Self {
        Self {
            stun: Vec::new(),
            port_mapping: true,
            lifetime: false,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExamineError {
    /// No name of a STUN server could be resolved.
    #[error(
        "none of the STUN servers can be found ({0}); check the network connection, or name another one with --stun HOST:PORT"
    )]
    Resolve(io::Error),
    /// The tests could not be made.
    #[error(transparent)]
    Discover(#[from] DiscoverError),
}

/// Finds out what stands between this machine and its peers: how its NAT behaves, and whether its router maps ports.
pub async fn examine(options: ExamineOptions) -> Result<NatReport, ExamineError> {
    let servers = resolve(&options.stun).await?;
    let config = DiscoverConfig {
        servers,
        bind: None,
        lifetime: options.lifetime,
    };
    let (report, routers) = tokio::join!(discover(config), async {
        match options.port_mapping {
            true => routers().await,
            false => Vec::new(),
        }
    });
    let mut report = report?;
    for mapping in routers {
        report.add_port_mapping(mapping);
    }
    Ok(report)
}

async fn resolve(servers: &[StunServer]) -> Result<Vec<SocketAddr>, ExamineError> {
    let (mut addrs, mut problem) = (Vec::new(), None);
    for server in servers {
        match tokio::time::timeout(RESOLVE, server.resolve()).await {
            Ok(Ok(found)) => addrs.extend(found),
            Ok(Err(error)) => problem = Some(error),
            Err(_) => problem = Some(io::ErrorKind::TimedOut.into()),
        }
    }
    match problem {
        Some(error) if addrs.is_empty() => Err(ExamineError::Resolve(error)),
        _ => Ok(addrs),
    }
}

/// Maps a port for a moment, by every protocol.
async fn routers() -> Vec<PortMapping> {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).await else {
        return Vec::new();
    };
    let Ok(port) = socket.local_addr().map(|addr| addr.port()) else {
        return Vec::new();
    };
    let mapper = PortMapper::start(PortMapperConfig::default(), port);
    let mut status = mapper.status();
    let settled = |status: &Vec<MethodStatus>| {
        let asking = |status: &MethodStatus| status.state == MethodState::Asking;
        !status.is_empty() && !status.iter().any(asking)
    };
    let _ = tokio::time::timeout(ROUTER, status.wait_for(settled)).await;
    let states = status.borrow().clone();
    let mappings = mapper.mappings().borrow().clone();
    mapper.shutdown().await;
    let described = states.into_iter().map(|status| {
        let mapping = mappings
            .iter()
            .find(|mapping| mapping.method == status.method);
        PortMapping {
            protocol: status.method.to_string(),
            result: status.state.to_string(),
            external: mapping.map(|mapping| mapping.external.ip()),
            mapped: mapping.is_some(),
        }
    });
    described.collect()
}
