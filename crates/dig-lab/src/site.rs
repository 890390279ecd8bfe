//! A site: a local network, the routers in front of it, and its link to the internet of the laboratory.

mod layout;
mod rules;
mod spec;
mod wires;

use crate::{
    address::MACHINES,
    holder::Holder,
    lab::LabError,
    link::{Link, Tally},
    machine::Machine,
    miniupnpd::Miniupnpd,
    nat::Nat,
};
use layout::Layout;
pub(crate) use layout::{AT_ONCE, Place, ROUTES, Router};
pub use spec::{SiteKind, SiteSpec};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use wires::Wires;

/// A site of a laboratory. Its namespaces last as long as the laboratory; what it emulates (a link, a user-space NAT) stands still
/// once it is dropped.
#[derive(Debug)]
pub struct Site {
    name: String,
    spec: SiteSpec,
    layout: Layout,
    holder: Arc<Holder>,
    routers: Vec<Machine>,
    machines: Mutex<BTreeMap<u8, Machine>>,
    miniupnpd: Option<Miniupnpd>,
    wires: Wires,
}

impl Site {
    /// Builds the site with this number.
    pub(crate) fn build(
        holder: Arc<Holder>,
        number: u8,
        name: &str,
        spec: SiteSpec,
        seed: u64,
    ) -> Result<Self, LabError> {
        let layout = Layout::new(number, name, &spec);
        holder.run(&layout.namespaces())?;
        let routers = layout.routers().map(|router| {
            let path = holder.namespace(&router.namespace);
            let (name, processes) = (router.namespace.clone(), holder.processes());
            Machine::open(name, path, processes, router.addresses())
        });
        let routers = routers.collect::<Result<Vec<_>, _>>()?;
        let wires = Wires::open(&holder, &layout, &spec, seed ^ u64::from(number))?;
        holder.run(&(layout.script() + &wires.script(&layout)))?;
        layout.wait(&holder)?;
        let miniupnpd = (layout.inner.rules.mappable)
            .then(|| Miniupnpd::new(Arc::clone(&holder), &layout.inner));
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
            wires,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was built from.
    #[must_use]
    pub fn spec(&self) -> &SiteSpec {
        &self.spec
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

    /// The model of its user-space NAT, where it has one. Packets wait while it is held.
    #[must_use]
    pub fn nat(&self) -> Option<MutexGuard<'_, Nat>> {
        self.wires.nat()
    }

    /// Makes its emulated link another one from now on. `false` if it was built without one.
    pub fn set_link(&self, outwards: Link, inwards: Link) -> bool {
        self.wires.set_link(outwards, inwards)
    }

    /// What its emulated link carried outwards and inwards.
    #[must_use]
    pub fn tally(&self) -> Option<(Tally, Tally)> {
        self.wires.tally()
    }

    /// Makes every router of it forget its connections, as a restart does; mappings that were asked for stay.
    pub fn forget(&self) -> Result<(), LabError> {
        for router in &self.routers {
            router
                .enter(crate::conntrack::flush)?
                .map_err(LabError::Forget)?;
        }
        if let Some(mut nat) = self.wires.nat() {
            nat.flush();
        }
        self.holder.run(&self.layout.forget_script())?;
        Ok(())
    }
}
