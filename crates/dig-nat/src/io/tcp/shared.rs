//! Sharing the listening port with sockets that dial from it.

use socket2::Socket;
use std::io;

/// Lets further sockets of this user bind the port.
///
/// It is called on the listener only after that has bound, so that a port which another program has is still refused.
/// Linux looks at the option of both sockets when the second one binds, whenever the first one got it; `SO_REUSEADDR` alone is
/// refused beside a listener.
#[cfg(unix)]
pub(super) fn allow(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)
}

/// Windows has no `SO_REUSEPORT`, and its `SO_REUSEADDR` lets any program take a listening port over, so the port is not
/// shared: dialling from it fails, and the methods that need it say so.
#[cfg(not(unix))]
pub(super) fn allow(_: &Socket) -> io::Result<()> {
    Ok(())
}
