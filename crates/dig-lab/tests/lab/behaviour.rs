//! Mapping, filtering, ports, hairpin and habit of every kind of site.

use crate::probe::{
    Answer, PATIENCE, SILENCE, Servers, bind, connects, datagram_answer, receive, seen, socket,
    stream_answer,
};
use dig_lab::{
    Habit, Lab, Machine, Site, SiteKind, SiteSpec,
    nat::{
        Behaviour::{self, AddressAndPortDependent, AddressDependent, Independent},
        NatConfig,
    },
};
use std::net::{IpAddr, SocketAddr, UdpSocket};

const HABITS: [Habit; 2] = [Habit::Drop, Habit::Reject];

/// What a site with a NAT promises for IPv4.
struct Promise {
    mapping: Behaviour,
    filtering: Behaviour,
    keeps_port: bool,
    /// Whether a packet that came too early moves a later mapping of the same pair of ends.
    spoilt: bool,
}

fn promise(kind: SiteKind) -> Option<Promise> {
    let (mapping, filtering, keeps_port, spoilt) = match kind {
        SiteKind::FullCone => (Independent, Independent, true, false),
        SiteKind::AddressRestricted => (Independent, AddressDependent, true, true),
        SiteKind::PortRestricted
        | SiteKind::CarrierGrade
        | SiteKind::UpnpRouter
        | SiteKind::UpnpPrivate
        | SiteKind::DualStack => (Independent, AddressAndPortDependent, true, true),
        SiteKind::SymmetricRandom | SiteKind::SymmetricSequential => (
            AddressAndPortDependent,
            AddressAndPortDependent,
            false,
            false,
        ),
        _ => return None,
    };
    Some(Promise {
        mapping,
        filtering,
        keeps_port,
        spoilt,
    })
}

/// A site, a machine of it, and the servers outside.
struct Stage {
    _lab: Lab,
    site: Site,
    host: Machine,
    server: Machine,
}

fn stage(spec: impl Into<SiteSpec>) -> Option<Stage> {
    let lab = Lab::for_test()?;
    let site = lab.site(spec, "site").unwrap();
    let (host, server) = (site.host(0).unwrap(), lab.server(0).unwrap());
    Some(Stage {
        _lab: lab,
        site,
        host,
        server,
    })
}

fn check_nat(kind: SiteKind, habit: Habit) {
    let Some(promise) = promise(kind) else { return };
    let Some(Stage {
        site, host, server, ..
    }) = &stage(kind.with_habit(habit))
    else {
        return;
    };
    let what = format!("{kind:?} {habit:?}");
    let servers = Servers::new(server, false);
    let client = |port| socket(host, port, servers.address());

    let (mapping, mapped) = servers.mapping(&client(4000));
    assert_eq!(mapping, promise.mapping, "{what}: mapping");
    assert_eq!(
        Some(mapped.ip()),
        site.public_ipv4().map(IpAddr::V4),
        "{what}: address"
    );
    assert_eq!(
        mapped.port() == 4000,
        promise.keeps_port,
        "{what}: port {mapped}"
    );
    assert_eq!(
        servers.filtering(&client(4001)),
        promise.filtering,
        "{what}: filtering"
    );

    let closed = SocketAddr::new(mapped.ip(), 4999);
    let expected = if habit == Habit::Drop {
        Answer::Nothing
    } else {
        Answer::Refused
    };
    assert_eq!(
        datagram_answer(server, closed),
        expected,
        "{what}: datagram"
    );
    assert_eq!(
        stream_answer(server, closed),
        expected,
        "{what}: connection"
    );

    if promise.keeps_port {
        let moved = check_early_stranger(site, &client(4002), &servers);
        let expected = promise.spoilt && habit == Habit::Reject;
        assert_eq!(moved, expected, "{what}: moved");
    }
}

/// A stranger's packet to a port that the machine then uses for that stranger: whether it moved the machine's mapping. After the
/// routers forgot, it is where it was.
fn check_early_stranger(site: &Site, opened: &UdpSocket, servers: &Servers) -> bool {
    let mapped = seen(opened, servers.at(0, 0)).unwrap();
    servers.at(1, 1).send_to(b"early", mapped).unwrap();
    receive(opened, SILENCE);
    let moved = seen(opened, servers.at(1, 1)).unwrap() != mapped;
    site.forget().unwrap();
    assert_eq!(seen(opened, servers.at(1, 1)), Some(mapped), "forgetting");
    moved
}

