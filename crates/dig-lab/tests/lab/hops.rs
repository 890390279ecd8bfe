//! Routers between sites: hop limits that are too small end where they should, and the sender learns where.

use crate::probe::{PATIENCE, SILENCE, bind, receive, seen, socket};
use dig_lab::{Lab, SiteKind};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt::Ipv4RecvErr,
};
use std::{
    io::IoSliceMut,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    time::Instant,
};

/// Type of "time exceeded" (RFC 792).
const TIME_EXCEEDED: u8 = 11;

/// Who said that a packet's hop limit ran out.
fn expired_at(socket: &UdpSocket) -> Option<Ipv4Addr> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let mut payload = [0; 64];
        let mut parts = [IoSliceMut::new(&mut payload)];
        let mut space = nix::cmsg_space!(nix::libc::sock_extended_err, nix::libc::sockaddr_in);
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        if let Ok(message) =
            recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)
        {
            for control in message.cmsgs().unwrap() {
                if let ControlMessageOwned::Ipv4RecvErr(error, Some(from)) = control
                    && error.ee_type == TIME_EXCEEDED
                {
                    return Some(SockaddrIn::from(from).ip());
                }
            }
        }
        std::thread::yield_now();
    }
    None
}

#[test]
fn low_hop_limits_end_between_sites() {
    let Some(lab) = Lab::for_test() else { return };
    let server = lab.server(0).unwrap();
    for kind in [
        SiteKind::Open,
        SiteKind::PortRestricted,
        SiteKind::SymmetricSequential,
        SiteKind::CarrierGrade,
    ] {
        let name = kind.name().get(..6).unwrap_or("open").trim_end_matches('-');
        let site = lab.site(kind, name).unwrap();
        let host = site.host(0).unwrap();
        let routers = u32::try_from(site.routers().len()).unwrap();
        let hops = site.hops_to_nat().map_or(routers, u32::from);
        assert_eq!(hops, routers, "{kind:?}");
        let far = bind(&server, server.at(7001).unwrap());
        let near = socket(&host, 4000, server.address().unwrap());
        setsockopt(&near, Ipv4RecvErr, &true).unwrap();

        // One too few: the last router of the site. One more: the internet's. One more: there.
        let expected = [site.routers().last(), None];
        for (ttl, router) in (routers..).zip(expected) {
            near.set_ttl(ttl).unwrap();
            near.send_to(b"low", far.local_addr().unwrap()).unwrap();
            let at = expired_at(&near).unwrap();
            match router {
                Some(router) => assert!(router.addresses().contains(&at.into()), "{kind:?} {at}"),
                None => assert_eq!(at.octets()[3], 1, "{kind:?} {at}"),
            }
            assert_eq!(receive(&far, SILENCE), None, "{kind:?}");
        }
        near.set_ttl(routers + 2).unwrap();
        assert!(seen(&near, &far).is_some(), "{kind:?}");
    }
}

#[test]
fn low_openers_open_without_being_heard() {
    // Both routers answer what is unsolicited: openers that reach the other side would spoil the ports.
    let Some(lab) = Lab::for_test() else { return };
    let spec = SiteKind::PortRestricted.with_habit(dig_lab::Habit::Reject);
    let (a, b) = (
        lab.site(spec.clone(), "a").unwrap(),
        lab.site(spec, "b").unwrap(),
    );
    let server = lab.server(0).unwrap();
    let meet = bind(&server, server.at(7001).unwrap());
    for (port, low, works) in [(4000, true, true), (4001, false, false)] {
        let [(near, at_near), (far, at_far)] = [&a, &b].map(|site| {
            let socket = socket(&site.host(0).unwrap(), port, server.address().unwrap());
            let mapped = seen(&socket, &meet).unwrap();
            (socket, mapped)
        });
        let ttl = u32::from(a.hops_to_nat().unwrap()) + 1;
        near.set_ttl(if low { ttl } else { 64 }).unwrap();
        near.send_to(b"opener", at_far).unwrap();
        assert_eq!(receive(&far, SILENCE), None);
        near.set_ttl(64).unwrap();
        far.send_to(b"check", at_near).unwrap();
        let arrived = receive(&near, if works { PATIENCE } else { SILENCE });
        assert_eq!(
            arrived.map(|(_, from)| from),
            works.then_some(at_far),
            "low: {low}"
        );
    }
}
