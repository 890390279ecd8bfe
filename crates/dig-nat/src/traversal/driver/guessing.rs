//! What the tactics of hole punching need of the driver: sockets, a look at the NAT, and the leave of the node.

use super::{super::lock, running::Running};
use crate::{
    attempt::{Drift, FreshPort, PER_PORT},
    gather::FreshUdp,
};
use futures::{FutureExt as _, future::BoxFuture};
use std::net::IpAddr;

/// Sockets that are open while STUN servers are asked how the NAT maps them.
pub(super) struct Measuring(BoxFuture<'static, Measured>);

/// What came of it.
pub(super) enum Measured {
    /// So many for guesses, and where the NAT stood.
    Ports(u16, Option<Drift>),
    /// The one that nobody has heard of.
    Fresh(Option<FreshUdp>),
}

/// What comes of it; for ever pending where nothing is asked.
pub(super) async fn measured(measuring: &mut Option<Measuring>) -> Measured {
    match measuring {
        Some(Measuring(asking)) => asking.await,
        None => std::future::pending().await,
    }
}

impl Running<'_> {
    /// Whether this node guesses ports at all.
    fn may_guess(&self) -> bool {
        let config = &self.driver.shared.config;
        config.birthday && !config.relay_only
    }

    /// What the node's account allows of so many packets to a host.
    fn take(&self, to: IpAddr, packets: u16) -> u16 {
        let whose = (self.driver.peer, self.attempt.id());
        let mut ledger = lock(&self.driver.shared.ledger);
        ledger.take(self.now(), whose, to, packets)
    }

    /// So many of the packets allowed have not left.
    pub(super) fn settle(&self, unused: u16) {
        lock(&self.driver.shared.ledger).settle(self.attempt.id(), unused);
    }

    /// Opens sockets for guesses of the peer at `to`, as many as the account allows packets from.
    pub(super) fn open_ports(&mut self, to: IpAddr, count: u16, measure: bool) {
        let now = self.now();
        let allowed = match self.may_guess() {
            true => self.take(to, count.saturating_mul(PER_PORT)),
            false => 0,
        };
        let opened = self.extra.open(allowed / PER_PORT, to.is_ipv6());
        if opened == 0 {
            self.settle(allowed);
        }
        if opened == 0 || !measure {
            self.attempt.on_ports(now, opened, None);
            return;
        }
        let gatherer = self.driver.shared.gatherer.clone();
        let asking = async move {
            let drift = gatherer.drift(to.is_ipv6()).await;
            Measured::Ports(opened, drift)
        };
        self.measuring = Some(Measuring(asking.boxed()));
    }

    /// Opens one that nobody has heard of, and learns where the NAT shows it.
    pub(super) fn open_fresh(&mut self) {
        let gatherer = self.driver.shared.gatherer.clone();
        let opening = async move { Measured::Fresh(gatherer.fresh().await) };
        self.measuring = Some(Measuring(opening.boxed()));
    }

    /// The servers were asked.
    pub(super) fn on_measured(&mut self, measured: Measured) {
        self.measuring = None;
        let now = self.now();
        match measured {
            Measured::Ports(opened, drift) => self.attempt.on_ports(now, opened, drift),
            Measured::Fresh(fresh) => {
                let port = fresh.and_then(|fresh| {
                    let port = FreshPort {
                        port: fresh.local.port(),
                        ipv6: false,
                        external: fresh.outside,
                    };
                    self.extra.adopt(fresh.socket, fresh.local).then_some(port)
                });
                self.attempt.on_fresh(now, port);
            }
        }
    }

    /// Says how many packets may go to guessed ports of `to`.
    pub(super) fn ask_spray(&mut self, to: IpAddr, packets: u16) {
        let now = self.now();
        let granted = match self.may_guess() {
            true => self.take(to, packets),
            false => 0,
        };
        self.attempt.on_spray(now, granted);
    }

    /// Guessing is over.
    pub(super) fn tactic_ended(&mut self, keep: Option<u16>, unused: u16) {
        self.measuring = None;
        self.extra.close_rest(keep);
        self.settle(unused);
    }
}
