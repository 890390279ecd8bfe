//! The TURN client on coturn, in network namespaces: every transport, both kinds of credentials, and what coturn refuses.
//!
//! Needs root, as every laboratory does; says so and passes without testing anything where it cannot, except under `CI`.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

mod credentials;
mod moving;
mod refusals;
mod transports;

use bytes::Bytes;
use dig_lab::{Coturn, CoturnSpec, Lab, Machine, SiteKind};
use dig_nat::{
    io::{OsUdp, UdpHub},
    turn::{Relay, Relays, RelaysConfig, TurnServer, TurnTransport},
};
use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

/// How long anything may take on a machine that is busy with others.
const SOON: Duration = Duration::from_secs(10);
/// How long nothing must come to be called nothing.
const SILENCE: Duration = Duration::from_millis(300);

/// A laboratory with a coturn, a client behind a NAT, and somebody to talk to.
struct World {
    lab: Lab,
    coturn: Coturn,
    client: Machine,
    peer: Machine,
}

impl World {
    fn new(spec: CoturnSpec) -> Option<Self> {
        let lab = Lab::for_test()?;
        let server = lab.server(0).unwrap();
        let coturn = lab.coturn_with(&server, spec).unwrap();
        let site = lab.site(SiteKind::PortRestricted, "home").unwrap();
        let client = site.host(0).unwrap();
        let peer = lab.server(1).unwrap();
        Some(Self {
            lab,
            coturn,
            client,
            peer,
        })
    }

    /// Where coturn listens.
    fn address(&self) -> IpAddr {
        self.coturn.machine().address().unwrap()
    }

    fn server(&self, transport: TurnTransport) -> TurnServer {
        self.server_as(Coturn::USER, Coturn::PASSWORD, transport)
    }

    fn server_as(&self, user: &str, password: &str, transport: TurnTransport) -> TurnServer {
        let port = transport.default_port();
        TurnServer::new(user, password, self.address().to_string(), port, transport).unwrap()
    }

    /// A socket of the peer, with a time limit for what comes.
    fn peer_socket(&self) -> UdpSocket {
        let at = self.peer.at(0).unwrap();
        let socket = self.peer.enter(|| UdpSocket::bind(at).unwrap()).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket
    }

    /// Runs a test on the client's machine.
    fn on_client<T: Send>(&self, test: impl AsyncFnOnce() -> T + Send) -> T {
        on(&self.client, test)
    }
}

/// Runs a future on a machine of the laboratory: its sockets are of that machine's network.
fn on<T: Send>(machine: &Machine, test: impl AsyncFnOnce() -> T + Send) -> T {
    machine
        .enter(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(test())
        })
        .unwrap()
}

fn hub() -> UdpHub {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    UdpHub::new(Arc::new(OsUdp::new(&socket).unwrap()))
}

fn relays(servers: Vec<TurnServer>, config: RelaysConfig) -> Relays {
    Relays::start_with(servers, hub(), config)
}

/// Waits for so many allocations.
async fn up(relays: &Relays, count: usize) -> Vec<Relay> {
    let mut watch = relays.watch();
    let there = timeout(SOON, watch.wait_for(|relays| relays.len() == count)).await;
    match there {
        Ok(relays) => relays.unwrap().clone(),
        Err(_) => panic!("no {count} relays: {:?}", relays.status().borrow()),
    }
}

/// Waits until a server's state has these words.
async fn says(relays: &Relays, server: usize, words: &str) {
    let mut status = relays.status();
    let said = timeout(
        SOON,
        status.wait_for(|all| all[server].state.contains(words)),
    )
    .await;
    if said.is_err() {
        panic!("not {words:?}: {:?}", relays.status().borrow());
    }
}

async fn receive(relay: &Relay) -> Option<(SocketAddr, Bytes)> {
    timeout(SOON, poll_fn(|cx| relay.poll_receive(cx)))
        .await
        .unwrap_or_else(|_| panic!("nothing came by {relay:?}"))
}

/// Sends a numbered datagram to the peer and gets it back with a mark, so many times.
async fn converse(relay: &Relay, peer: &UdpSocket, from: u32, times: u32) {
    let to = peer.local_addr().unwrap();
    let peer = peer.try_clone().unwrap();
    let echo = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 2048];
        for number in from..from + times {
            let (length, source) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!(buffer[..4], number.to_be_bytes());
            buffer[length] = b'!';
            peer.send_to(&buffer[..=length], source).unwrap();
        }
    });
    for number in from..from + times {
        let mut sent = number.to_be_bytes().to_vec();
        // Lengths that are no multiples of four, so that padding shows.
        sent.resize(4 + (number as usize * 37) % 1196, number as u8);
        relay.send(to, &sent).unwrap();
        let (source, came) = receive(relay).await.unwrap();
        sent.push(b'!');
        assert_eq!((source, &came[..]), (to, &sent[..]));
    }
    echo.await.unwrap();
}
