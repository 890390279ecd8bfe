//! A question to the gateway by datagram, asked again until it is answered.

use super::refusal::Refusal;
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use tokio::{
    net::UdpSocket,
    time::{Instant, timeout_at},
};

/// The port of NAT-PMP and PCP servers.
pub(super) const SERVER_PORT: u16 = 5351;
/// RFC 6886 §3.1: the first wait; each next one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How often a question is asked. RFC 6886 would go on to 128 s; a router on the own link that is silent for 3.75 s has no
/// such server, and it is asked again later anyway.
const TRIES: u32 = 4;

/// The waits after each sending.
pub(super) fn waits() -> impl Iterator<Item = Duration> {
    (0..TRIES).map(|n| FIRST_WAIT * 2_u32.pow(n))
}

/// A socket that hears only the gateway (RFC 6886 §3.1: an answer from elsewhere is ignored), bound to the address that leads
/// to it: with several networks the system might choose another one.
pub(super) async fn connect(local: IpAddr, gateway: SocketAddr) -> Result<UdpSocket, Refusal> {
    let socket = UdpSocket::bind(SocketAddr::new(local, 0)).await?;
    socket.connect(gateway).await?;
    Ok(socket)
}

/// Asks until `read` accepts an answer. What it does not accept is ignored: somebody else's answer, a late one, garbage.
pub(super) async fn ask<T>(
    socket: &UdpSocket,
    question: &[u8],
    read: impl Fn(&[u8]) -> Option<T>,
) -> Result<T, Refusal> {
    let mut buffer = [0; 1100];
    for wait in waits() {
        socket.send(question).await?;
        let deadline = Instant::now() + wait;
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            if let Some(answer) = buffer.get(..received?).and_then(&read) {
                return Ok(answer);
            }
        }
    }
    Err(Refusal::NoAnswer)
}
