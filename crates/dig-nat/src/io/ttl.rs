//! Datagrams with a time to live of their own, on a socket whose other datagrams keep theirs.

pub(super) use system::send;

/// Linux takes the time to live as ancillary data, datagram by datagram (ip(7), ipv6(7)).
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};
    use socket2::Socket;
    use std::{
        io::{self, IoSlice},
        net::SocketAddr,
        os::fd::AsRawFd as _,
    };

    /// Sends to an address in the socket's own family; an IPv4-mapped one gets an IPv4 time to live.
    pub(in crate::io) fn send(
        socket: &Socket,
        to: SocketAddr,
        bytes: &[u8],
        ttl: u8,
    ) -> io::Result<()> {
        let ttl = i32::from(ttl);
        let control = if crate::io::canonical(to).is_ipv4() {
            ControlMessage::Ipv4Ttl(&ttl)
        } else {
            ControlMessage::Ipv6HopLimit(&ttl)
        };
        let address = SockaddrStorage::from(to);
        sendmsg(
            socket.as_raw_fd(),
            &[IoSlice::new(bytes)],
            &[control],
            MsgFlags::empty(),
            Some(&address),
        )?;
        Ok(())
    }
}

/// Elsewhere the socket's own value is changed and put back. A datagram that another thread sends in between travels as
/// short a way and is lost; its protocol repeats it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use socket2::Socket;
    use std::{
        io,
        net::SocketAddr,
        sync::{Mutex, PoisonError},
    };

    /// Two senders at once would put back each other's value.
    static TURN: Mutex<()> = Mutex::new(());

    pub(in crate::io) fn send(
        socket: &Socket,
        to: SocketAddr,
        bytes: &[u8],
        ttl: u8,
    ) -> io::Result<()> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        if to.is_ipv4() {
            let usual = socket.ttl_v4()?;
            socket.set_ttl_v4(ttl.into())?;
            let sent = socket.send_to(bytes, &to.into());
            socket.set_ttl_v4(usual)?;
            sent?;
        } else {
            let usual = socket.unicast_hops_v6()?;
            socket.set_unicast_hops_v6(ttl.into())?;
            let sent = socket.send_to(bytes, &to.into());
            socket.set_unicast_hops_v6(usual)?;
            sent?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(any(target_os = "linux", target_os = "android"))]
mod tests {
    use super::super::{OsUdp, UdpPort as _};
    use nix::{
        cmsg_space,
        sys::socket::{
            ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
        },
    };
    use std::{
        io::IoSliceMut,
        net::{SocketAddr, UdpSocket},
        os::fd::AsRawFd as _,
        time::Duration,
    };

    /// A socket that is told the time to live of what it receives.
    fn watcher(addr: &str) -> UdpSocket {
        let socket = UdpSocket::bind(addr).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        if addr.starts_with('[') {
            setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true).unwrap();
        } else {
            setsockopt(&socket, sockopt::Ipv4RecvTtl, &true).unwrap();
        }
        socket
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, i32) {
        let mut buffer = [0; 64];
        let mut slices = [IoSliceMut::new(&mut buffer)];
        let mut space = cmsg_space!(i32);
        let message = recvmsg::<SockaddrStorage>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let ttl = message
            .cmsgs()
            .unwrap()
            .find_map(|control| match control {
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                    Some(ttl)
                }
                _ => None,
            })
            .unwrap();
        let length = message.bytes;
        (buffer[..length].to_vec(), ttl)
    }

    /// Sends one datagram with a time to live of 3 and one without; gives what arrived.
    fn both(from: &str, to: &str) -> (i32, i32) {
        let watcher = watcher(to);
        let to: SocketAddr = watcher.local_addr().unwrap();
        let port = OsUdp::new(&UdpSocket::bind(from).unwrap()).unwrap();
        port.send(to, b"short", Some(3)).unwrap();
        port.send(to, b"usual", None).unwrap();
        let (first, short) = receive(&watcher);
        let (second, usual) = receive(&watcher);
        assert_eq!((&first[..], &second[..]), (&b"short"[..], &b"usual"[..]));
        (short, usual)
    }

    #[test]
    fn one_datagram_has_its_own_time_to_live_and_the_next_does_not() {
        for (from, to) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::]:0", "127.0.0.1:0"),
            ("[::1]:0", "[::1]:0"),
        ] {
            let (short, usual) = both(from, to);
            assert_eq!(short, 3, "from {from} to {to}");
            assert!(usual > 3, "from {from} to {to}: {usual}");
        }
    }
}
