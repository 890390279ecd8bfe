use super::*;
use crate::{attempt::MAGIC, io::OsUdp};
use std::{sync::Arc, time::Duration};

fn hub() -> UdpHub {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()))
}

/// A packet of an attempt.
fn packet(rest: &[u8]) -> Vec<u8> {
    [&MAGIC, &[7; 8][..], rest].concat()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, future).await.expect("in time")
}

fn peer() -> UdpSocket {
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    peer
}

/// Has each socket send one packet; gives where the peer saw them come from, by their numbers.
fn greet(sockets: &ExtraSockets, count: u16, peer: &UdpSocket) -> Vec<SocketAddr> {
    let to = peer.local_addr().unwrap();
    let mut buffer = [0; 64];
    (0..count)
        .map(|number| {
            sockets.send(number, to, &packet(&[1]), None).unwrap();
            peer.recv_from(&mut buffer).unwrap().1
        })
        .collect()
}

#[tokio::test]
async fn each_has_a_port_of_its_own_and_tells_what_comes_there() {
    let mut sockets = ExtraSockets::new(hub());
    assert_eq!(sockets.open(64, false), 64);
    let peer = peer();
    let mut ports = greet(&sockets, 64, &peer);
    for number in [63, 0, 31] {
        let bytes = packet(&[number]);
        peer.send_to(&bytes, ports[usize::from(number)]).unwrap();
        let (at, source, came) = within(sockets.next()).await;
        assert_eq!((at, &came[..]), (u16::from(number), &bytes[..]));
        assert_eq!(source, peer.local_addr().unwrap());
    }
    ports.sort();
    ports.dedup();
    assert_eq!(ports.len(), 64);
}

#[tokio::test]
async fn one_that_was_opened_elsewhere_is_one_of_them() {
    let hub = hub();
    let mut sockets = ExtraSockets::new(hub.clone());
    let (socket, local) = bind(&hub, false).unwrap();
    assert!(sockets.adopt(socket, local));
    let peer = peer();
    assert_eq!(greet(&sockets, 1, &peer), [local]);
    peer.send_to(&packet(&[5]), local).unwrap();
    let (at, _, came) = within(sockets.next()).await;
    assert_eq!((at, &came[..]), (0, &packet(&[5])[..]));
    assert_eq!(sockets.hand_on(0).unwrap().port, Port::Extra(0));
}

#[tokio::test]
async fn what_is_handed_on_brings_the_beginning_of_the_session() {
    let mut sockets = ExtraSockets::new(hub());
    sockets.open(3, false);
    let peer = peer();
    let ports = greet(&sockets, 3, &peer);
    // A handshake and too many of its repetitions, then a check that says that it is over.
    for _ in 0..2 * MAX_EARLY {
        peer.send_to(&[0xc0; 1200], ports[1]).unwrap();
    }
    peer.send_to(&packet(b"last"), ports[1]).unwrap();
    let (at, _, _) = within(sockets.next()).await;
    assert_eq!(at, 1);
    let own = sockets.hand_on(1).unwrap();
    assert_eq!(own.port, Port::Extra(1));
    assert_eq!(own.early.len(), MAX_EARLY);
    let whole = |(source, bytes): &(SocketAddr, Bytes)| {
        *source == peer.local_addr().unwrap() && bytes[..] == [0xc0; 1200]
    };
    assert!(own.early.iter().all(whole));
    // What comes now is its new owner's, and the others go on.
    peer.send_to(&packet(b"own"), ports[1]).unwrap();
    peer.send_to(&packet(b"other"), ports[2]).unwrap();
    let (at, _, _) = within(sockets.next()).await;
    assert_eq!(at, 2);
    let reader = tokio::net::UdpSocket::from_std(own.socket).unwrap();
    let mut buffer = [0; 64];
    let (length, _) = within(reader.recv_from(&mut buffer)).await.unwrap();
    assert_eq!(buffer[..length], packet(b"own"));
    // The attempt can still send from it.
    let to = peer.local_addr().unwrap();
    sockets.send(1, to, &packet(&[2]), None).unwrap();
    assert_eq!(peer.recv_from(&mut buffer).unwrap().1, ports[1]);
}

#[tokio::test]
async fn closing_keeps_only_what_was_handed_on() {
    let mut sockets = ExtraSockets::new(hub());
    sockets.open(4, false);
    let ports = greet(&sockets, 4, &peer());
    let own = sockets.hand_on(2).unwrap();
    sockets.close_rest(None);
    // What was aborted is let go when it would have been heard.
    assert!(futures::poll!(Box::pin(sockets.next())).is_pending());
    for (number, port) in ports.iter().enumerate() {
        let bound = UdpSocket::bind(port);
        assert_eq!(bound.is_ok(), number != 2, "{number}: {bound:?}");
    }
    assert_eq!(own.socket.local_addr().unwrap(), ports[2]);
    let to = own.socket.local_addr().unwrap();
    assert!(sockets.send(2, to, &packet(&[2]), None).is_ok());
    assert!(sockets.send(1, to, &packet(&[2]), None).is_err());
    drop(sockets);
    assert!(UdpSocket::bind(to).is_err(), "its new owner has it");
    drop(own);
    assert!(UdpSocket::bind(to).is_ok());
}

#[tokio::test]
async fn there_are_never_more_than_are_allowed() {
    let mut sockets = ExtraSockets::new(hub());
    let opened = sockets.open(u16::MAX, false);
    assert!(usize::from(opened) <= MAX_SOCKETS);
    assert_eq!(sockets.open(1, false), 0);
}

#[tokio::test]
async fn a_node_without_a_family_has_no_socket_of_it() {
    let mut sockets = ExtraSockets::new(hub());
    assert_eq!(sockets.open(1, true), 0);
    assert!(
        sockets
            .send(0, "[::1]:1".parse().unwrap(), &[], None)
            .is_err()
    );
    assert!(futures::poll!(Box::pin(sockets.next())).is_pending());
}
