//! A UDP socket that answers from the address that was asked, though it may be bound to all of them.
//!
//! Without care the system answers from the address that it likes best, and a client of a machine with several ignores
//! the answer: it did not ask there.

use std::{io, net::SocketAddr};
use system::Local;
use tokio::net::UdpSocket;

/// Where a datagram came from and at which of this machine's addresses it arrived, as far as that is not clear already.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) source: SocketAddr,
    local: Option<Local>,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    everywhere: bool,
}

impl Socket {
    pub(super) async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let udp = UdpSocket::bind(addr).await?;
        let everywhere = addr.ip().is_unspecified();
        if everywhere {
            system::tell_local(&udp, addr)?;
        }
        Ok(Self { udp, everywhere })
    }

    pub(super) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The next datagram and its length; one that is longer than the buffer is cut.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Ends)> {
        if self.everywhere {
            let (length, source, local) = system::receive(&self.udp, buffer).await?;
            return Ok((length, Ends { source, local }));
        }
        let (length, source) = self.udp.recv_from(buffer).await?;
        Ok((
            length,
            Ends {
                source,
                local: None,
            },
        ))
    }

    /// Sends from the socket's own address.
    pub(super) async fn send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        self.udp.send_to(bytes, to).await.map(|_| ())
    }

    /// Sends from where a datagram arrived.
    pub(super) async fn reply(
        &self,
        bytes: &[u8],
        to: SocketAddr,
        arrived: Ends,
    ) -> io::Result<()> {
        match arrived.local {
            Some(local) => system::send(&self.udp, bytes, to, local).await,
            None => self.send(bytes, to).await,
        }
    }
}

/// Linux tells and takes the local address as ancillary data (ip(7), ipv6(7)).
#[cfg(any(target_os = "linux", target_os = "android"))]
mod system {
    use nix::{
        cmsg_space,
        libc::{in_addr, in_pktinfo, in6_pktinfo},
        sys::socket::{
            ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg,
            setsockopt, sockopt,
        },
    };
    use std::{
        io::{self, IoSlice, IoSliceMut},
        net::SocketAddr,
        os::fd::AsRawFd as _,
    };
    use tokio::{io::Interest, net::UdpSocket};

    /// An address of this machine. A socket of both families tells IPv4 ones in IPv6 clothes, and takes them so.
    #[derive(Debug, Clone, Copy)]
    pub(super) enum Local {
        V4(in_pktinfo),
        V6(in6_pktinfo),
    }

    pub(super) fn tell_local(socket: &UdpSocket, addr: SocketAddr) -> io::Result<()> {
        if addr.is_ipv4() {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        Ok(())
    }

    pub(super) async fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        socket
            .async_io(Interest::READABLE, || try_receive(socket, buffer))
            .await
    }

    fn try_receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        let mut room = [IoSliceMut::new(buffer)];
        let mut control = cmsg_space!(in6_pktinfo, in_pktinfo);
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut room, Some(&mut control), flags)?;
        let local = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(Local::V4(in_pktinfo {
                // The route decides where it goes; the destination that was asked is the source of the answer.
                ipi_ifindex: 0,
                ipi_spec_dst: info.ipi_addr,
                ipi_addr: in_addr { s_addr: 0 },
            })),
            ControlMessageOwned::Ipv6PacketInfo(info) => Some(Local::V6(info)),
            _ => None,
        });
        let source = message.address.as_ref().and_then(address);
        let source = source.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok((message.bytes, source, local))
    }

    pub(super) async fn send(
        socket: &UdpSocket,
        bytes: &[u8],
        to: SocketAddr,
        local: Local,
    ) -> io::Result<()> {
        let to = SockaddrStorage::from(to);
        let try_send = || {
            let control = match &local {
                Local::V4(info) => ControlMessage::Ipv4PacketInfo(info),
                Local::V6(info) => ControlMessage::Ipv6PacketInfo(info),
            };
            let flags = MsgFlags::MSG_DONTWAIT;
            sendmsg(
                socket.as_raw_fd(),
                &[IoSlice::new(bytes)],
                &[control],
                flags,
                Some(&to),
            )?;
            Ok(())
        };
        socket.async_io(Interest::WRITABLE, try_send).await
    }

    fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = storage
            .as_sockaddr_in()
            .map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| {
            storage
                .as_sockaddr_in6()
                .map(|v6| SocketAddr::V6((*v6).into()))
        })
    }
}

/// Elsewhere the system chooses; a machine with several addresses names the one to serve.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod system {
    use std::{io, net::SocketAddr};
    use tokio::net::UdpSocket;

    #[derive(Debug, Clone, Copy)]
    pub(super) enum Local {}

    pub(super) fn tell_local(_socket: &UdpSocket, _addr: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    pub(super) async fn receive(
        socket: &UdpSocket,
        buffer: &mut [u8],
    ) -> io::Result<(usize, SocketAddr, Option<Local>)> {
        let (length, source) = socket.recv_from(buffer).await?;
        Ok((length, source, None))
    }

    pub(super) async fn send(
        _socket: &UdpSocket,
        _bytes: &[u8],
        _to: SocketAddr,
        local: Local,
    ) -> io::Result<()> {
        match local {}
    }
}
