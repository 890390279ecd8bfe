//! The report in words.

use super::{Behaviour, CarrierSign, FamilyReport, NatKind, NatReport, TcpReach};

pub(super) fn explain(report: &NatReport) -> Vec<String> {
    let mut words = Vec::new();
    if report.udp_blocked {
        words.push(blocked(report.tcp));
    }
    for family in [&report.ipv4, &report.ipv6].into_iter().flatten() {
        words.extend(way_in(family));
        words.extend(details(family));
    }
    if !report.udp_blocked && report.ipv6.is_none() {
        words.push("There is no IPv6 here, or no server to test it with.".to_owned());
    }
    for mapping in &report.port_mappings {
        words.push(format!(
            "Port mapping by {}: {}.",
            mapping.protocol, mapping.result
        ));
    }
    words
}

pub(super) fn remedy(report: &NatReport) -> Option<String> {
    if report.udp_blocked {
        return Some(unblock(report.tcp));
    }
    let families = [&report.ipv4, &report.ipv6];
    let kinds = || {
        families
            .into_iter()
            .flatten()
            .filter_map(FamilyReport::kind)
    };
    if kinds().any(|kind| matches!(kind, NatKind::Open | NatKind::FullCone)) {
        return None;
    }
    let mapped = report.port_mappings.iter().any(|mapping| mapping.mapped);
    let carrier = report
        .ipv4
        .as_ref()
        .is_some_and(FamilyReport::is_behind_carrier);
    let words = match (
        mapped,
        carrier,
        report.ipv4.as_ref().and_then(FamilyReport::kind),
    ) {
        (true, false, _) => return None,
        (_, true, _) if report.ipv6.is_some() => {
            "Prefer peers that have IPv6, or ask the provider for a public IPv4 address: no setting of the own router opens the \
             provider's NAT."
        }
        (_, true, _) => {
            "Ask the provider for IPv6 or for a public IPv4 address: no setting of the own router opens the provider's NAT."
        }
        (false, false, Some(NatKind::Firewall)) => {
            "Let one UDP and one TCP port in through the firewall, and share with --listen 0.0.0.0:PORT."
        }
        (false, false, Some(NatKind::Unknown)) => {
            "Name a STUN server with two addresses (RFC 5780) with --stun, so that the way in can be judged; turning on UPnP or \
             NAT-PMP in the router helps in any case."
        }
        (false, false, Some(_)) => {
            "Turn on UPnP, NAT-PMP or PCP in the router, or forward one UDP and one TCP port to this machine and share \
             with --listen 0.0.0.0:PORT: then every peer can connect."
        }
        (false, false, None) => return ipv6_remedy(report),
    };
    Some(words.to_owned())
}

fn ipv6_remedy(report: &NatReport) -> Option<String> {
    let kind = report.ipv6.as_ref()?.kind()?;
    (kind != NatKind::Open)
        .then(|| "Let one UDP and one TCP port in through the IPv6 firewall of the router, or turn on PCP there.".to_owned())
}

fn blocked(tcp: Option<TcpReach>) -> String {
    match tcp {
        Some(TcpReach::Any) => {
            "No STUN server answered over UDP, but they do over TCP: UDP is blocked here. Only TCP paths and relays work."
        }
        Some(TcpReach::WebOnly) => {
            "No STUN server answered over UDP, and TCP passes to web ports only: a firewall lets nothing but the web through. \
             Only peers and relays on TCP port 80 or 443 are reachable."
        }
        Some(TcpReach::Nothing) => "No STUN server answered over UDP or TCP: there is no network here, or the servers are down.",
        None => "No STUN server answered over UDP: it is blocked here, or the servers are down.",
    }
    .to_owned()
}

fn unblock(tcp: Option<TcpReach>) -> String {
    match tcp {
        Some(TcpReach::Any | TcpReach::WebOnly) => {
            "Let UDP out through the firewall of this network, or use a relay over TCP port 443."
        }
        Some(TcpReach::Nothing) => "Check the network connection, and name other STUN servers with --stun.",
        None => "Let UDP out through the firewall of this network, or name other STUN servers with --stun.",
    }
    .to_owned()
}