macro_rules! nat {
    ($($name:ident: $kind:ident,)*) => {$(
        #[test]
        fn $name() {
            for habit in HABITS {
                check_nat(SiteKind::$kind, habit);
            }
        }
    )*};
}

nat! {
    full_cone: FullCone,
    address_restricted: AddressRestricted,
    port_restricted: PortRestricted,
    symmetric_random: SymmetricRandom,
    symmetric_sequential: SymmetricSequential,
    carrier_grade: CarrierGrade,
    upnp_router: UpnpRouter,
    upnp_private: UpnpPrivate,
    dual_stack: DualStack,
}

#[test]
fn every_mix_of_a_user_space_nat() {
    for mapping in [Independent, AddressDependent, AddressAndPortDependent] {
        for filtering in [Independent, AddressDependent, AddressAndPortDependent] {
            let config = NatConfig {
                mapping,
                filtering,
                ..NatConfig::full_cone()
            };
            let Some(Stage {
                site, host, server, ..
            }) = &stage(config)
            else {
                return;
            };
            let servers = Servers::new(server, false);
            let client = |port| socket(host, port, servers.address());
            let (measured, mapped) = servers.mapping(&client(4000));
            assert_eq!(measured, mapping);
            assert_eq!(Some(mapped.ip()), site.public_ipv4().map(IpAddr::V4));
            assert_eq!(servers.filtering(&client(4001)), filtering, "{mapping:?}");
        }
    }
}

#[test]
fn sequential_ports_step_by_one() {
    let Some(Stage { host, server, .. }) = &stage(SiteKind::SymmetricSequential) else {
        return;
    };
    let servers = Servers::new(server, false);
    let client = socket(host, 4000, servers.address());
    let ports = [(0, 0), (0, 1), (1, 0), (1, 1)]
        .map(|(a, p)| i32::from(seen(&client, servers.at(a, p)).unwrap().port()));
    assert!(
        ports.windows(2).all(|pair| pair[1] - pair[0] == 1),
        "{ports:?}"
    );
}

#[test]
fn random_ports_are_spread() {
    let Some(Stage { host, server, .. }) = &stage(SiteKind::SymmetricRandom) else {
        return;
    };
    let servers = Servers::new(server, false);
    let mut ports: Vec<u16> = (5000..5020)
        .map(|port| socket(host, port, servers.address()))
        .map(|client| seen(&client, servers.at(0, 0)).unwrap().port())
        .collect();
    ports.sort_unstable();
    let close = ports
        .windows(2)
        .filter(|pair| pair[1] - pair[0] < 16)
        .count();
    assert!(
        close <= 5,
        "twenty ports of 64,512, mostly neighbours: {ports:?}"
    );
}

#[test]
fn open_site_hides_and_filters_nothing() {
    let Some(Stage {
        site, host, server, ..
    }) = &stage(SiteKind::Open)
    else {
        return;
    };
    let servers = Servers::new(server, false);
    let client = socket(host, 4000, servers.address());
    assert_eq!(
        servers.mapping(&client),
        (Independent, client.local_addr().unwrap())
    );
    assert_eq!(
        servers.filtering(&socket(host, 4001, servers.address())),
        Independent
    );
    assert_eq!((site.public_ipv4(), site.hops_to_nat()), (None, None));
    assert_eq!(
        stream_answer(server, host.at(4002).unwrap()),
        Answer::Refused
    );
    assert!(connects(server, host, host.at(4003).unwrap(), PATIENCE));
}

#[test]
fn ipv6_firewall_translates_nothing_and_lets_nobody_in() {
    for kind in [SiteKind::Ipv6Firewall, SiteKind::DualStack] {
        for habit in HABITS {
            let Some(Stage { host, server, .. }) = &stage(kind.with_habit(habit)) else {
                return;
            };
            check_firewall(host, server, habit);
        }
    }
    let specs = [
        SiteSpec::from(SiteKind::SymmetricSequential),
        SiteKind::CarrierGrade.into(),
    ];
    for spec in specs {
        let Some(Stage { host, server, .. }) = &stage(spec.with_ipv6()) else {
            return;
        };
        check_firewall(host, server, Habit::Drop);
    }
}

