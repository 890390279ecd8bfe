//! The user-space devices of a site: an emulated link, a NAT that netfilter cannot be.

use super::{SiteSpec, layout::Layout};
use crate::{
    holder::Holder,
    lab::{INTERNET, LabError},
    link::{Link, Tally},
    nat::Nat,
    tun::{End, TunLink, TunNat},
};
use std::{net::IpAddr, sync::MutexGuard};

/// Threads between TUN devices; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Wires {
    link: Option<TunLink>,
    nat: Option<TunNat>,
}

impl Wires {
    /// Opens the devices that a site needs in namespaces that exist already.
    pub(crate) fn open(
        holder: &Holder,
        layout: &Layout,
        spec: &SiteSpec,
        seed: u64,
    ) -> Result<Self, LabError> {
        let end = |namespace: &str, device: &str| End::open(holder.namespace(namespace), device);
        let link = match spec.link {
            None => None,
            Some((outwards, inwards)) => {
                let near = end(&layout.outermost().namespace, "wan0")?;
                let far = end(INTERNET, &layout.port())?;
                Some(TunLink::start(&near, &far, outwards, inwards, seed)?)
            }
        };
        let nat = match (spec.user_nat(), layout.public_ipv4()) {
            (Some(config), Some(public)) => {
                let router = &layout.inner.namespace;
                let nat = Nat::new(config, vec![IpAddr::V4(public)], seed);
                Some(TunNat::start(
                    &end(router, "nat-in")?,
                    &end(router, "nat-out")?,
                    nat,
                )?)
            }
            _ => None,
        };
        Ok(Self { link, nat })
    }

    /// What leads packets through the NAT, for a shell in the router's namespace.
    pub(crate) fn script(&self, layout: &Layout) -> String {
        let (Some(nat), Some(lan)) = (&self.nat, layout.lan().v4_prefix()) else {
            return String::new();
        };
        let commands = nat.commands(&[("lan0", &lan)]).join("\n");
        format!(
            "nsenter --net=/run/netns/{} sh -e <<'G'\n{commands}\nG\n",
            layout.inner.namespace
        )
    }

    /// The model of the NAT.
    pub(crate) fn nat(&self) -> Option<MutexGuard<'_, Nat>> {
        self.nat.as_ref().map(TunNat::nat)
    }

    /// Makes the link another one. `false` where there is none.
    pub(crate) fn set_link(&self, outwards: Link, inwards: Link) -> bool {
        self.link
            .as_ref()
            .inspect(|link| link.set(outwards, inwards))
            .is_some()
    }

    /// What passed the link, outwards and inwards.
    pub(crate) fn tally(&self) -> Option<(Tally, Tally)> {
        self.link.as_ref().map(TunLink::tally)
    }
}
