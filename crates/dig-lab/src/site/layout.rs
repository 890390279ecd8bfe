//! Which routers a site has, and the script that builds them.

use super::{
    SiteKind, SiteSpec,
    rules::{Egress, Rules, Translation},
};
use crate::{
    address::{Between, Network},
    carrier,
    holder::Holder,
    lab::{INTERNET, LabError},
    machine::Machine,
};
use std::net::{IpAddr, Ipv4Addr};

/// Before any address: addresses count at once, without a second of duplicate detection.
pub(crate) const AT_ONCE: &str =
    "for f in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $f; done\n";

/// What makes a router of a namespace. Errors are not rationed, so that every packet of a test gets the answer that it deserves; what
/// a bridge passes on is none of the packet filter's business.
pub(crate) const ROUTES: &str = "cd /proc/sys/net
echo 1 > ipv4/ip_forward; echo 1 > ipv6/conf/all/forwarding
echo 0 > ipv4/icmp_ratelimit; echo 0 > ipv6/icmp/ratelimit
echo 0 > ipv4/conf/all/rp_filter; echo 0 > ipv4/conf/default/rp_filter
echo 0 > ipv4/conf/all/send_redirects; echo 0 > ipv4/conf/default/send_redirects
for f in bridge/bridge-nf-call-*; do if [ -e $f ]; then echo 0 > $f; fi; done
";

/// A script in a namespace.
fn inside(namespace: &str, script: &str) -> String {
    format!("nsenter --net=/run/netns/{namespace} sh -e <<'G'\n{script}G\n")
}

/// A router.
#[derive(Debug, Clone)]
pub(crate) struct Router {
    /// The name of its network namespace.
    pub(crate) namespace: String,
    /// The network of its `wan0`, where it is .2 and the next router .1.
    pub(crate) wan: Network,
    /// What it does; its `lan0` is .1 of [`Rules::lan`].
    pub(crate) rules: Rules,
}

/// The routers of a site.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    number: u8,
    /// Whether somebody else makes the link to the internet.
    linked: bool,
    /// The router of the local network.
    pub(crate) inner: Router,
    /// The router between that one and the internet.
    pub(crate) outer: Option<Router>,
}

impl Layout {
    /// The routers of site `number`.
    pub(crate) fn new(number: u8, name: &str, spec: &SiteSpec) -> Self {
        let v4 = spec.kind != SiteKind::Ipv6Firewall;
        let v6 = spec.ipv6 || matches!(spec.kind, SiteKind::Ipv6Firewall | SiteKind::DualStack);
        let uplink = Network::uplink(number).only(v4, v6);
        let lan = match spec.kind {
            SiteKind::Open => Network::public(number),
            _ => Network::private(number),
        }
        .only(v4, v6);
        let router = |suffix: &str, wan: Network, lan: Network, translation| Router {
            namespace: format!("{name}-{suffix}"),
            wan,
            rules: Rules {
                translation,
                habit: spec.habit,
                hairpin: false,
                egress: Egress::All,
                mappable: false,
                lan,
                // A user-space NAT cannot share an address with the kernel that it runs on.
                public: wan.ipv4(if translation == Translation::Elsewhere {
                    3
                } else {
                    2
                }),
            },
        };
        let between = match spec.kind {
            SiteKind::CarrierGrade => Some(Between::Carrier),
            SiteKind::UpnpPrivate => Some(Between::Private),
            _ => None,
        };
        let (mut inner, mut outer) =
            match between.map(|kind| Network::between(number, kind).only(v4, v6)) {
                None => (router("gw", uplink, lan, translation(spec.kind)), None),
                Some(between) => (
                    router("gw", between, lan, Translation::PortRestricted),
                    Some(router("isp", uplink, between, Translation::PortRestricted)),
                ),
            };
        inner.rules.mappable = matches!(spec.kind, SiteKind::UpnpRouter | SiteKind::UpnpPrivate);
        inner.rules.egress = match spec.kind {
            SiteKind::UdpBlocked => Egress::NoUdp,
            SiteKind::WebOnly => Egress::Web,
            _ => Egress::All,
        };
        outer.as_mut().unwrap_or(&mut inner).rules.hairpin = spec.hairpin;
        Self {
            number,
            linked: spec.link.is_some(),
            inner,
            outer,
        }
    }

