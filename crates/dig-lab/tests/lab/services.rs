//! The daemons: miniupnpd on routers, coturn on the public segment.

use crate::probe::{PATIENCE, SILENCE, bind, receive, socket};
use dig_lab::{Coturn, Lab, Machine, OpenPort, Site, SiteKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

fn site(kind: SiteKind) -> Option<(Lab, Site, Machine)> {
    let lab = Lab::for_test()?;
    let site = lab.site(kind, "home").unwrap();
    let host = site.host(0).unwrap();
    Some((lab, site, host))
}

/// What Debian's UPnP client says to this.
fn upnpc(host: &Machine, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new("upnpc");
    let output = host
        .output(command.args(["-m", "eth0"]).args(arguments))
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Asks by PCP (RFC 6887 §11.1) for an outside port; the result code and the port and address given.
fn pcp_map(site: &Site, host: &Machine, port: u16, lifetime: u32) -> (u8, SocketAddrV4) {
    let socket = socket(host, 0, site.gateway().unwrap().into());
    let mut request = vec![2, 1, 0, 0];
    request.extend(lifetime.to_be_bytes());
    request.extend(host.ipv4().unwrap().to_ipv6_mapped().octets());
    request.extend(*b"twelve bytes");
    request.extend([17, 0, 0, 0]);
    request.extend(port.to_be_bytes());
    request.extend(port.to_be_bytes());
    request.extend(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    socket
        .send_to(&request, (site.gateway().unwrap(), 5351))
        .unwrap();
    let (answer, _) = receive(&socket, PATIENCE).expect("PCP is silent");
    assert_eq!((answer[0], answer[1]), (2, 0x81));
    let outside = u16::from_be_bytes([answer[42], answer[43]]);
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&answer[56..60]).unwrap());
    (answer[3], SocketAddrV4::new(address, outside))
}

/// Whether a datagram from outside comes in by that port.
fn enters(stranger: &Machine, outside: (Ipv4Addr, u16), host: &Machine, port: u16) -> bool {
    let inside = bind(host, host.at(port).unwrap());
    let stranger = bind(stranger, stranger.at(0).unwrap());
    stranger.send_to(b"in", outside).unwrap();
    receive(&inside, PATIENCE / 6).is_some()
}

#[test]
fn router_opens_ports_by_all_three_protocols() {
    let Some((lab, site, host)) = site(SiteKind::UpnpRouter) else {
        return;
    };
    let inside = host.ipv4().unwrap();
    let public = site.public_ipv4().unwrap();
    let gateway = site.gateway().unwrap().to_string();
    let daemon = site.miniupnpd().unwrap();
    assert_eq!(daemon.open_ports().unwrap(), []);

    let own = inside.to_string();
    let said = upnpc(
        &host,
        &["-e", "lab", "-a", &own, "4000", "50001", "TCP", "120"],
    );
    assert!(
        said.contains(&format!("{public}:50001 TCP is redirected")),
        "{said}"
    );
    let said = host
        .run(
            "natpmpc",
            &["-g", &gateway, "-a", "50002", "4001", "udp", "60"],
        )
        .unwrap();
    assert!(said.contains("Mapped public port 50002"), "{said}");
    assert_eq!(
        pcp_map(&site, &host, 4002, 60),
        (0, SocketAddrV4::new(public, 4002))
    );

    let open = |tcp, port, to| OpenPort {
        tcp,
        port,
        to: SocketAddrV4::new(inside, to),
    };
    let expected = [
        open(false, 4002, 4002),
        open(false, 50002, 4001),
        open(true, 50001, 4000),
    ];
    assert_eq!(daemon.open_ports().unwrap(), expected);

    let server = lab.server(0).unwrap();
    for (outside, to, opened) in [
        (50002, 4001, true),
        (4002, 4002, true),
        (50003, 4003, false),
    ] {
        assert_eq!(
            enters(&server, (public, outside), &host, to),
            opened,
            "{outside}"
        );
    }

    upnpc(&host, &["-d", "50001", "TCP"]);
    assert_eq!(pcp_map(&site, &host, 4002, 0).0, 0);
    assert_eq!(daemon.open_ports().unwrap(), [open(false, 50002, 4001)]);
    daemon.stop().unwrap();
    assert!(!upnpc(&host, &["-s"]).contains("ExternalIPAddress"));
    daemon.start().unwrap();
    assert!(upnpc(&host, &["-s"]).contains(&format!("ExternalIPAddress = {public}")));
}

#[test]
fn router_behind_a_router_maps_nothing() {
    let Some((_lab, site, host)) = site(SiteKind::UpnpPrivate) else {
        return;
    };
    let inside = host.ipv4().unwrap().to_string();
    let gateway = site.gateway().unwrap().to_string();
    let said = upnpc(
        &host,
        &[
            "-i", "-e", "lab", "-a", &inside, "4000", "50001", "UDP", "120",
        ],
    );
    assert!(said.contains("failed with code 501"), "{said}");
    let (result, _) = pcp_map(&site, &host, 4001, 60);
    assert_ne!(result, 0);
    let said = host
        .output(std::process::Command::new("natpmpc").args(["-g", &gateway]))
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(!said.contains("Public IP address : 44."), "{said}");
    assert_eq!(site.miniupnpd().unwrap().open_ports().unwrap(), []);
}

/// The address in an attribute of a STUN answer, `xor` with the cookie or plain (RFC 8489 §14.2, RFC 5780 §7).
fn stun_address(answer: &[u8], kind: u16, xor: bool) -> Option<SocketAddrV4> {
    let mut rest = answer.get(20..)?;
    while let [k1, k2, l1, l2, value @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l1, *l2]));
        if u16::from_be_bytes([*k1, *k2]) == kind {
            let mask: [u8; 4] = if xor {
                answer[4..8].try_into().ok()?
            } else {
                [0; 4]
            };
            let port = [value[2] ^ mask[0], value[3] ^ mask[1]];
            let address: [u8; 4] = std::array::from_fn(|i| value[4 + i] ^ mask[i]);
            return Some(SocketAddrV4::new(address.into(), u16::from_be_bytes(port)));
        }
        rest = value.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[test]
