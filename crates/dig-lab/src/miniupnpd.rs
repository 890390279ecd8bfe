//! miniupnpd, the daemon of most routers that open ports on request.

use crate::{
    holder::{Holder, HolderError},
    lab::LabError,
    site::Router,
};
use std::{net::SocketAddrV4, sync::Arc};

/// The miniupnpd of a router: UPnP IGD, NAT-PMP and PCP on the router's inside address.
#[derive(Debug)]
pub struct Miniupnpd {
    holder: Arc<Holder>,
    namespace: String,
    config: String,
}

/// An open port of a router.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OpenPort {
    /// Whether it is for TCP, not UDP.
    pub tcp: bool,
    /// The outside port.
    pub port: u16,
    /// Where it leads.
    pub to: SocketAddrV4,
}

impl Miniupnpd {
    pub(crate) fn new(holder: Arc<Holder>, router: &Router) -> Self {
        let allowed = router.rules.lan.v4_prefix().unwrap_or_default();
        let config = format!(
            "ext_ifname=wan0\nlistening_ip=lan0\nhttp_port=5000\nenable_natpmp=yes\nenable_upnp=yes\nmin_lifetime=1\n\
             max_lifetime=86400\nsecure_mode=yes\nsystem_uptime=yes\nnotify_interval=30\nclean_ruleset_interval=0\n\
             force_igd_desc_v1=no\nuuid=5efa2514-d7c4-4fab-90a1-90ac8865bb47\nserial=12345678\nmodel_number=1\n\
             upnp_table_name=filter\nupnp_nat_table_name=filter\nupnp_forward_chain=miniupnpd\n\
             upnp_nat_chain=prerouting_miniupnpd\nupnp_nat_postrouting_chain=postrouting_miniupnpd\n\
             allow 1024-65535 {allowed} 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n"
        );
        Self {
            holder,
            namespace: router.namespace.clone(),
            config,
        }
    }

    /// Starts it, and waits until it listens. The site has done so; this is for after [`Self::stop`].
    pub fn start(&self) -> Result<(), LabError> {
        let (name, config) = (&self.namespace, &self.config);
        let script = format!(
            "mkdir -p /run/{name}\ncat > /run/{name}/miniupnpd.conf <<'C'\n{config}C\n\
             nsenter --net=/run/netns/{name} miniupnpd -d -f /run/{name}/miniupnpd.conf -P /run/{name}/miniupnpd.pid \
             </dev/null >/run/{name}/miniupnpd.log 2>&1 &\n\
             echo $! > /run/{name}/miniupnpd.shell\n\
             for i in $(seq 150); do\n\
             n=$(nsenter --net=/run/netns/{name} ss -Hltun 'sport = :5351 or sport = :5000 or sport = :1900' | wc -l)\n\
             if [ \"$n\" -ge 3 ]; then exit 0; fi\nsleep 0.02\ndone\ncat /run/{name}/miniupnpd.log; exit 1"
        );
        match self.holder.run(&script) {
            Ok(_) => Ok(()),
            Err(HolderError::Script { output, .. }) => Err(LabError::Daemon {
                program: "miniupnpd",
                package: "miniupnpd-nftables",
                log: output,
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// Kills it, as a crash does: what it had opened stays open.
    pub fn stop(&self) -> Result<(), LabError> {
        let name = &self.namespace;
        self.holder.run(&format!(
            "kill -9 $(cat /run/{name}/miniupnpd.shell); rm -f /run/{name}/miniupnpd.pid"
        ))?;
        Ok(())
    }

    /// The ports that are open now.
    pub fn open_ports(&self) -> Result<Vec<OpenPort>, LabError> {
        let name = &self.namespace;
        let list = format!(
            "nsenter --net=/run/netns/{name} nft list chain inet filter prerouting_miniupnpd"
        );
        let mut ports: Vec<OpenPort> = self
            .holder
            .run(&list)?
            .lines()
            .filter_map(open_port)
            .collect();
        ports.sort();
        Ok(ports)
    }
}

/// Reads a rule as nft prints it: `… @nh,72,8 0x11 th dport 50001 dnat ip to 192.168.1.10:4000 …`.
fn open_port(rule: &str) -> Option<OpenPort> {
    let after = |mark: &str| {
        rule.split_once(mark)
            .and_then(|(_, rest)| rest.split_whitespace().next())
    };
    let tcp = match after("@nh,72,8 ")
        .or_else(|| after("ip protocol "))
        .or_else(|| after("meta l4proto "))?
    {
        "0x6" | "0x06" | "tcp" => true,
        "0x11" | "udp" => false,
        _ => return None,
    };
    let port = after("dport ")?.parse().ok()?;
    Some(OpenPort {
        tcp,
        port,
        to: after("dnat ip to ")?.parse().ok()?,
    })
}
