//! Speaks to the gateways of one network, in whatever protocol.

use super::{
    aside::aside,
    leases::{Granted, Protocol, Removal, Slot, Want},
    nat_pmp,
    network::{Link, Network},
    pcp,
    refusal::Refusal,
    upnp,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    sync::Arc,
};

/// What is asked for: a mapping or its renewal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) slot: Slot,
    pub(super) external_port: u16,
    /// In seconds; 0: for ever, by UPnP.
    pub(super) lease: u32,
    /// The pinhole that is to be kept open.
    pub(super) token: Option<u16>,
}

/// The way to the gateways of one network. Its answers are futures that do not borrow it, so that they run as tasks.
#[derive(Debug)]
pub(super) struct Client {
    network: Network,
    port: u16,
    nonces: BTreeMap<Want, pcp::Nonce>,
    router: Option<Arc<upnp::Router>>,
}

impl Client {
    /// The nonces prove to PCP servers that later requests are from who made the mappings.
    pub(super) const fn new(
        network: Network,
        port: u16,
        nonces: BTreeMap<Want, pcp::Nonce>,
    ) -> Self {
        Self {
            network,
            port,
            nonces,
            router: None,
        }
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    /// The router that a search by UPnP found.
    pub(super) fn found(&mut self, router: upnp::Router) {
        self.router = Some(Arc::new(router));
    }

    /// Whether the router speaks a protocol; what UPnP found.
    pub(super) fn find(
        &self,
        protocol: Protocol,
    ) -> impl Future<Output = Result<Option<upnp::Router>, Refusal>> + Send + use<> {
        let link = self.network.v4;
        async move {
            let link = link.ok_or(Refusal::NoAnswer)?;
            match protocol {
                Protocol::Pcp => Ok(None),
                Protocol::NatPmp => nat_pmp::outside_address(&link).await.map(|_| None),
                Protocol::Upnp => aside(upnp::find(link)).await.map(Some),
            }
        }
    }

    /// Asks for a mapping.
    pub(super) fn map(
        &self,
        wish: Wish,
    ) -> impl Future<Output = Result<Granted, Refusal>> + Send + use<> {
        let slot = wish.slot;
        let link = self.link(slot.want);
        let pcp = self.pcp(slot.want, wish.external_port, wish.lease);
        let nat_pmp = self.nat_pmp(slot.want, wish.external_port, wish.lease);
        let (router, port) = (self.router.clone(), self.port);
        async move {
            let link = link.ok_or(Refusal::NoAnswer)?;
            let transport = slot.want.transport;
            match (slot.protocol, link.local()) {
                (Protocol::Pcp, _) => pcp.ok_or(Refusal::NoAnswer)?.ask(&link).await,
                (Protocol::NatPmp, _) => nat_pmp.ask_with_address(&link).await,
                (Protocol::Upnp, IpAddr::V4(_)) => {
                    let router = router.ok_or(Refusal::NoAnswer)?;
                    aside(async move {
                        (router.map(transport, wish.external_port, port, wish.lease)).await
                    })
                    .await
                }
                (Protocol::Upnp, IpAddr::V6(ip)) => {
                    let router = router.ok_or(Refusal::NoAnswer)?;
                    let internal = SocketAddrV6::new(ip, port, 0, 0);
                    aside(async move {
                        (router.open_pinhole(transport, internal, wish.lease, wish.token)).await
                    })
                    .await
                }
            }
        }
    }

    /// Removes a mapping.
    pub(super) fn remove(
        &self,
        removal: Removal,
    ) -> impl Future<Output = Result<(), Refusal>> + Send + use<> {
        let slot = removal.slot;
        let link = self.link(slot.want);
        // RFC 6886 §3.4 and RFC 6887 §15: lifetime and outside port are 0.
        let pcp = self.pcp(slot.want, 0, 0);
        let nat_pmp = self.nat_pmp(slot.want, 0, 0);
        let router = self.router.clone();
        async move {
            let link = link.ok_or(Refusal::NoAnswer)?;
            match slot.protocol {
                Protocol::Pcp => pcp.ok_or(Refusal::NoAnswer)?.ask(&link).await.map(drop),
                Protocol::NatPmp => nat_pmp.ask(&link).await.map(drop),
                Protocol::Upnp => {
                    let router = router.ok_or(Refusal::NoAnswer)?;
                    let (transport, port) = (slot.want.transport, removal.external_port);
                    aside(async move {
                        match removal.token {
                            Some(pinhole) => router.close_pinhole(pinhole).await,
                            None => router.unmap(transport, port).await,
                        }
                    })
                    .await
                }
            }
        }
    }

    fn link(&self, want: Want) -> Option<Link> {
        if want.ipv6 {
            self.network.v6
        } else {
            self.network.v4
        }
    }

    fn pcp(&self, want: Want, external_port: u16, lifetime: u32) -> Option<pcp::MapRequest> {
        Some(pcp::MapRequest {
            nonce: *self.nonces.get(&want)?,
            transport: want.transport,
            internal: SocketAddr::new(self.link(want)?.local(), self.port),
            external_port,
            lifetime,
        })
    }

    const fn nat_pmp(&self, want: Want, external_port: u16, lifetime: u32) -> nat_pmp::MapRequest {
        nat_pmp::MapRequest {
            transport: want.transport,
            port: self.port,
            external_port,
            lifetime,
        }
    }
}
