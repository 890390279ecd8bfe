//! One UDP and one TCP port of the same number.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

/// How often another free number is tried when UDP has one that TCP has not.
const TRIES: usize = 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Sockets of one number, not blocking.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
    pub(crate) number: u16,
}

impl Ports {
    /// Binds exactly this address; port 0 takes any free number.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..if addr.port() == 0 { TRIES } else { 1 } {
            match Self::try_bind(addr) {
                Ok(ports) => return Ok(ports),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Binds every address of the machine, IPv6 and IPv4 where both are there; the preferred number if it is free.
    pub(crate) fn bind_any(preferred: u16) -> io::Result<Self> {
        let anywhere = [
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
            Ipv4Addr::UNSPECIFIED.into(),
        ];
        let numbers = if preferred == 0 {
            vec![0]
        } else {
            vec![preferred, 0]
        };
        let mut last = None;
        for number in numbers {
            for ip in anywhere {
                match Self::bind(SocketAddr::new(ip, number)) {
                    Ok(ports) => return Ok(ports),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    fn try_bind(addr: SocketAddr) -> io::Result<Self> {
        let tcp = socket(addr, Type::STREAM, Protocol::TCP)?;
        // A restart must not wait for connections of the last run to time out.
        #[cfg(unix)]
        tcp.set_reuse_address(true)?;
        tcp.bind(&SockAddr::from(addr))?;
        tcp.listen(BACKLOG)?;
        let tcp = TcpListener::from(tcp);
        let number = tcp.local_addr()?.port();
        let udp = socket(addr, Type::DGRAM, Protocol::UDP)?;
        udp.bind(&SockAddr::from(SocketAddr::new(addr.ip(), number)))?;
        Ok(Self {
            udp: udp.into(),
            tcp,
            number,
        })
    }
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(!addr.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sockets_have_one_number_and_a_taken_one_is_avoided() {
        let first = Ports::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(first.udp.local_addr().unwrap().port(), first.number);
        assert_eq!(first.tcp.local_addr().unwrap().port(), first.number);
        assert!(Ports::bind(SocketAddr::from(([127, 0, 0, 1], first.number))).is_err());
    }
}
