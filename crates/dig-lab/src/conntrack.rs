//! Emptying the connection table of a network namespace.

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
        setsockopt, socket, sockopt::ReceiveTimeout,
    },
    sys::time::{TimeVal, TimeValLike},
};
use std::{io, os::fd::AsRawFd};

/// Length of the request: a netlink header and the header of netfilter's messages.
const LENGTH: u32 = 20;
/// Subsystem 1 (`NFNL_SUBSYS_CTNETLINK`), message 2 (`IPCTNL_MSG_CT_DELETE`); without a tuple it deletes all.
const DELETE_ALL: u16 = 1 << 8 | 2;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const FLAGS: u16 = 1 | 4;

/// Forgets every connection of the network namespace that this thread stands in.
pub(crate) fn flush() -> io::Result<()> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    setsockopt(&netlink, ReceiveTimeout, &TimeVal::seconds(5))?;
    let mut request = Vec::with_capacity(LENGTH as usize);
    request.extend(LENGTH.to_ne_bytes());
    request.extend(DELETE_ALL.to_ne_bytes());
    request.extend(FLAGS.to_ne_bytes());
    // Sequence, port; then any address family, version 0, resource 0.
    request.extend([0; 12]);
    sendto(
        netlink.as_raw_fd(),
        &request,
        &NetlinkAddr::new(0, 0),
        MsgFlags::empty(),
    )?;
    let mut answer = [0; 1024];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // The answer is an error message whose error may be none.
    match answer
        .get(16..20)
        .filter(|_| length >= 20)
        .and_then(|code| code.try_into().ok())
        .map(i32::from_ne_bytes)
    {
        // A namespace without a single tracked connection may have no table at all.
        Some(0) => Ok(()),
        Some(code) if Errno::from_raw(-code) == Errno::ENOENT => Ok(()),
        Some(code) => Err(Errno::from_raw(-code).into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
