//! miniupnpd: what most routers run.

use super::*;
use dig_lab::{OpenPort, SiteSpec};
use dig_nat::{
    candidate::Transport,
    mapping::{Refusal, Verified},
};
use std::{net::SocketAddr, process::Command, sync::mpsc};

/// (is TCP, outside port, where it leads).
fn open(site: &Site) -> Vec<(bool, u16, String)> {
    let ports = site.miniupnpd().unwrap().open_ports().unwrap();
    let plain = |port: OpenPort| (port.tcp, port.port, port.to.to_string());
    ports.into_iter().map(plain).collect()
}

#[test]
fn ports_are_mapped_while_it_runs_and_closed_after_it() {
    let Some((lab, site)) = site(SiteKind::UpnpRouter) else {
        return;
    };
    let host = site.host(0).unwrap();
    let public = site.public_ipv4().unwrap();
    let server = lab.server(0).unwrap();
    for method in EACH {
        on(&host, async || {
            let began = Instant::now();
            let mapper = PortMapper::start(only(method), PORT);
            assert!(began.elapsed() < Duration::from_millis(50));
            let mappings = mapped(&mapper).await;
            let took = began.elapsed();
            let internal = host.at(PORT).unwrap();
            for (mapping, transport) in mappings.iter().zip([Transport::Udp, Transport::Tcp]) {
                assert_eq!(mapping.transport, transport);
                assert_eq!(mapping.method, method.unwrap_or(Method::Pcp));
                assert_eq!(mapping.external, SocketAddr::new(public.into(), PORT));
                assert_eq!(mapping.internal, internal);
                assert_eq!(mapping.verified, Verified::Unconfirmed);
                assert!(mapping.is_advertised());
            }
            let to = internal.to_string();
            assert_eq!(open(&site), [(false, PORT, to.clone()), (true, PORT, to)]);
            mapper.external_seen(SocketAddr::new(public.into(), 50000));
            let confirmed = |mappings: &Vec<Mapping>| {
                let mut mappings = mappings.iter();
                mappings.all(|mapping| mapping.verified == Verified::Confirmed)
            };
            let mut watch = mapper.mappings();
            tokio::time::timeout(SOON, watch.wait_for(confirmed))
                .await
                .unwrap()
                .unwrap();
            reachable(&host, &server, mappings[0].external);
            let ended = shut(mapper).await;
            assert!(ended < Duration::from_millis(800), "{method:?}: {ended:?}");
            eventually(|| open(&site).is_empty());
            println!("{method:?}: mapped after {took:?}, removed in {ended:?}");
        });
    }
}

/// A stranger's datagram arrives through the mapping.
fn reachable(host: &Machine, server: &Machine, external: SocketAddr) {
    let socket = host
        .enter(|| std::net::UdpSocket::bind(("0.0.0.0", PORT)))
        .unwrap()
        .unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let stranger = server
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .unwrap()
        .unwrap();
    stranger.send_to(b"dial-back", external).unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"dial-back");
}

#[test]
fn a_port_that_is_taken_is_replaced_by_another_one() {
    each(SiteKind::UpnpRouter, |method, site| {
        let (first, second) = (site.host(0).unwrap(), site.host(1).unwrap());
        std::thread::scope(|scope| {
            // Within: a panic below drops `taken`, and the other thread ends.
            let (taken, hold) = mpsc::channel::<()>();
            let (tell, told) = mpsc::channel::<()>();
            let first = &first;
            scope.spawn(move || {
                on(first, async move || {
                    let mapper = PortMapper::start(only(method), PORT);
                    mapped(&mapper).await;
                    tell.send(()).unwrap();
                    let _ = hold.recv();
                    shut(mapper).await;
                });
            });
            told.recv().unwrap();
            on(&second, async || {
                let mapper = PortMapper::start(only(method), PORT);
                let mappings = mapped(&mapper).await;
                for mapping in &mappings {
                    assert_ne!(mapping.external.port(), PORT, "{method:?}");
                    assert_eq!(mapping.internal, second.at(PORT).unwrap());
                }
                assert_eq!(open(site).len(), 4);
                assert!(shut(mapper).await < Duration::from_millis(800));
                eventually(|| open(site).len() == 2);
            });
            drop(taken);
        });
        assert_eq!(open(site), [], "{method:?}");
    });
}

