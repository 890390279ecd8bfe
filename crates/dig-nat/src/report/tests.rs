//! What a report says, to people and to programs.

use super::*;
use std::net::SocketAddr;

fn family() -> FamilyReport {
    let mut family = FamilyReport::new("192.168.1.10".parse().unwrap());
    family.public = Some("44.128.7.2".parse().unwrap());
    family.translated = Some(true);
    family.mapping = Some(Behaviour::EndpointIndependent);
    family.mapping_varies = Some(false);
    family.filtering = Some(Behaviour::AddressAndPortDependent);
    family.port_preservation = Some(true);
    family.hairpin = Some(false);
    family.servers = vec![SocketAddr::from(([44, 128, 0, 1], 3478))];
    family
}

fn report(change: impl FnOnce(&mut FamilyReport)) -> NatReport {
    let mut family = family();
    change(&mut family);
    NatReport {
        ipv4: Some(family),
        ..NatReport::default()
    }
}

fn symmetric(family: &mut FamilyReport) {
    family.mapping = Some(Behaviour::AddressAndPortDependent);
    family.mapping_varies = Some(true);
    family.port_preservation = Some(false);
}

fn open(family: &mut FamilyReport) {
    family.translated = Some(false);
    family.filtering = Some(Behaviour::EndpointIndependent);
}

fn hop(ttl: u8, router: &str) -> Hop {
    Hop {
        ttl,
        router: router.parse().ok(),
    }
}

fn mapping(external: &str, mapped: bool) -> PortMapping {
    PortMapping {
        protocol: "upnp".to_owned(),
        result: "port 5000 is mapped".to_owned(),
        external: external.parse().ok(),
        mapped,
    }
}

#[test]
fn says_first_how_peers_get_in() {
    for (report, words) in [
        (report(|_| {}), "lets in only the ports that were sent to"),
        (report(open), "anybody can connect"),
        (report(symmetric), "at random"),
        (
            report(|family| {
                symmetric(family);
                family.port_delta = Some(2);
            }),
            "in sequence",
        ),
        (
            report(|family| family.filtering = None),
            "cannot tell how it behaves",
        ),
        (
            report(|family| family.filtering = Some(Behaviour::EndpointIndependent)),
            "lets anybody in",
        ),
        (report(|family| family.translated = Some(false)), "firewall"),
    ] {
        let told = report.explain();
        assert!(
            told[0].starts_with("IPv4 (44.128.7.2): ") && told[0].contains(words),
            "{told:?}"
        );
    }
}

#[test]
fn says_what_is_blocked_and_what_to_do() {
    for (tcp, words, remedy) in [
        (TcpReach::Any, "UDP is blocked", "Let UDP out"),
        (TcpReach::WebOnly, "nothing but the web", "Let UDP out"),
        (
            TcpReach::Nothing,
            "no network here",
            "Check the network connection",
        ),
    ] {
        let report = NatReport {
            udp_blocked: true,
            tcp: Some(tcp),
            ..NatReport::default()
        };
        assert!(
            report.explain()[0].contains(words),
            "{:?}",
            report.explain()
        );
        assert!(report.remedy().unwrap().contains(remedy));
    }
}

#[test]
fn proposes_what_helps_most() {
    assert_eq!(report(open).remedy(), None);
    assert!(report(|_| {}).remedy().unwrap().contains("Turn on UPnP"));
    assert!(report(symmetric).remedy().unwrap().contains("Turn on UPnP"));
    assert!(
        report(|family| family.filtering = None)
            .remedy()
            .unwrap()
            .contains("--stun")
    );
    assert!(
        report(|family| family.translated = Some(false))
            .remedy()
            .unwrap()
            .contains("firewall")
    );
    let mut mapped = report(|_| {});
    mapped.add_port_mapping(mapping("44.128.7.2", true));
    assert_eq!(mapped.remedy(), None, "a mapped port lets everybody in");
}

/// A router that maps a port on an address which is not the public one has opened nothing.
#[test]
fn a_mapping_behind_a_carrier_nat_is_no_help() {
    let mut report = report(|_| {});
    report.add_port_mapping(mapping("100.64.0.7", true));
    let sign = CarrierSign::RouterNotPublic("100.64.0.7".parse().unwrap());
    assert_eq!(report.ipv4.as_ref().unwrap().carrier_nat, [sign]);
    assert!(
        report
            .remedy()
            .unwrap()
            .contains("Ask the provider for IPv6")
    );
    report.ipv6 = Some(family());
    assert!(
        report
            .remedy()
            .unwrap()
            .contains("Prefer peers that have IPv6")
    );
    assert!(
        report
            .explain()
            .iter()
            .any(|words| words.contains("100.64.0.7"))
    );
    report.add_port_mapping(mapping("100.64.0.7", true));
    assert_eq!(report.ipv4.as_ref().unwrap().carrier_nat, [sign], "once");
}

#[test]
fn the_last_router_inside_is_the_outermost_nat() {
    let hops = |routers: &[&str]| {
        let mut family = family();
        let hops = routers
            .iter()
            .zip(1..)
            .map(|(router, ttl)| hop(ttl, router))
            .collect();
        family.take_hops(hops);
        (family.hops_to_nat, family.carrier_nat.len())
    };
    assert_eq!(hops(&["192.168.1.1", "44.128.7.1"]), (Some(1), 0));
    assert_eq!(
        hops(&["192.168.1.1", "100.64.0.1", "44.128.7.1"]),
        (Some(2), 1)
    );
    assert_eq!(
        hops(&["192.168.1.1", "silent", "10.0.0.1", "44.128.7.1"]),
        (Some(3), 1)
    );
    assert_eq!(hops(&["silent", "44.128.7.1"]), (None, 0));
    assert_eq!(hops(&[]), (None, 0));
}

#[test]
fn programs_read_it_as_json() {
    let mut report = report(|family| {
        family.take_hops(vec![hop(1, "192.168.1.1")]);
        family.lifetime = Some(Lifetime {
            at_least: Duration::from_secs(25),
            less_than: Some(Duration::from_secs(35)),
        });
    });
    report.add_port_mapping(mapping("100.64.0.7", false));
    report.took = Duration::from_millis(1234);
    let json = serde_json::to_value(&report).unwrap();
    let ipv4 = &json["ipv4"];
    assert_eq!(ipv4["mapping"], "endpoint-independent");
    assert_eq!(ipv4["filtering"], "address-and-port-dependent");
    assert_eq!(ipv4["hops_to_nat"], 1);
    assert_eq!(
        ipv4["lifetime"],
        serde_json::json!({ "at_least": 25_000, "less_than": 35_000 })
    );
    assert_eq!(
        ipv4["carrier_nat"],
        serde_json::json!([{ "sign": "router-not-public", "address": "100.64.0.7" }])
    );
    assert_eq!(
        (&json["took"], &json["ipv6"], &json["tcp"]),
        (
            &1234.into(),
            &serde_json::Value::Null,
            &serde_json::Value::Null
        )
    );
}
