//! Finding the routers on the way: requests that die on it, one hop further each time.

use crate::{
    report::family::{Hop, is_inside},
    stun::{Message, Request, TransactionId},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Furthest hop that is looked at: outermost NATs are within the provider's network.
const FURTHEST: u8 = 8;
/// How often each hop is tried: routers limit how many errors they send.
const TRIES: u32 = 2;
/// Silent hops in a row after which the search ends.
const SILENT: usize = 3;

/// One hop at a time, since many routers quote too little of a datagram to tell which of several it was.
#[derive(Debug)]
pub(super) struct Trace {
    server: SocketAddr,
    wait: Duration,
    /// A name for each hop's request.
    names: Vec<TransactionId>,
    hops: Vec<Hop>,
    /// How often the next hop was tried.
    tried: u32,
    due: Duration,
    ended: bool,
}

impl Trace {
    /// Begins at once; routers answer within `wait`.
    pub(super) fn new(
        now: Duration,
        server: SocketAddr,
        wait: Duration,
        name: impl FnMut() -> TransactionId,
    ) -> Self {
        Self {
            server,
            wait,
            names: std::iter::repeat_with(name)
                .take(usize::from(FURTHEST))
                .collect(),
            hops: Vec::new(),
            tried: 0,
            due: now,
            ended: false,
        }
    }

    pub(super) const fn timeout(&self) -> Option<Duration> {
        if self.ended { None } else { Some(self.due) }
    }

    /// The routers found, nearest first.
    pub(super) fn into_hops(mut self) -> Vec<Hop> {
        while self.hops.last().is_some_and(|hop| hop.router.is_none()) {
            self.hops.pop();
        }
        self.hops
    }

    /// A datagram for the server and its time to live, if it is time.
    pub(super) fn poll(&mut self, now: Duration) -> Option<(u8, Vec<u8>)> {
        if self.ended || now < self.due {
            return None;
        }
        if self.tried == TRIES {
            self.next(now, None);
        }
        if self.ended {
            return None;
        }
        self.tried += 1;
        self.due = now + self.wait;
        let name = *self.names.get(self.hops.len())?;
        Some((self.ttl(), Request::new(name).to_bytes()))
    }

    /// A router says that a datagram's time to live ended there, and quotes its first bytes, or none.
    pub(super) fn on_time_exceeded(&mut self, now: Duration, router: IpAddr, quoted: &[u8]) {
        let current = self.names.get(self.hops.len());
        let quotes_current = match quoted.get(8..20) {
            Some(name) => current.is_some_and(|current| name == current.0),
            None => true,
        };
        if !self.ended && self.tried > 0 && quotes_current {
            self.next(now, Some(router.to_canonical()));
        }
    }

    /// A datagram came back: if the server answered, the way ends here.
    pub(super) fn on_datagram(&mut self, source: SocketAddr, datagram: &[u8]) {
        if source != self.server {
            return;
        }
        if let Ok(Message::Success(success)) = Message::parse(datagram) {
            self.ended |= self.names.contains(&success.transaction);
        }
    }

    const fn ttl(&self) -> u8 {
        self.hops.len() as u8 + 1
    }

    /// Goes on to the next hop, unless there is nothing more to learn: no NAT comes behind a router with a public address.
    fn next(&mut self, now: Duration, router: Option<IpAddr>) {
        self.hops.push(Hop {
            ttl: self.ttl(),
            router,
        });
        self.tried = 0;
        self.due = now;
        let silent = self
            .hops
            .iter()
            .rev()
            .take_while(|hop| hop.router.is_none())
            .count();
        self.ended = router.is_some_and(|router| !is_inside(router))
            || silent >= SILENT
            || self.hops.len() == usize::from(FURTHEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(200);

    fn trace() -> (Trace, SocketAddr) {
        let server = "44.128.0.1:3478".parse().unwrap();
        let mut next = 0;
        let name = || {
            next += 1;
            TransactionId([next; 12])
        };
        (Trace::new(Duration::ZERO, server, WAIT, name), server)
    }

    /// Runs a trace along these routers; `None` is a silent one. Behind the last stands the server.
    fn run(routers: &[Option<&str>], quote: usize) -> (Vec<Option<String>>, Duration) {
        let (mut trace, server) = trace();
        let mut now = Duration::ZERO;
        while let Some(due) = trace.timeout() {
            now = now.max(due);
            let Some((ttl, bytes)) = trace.poll(now) else {
                continue;
            };
            match routers.get(usize::from(ttl) - 1) {
                Some(Some(router)) => {
                    trace.on_time_exceeded(now, router.parse().unwrap(), &bytes[..quote])
                }
                Some(None) => {}
                None => {
                    let Ok(Message::Request { request, .. }) = Message::parse(&bytes) else {
                        panic!()
                    };
                    let success = crate::stun::Success {
                        transaction: request.transaction,
                        mapped: server,
                        origin: None,
                        other: None,
                    };
                    trace.on_datagram(server, &success.to_bytes());
                }
            }
        }
        let hops = trace.into_hops();
        assert!(
            hops.iter()
                .enumerate()
                .all(|(index, hop)| usize::from(hop.ttl) == index + 1)
        );
        (
            hops.iter()
                .map(|hop| hop.router.map(|ip| ip.to_string()))
                .collect(),
            now,
        )
    }

    fn names(routers: &[Option<&str>]) -> Vec<Option<String>> {
        routers
            .iter()
            .map(|router| router.map(String::from))
            .collect()
    }

    #[test]
    fn ends_at_the_first_public_router() {
        let way = [
            Some("192.168.0.1"),
            Some("100.64.0.1"),
            Some("44.128.7.1"),
            Some("44.128.8.1"),
        ];
        for quote in [0, 20] {
            assert_eq!(run(&way, quote), (names(&way[..3]), Duration::ZERO));
        }
    }

    #[test]
    fn ends_at_the_server() {
        assert_eq!(
            run(&[Some("192.168.0.1")], 20),
            (names(&[Some("192.168.0.1")]), Duration::ZERO)
        );
    }

    #[test]
    fn steps_over_silent_routers_and_gives_up_on_a_silent_way() {
        let way = [
            Some("192.168.0.1"),
            None,
            Some("100.64.0.1"),
            Some("44.128.7.1"),
        ];
        assert_eq!(run(&way, 20), (names(&way), 2 * WAIT));
        assert_eq!(run(&[None; 12], 20), (vec![], 6 * WAIT));
    }

    #[test]
    fn late_and_foreign_errors_are_ignored() {
        let (mut trace, _) = trace();
        trace.on_time_exceeded(Duration::ZERO, "192.168.0.9".parse().unwrap(), &[]);
        let (_, first) = trace.poll(Duration::ZERO).unwrap();
        trace.on_time_exceeded(Duration::ZERO, "192.168.0.9".parse().unwrap(), &[7; 28]);
        trace.on_time_exceeded(Duration::ZERO, "192.168.0.1".parse().unwrap(), &first);
        trace.poll(Duration::ZERO).unwrap();
        trace.on_time_exceeded(Duration::ZERO, "192.168.0.1".parse().unwrap(), &first);
        assert_eq!(trace.hops.len(), 1);
    }
}