#[test]
fn behind_another_nat_nothing_is_advertised() {
    let Some((_lab, site)) = site(SiteKind::UpnpPrivate) else {
        return;
    };
    on(&site.host(0).unwrap(), async || {
        let mapper = PortMapper::start(only(None), PORT);
        // What this daemon says when its own outside address is private.
        for (method, refusal) in [
            (Method::Pcp, Refusal::Exhausted),
            (Method::NatPmp, Refusal::NoOutside),
            (Method::Upnp, Refusal::Code(501)),
        ] {
            let expected = MethodState::Refused(refusal);
            becomes(&mapper, method, |state| *state == expected).await;
        }
        let mappings = mapper.mappings().borrow().clone();
        assert!(!mappings.iter().any(Mapping::is_advertised), "{mappings:?}");
        assert!(shut(mapper).await < Duration::from_millis(800));
    });
}

#[test]
fn leases_are_renewed_before_they_run_out() {
    each(SiteKind::UpnpRouter, |method, site| {
        on(&site.host(0).unwrap(), async || {
            let lease = Duration::from_secs(9);
            let mapper = PortMapper::start(
                PortMapperConfig {
                    lease,
                    ..only(method)
                },
                PORT,
            );
            mapped(&mapper).await;
            tokio::time::sleep(lease + Duration::from_secs(2)).await;
            assert_eq!(open(site).len(), 2, "{method:?}");
            assert_eq!(mapper.mappings().borrow().len(), 2, "{method:?}");
            shut(mapper).await;
            eventually(|| open(site).is_empty());
        });
    });
}

