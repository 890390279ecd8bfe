//! One advertised node, as far as its records make sense.

use crate::{
    merge::MAX_ADDRS,
    networks::{Networks, is_link_local},
};
use dig_types::InstanceId;
use mdns_sd::{ResolvedService, ScopedIp};
use std::net::{SocketAddr, SocketAddrV6};

/// Most TXT items of an advertisement; ours has two.
const MAX_TXT_ITEMS: usize = 16;

/// A node of the local network that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advert {
    /// The DNS name of the service instance.
    pub(super) name: String,
    /// Where it may be asked, nearest first, none twice; never empty.
    pub(super) addrs: Vec<SocketAddr>,
}

impl Advert {
    /// Reads an advertisement. `None` if it is our own, of another version, malformed, or names no address that may be dialled.
    pub(super) fn read(
        service: &ResolvedService,
        networks: &Networks,
        own: InstanceId,
    ) -> Option<Self> {
        let txt = &service.txt_properties;
        if txt.len() > MAX_TXT_ITEMS || txt.get_property_val_str("v") != Some("1") {
            return None;
        }
        let instance: InstanceId = txt.get_property_val_str("i")?.parse().ok()?;
        if instance == own {
            return None;
        }
        let mut addrs: Vec<_> = (service.addresses.iter())
            .filter_map(|ip| dialable(ip, service.port, networks))
            .collect();
        addrs.sort_by_key(|addr| (distance(addr, networks), *addr));
        addrs.dedup();
        addrs.truncate(MAX_ADDRS);
        let name = service.fullname.clone();
        (!addrs.is_empty()).then_some(Self { name, addrs })
    }
}

fn dialable(ip: &ScopedIp, port: u16, networks: &Networks) -> Option<SocketAddr> {
    let (addr, heard_on) = match ip {
        ScopedIp::V4(v4) => {
            let heard_on = v4.interface_ids().iter().map(|id| id.index).collect();
            (SocketAddr::new((*v4.addr()).into(), port), heard_on)
        }
        ScopedIp::V6(v6) => {
            let index = v6.scope_id().index;
            // Only a link-local address is ambiguous without its interface (RFC 4007 §6).
            let scope = if is_link_local(v6.addr()) { index } else { 0 };
            let addr = SocketAddrV6::new(*v6.addr(), port, 0, scope);
            (SocketAddr::V6(addr), vec![index])
        }
        _ => return None,
    };
    networks.allows_local(&addr, &heard_on).then_some(addr)
}

/// Order of preference: this machine, the link, elsewhere.
fn distance(addr: &SocketAddr, networks: &Networks) -> u8 {
    match addr.ip() {
        ip if ip.is_loopback() => 0,
        ip if networks.on_link(ip) => 1,
        _ => 2,
    }
}
