//! What Linux tells of interfaces, addresses and routes (rtnetlink(7)).

use super::Heard;
use nix::{
    libc,
    sys::socket::{AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, socket},
};
use std::{io, os::fd::AsRawFd as _};
use tokio::net::UdpSocket;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// `RTM_DELADDR`.
const ADDRESS_GONE: u16 = 21;
/// Length of a message's header (`struct nlmsghdr`), and what messages are aligned to.
const HEADER: usize = 16;
const ALIGN: usize = 4;
/// The kernel sends no more at a time.
const LARGEST: usize = 32 * 1024;
/// Reads after which the interfaces are looked at, whatever is still to be read.
const READS: usize = 64;

/// A socket on which the kernel tells of changes: one for datagrams, so it is read like one of UDP.
#[derive(Debug)]
pub(super) struct Netlink(UdpSocket);

impl Netlink {
    /// Listens in the network that the calling thread is in.
    pub(super) fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            flags,
            SockProtocol::NetlinkRoute,
        )?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self(UdpSocket::from_std(socket.into())?))
    }

    /// Waits for the next thing that the kernel says.
    pub(super) async fn next(&self) -> io::Result<Heard> {
        loop {
            self.0.readable().await?;
            if let Some(heard) = self.drain()? {
                return Ok(heard);
            }
        }
    }

    /// Takes what the kernel has said; `None`: nothing.
    pub(super) fn drain(&self) -> io::Result<Option<Heard>> {
        let mut buffer = vec![0; LARGEST];
        let mut heard = None;
        for _ in 0..READS {
            match self.0.try_recv(&mut buffer) {
                Ok(length) => {
                    let gone = heard == Some(Heard::Gone) || tells_of_loss(&buffer[..length]);
                    heard = Some(if gone { Heard::Gone } else { Heard::Maybe });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It said more than the socket holds.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    heard = Some(Heard::Gone);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(heard)
    }
}

/// Whether one of these messages says that an address is gone. Those of IPv6's own (link-local, temporary ones) count as well: they
/// go with the link.
fn tells_of_loss(mut messages: &[u8]) -> bool {
    while let Some(header) = messages.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
        if u16::from_ne_bytes([header[4], header[5]]) == ADDRESS_GONE {
            return true;
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX).max(HEADER);
        let next = length.checked_next_multiple_of(ALIGN);
        messages = next.and_then(|next| messages.get(next..)).unwrap_or(&[]);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, length: u32, body: usize) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(HEADER + body, 0);
        bytes
    }

    #[test]
    fn a_loss_is_found_among_other_messages() {
        let (new, gone) = (message(20, 21, 8), message(21, 24, 8));
        assert!(tells_of_loss(&gone));
        assert!(tells_of_loss(&[new.clone(), gone].concat()));
        assert!(!tells_of_loss(&[new.clone(), new].concat()));
    }

    #[test]
    fn lengths_that_lie_end_the_search() {
        for length in [0, 1, 17, u32::MAX] {
            let bytes = [message(20, length, 0), message(20, length, 0)].concat();
            assert!(!tells_of_loss(&bytes), "{length}");
        }
        assert!(!tells_of_loss(&[0; 15]));
    }
}
