//! Speaks to the gateways of one network, in whatever protocol.

use super::{
    aside::aside,
    leases::{Granted, Protocol, Removal, Slot, Want, Way},
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

/// What a search found.
#[derive(Debug)]
pub(super) enum Found {
    /// That the router speaks the protocol.
    Answer,
    /// A router that maps by UPnP.
    Router(upnp::Router),
    /// A router whose firewall opens by UPnP.
    Firewall(upnp::Firewall),
}

/// The way to the gateways of one network. Its answers are futures that do not borrow it, so that they run as tasks.
#[derive(Debug)]
pub(super) struct Client {
    network: Network,
    port: u16,
    nonces: BTreeMap<Want, pcp::Nonce>,
    router: Option<Arc<upnp::Router>>,
    firewall: Option<Arc<upnp::Firewall>>,
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
            firewall: None,
        }
    }

    pub(super) const fn network(&self) -> &Network {
        &self.network
    }

    /// Keeps what a search found.
    pub(super) fn keep(&mut self, found: Found) {
        match found {
            Found::Answer => {}
            Found::Router(router) => self.router = Some(Arc::new(router)),
            Found::Firewall(firewall) => self.firewall = Some(Arc::new(firewall)),
        }
    }

    /// Finds out whether the router speaks a protocol.
    pub(super) fn find(
        &self,
        way: Way,
    ) -> impl Future<Output = Result<Found, Refusal>> + Send + use<> {
        let link = self.link(way.ipv6);
        async move {
            let link = link.ok_or(Refusal::NoAnswer)?;
            match (way.protocol, way.ipv6) {
                (Protocol::Pcp, _) => Ok(Found::Answer),
                (Protocol::NatPmp, _) => {
                    let address = nat_pmp::outside_address(&link).await;
                    address.map(|_| Found::Answer)
                }
                (Protocol::Upnp, false) => aside(upnp::find_router(link)).await.map(Found::Router),
                (Protocol::Upnp, true) => {
                    let firewall = aside(upnp::find_firewall(link)).await;
                    firewall.map(Found::Firewall)
                }
            }
        }
    }

    /// Asks for a mapping.
    pub(super) fn map(
        &self,
        wish: Wish,
    ) -> impl Future<Output = Result<Granted, Refusal>> + Send + use<> {
        let slot = wish.slot;
        let link = self.link(slot.want.ipv6);
        let pcp = self.pcp(slot.want, wish.external_port, wish.lease);
        let nat_pmp = self.nat_pmp(slot.want, wish.external_port, wish.lease);
        let (router, firewall, port) = (self.router.clone(), self.firewall.clone(), self.port);
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
                    let firewall = firewall.ok_or(Refusal::NoAnswer)?;
                    let internal = SocketAddrV6::new(ip, port, 0, 0);
                    aside(async move {
                        (firewall.open(transport, internal, wish.lease, wish.token)).await
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
        let link = self.link(slot.want.ipv6);
        // RFC 6886 §3.4 and RFC 6887 §15: lifetime and outside port are 0.
        let pcp = self.pcp(slot.want, 0, 0);
        let nat_pmp = self.nat_pmp(slot.want, 0, 0);
        let (router, firewall) = (self.router.clone(), self.firewall.clone());
        async move {
            let link = link.ok_or(Refusal::NoAnswer)?;
            match (slot.protocol, removal.token) {
                (Protocol::Pcp, _) => pcp.ok_or(Refusal::NoAnswer)?.ask(&link).await.map(drop),
                (Protocol::NatPmp, _) => nat_pmp.ask(&link).await.map(drop),
                (Protocol::Upnp, None) => {
                    let router = router.ok_or(Refusal::NoAnswer)?;
                    let (transport, port) = (slot.want.transport, removal.external_port);
                    aside(async move { router.unmap(transport, port).await }).await
                }
                (Protocol::Upnp, Some(pinhole)) => {
                    let firewall = firewall.ok_or(Refusal::NoAnswer)?;
                    aside(async move { firewall.close(pinhole).await }).await
                }
            }
        }
    }

    fn link(&self, ipv6: bool) -> Option<Link> {
        if ipv6 {
            self.network.v6
        } else {
            self.network.v4
        }
    }

    fn pcp(&self, want: Want, external_port: u16, lifetime: u32) -> Option<pcp::MapRequest> {
        Some(pcp::MapRequest {
            nonce: *self.nonces.get(&want)?,
            transport: want.transport,
            internal: SocketAddr::new(self.link(want.ipv6)?.local(), self.port),
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
