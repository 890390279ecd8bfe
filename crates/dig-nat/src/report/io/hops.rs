//! How far away the outermost NAT is, without any server's help.

use super::{errors, local_address};
use crate::report::family::is_inside;
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};
use tokio::{net::UdpSocket, time::timeout};

/// Farther away no NAT is looked for: a home router, one more in front of it, and the carrier's few hops to its own.
const MOST: u8 = 6;
/// How long a router may take to say that a datagram died there: those up to a carrier's NAT are near.
const ANSWER: Duration = Duration::from_millis(150);

/// Routers from here to the outermost NAT on the way to an address, that one included, as far as routers tell; `None` where nothing
/// translates, or nobody says. Sends at most six datagrams of one byte; takes at most a second.
///
/// A datagram with this time to live dies at the outermost NAT, with one more it opens that NAT and dies right behind it.
/// The outermost NAT is taken for the last router on the way that answers from a private or shared address.
pub async fn hops_to_nat(towards: SocketAddr) -> Option<u8> {
    let local = local_address(Ipv4Addr::UNSPECIFIED.into(), towards)
        .await
        .ok()?;
    if !is_inside(local) {
        return None;
    }
    let socket = UdpSocket::bind((local, 0)).await.ok()?;
    errors::enable(&socket);
    let mut outermost = None;
    for ttl in 1..=MOST {
        socket.set_ttl(ttl.into()).ok()?;
        // The system reports an earlier datagram's fate here once, and sends nothing.
        if socket.send_to(&[0], towards).await.is_err() {
            socket.send_to(&[0], towards).await.ok()?;
        }
        match timeout(ANSWER, errors::time_exceeded(&socket)).await {
            Ok(exceeded) if is_inside(exceeded.router) => outermost = Some(ttl),
            Ok(_) => break,
            // Some routers say nothing; the next may.
            Err(_) => {}
        }
    }
    outermost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_translates_on_the_way_to_oneself() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let own = socket.local_addr().unwrap();
        assert_eq!(hops_to_nat(own).await, None);
    }
}