    /// Every router, from inside out.
    pub(crate) fn routers(&self) -> impl Iterator<Item = &Router> {
        std::iter::once(&self.inner).chain(&self.outer)
    }

    /// The router on the internet's side.
    pub(crate) fn outermost(&self) -> &Router {
        self.outer.as_ref().unwrap_or(&self.inner)
    }

    /// The local network.
    pub(crate) fn lan(&self) -> Network {
        self.inner.rules.lan
    }

    /// The address of the outermost NAT.
    pub(crate) fn public_ipv4(&self) -> Option<Ipv4Addr> {
        let Rules {
            public,
            translation,
            ..
        } = self.outermost().rules;
        public.filter(|_| translation != Translation::None)
    }

    /// The interface of the internet's router that leads here.
    pub(crate) fn port(&self) -> String {
        format!("s{}", self.number)
    }

    /// The script that makes the namespaces.
    pub(crate) fn namespaces(&self) -> String {
        self.routers()
            .map(|router| format!("ip netns add {}\n", router.namespace))
            .collect()
    }

    /// The script that fills the namespaces, once emulated links exist.
    pub(crate) fn script(&self) -> String {
        let mut script = format!("ip -batch - <<'B'\n{}B\n", self.internet());
        if let Some(outer) = &self.outer {
            let more = format!(
                "link add p0 type veth peer name wan0 netns {}\nlink set p0 master lan0\n\
                 link set p0 up\n{}",
                self.inner.namespace,
                route(
                    self.lan().v6_prefix(),
                    self.inner.wan.ipv6(2).map(IpAddr::V6)
                ),
            );
            script.push_str(&outer.script(&more));
        }
        script.push_str(&self.inner.script(""));
        script
    }

    /// Waits until what the scripts built carries packets.
    pub(crate) fn wait(&self, holder: &Holder) -> Result<(), LabError> {
        wait_for(holder, INTERNET, &[&self.port()])?;
        wait_for(holder, &self.outermost().namespace, &["wan0"])?;
        if let Some(outer) = &self.outer {
            wait_for(holder, &outer.namespace, &["p0", "lan0"])?;
            wait_for(holder, &self.inner.namespace, &["wan0"])?;
        }
        Ok(())
    }

    /// What the internet's router has to know, for `ip -batch`.
    fn internet(&self) -> String {
        let (port, outermost) = (self.port(), self.outermost());
        let mut lines = String::new();
        if !self.linked {
            let near = &outermost.namespace;
            lines.push_str(&format!(
                "link add {port} type veth peer name wan0 netns {near}\n"
            ));
        }
        lines.push_str(&outermost.wan.assign(1, &port));
        lines.push_str(&format!("link set {port} up\n"));
        let gateway = outermost.wan.ipv4(2).map(IpAddr::V4);
        match outermost.rules.translation {
            Translation::None => lines.push_str(&route(self.lan().v4_prefix(), gateway)),
            Translation::Elsewhere => {
                let public = self.public_ipv4().map(|public| format!("{public}/32"));
                lines.push_str(&route(public, gateway));
            }
            _ => {}
        }
        let gateway = outermost.wan.ipv6(2).map(IpAddr::V6);
        lines.push_str(&route(self.lan().v6_prefix(), gateway));
        lines
    }

    /// The script that empties the tables of the routers' rules.
    pub(crate) fn forget_script(&self) -> String {
        let flush = |router: &Router| {
            let namespace = &router.namespace;
            format!(
                "if nsenter --net=/run/netns/{namespace} nft list map inet filter cone >/dev/null 2>&1; then\n\
                 printf 'flush map inet filter cone\\nflush set inet filter contacted\\n' | nsenter --net=/run/netns/{namespace} nft -f -\nfi\n"
            )
        };
        self.routers().map(flush).collect()
    }
}

