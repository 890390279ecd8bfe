//! TCP through the NATs: whom an open port lets in, and that two machines that dial each other meet.

use crate::probe::PATIENCE;
use dig_lab::{Habit, Lab, Machine, SiteKind};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// For connections that must not come about.
const REFUSAL: Duration = Duration::from_millis(400);

/// A socket on a port that others of the same machine use as well.
fn shared(machine: &Machine, at: SocketAddr) -> Socket {
    let make = || {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&at.into())?;
        Ok::<_, std::io::Error>(socket)
    };
    machine.enter(make).unwrap().unwrap()
}

fn listen(machine: &Machine, at: SocketAddr) -> TcpListener {
    let socket = shared(machine, at);
    socket.listen(8).unwrap();
    socket.into()
}

/// Connects from a port of a machine, to find a mapping and to open one.
fn dial(
    machine: &Machine,
    from: SocketAddr,
    to: SocketAddr,
    wait: Duration,
) -> std::io::Result<TcpStream> {
    let socket = shared(machine, from);
    socket.connect_timeout(&to.into(), wait)?;
    Ok(socket.into())
}

#[test]
fn an_open_port_lets_in_whom_the_kind_says() {
    for (kind, same_address, other_address) in [
        (SiteKind::FullCone, true, true),
        (SiteKind::AddressRestricted, true, false),
        (SiteKind::PortRestricted, false, false),
        (SiteKind::SymmetricRandom, false, false),
    ] {
        let Some(lab) = Lab::for_test() else { return };
        let site = lab.site(kind, "site").unwrap();
        let (host, server) = (site.host(0).unwrap(), lab.server(0).unwrap());
        let [main, other]: [IpAddr; 2] = [0, 1].map(|n| server.addresses()[n]);
        let (own, meet) = (host.at(4000).unwrap(), SocketAddr::new(main, 7001));
        let (outside, inside) = (listen(&server, meet), listen(&host, own));
        let _open = dial(&host, own, meet, PATIENCE).unwrap();
        let (_held, mapped) = outside.accept().unwrap();
        assert_eq!(
            mapped.port() == 4000,
            kind != SiteKind::SymmetricRandom,
            "{kind:?}"
        );
        for (from, enters) in [(main, same_address), (other, other_address)] {
            let wait = if enters { PATIENCE } else { REFUSAL };
            let came = dial(&server, SocketAddr::new(from, 7002), mapped, wait);
            assert_eq!(came.is_ok(), enters, "{kind:?} from {from}");
            if enters {
                assert_eq!(inside.accept().unwrap().1, SocketAddr::new(from, 7002));
            }
        }
    }
}

#[test]
fn two_that_dial_each_other_meet_where_routers_drop() {
    for (habit, late, meet) in [
        (Habit::Drop, Duration::from_millis(200), true),
        (Habit::Reject, Duration::from_millis(200), false),
    ] {
        let Some(lab) = Lab::for_test() else { return };
        let sites = ["a", "b"].map(|name| {
            lab.site(SiteKind::PortRestricted.with_habit(habit), name)
                .unwrap()
        });
        let [first, second] = &sites;
        let ends = sites.each_ref().map(|site| {
            let public = SocketAddr::new(site.public_ipv4().unwrap().into(), 4000);
            (site.host(0).unwrap(), public)
        });
        let [(near, at_near), (far, at_far)] = &ends;
        let met = thread::scope(|scope| {
            let early =
                scope.spawn(|| dial(near, near.at(4000).unwrap(), *at_far, PATIENCE).is_ok());
            thread::sleep(late);
            let second = dial(far, far.at(4000).unwrap(), *at_near, PATIENCE).is_ok();
            (early.join().unwrap(), second)
        });
        assert_eq!(
            met,
            (meet, meet),
            "{habit:?} {} {}",
            first.name(),
            second.name()
        );
    }
}