#[test]
fn what_a_dropped_mapper_mapped_is_removed() {
    let Some((_lab, site)) = site(SiteKind::UpnpRouter) else {
        return;
    };
    on(&site.host(0).unwrap(), async || {
        let mapper = PortMapper::start(only(None), PORT);
        mapped(&mapper).await;
        drop(mapper);
        // The task ends by itself, while this one waits.
        let began = Instant::now();
        while !open(&site).is_empty() {
            assert!(began.elapsed() < SOON);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn what_a_killed_process_mapped_runs_out() {
    each(SiteKind::UpnpRouter, |method, site| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let test = "miniupnpd::holds_a_mapping_until_it_is_killed";
        command.args([test, "--exact", "--ignored"]);
        command.env("DIG_NAT_HOLD", method.map_or("all", Method::name));
        let mut child = site.host(0).unwrap().spawn(&mut command).unwrap();
        eventually(|| open(site).len() == 2);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(open(site).len(), 2, "{method:?}");
        eventually(|| open(site).is_empty());
    });
}

#[test]
#[ignore = "a process for another test"]
fn holds_a_mapping_until_it_is_killed() {
    let method = std::env::var("DIG_NAT_HOLD").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let config = PortMapperConfig {
            lease: Duration::from_secs(5),
            ..only(method.parse().ok())
        };
        let _mapper = PortMapper::start(config, PORT);
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// Removal has 800 ms; a router that is busier than that still does what it was told.
fn eventually(condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < 2 * SOON);
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_router_that_started_anew_is_asked_again() {
    let Some((_lab, site)) = site(SiteKind::UpnpRouter) else {
        return;
    };
    let host = site.host(0).unwrap();
    on(&host, async || {
        let lease = Duration::from_secs(12);
        let mapper = PortMapper::start(
            PortMapperConfig {
                lease,
                ..only(None)
            },
            PORT,
        );
        mapped(&mapper).await;
        let daemon = site.miniupnpd().unwrap();
        daemon.stop().unwrap();
        for chain in ["miniupnpd", "prerouting_miniupnpd", "postrouting_miniupnpd"] {
            let flush = ["flush", "chain", "inet", "filter", chain];
            site.router().run("nft", &flush).unwrap();
        }
        assert_eq!(open(&site), []);
        daemon.start().unwrap();
        tokio::time::sleep(lease / 2 + Duration::from_secs(1)).await;
        assert_eq!(open(&site).len(), 2);
        shut(mapper).await;
        assert_eq!(open(&site), []);
    });
}

/// A gateway where nobody listens answers with ICMP errors; one with a firewall says nothing at all.
#[test]
fn a_silent_gateway_costs_nobody_time() {
    let Some((_lab, site)) = site(SiteKind::PortRestricted) else {
        return;
    };
    let host = site.host(0).unwrap();
    for silent in [false, true] {
        if silent {
            let rules = "table inet mute {\nchain input {\ntype filter hook input priority -10\niifname lan0 udp dport { 1900, 5351 } drop\n}\n}";
            site.router()
                .run("sh", &["-c", &format!("nft -f - <<'R'\n{rules}\nR")])
                .unwrap();
        }
        // At once, and in the middle of everything.
        for wait in [0, 100, 1000, 5000].map(Duration::from_millis) {
            let (started, status, took) = on(&host, async || {
                let began = Instant::now();
                let mapper = PortMapper::start(only(None), PORT);
                let started = began.elapsed();
                tokio::time::sleep(wait).await;
                assert_eq!(*mapper.mappings().borrow(), []);
                let status = mapper.status().borrow().clone();
                (started, status, shut(mapper).await)
            });
            assert!(started < Duration::from_millis(50), "{started:?}");
            assert!(took < Duration::from_millis(200), "{wait:?}: {took:?}");
            if wait > Duration::from_secs(4) {
                for status in status {
                    let no_answer = MethodState::Refused(Refusal::NoAnswer);
                    assert_eq!(status.state, no_answer, "{}", status.method);
                }
            }
            println!("gateway silent: {silent}, after {wait:?}: shut down in {took:?}");
        }
    }
}

#[test]
fn without_a_gateway_there_is_nobody_to_ask() {
    let Some(lab) = Lab::for_test() else { return };
    // The first machine of the internet has addresses and no way further.
    let lonely = lab.server(0).unwrap();
    lonely.run("ip", &["route", "flush", "default"]).unwrap();
    let _ = lonely.run("ip", &["-6", "route", "flush", "default"]);
    on(&lonely, async || {
        let mapper = PortMapper::start(only(None), PORT);
        for method in [Method::Pcp, Method::NatPmp, Method::Upnp] {
            let nobody = |state: &MethodState| *state == MethodState::NoGateway;
            becomes(&mapper, method, nobody).await;
        }
        assert!(shut(mapper).await < Duration::from_millis(100));
    });
}

/// The pinholes of IPv6, as many as there are rules for the address.
fn pinholes(site: &Site, host: &Machine) -> usize {
    let list = ["list", "chain", "inet", "filter", "miniupnpd"];
    let rules = site.router().run("nft", &list).unwrap();
    let address = format!("0x{:x}", host.ipv6().unwrap().to_bits());
    rules.matches(&address).count()
}

#[test]
fn pinholes_are_opened_for_ipv6_and_closed() {
    let Some(lab) = Lab::for_test() else { return };
    let spec = SiteSpec::from(SiteKind::UpnpRouter).with_ipv6();
    let site = lab.site(spec, "home").unwrap();
    let host = site.host(0).unwrap();
    let own = SocketAddr::new(host.ipv6().unwrap().into(), PORT);
    let server = lab.server(0).unwrap();
    for method in [Method::Pcp, Method::Upnp] {
        on(&host, async || {
            let mapper = PortMapper::start(only(Some(method)), PORT);
            let mut mappings = mapper.mappings();
            let all = mappings.wait_for(|mappings| mappings.len() == 4);
            let Ok(all) = tokio::time::timeout(SOON, all).await else {
                panic!("{method}: {:?} {:?}", mapper.mappings(), mapper.status());
            };
            let all = all.unwrap().clone();
            let holes: Vec<_> = all
                .iter()
                .filter(|mapping| mapping.external == own)
                .collect();
            assert_eq!(holes.len(), 2);
            assert!(
                holes
                    .iter()
                    .all(|mapping| mapping.internal == own && mapping.is_advertised())
            );
            assert_eq!(pinholes(&site, &host), 2);
            let socket = std::net::UdpSocket::bind(own).unwrap();
            socket.set_read_timeout(Some(SOON)).unwrap();
            let stranger = server
                .enter(|| std::net::UdpSocket::bind("[::]:0"))
                .unwrap()
                .unwrap();
            stranger.send_to(b"hello", own).unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 5);
            mapper.external_seen(SocketAddr::new(own.ip(), 1));
            let confirmed = mappings.wait_for(|mappings| {
                let mut confirmed = mappings.iter().filter(|mapping| mapping.external == own);
                confirmed.all(|mapping| mapping.verified == Verified::Confirmed)
            });
            tokio::time::timeout(SOON, confirmed)
                .await
                .unwrap()
                .unwrap();
            let took = shut(mapper).await;
            assert!(took < Duration::from_millis(800), "{took:?}");
            assert_eq!(pinholes(&site, &host), 0);
            assert_eq!(open(&site), []);
        });
    }
}
