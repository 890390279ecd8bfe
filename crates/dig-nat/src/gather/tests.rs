use super::*;
use crate::{
    candidate::CandidateKind,
    io::{OsUdp, UdpReader},
    mapping::Verified,
    stun::io::serve,
};
use dig_types::Method;
use std::net::{TcpListener, UdpSocket};

use CandidateKind::{Host, Mapped, Relayed, ServerReflexive};
use Transport::{Tcp, Udp};

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn asked(transport: Transport, server: SocketAddr) -> Asked {
    Asked {
        transport,
        server,
        place: None,
    }
}

fn stun(servers: &[SocketAddr]) -> Sources {
    Sources {
        stun: servers.iter().map(SocketAddr::to_string).collect(),
        ..Sources::default()
    }
}

struct Ports {
    hub: UdpHub,
    tcp: TcpPort,
    own: SocketAddr,
    _reader: UdpReader,
    _listener: TcpListener,
}

fn ports() -> Ports {
    let (listener, socket) = loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()) {
            break (listener, socket);
        }
    };
    let hub = UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()));
    Ports {
        _reader: UdpReader::start(&socket, hub.clone(), |_, _| {}).unwrap(),
        hub,
        tcp: TcpPort::share(&listener).unwrap(),
        own: socket.local_addr().unwrap(),
        _listener: listener,
    }
}

/// What a gatherer tells that knows this.
fn told(
    known: &Known,
    mappings: &[Mapping],
    relays: &[SocketAddr],
) -> Vec<(CandidateKind, Transport, String)> {
    let (udp, tcp) = (addr("10.0.0.5:4000"), addr("10.0.0.5:4000"));
    let candidates = known.candidates((udp, Some(tcp)), mappings, relays);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                candidate.kind,
                candidate.transport,
                candidate.addr.to_string(),
            )
        })
        .collect()
}

fn mapping(external: &str, verified: Verified) -> Mapping {
    Mapping {
        method: Method::Upnp,
        transport: Tcp,
        external: addr(external),
        internal: addr("10.0.0.5:4000"),
        lifetime: None,
        verified,
    }
}

#[test]
fn every_source_is_told_once_and_in_order() {
    let mut known = Known::default();
    let server = addr("192.0.2.9:3478");
    known.seen(asked(Udp, server), Some(addr("192.0.2.1:7000")));
    known.observed(
        NodeId::from_bytes([1; 32]),
        vec![
            Observed {
                transport: Udp,
                addr: addr("[::ffff:192.0.2.1]:7000"),
            },
            Observed {
                transport: Tcp,
                addr: addr("192.0.2.1:7001"),
            },
        ],
    );
    let mappings = [
        mapping("192.0.2.1:4000", Verified::Confirmed),
        mapping("100.64.0.1:4000", Verified::NotPublic),
    ];
    let relays = [1, 2, 3].map(|port| SocketAddr::from(([192, 0, 2, 8], port)));
    assert_eq!(
        told(&known, &mappings, &relays),
        [
            (Host, Udp, "10.0.0.5:4000".into()),
            (Host, Tcp, "10.0.0.5:4000".into()),
            (Relayed, Udp, "192.0.2.8:1".into()),
            (Relayed, Udp, "192.0.2.8:2".into()),
            (Mapped(Method::Upnp), Tcp, "192.0.2.1:4000".into()),
            (ServerReflexive, Udp, "192.0.2.1:7000".into()),
            (ServerReflexive, Tcp, "192.0.2.1:7001".into()),
        ]
    );
}

#[test]
fn carriers_cannot_make_the_list_long() {
    let mut known = Known::default();
    for carrier in 0..10_u8 {
        let observed = (1..=8).map(|port| Observed {
            transport: Udp,
            addr: SocketAddr::from(([192, 0, 2, carrier], port)),
        });
        known.observed(NodeId::from_bytes([carrier; 32]), observed.collect());
    }
    assert_eq!(told(&known, &[], &[]).len(), MAX_CANDIDATES);
}

#[tokio::test]
async fn servers_are_asked_by_datagram_and_from_the_port_that_listens() {
    let Ports { hub, tcp, own, .. } = &ports();
    let serving = serve(addr("127.0.0.1:0"), None).await.unwrap();
    let server = serving.layout().sockets()[0];
    let gatherer = Gatherer::start(hub.clone(), Some(tcp.clone()), stun(&[server]));
    let gatherer = gatherer.unwrap();
    assert!(
        gatherer.0.shared.known().answering(false).is_empty(),
        "nobody wanted it"
    );
    let wanted = gatherer.want();
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, gatherer.ready(limit))
        .await
        .unwrap();
    for transport in [Udp, Tcp] {
        let seen = || gatherer.0.shared.known().seen_by(transport, server);
        let mut tries = 0;
        while seen().is_none() && tries < 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            tries += 1;
        }
        assert_eq!(seen(), Some(*own), "{transport}");
    }
    // There is no NAT, so it does not matter whether it keeps ports.
    assert_eq!(gatherer.preserves_ports(), None);
    drop(wanted);
}

#[tokio::test]
async fn a_nat_that_keeps_ports_is_told_from_one_that_does_not() {
    let Ports { hub, own, .. } = &ports();
    let gatherer = Gatherer::start(hub.clone(), None, Sources::default()).unwrap();
    let shared = &gatherer.0.shared;
    assert_eq!(gatherer.preserves_ports(), None);
    let outside = |port| SocketAddr::new(addr("192.0.2.1:1").ip(), port);
    shared.seen(asked(Udp, addr("192.0.2.8:1")), Some(outside(own.port())));
    assert_eq!(gatherer.preserves_ports(), Some(true));
    shared.seen(
        asked(Udp, addr("192.0.2.9:1")),
        Some(outside(own.port() ^ 1)),
    );
    assert_eq!(gatherer.preserves_ports(), Some(false));
    shared.seen(asked(Udp, addr("192.0.2.9:1")), None);
    assert_eq!(gatherer.preserves_ports(), Some(true));
}

#[tokio::test]
async fn what_carriers_say_is_told_and_taken_back() {
    let Ports { hub, .. } = &ports();
    let gatherer = Gatherer::start(hub.clone(), None, Sources::default()).unwrap();
    let carrier = NodeId::from_bytes([1; 32]);
    let mut watch = gatherer.watch();
    watch.mark_unchanged();
    let observed = Observed {
        transport: Udp,
        addr: addr("192.0.2.1:7000"),
    };
    gatherer.observed(carrier, vec![observed]);
    assert!(watch.has_changed().unwrap());
    assert!(
        gatherer
            .candidates()
            .iter()
            .any(|candidate| candidate.addr == observed.addr)
    );
    gatherer.observed(carrier, Vec::new());
    assert!(
        gatherer
            .candidates()
            .iter()
            .all(|candidate| candidate.addr != observed.addr)
    );
}

#[tokio::test]
async fn nobody_waits_for_servers_that_do_not_answer() {
    let Ports { hub, .. } = &ports();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap();
    let gatherer = Gatherer::start(hub.clone(), None, stun(&[server])).unwrap();
    let _wanted = gatherer.want();
    let began = Instant::now();
    gatherer.ready(Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert!(
        !gatherer.candidates().is_empty(),
        "own addresses are there at once"
    );
}
