//! Which outside port the NAT gave last, and which it will give next: asked of STUN servers from sockets that are new to it.

use super::{fresh::first_answer, hint::regular};
use crate::{
    attempt::Drift,
    io::{UdpHub, bind},
    stun::Answer,
};
use futures::future::join_all;
use std::{net::SocketAddr, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Sockets that ask, each for one more port. One question or answer may be lost.
const SOCKETS: usize = 4;
/// Answers without which nothing is told: two ports differ by a little now and then at random, three do not.
const ENOUGH: usize = 3;
/// How long the servers may take: what they say is of use only soon.
const PATIENCE: Duration = Duration::from_millis(700);

/// Asks these servers, in turn.
pub(super) async fn measure(hub: &UdpHub, servers: &[SocketAddr]) -> Option<Drift> {
    let until = Instant::now() + PATIENCE;
    let turns = servers.iter().cycle().take(SOCKETS);
    // All are sent at once and in order: nothing waits before the first is sent, and these are polled in order.
    let asking = turns.map(|server| async move {
        let asked = timeout_at(until, ask(hub, *server)).await;
        asked.ok().flatten().filter(|answer| answer.sent == 1)
    });
    let answers = join_all(asking).await.into_iter().flatten();
    judge(&answers.map(|answer| answer.mapped).collect::<Vec<_>>())
}

/// What ports say that were given out in this order.
fn judge(ports: &[SocketAddr]) -> Option<Drift> {
    let last = ports.last().filter(|_| ports.len() >= ENOUGH)?;
    let step = regular(ports)?;
    Some(Drift {
        last: last.port(),
        step,
    })
}

/// One question from a socket of its own.
async fn ask(hub: &UdpHub, server: SocketAddr) -> Option<Answer> {
    let (socket, _) = bind(hub, server.is_ipv6()).ok()?;
    first_answer(&socket, &[server]).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ports: &[u16]) -> Option<Drift> {
        let addrs: Vec<SocketAddr> = ports
            .iter()
            .map(|port| SocketAddr::from(([44, 0, 0, 1], *port)))
            .collect();
        judge(&addrs)
    }

    #[test]
    fn regular_steps_are_told_with_the_last_port() {
        let drift = |last, step| Some(Drift { last, step });
        assert_eq!(told(&[7000, 7001, 7002, 7003]), drift(7003, 1));
        assert_eq!(told(&[7000, 6998, 6996]), drift(6996, -2));
        assert_eq!(told(&[7000, 7001, 7003]), drift(7003, 1), "one was lost");
        assert_eq!(told(&[7000, 7001]), None, "that may be chance");
        assert_eq!(told(&[7000, 9001, 3003, 51_000]), None);
        assert_eq!(told(&[7000, 7000, 7000]), None);
        assert_eq!(told(&[]), None);
    }
}
