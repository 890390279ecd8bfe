//! What guessing ports needs of the driver: sockets, a look at the NAT, and the leave of the node.

use super::{super::lock, running::Running};
use crate::attempt::{Drift, PER_PORT};
use futures::{FutureExt as _, future::BoxFuture};
use std::net::IpAddr;

/// Sockets that are open while the NAT is asked where it stands.
pub(super) struct Measuring(BoxFuture<'static, Measured>);

/// What came of it.
pub(super) struct Measured {
    opened: u16,
    drift: Option<Drift>,
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
            Measured { opened, drift }
        };
        self.measuring = Some(Measuring(asking.boxed()));
    }

    /// The NAT was asked where it stands.
    pub(super) fn on_measured(&mut self, measured: &Measured) {
        self.measuring = None;
        let now = self.now();
        self.attempt.on_ports(now, measured.opened, measured.drift);
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
    pub(super) fn tactic_ended(&mut self, unused: u16) {
        self.measuring = None;
        self.extra.close_rest();
        self.settle(unused);
    }
}