fn translation(kind: SiteKind) -> Translation {
    match kind {
        SiteKind::Open => Translation::None,
        SiteKind::FullCone => Translation::FullCone,
        SiteKind::AddressRestricted => Translation::AddressRestricted,
        SiteKind::SymmetricRandom => Translation::SymmetricRandom,
        SiteKind::SymmetricSequential | SiteKind::UserNat => Translation::Elsewhere,
        SiteKind::Ipv6Firewall => Translation::Firewall,
        _ => Translation::PortRestricted,
    }
}

fn route(prefix: Option<String>, gateway: Option<IpAddr>) -> String {
    match (prefix, gateway) {
        (Some(prefix), Some(gateway)) => format!("route add {prefix} via {gateway}\n"),
        _ => String::new(),
    }
}

impl Router {
    /// Its own addresses, the outside ones first.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let v4 = [self.wan.ipv4(2), self.rules.lan.ipv4(1)].map(|address| address.map(IpAddr::V4));
        let v6 = [self.wan.ipv6(2), self.rules.lan.ipv6(1)].map(|address| address.map(IpAddr::V6));
        v4.into_iter().chain(v6).flatten().collect()
    }

    /// What runs in its namespace, with more lines for `ip -batch`.
    fn script(&self, more: &str) -> String {
        let nft = self.rules.nft();
        let load = if nft.is_empty() {
            String::new()
        } else {
            format!("nft -f - <<'N'\n{nft}N\n")
        };
        let script = format!(
            "{AT_ONCE}{ROUTES}ip -batch - <<'B'\nlink set lo up\n\
             link add lan0 type bridge mcast_snooping 0\nlink set lan0 up\n{}link set wan0 up\n\
             {}{}{more}B\n{load}",
            self.rules.lan.assign(1, "lan0"),
            self.wan.assign(2, "wan0"),
            self.wan.default_route(1),
        );
        inside(&self.namespace, &script)
    }
}

/// Where machines can be plugged in: a namespace with a bridge `lan0` that is .1 of a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Who builds.
    pub(crate) holder: &'a Holder,
    /// The namespace of the bridge.
    pub(crate) switch: &'a str,
    /// The network.
    pub(crate) network: Network,
}

impl Place<'_> {
    /// Plugs in machine `n` with this many addresses of each family.
    pub(crate) fn machine(self, name: String, n: u8, addresses: u8) -> Result<Machine, LabError> {
        let first = 10 + n * addresses;
        let lasts = first..first + addresses;
        let own: String = lasts
            .clone()
            .map(|last| self.network.assign(last, "eth0"))
            .collect();
        let (switch, port) = (self.switch, format!("p{}", n + 1));
        let configure = format!(
            "{AT_ONCE}ip -batch - <<'B'\nlink set lo up\nlink set eth0 up\n{own}{}B\n",
            self.network.default_route(1),
        );
        let script = format!(
            "ip netns add {name}\nip -n {switch} -batch - <<'B'\n\
             link add {port} type veth peer name eth0 netns {name}\n\
             link set {port} master lan0\nlink set {port} up\nB\n{}",
            inside(&name, &configure),
        );
        self.holder.run(&script)?;
        wait_for(self.holder, switch, &[&port, "lan0"])?;
        wait_for(self.holder, &name, &["eth0"])?;
        let v4 = lasts.clone().filter_map(|last| self.network.ipv4(last));
        let v6 = lasts.filter_map(|last| self.network.ipv6(last));
        let addresses = v4.map(IpAddr::V4).chain(v6.map(IpAddr::V6)).collect();
        let path = self.holder.namespace(&name);
        Ok(Machine::open(
            name,
            path,
            self.holder.processes(),
            addresses,
        )?)
    }
}

/// Waits until interfaces of a namespace carry packets.
fn wait_for(holder: &Holder, namespace: &str, devices: &[&str]) -> Result<(), LabError> {
    let path = holder.namespace(namespace);
    let machine = Machine::open(namespace.to_owned(), path, holder.processes(), Vec::new())?;
    machine
        .enter(|| carrier::wait(devices))?
        .map_err(LabError::Carrier)
}
