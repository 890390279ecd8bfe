//! The NAT report of every kind of site of the laboratory, told by coturn and by our own server.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

use dig_lab::{
    Habit, Lab, Machine, Site, SiteKind, SiteSpec,
    link::Link,
    nat::{self, Allocation, NatConfig},
};
use dig_nat::{
    report::{
        Behaviour::{AddressAndPortDependent, EndpointIndependent},
        CarrierSign, FamilyReport, NatKind, NatReport, TcpReach,
        io::{DiscoverConfig, discover},
    },
    stun::{
        Layout,
        io::{query_stream, serve},
    },
};
use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};
use tokio::{net::TcpStream, runtime, sync::oneshot};

/// Runs asynchronous work in a machine's network.
fn within<T: Send>(machine: &Machine, work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work())
    };
    machine.enter(run).unwrap()
}

/// Our own server with two addresses on a machine, until dropped.
struct Served {
    layout: Layout,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(machine: &Machine, is_family: fn(&&IpAddr) -> bool) -> Self {
        let addresses: Vec<IpAddr> = machine
            .addresses()
            .iter()
            .filter(is_family)
            .copied()
            .collect();
        let (machine, (told, telling), (end, ended)) =
            (machine.clone(), mpsc::channel(), oneshot::channel());
        let thread = thread::spawn(move || {
            within(&machine, async move || {
                let serving = serve(
                    (addresses[0], 3500).into(),
                    Some((addresses[1], 3500).into()),
                )
                .await
                .unwrap();
                told.send(serving.layout()).unwrap();
                let _ = ended.await;
            });
        });
        Self {
            layout: telling.recv().unwrap(),
            end: Some(end),
            thread: Some(thread),
        }
    }

