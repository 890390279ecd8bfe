//! What routers say about datagrams that died on the way: the socket's error queue, which only Linux has.

use std::net::IpAddr;
use tokio::net::UdpSocket;

/// A router let a datagram die because its time to live had ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimeExceeded {
    /// Who.
    pub(super) router: IpAddr,
    /// What it quotes of the datagram's content; often nothing.
    pub(super) quoted: Vec<u8>,
}

#[cfg(target_os = "linux")]
pub(super) use linux::{enable, time_exceeded};

#[cfg(target_os = "linux")]
mod linux {
    use super::{TimeExceeded, UdpSocket};
    use nix::{
        cmsg_space,
        libc::{self, sock_extended_err, sockaddr_in},
        sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt},
    };
    use std::{
        io::{self, IoSliceMut},
        net::Ipv4Addr,
        os::fd::AsRawFd,
    };
    use tokio::io::Interest;

    /// ICMP type 11, "time exceeded", code 0, "in transit" (RFC 792).
    const TIME_EXCEEDED: (u8, u8) = (11, 0);

    /// Has errors queued. Without it, as for IPv6, the routers on the way stay unknown.
    pub(in super::super) fn enable(socket: &UdpSocket) {
        let _ = setsockopt(socket, sockopt::Ipv4RecvErr, &true);
    }

    /// The next such error; never ends if there is none. Cancelling it loses nothing.
    pub(in super::super) async fn time_exceeded(socket: &UdpSocket) -> TimeExceeded {
        loop {
            match socket.async_io(Interest::ERROR, || read(socket)).await {
                Ok(Some(error)) => return error,
                Ok(None) => {}
                Err(_) => std::future::pending().await,
            }
        }
    }

    /// One entry of the queue; `None` if it says something else.
    fn read(socket: &UdpSocket) -> io::Result<Option<TimeExceeded>> {
        let mut quoted = [0; 64];
        let mut room = [IoSliceMut::new(&mut quoted)];
        let mut control = cmsg_space!(sock_extended_err, sockaddr_in);
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrIn>(socket.as_raw_fd(), &mut room, Some(&mut control), flags)?;
        let router = message.cmsgs()?.find_map(|control| match control {
            ControlMessageOwned::Ipv4RecvErr(error, Some(router)) => {
                is_time_exceeded(&error).then_some(router)
            }
            _ => None,
        });
        let length = message.bytes;
        Ok(router.map(|router| TimeExceeded {
            router: Ipv4Addr::from(u32::from_be(router.sin_addr.s_addr)).into(),
            quoted: quoted[..length.min(quoted.len())].to_vec(),
        }))
    }

    fn is_time_exceeded(error: &sock_extended_err) -> bool {
        error.ee_origin == libc::SO_EE_ORIGIN_ICMP
            && (error.ee_type, error.ee_code) == TIME_EXCEEDED
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enable(_socket: &UdpSocket) {}

#[cfg(not(target_os = "linux"))]
pub(super) async fn time_exceeded(_socket: &UdpSocket) -> TimeExceeded {
    std::future::pending().await
}