fn coturn_tells_the_address_and_its_other_address() {
    let Some((lab, site, host)) = site(SiteKind::PortRestricted) else {
        return;
    };
    let server = lab.server(0).unwrap();
    let coturn = lab.coturn(&server).unwrap();
    let [main, other] = [0, 1].map(|n| server.addresses()[n]);
    assert_eq!(
        coturn.addresses().next(),
        Some(SocketAddr::new(main, Coturn::PORT))
    );
    for at in [main, other] {
        let socket = socket(&host, 4000, at);
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend(*b"twelve bytes");
        socket.send_to(&request, (at, Coturn::PORT)).unwrap();
        let (answer, from) = receive(&socket, PATIENCE).expect("STUN is silent");
        assert_eq!(from, SocketAddr::new(at, Coturn::PORT));
        let mapped = stun_address(&answer, 0x0020, true);
        assert_eq!(
            mapped,
            site.public_ipv4().map(|ip| SocketAddrV4::new(ip, 4000))
        );
        let stated = stun_address(&answer, 0x802c, false).map(SocketAddr::V4);
        assert_eq!(stated, Some(SocketAddr::new(other, Coturn::OTHER_PORT)));
    }
    let v6 = coturn
        .addresses()
        .find(|address| matches!(address.ip(), IpAddr::V6(_)))
        .unwrap();
    let client = socket(&lab.server(1).unwrap(), 4000, v6.ip());
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend(*b"twelve bytes");
    client.send_to(&request, v6).unwrap();
    assert!(receive(&client, PATIENCE).is_some(), "no STUN by IPv6");
    drop(coturn);
    client.send_to(&request, v6).unwrap();
    assert_eq!(
        receive(&client, SILENCE),
        None,
        "coturn outlived its handle"
    );
}
