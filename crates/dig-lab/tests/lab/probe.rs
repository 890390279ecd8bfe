//! What a site does, told from outside by sockets alone.

use dig_lab::{
    Machine,
    nat::Behaviour::{self, AddressAndPortDependent, AddressDependent, Independent},
};
use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

/// How long a packet that comes may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// How long to wait for a packet that must not come. What is on its way takes less than a millisecond.
pub(crate) const SILENCE: Duration = Duration::from_millis(120);
/// Ports of the servers.
pub(crate) const PORTS: [u16; 2] = [7001, 7002];

/// A socket of a machine, on its main address of the same family as `to`.
pub(crate) fn socket(machine: &Machine, port: u16, to: IpAddr) -> UdpSocket {
    let own = machine
        .addresses()
        .iter()
        .find(|own| own.is_ipv4() == to.is_ipv4())
        .unwrap();
    bind(machine, SocketAddr::new(*own, port))
}

pub(crate) fn bind(machine: &Machine, at: SocketAddr) -> UdpSocket {
    machine.enter(|| UdpSocket::bind(at)).unwrap().unwrap()
}

/// The next packet, or `None` after a time without one.
pub(crate) fn receive(socket: &UdpSocket, wait: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let (mut buffer, end) = ([0; 2048], Instant::now() + wait);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        socket.set_read_timeout(Some(left)).unwrap();
        match socket.recv_from(&mut buffer) {
            Ok((length, from)) => return Some((buffer[..length].to_vec(), from)),
            Err(error)
                if [ErrorKind::ConnectionRefused, ErrorKind::Interrupted]
                    .contains(&error.kind()) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Sends, and says where the receiver saw it come from.
pub(crate) fn seen(from: &UdpSocket, to: &UdpSocket) -> Option<SocketAddr> {
    from.send_to(b"seen", to.local_addr().unwrap()).unwrap();
    receive(to, PATIENCE).map(|(_, source)| source)
}

/// A server with two addresses of a family and two ports.
pub(crate) struct Servers {
    sockets: [[UdpSocket; 2]; 2],
}

impl Servers {
    pub(crate) fn new(machine: &Machine, ipv6: bool) -> Self {
        let mut addresses = machine
            .addresses()
            .iter()
            .filter(|address| address.is_ipv6() == ipv6);
        let mut next = || {
            let address = *addresses.next().unwrap();
            PORTS.map(|port| bind(machine, SocketAddr::new(address, port)))
        };
        Self {
            sockets: [next(), next()],
        }
    }

    pub(crate) fn at(&self, address: usize, port: usize) -> &UdpSocket {
        &self.sockets[address][port]
    }

    /// The main address.
    pub(crate) fn address(&self) -> IpAddr {
        self.at(0, 0).local_addr().unwrap().ip()
    }

    /// RFC 5780 §4.3, with a server that is on our side. Also where the first mapping is.
    pub(crate) fn mapping(&self, client: &UdpSocket) -> (Behaviour, SocketAddr) {
        let [first, port, address] = [(0, 0), (0, 1), (1, 0)]
            .map(|(a, p)| seen(client, self.at(a, p)).expect("nothing gets out"));
        let behaviour = match (port == first, address == first) {
            (true, true) => Independent,
            (true, false) => AddressDependent,
            (false, _) => AddressAndPortDependent,
        };
        (behaviour, first)
    }

    /// RFC 5780 §4.4, for a socket that has not sent anything yet.
    pub(crate) fn filtering(&self, client: &UdpSocket) -> Behaviour {
        let mapped = seen(client, self.at(0, 0)).expect("nothing gets out");
        let passes = |from: &UdpSocket| {
            from.send_to(b"filter", mapped).unwrap();
            receive(client, SILENCE).is_some()
        };
        assert!(passes(self.at(0, 0)), "not even an answer comes in");
        match (passes(self.at(0, 1)), passes(self.at(1, 1))) {
            (_, true) => Independent,
            (true, false) => AddressDependent,
            (false, false) => AddressAndPortDependent,
        }
    }
}

/// What comes back from a closed port.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Refused,
    Prohibited,
}

impl Answer {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Nothing,
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::PermissionDenied | ErrorKind::HostUnreachable => Self::Prohibited,
            _ => panic!("{error}"),
        }
    }
}

/// What a datagram to a closed port brings back.
pub(crate) fn datagram_answer(from: &Machine, to: SocketAddr) -> Answer {
    let socket = socket(from, 0, to.ip());
    socket.connect(to).unwrap();
    socket.send(b"anybody?").unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    Answer::of(&socket.recv(&mut [0; 16]).expect_err("somebody was there"))
}

/// What a connection to a closed port brings back.
pub(crate) fn stream_answer(from: &Machine, to: SocketAddr) -> Answer {
    let connected = from
        .enter(|| TcpStream::connect_timeout(&to, SILENCE))
        .unwrap();
    Answer::of(&connected.expect_err("somebody was there"))
}

/// Whether a machine can connect to a listener on another one.
pub(crate) fn connects(from: &Machine, to: &Machine, at: SocketAddr, wait: Duration) -> bool {
    let listener = to.enter(|| TcpListener::bind(at)).unwrap().unwrap();
    let connected = from
        .enter(|| TcpStream::connect_timeout(&at, wait))
        .unwrap();
    drop(listener);
    connected.is_ok()
}