    fn addr(&self) -> SocketAddr {
        self.layout.sockets()[0]
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn report(machine: &Machine, servers: &[SocketAddr], lifetime: bool) -> NatReport {
    let config = DiscoverConfig {
        servers: servers.to_vec(),
        bind: None,
        lifetime,
    };
    within(machine, async || discover(config).await).unwrap()
}

/// What the report must say about a site.
fn check(site: &Site, report: &NatReport, server: &str) {
    let spec = site.spec();
    let told = format!(
        "{} {:?} asked {server}: {report:#?}",
        spec.kind.name(),
        spec.habit
    );
    eprintln!(
        "{:<22} {:?} {server}: {:.1} s; {}",
        spec.kind.name(),
        spec.habit,
        report.took.as_secs_f64(),
        report.explain().join(" ")
    );
    if matches!(spec.kind, SiteKind::UdpBlocked | SiteKind::WebOnly) {
        let reach = if spec.kind == SiteKind::WebOnly {
            TcpReach::WebOnly
        } else {
            TcpReach::Any
        };
        assert!(report.udp_blocked, "{told}");
        assert_eq!(report.tcp, Some(reach), "{told}");
        assert!(report.remedy().is_some(), "{told}");
        return;
    }
    assert!(!report.udp_blocked, "{told}");
    if let Some(kind) = ipv4_kind(spec.kind) {
        let family = report.ipv4.as_ref().unwrap_or_else(|| panic!("{told}"));
        assert_eq!(family.kind(), Some(kind), "{told}");
        check_ipv4(site, family, &told);
    } else {
        assert_eq!(report.ipv4, None, "{told}");
    }
    if matches!(spec.kind, SiteKind::Ipv6Firewall | SiteKind::DualStack) {
        let family = report.ipv6.as_ref().unwrap_or_else(|| panic!("{told}"));
        assert_eq!(family.kind(), Some(NatKind::Firewall), "{told}");
        assert_eq!(family.translated, Some(false), "{told}");
        assert_eq!(family.filtering, Some(AddressAndPortDependent), "{told}");
    }
    let nothing_to_do = matches!(spec.kind, SiteKind::Open | SiteKind::FullCone);
    assert_eq!(report.remedy().is_none(), nothing_to_do, "{told}");
}

fn check_ipv4(site: &Site, family: &FamilyReport, told: &str) {
    let kind = site.spec().kind;
    let public = site.public_ipv4().map(IpAddr::V4).or(Some(family.local));
    assert_eq!(family.public, public, "{told}");
    assert_eq!(family.hops_to_nat, site.hops_to_nat(), "{told}");
    let symmetric = matches!(
        kind,
        SiteKind::SymmetricRandom | SiteKind::SymmetricSequential
    );
    let mapping = if symmetric {
        AddressAndPortDependent
    } else {
        EndpointIndependent
    };
    assert_eq!(family.mapping, Some(mapping), "{told}");
    assert_eq!(family.port_preservation, Some(!symmetric), "{told}");
    let delta = (kind == SiteKind::SymmetricSequential).then_some(1);
    assert_eq!(family.port_delta, delta, "{told}");
    let hairpin = (kind != SiteKind::Open).then_some(site.spec().hairpin);
    assert_eq!(family.hairpin, hairpin, "{told}");
    let behind_carrier = matches!(kind, SiteKind::CarrierGrade | SiteKind::UpnpPrivate);
    assert_eq!(family.is_behind_carrier(), behind_carrier, "{told}");
    if kind == SiteKind::CarrierGrade {
        assert!(
            matches!(family.carrier_nat[..], [CarrierSign::SharedRouter(_)]),
            "{told}"
        );
    }
}

fn ipv4_kind(kind: SiteKind) -> Option<NatKind> {
    Some(match kind {
        SiteKind::Open => NatKind::Open,
        SiteKind::FullCone => NatKind::FullCone,
        SiteKind::AddressRestricted => NatKind::AddressRestricted,
        SiteKind::SymmetricRandom | SiteKind::SymmetricSequential => NatKind::Symmetric,
        SiteKind::Ipv6Firewall => return None,
        _ => NatKind::PortRestricted,
    })
}

/// One server of each family.
fn one_each(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = Vec::new();
    for addr in addresses {
        if servers
            .iter()
            .all(|known| known.is_ipv4() != addr.is_ipv4())
        {
            servers.push(addr);
        }
    }
    servers
}

#[test]
fn names_every_site() {
    let Some(lab) = Lab::for_test() else { return };
    let (first, second) = (lab.server(0).unwrap(), lab.server(1).unwrap());
    let coturn = lab.coturn(&first).unwrap();
    let coturn = one_each(coturn.addresses());
    let ours = [
        Served::start(&second, |ip| ip.is_ipv4()),
        Served::start(&second, |ip| ip.is_ipv6()),
    ];
    let ours: Vec<SocketAddr> = ours.iter().map(Served::addr).collect();
    let web = |machine: &Machine| {
        machine
            .enter(|| TcpListener::bind("0.0.0.0:443"))
            .unwrap()
            .unwrap()
    };
    let _web = (web(&first), web(&second));
    let mut sites = Vec::new();
    for (index, kind) in SiteKind::ALL.into_iter().enumerate() {
        for (habit, letter) in [(Habit::Drop, 'd'), (Habit::Reject, 'r')] {
            sites.push(
                lab.site(kind.with_habit(habit), &format!("s{index}{letter}"))
                    .unwrap(),
            );
        }
    }
    // A few at a time: silence means something only where the machine keeps up.
    for sites in sites.chunks(8) {
        thread::scope(|scope| {
            for site in sites {
                let (coturn, ours) = (&coturn, &ours);
                scope.spawn(move || {
                    let host = site.host(0).unwrap();
                    check(site, &report(&host, coturn, false), "coturn");
                    check(site, &report(&host, ours, false), "our server");
                });
            }
        });
    }
}

#[test]
fn notices_hairpinning_and_allocators() {
    let Some(lab) = Lab::for_test() else { return };
    let server = lab.server(0).unwrap();
    let served = Served::start(&server, |ip| ip.is_ipv4());
    for (index, kind) in [
        SiteKind::FullCone,
        SiteKind::AddressRestricted,
        SiteKind::PortRestricted,
    ]
    .into_iter()
    .enumerate()
    {
        let site = lab
            .site(
                SiteSpec::from(kind).with_hairpin(),
                &format!("hairpin{index}"),
            )
            .unwrap();
        // Where bridges filter, a switch that translates does not send a packet back to the port that it came from, and so not
        // to another program of the same machine. A router does.
        let routed = "if [ -e /proc/sys/net/bridge ]; then sysctl -qw net.bridge.bridge-nf-call-iptables=0; fi";
        site.router().run("sh", &["-c", routed]).unwrap();
        check(
            &site,
            &report(&site.host(0).unwrap(), &[served.addr()], false),
            "our server",
        );
    }
    let odd = NatConfig {
        mapping: nat::Behaviour::AddressDependent,
        filtering: nat::Behaviour::Independent,
        allocation: Allocation::Sequential { delta: 2 },
        ..NatConfig::full_cone()
    };
    let site = lab.site(odd, "odd").unwrap();
    let report = report(&site.host(0).unwrap(), &[served.addr()], false);
    let family = report.ipv4.as_ref().unwrap();
    assert_eq!(
        family.mapping,
        Some(dig_nat::report::Behaviour::AddressDependent),
        "{family:#?}"
    );
    assert_eq!(family.filtering, Some(EndpointIndependent), "{family:#?}");
    assert_eq!(family.port_delta, Some(2), "{family:#?}");
}

/// 200 ms there and back, and one in twenty datagrams lost each way.
#[test]
fn names_a_site_far_away_in_spite_of_loss() {
    let Some(lab) = Lab::for_test() else { return };
    let served = Served::start(&lab.server(0).unwrap(), |ip| ip.is_ipv4());
    let link = Link::delay(Duration::from_millis(100)).with_loss(0.05);
    for (index, kind) in [
        SiteKind::AddressRestricted,
        SiteKind::PortRestricted,
        SiteKind::SymmetricRandom,
    ]
    .into_iter()
    .enumerate()
    {
        let site = lab
            .site(kind.with_link(link), &format!("far{index}"))
            .unwrap();
        thread::scope(|scope| {
            for host in 0..4 {
                let (site, server) = (&site, served.addr());
                scope.spawn(move || {
                    let report = report(&site.host(host).unwrap(), &[server], false);
                    let family = report.ipv4.as_ref().unwrap();
                    assert_eq!(family.kind(), ipv4_kind(kind), "{report:#?}");
                    assert_eq!(
                        family.public,
                        site.public_ipv4().map(IpAddr::V4),
                        "{report:#?}"
                    );
                    assert!(report.took < Duration::from_secs(13), "{report:#?}");
                });
            }
        });
    }
}

/// Takes as long as the mappings live: 20 s here.
#[test]
fn measures_how_long_mappings_stay() {
    let Some(lab) = Lab::for_test() else { return };
    let (first, second) = (lab.server(0).unwrap(), lab.server(1).unwrap());
    let coturn = lab.coturn(&first).unwrap();
    let coturn = one_each(coturn.addresses())[0];
    let served = Served::start(&second, |ip| ip.is_ipv4());
    let site = lab.site(SiteKind::PortRestricted, "home").unwrap();
    let short = "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=20 net.netfilter.nf_conntrack_udp_timeout_stream=20";
    site.router().run("sh", &["-c", short]).unwrap();
    thread::scope(|scope| {
        for (host, server) in [(0, coturn), (1, served.addr())] {
            let host = site.host(host).unwrap();
            scope.spawn(move || {
                let report = report(&host, &[server], true);
                let lifetime = report.ipv4.as_ref().unwrap().lifetime.unwrap();
                assert_eq!(lifetime.at_least, Duration::from_secs(15), "{report:#?}");
                assert_eq!(
                    lifetime.less_than,
                    Some(Duration::from_secs(25)),
                    "{report:#?}"
                );
                assert!(report.took < Duration::from_secs(30), "{report:#?}");
            });
        }
    });
}

#[test]
fn one_plain_server_tells_the_address() {
    let Some(lab) = Lab::for_test() else { return };
    let server = lab.server(0).unwrap();
    let site = lab.site(SiteKind::PortRestricted, "home").unwrap();
    let (told, telling) = mpsc::channel();
    let (end, ended) = oneshot::channel::<()>();
    let addr = server.at(0).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            within(&server, async move || {
                let serving = serve(addr, None).await.unwrap();
                told.send(serving.layout().sockets()[0]).unwrap();
                let _ = ended.await;
            });
        });
        let server = telling.recv().unwrap();
        let host = site.host(0).unwrap();
        let report = report(&host, &[server], false);
        let family = report.ipv4.as_ref().unwrap();
        assert_eq!(
            family.public,
            site.public_ipv4().map(IpAddr::V4),
            "{family:#?}"
        );
        assert_eq!(
            (family.mapping, family.filtering),
            (None, None),
            "{family:#?}"
        );
        assert_eq!(
            (family.port_preservation, family.hops_to_nat),
            (Some(true), Some(1)),
            "{family:#?}"
        );
        let mapped = within(&host, async || {
            let mut stream = TcpStream::connect(server).await.unwrap();
            (
                query_stream(&mut stream).await.unwrap(),
                stream.local_addr().unwrap().port(),
            )
        });
        assert_eq!(Some(mapped.0.ip()), family.public);
        assert_eq!(
            mapped.0.port(),
            mapped.1,
            "masquerading keeps a free port of TCP too"
        );
        drop(end);
    });
}
