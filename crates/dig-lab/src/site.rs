//! A site: a local network, the routers in front of it, and its link to the internet of the laboratory.

mod layout;
mod rules;

use crate::{
    address::MACHINES, holder::Holder, lab::LabError, machine::Machine, miniupnpd::Miniupnpd,
    nat::Habit,
};
use layout::Layout;
pub(crate) use layout::{Place, ROUTES, Router};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// The kind of network in which somebody sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SiteKind {
    /// Public addresses, nothing filtered.
    Open,
    /// NAT, endpoint-independent mapping and filtering.
    FullCone,
    /// NAT, endpoint-independent mapping, address-dependent filtering.
    AddressRestricted,
    /// NAT, endpoint-independent mapping, address and port-dependent filtering: most homes.
    PortRestricted,
    /// NAT, a random port for every remote end.
    SymmetricRandom,
    /// A home router behind the NAT of a carrier (RFC 6598 addresses between them).
    CarrierGrade,
    /// A home router that opens ports on request: UPnP IGD, NAT-PMP, PCP.
    UpnpRouter,
    /// The same behind a second router: its own outside address is private.
    UpnpPrivate,
    /// NAT, no UDP leaves.
    UdpBlocked,
    /// NAT, nothing but TCP to ports 80 and 443 leaves.
    WebOnly,
    /// IPv6 alone, global addresses, a stateful firewall.
    Ipv6Firewall,
    /// [`Self::PortRestricted`] for IPv4, [`Self::Ipv6Firewall`] for IPv6.
    DualStack,
}

impl SiteKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::SymmetricRandom,
        Self::CarrierGrade,
        Self::UpnpRouter,
        Self::UpnpPrivate,
        Self::UdpBlocked,
        Self::WebOnly,
        Self::Ipv6Firewall,
        Self::DualStack,
    ];

    /// Its name in tables and on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full-cone",
            Self::AddressRestricted => "address-restricted",
            Self::PortRestricted => "port-restricted",
            Self::SymmetricRandom => "symmetric-random",
            Self::CarrierGrade => "carrier-grade",
            Self::UpnpRouter => "upnp",
            Self::UpnpPrivate => "upnp-private",
            Self::UdpBlocked => "udp-blocked",
            Self::WebOnly => "web-only",
            Self::Ipv6Firewall => "ipv6-firewall",
            Self::DualStack => "dual-stack",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// This kind with a habit; see [`SiteSpec`].
    #[must_use]
    pub fn with_habit(self, habit: Habit) -> SiteSpec {
        SiteSpec {
            habit,
            ..self.into()
        }
    }
}

/// A site to be built. A [`SiteKind`] alone stands for one that drops what is unsolicited, does not hairpin, and has the address
/// families of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteSpec {
    /// Its kind.
    pub kind: SiteKind,
    /// What its routers do with unsolicited packets.
    pub habit: Habit,
    /// Whether its outermost NAT lets machines behind it reach each other through its outside address.
    pub hairpin: bool,
    /// Whether it has IPv6 (behind a stateful firewall where there is a NAT) even if its kind does not say so.
    pub ipv6: bool,
}

impl From<SiteKind> for SiteSpec {
    fn from(kind: SiteKind) -> Self {
        Self {
            kind,
            habit: Habit::Drop,
            hairpin: false,
            ipv6: false,
        }
    }
}

impl SiteSpec {
    /// The same site, whose outermost NAT hairpins.
    #[must_use]
    pub fn with_hairpin(self) -> Self {
        Self {
            hairpin: true,
            ..self
        }
    }

    /// The same site with IPv6 as well.
    #[must_use]
    pub fn with_ipv6(self) -> Self {
        Self { ipv6: true, ..self }
    }
}

/// A site of a laboratory.
#[derive(Debug)]
pub struct Site {
    name: String,
    spec: SiteSpec,
    layout: Layout,
    holder: Arc<Holder>,
    routers: Vec<Machine>,
    machines: Mutex<BTreeMap<u8, Machine>>,
    miniupnpd: Option<Miniupnpd>,
}

impl Site {
    /// Builds the site with this number.
    pub(crate) fn build(
        holder: Arc<Holder>,
        number: u8,
        name: &str,
        spec: SiteSpec,
    ) -> Result<Self, LabError> {
        let layout = Layout::new(number, name, spec);
        holder.run(&layout.script())?;
        let open = |router: &Router| {
            let path = holder.namespace(&router.namespace);
            Machine::open(
                router.namespace.clone(),
                path,
                holder.processes(),
                router.addresses(),
            )
        };
        let routers = layout.routers().map(open).collect::<Result<Vec<_>, _>>()?;
        let miniupnpd = match spec.kind {
            SiteKind::UpnpRouter | SiteKind::UpnpPrivate => {
                Some(Miniupnpd::new(Arc::clone(&holder), &layout.inner))
            }
            _ => None,
        };
        if let Some(daemon) = &miniupnpd {
            daemon.start()?;
        }
        Ok(Self {
            name: name.to_owned(),
            spec,
            layout,
            holder,
            routers,
            machines: Mutex::default(),
            miniupnpd,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was built from.
    #[must_use]
    pub fn spec(&self) -> SiteSpec {
        self.spec
    }

    /// Machine `n` of its local network (0 to 99), built when first asked for.
    pub fn host(&self, n: u8) -> Result<Machine, LabError> {
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(machine) = machines.get(&n) {
            return Ok(machine.clone());
        }
        if n >= MACHINES {
            return Err(LabError::TooMany);
        }
        let machine = Place {
            holder: &self.holder,
            switch: &self.layout.inner.namespace,
            network: self.layout.lan(),
        }
        .machine(format!("{}-{n}", self.name), n, 1)?;
        machines.insert(n, machine.clone());
        Ok(machine)
    }

    /// The router that the machines see.
    #[must_use]
    pub fn router(&self) -> &Machine {
        &self.routers[0]
    }

    /// Every router, from the one that the machines see outwards.
    #[must_use]
    pub fn routers(&self) -> &[Machine] {
        &self.routers
    }

    /// The inside address of [`Self::router`].
    #[must_use]
    pub fn gateway(&self) -> Option<Ipv4Addr> {
        self.layout.lan().ipv4(1)
    }

    /// The address from which the internet sees its machines; `None` where there is no IPv4 or every machine has its own.
    #[must_use]
    pub fn public_ipv4(&self) -> Option<Ipv4Addr> {
        self.layout.public_ipv4()
    }

    /// The network of its machines, a /64, where it has IPv6.
    #[must_use]
    pub fn ipv6_prefix(&self) -> Option<Ipv6Addr> {
        self.layout.lan().ipv6(0)
    }

    /// Routers from a machine to the outermost NAT, that one included: a packet of that hop limit dies there, one more and it dies
    /// on the internet. `None` where nothing translates IPv4.
    #[must_use]
    pub fn hops_to_nat(&self) -> Option<u8> {
        self.public_ipv4()
            .map(|_| u8::try_from(self.routers.len()).unwrap_or(u8::MAX))
    }

    /// The daemon that opens ports, where there is one.
    #[must_use]
    pub fn miniupnpd(&self) -> Option<&Miniupnpd> {
        self.miniupnpd.as_ref()
    }

    /// Makes every router of it forget its connections, as a restart does; mappings that were asked for stay.
    pub fn forget(&self) -> Result<(), LabError> {
        for router in &self.routers {
            router
                .enter(crate::conntrack::flush)?
                .map_err(LabError::Forget)?;
        }
        self.holder.run(&self.layout.forget_script())?;
        Ok(())
    }
}