fn check_firewall(host: &Machine, server: &Machine, habit: Habit) {
    let servers = Servers::new(server, true);
    let client = socket(host, 4000, servers.address());
    assert_eq!(
        servers.mapping(&client),
        (Independent, client.local_addr().unwrap())
    );
    let client = socket(host, 4001, servers.address());
    assert_eq!(servers.filtering(&client), AddressAndPortDependent);
    let closed = SocketAddr::new(host.ipv6().unwrap().into(), 4002);
    let (datagram, stream) = match habit {
        Habit::Drop => (Answer::Nothing, Answer::Nothing),
        Habit::Reject => (Answer::Prohibited, Answer::Refused),
    };
    assert_eq!(datagram_answer(server, closed), datagram, "{habit:?}");
    assert_eq!(stream_answer(server, closed), stream, "{habit:?}");
}

#[test]
fn blocked_sites_let_out_what_they_say() {
    for (kind, web_alone) in [(SiteKind::UdpBlocked, false), (SiteKind::WebOnly, true)] {
        for habit in HABITS {
            let Some(Stage { host, server, .. }) = &stage(kind.with_habit(habit)) else {
                return;
            };
            let outside = bind(server, server.at(7001).unwrap());
            let inside = socket(host, 4000, server.address().unwrap());
            inside
                .send_to(b"out", outside.local_addr().unwrap())
                .unwrap();
            assert_eq!(receive(&outside, SILENCE), None, "{kind:?}");
            for (port, web) in [(80, true), (443, true), (8443, false)] {
                let expected = web || !web_alone;
                let wait = if expected { PATIENCE } else { SILENCE };
                let connected = connects(host, server, server.at(port).unwrap(), wait);
                assert_eq!(connected, expected, "{kind:?} {habit:?} {port}");
            }
        }
    }
}

#[test]
fn hairpin_where_it_is_promised() {
    let kinds = [
        SiteKind::FullCone,
        SiteKind::AddressRestricted,
        SiteKind::PortRestricted,
        SiteKind::CarrierGrade,
    ];
    for kind in kinds {
        for habit in HABITS {
            check_hairpin(kind.with_habit(habit), false);
            check_hairpin(kind.with_habit(habit).with_hairpin(), true);
        }
    }
}

/// Two machines behind one NAT by their outside addresses.
fn check_hairpin(spec: SiteSpec, hairpin: bool) {
    let what = format!("{spec:?}");
    let Some(Stage {
        site, host, server, ..
    }) = &stage(spec)
    else {
        return;
    };
    let servers = Servers::new(server, false);
    let other = site.host(1).unwrap();
    let (first, second) = (
        socket(host, 4000, servers.address()),
        socket(&other, 4100, servers.address()),
    );
    let [at_first, at_second] =
        [&first, &second].map(|client| seen(client, servers.at(0, 0)).unwrap());
    // Both send: whatever filters lets the other in. The first packet ends at the outermost router, lest a router further in
    // that answers strangers spoils the port.
    first.set_ttl(site.hops_to_nat().unwrap().into()).unwrap();
    first.send_to(b"opener", at_second).unwrap();
    assert_eq!(receive(&second, SILENCE), None, "{what}");
    first.set_ttl(64).unwrap();
    second.send_to(b"hello", at_first).unwrap();
    let arrived = receive(&first, if hairpin { PATIENCE } else { SILENCE });
    let expected = hairpin.then(|| (b"hello".to_vec(), at_second));
    assert_eq!(arrived, expected, "{what}");
    if hairpin {
        first.send_to(b"again", at_second).unwrap();
        assert_eq!(
            receive(&second, PATIENCE),
            Some((b"again".to_vec(), at_first)),
            "{what}"
        );
    }
}

#[test]
fn machines_of_one_network_need_no_router() {
    let Some(Stage { site, host, .. }) = &stage(SiteKind::PortRestricted) else {
        return;
    };
    let other = site.host(1).unwrap();
    let near = socket(host, 4000, other.address().unwrap());
    near.set_ttl(1).unwrap();
    let far = bind(&other, other.at(4000).unwrap());
    assert_eq!(seen(&near, &far), host.at(4000));
}