/// The main sentence: how peers get in.
fn way_in(family: &FamilyReport) -> Option<String> {
    let name = if family.local.is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let public = family.public?;
    let way = match family.kind()? {
        NatKind::Open => "this machine has a public address, and anybody can connect to it.",
        NatKind::Firewall => {
            "this machine has a public address, but a firewall lets in only those whom it has sent to: connections need both \
             sides to send first (hole punching)."
        }
        NatKind::FullCone => {
            "a NAT keeps one outside port for all peers and lets anybody in: peers connect directly once they know the port."
        }
        NatKind::AddressRestricted => {
            "a NAT keeps one outside port for all peers and lets in the addresses that were sent to: hole punching works, also \
             with peers whose NAT is symmetric."
        }
        NatKind::PortRestricted => {
            "a NAT keeps one outside port for all peers and lets in only the ports that were sent to, as most home routers do: \
             hole punching works, except with peers whose NAT is symmetric."
        }
        NatKind::Symmetric => symmetric(family),
        NatKind::Unknown if family.translated == Some(false) => {
            "this machine has a public address; whether a firewall keeps others out, the STUN servers asked cannot tell."
        }
        NatKind::Unknown => {
            "a NAT stands in the way, and the STUN servers asked cannot tell how it behaves."
        }
    };
    Some(format!("{name} ({public}): {way}"))
}

fn symmetric(family: &FamilyReport) -> &'static str {
    if family.port_delta.is_some() {
        "a NAT takes another outside port for each peer (symmetric), in sequence: the next port can be guessed, so hole \
         punching works with many peers."
    } else if family.mapping == Some(Behaviour::AddressDependent) {
        "a NAT takes another outside port for each address (symmetric): direct connections work with peers that can be \
         reached, or whose NAT lets in addresses; others need a relay."
    } else {
        "a NAT takes another outside port for each peer (symmetric), at random: direct connections work with peers that can be \
         reached, or whose NAT lets in addresses; others need a relay."
    }
}

fn details(family: &FamilyReport) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(delta) = family.port_delta {
        words.push(format!("New outside ports come in steps of {delta}."));
    } else if family.translated == Some(true) && family.port_preservation == Some(true) {
        words.push("Outside ports are the same as the local ones where free.".to_owned());
    }
    words.extend(family.carrier_nat.iter().map(|sign| carrier(*sign)));
    if family.hairpin == Some(false) {
        words.push("Programs behind this NAT do not reach each other by their outside addresses; local ones are used.".to_owned());
    }
    if let Some(lifetime) = family.lifetime {
        let least = lifetime.at_least.as_secs();
        words.push(match lifetime.less_than {
            Some(less) => format!(
                "An idle UDP mapping stays for {least} to {} seconds.",
                less.as_secs()
            ),
            None => format!("An idle UDP mapping stays for more than {least} seconds."),
        });
    }
    match family.hops_to_nat {
        Some(1) => words.push("The NAT is the first router.".to_owned()),
        Some(hops) => words.push(format!("The outermost NAT is the router {hops} hops away.")),
        None => {}
    }
    words
}

fn carrier(sign: CarrierSign) -> String {
    match sign {
        CarrierSign::SharedLocalAddress(ip) => {
            format!(
                "This machine's address {ip} is one that providers share among customers: a carrier NAT stands behind it."
            )
        }
        CarrierSign::SharedRouter(ip) => {
            format!(
                "The router {ip} on the way has an address that providers share among customers: a carrier NAT stands there."
            )
        }
        CarrierSign::SecondPrivateRouter(ip) => {
            format!(
                "A second router with a private address, {ip}, is on the way: there are two NATs, one perhaps the provider's."
            )
        }
        CarrierSign::RouterNotPublic(ip) => {
            format!(
                "The router's own outside address {ip} is not the public one: another NAT stands behind it."
            )
        }
    }
}
