//! What guessing ports needs of a node: sockets of their own, a look at the NAT, and leave to send.
//!
//! A node gives leave once a minute, and for [`SPRAY`] packets in ten minutes.

use crate::world::{Event, World};
use dig_nat::{
    attempt::{Drift, FreshPort, Port, SPRAY},
    trace::AttemptId,
};
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

/// The first port of those opened for attempts alone.
pub(crate) const EXTRA: u16 = 10_000;
/// From which the NAT is asked where it stands.
const MEASURING: u16 = 5000;

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// A node's ports that were opened for attempts alone, and what was sent of late.
#[derive(Debug)]
pub(crate) struct Extra {
    first: u16,
    count: u16,
    open: bool,
    /// Those with paths.
    kept: BTreeSet<u16>,
    measured: u16,
    /// Packets to guessed ports, and when.
    sprayed: Vec<(Duration, u16)>,
}

impl Extra {
    pub(crate) fn new() -> Self {
        Self {
            first: EXTRA,
            count: 0,
            open: false,
            kept: BTreeSet::new(),
            measured: MEASURING,
            sprayed: Vec::new(),
        }
    }

    /// The node's own name of an attempt's port.
    pub(crate) fn outside(&self, port: Port) -> Port {
        match port {
            Port::Extra(at) => Port::Extra(self.first + at),
            other => other,
        }
    }

    /// The attempt's name of a port, if it is one of the present attempt's.
    pub(crate) fn inside(&self, port: Port) -> Option<Port> {
        match port {
            Port::Extra(port) => {
                let at = port.checked_sub(self.first)?;
                (at < self.count).then_some(Port::Extra(at))
            }
            other => Some(other),
        }
    }

    pub(crate) fn is_open(&self, port: Port) -> bool {
        match port {
            Port::Extra(number) => {
                self.kept.contains(&number) || self.open && self.inside(port).is_some()
            }
            Port::Shared | Port::Relay(_) => true,
        }
    }

    /// A path leaves from there.
    pub(crate) fn keep(&mut self, port: Port) {
        if let Port::Extra(port) = self.outside(port) {
            self.kept.insert(port);
        }
    }

    /// Closes those without a path.
    pub(crate) fn close(&mut self) {
        self.open = false;
    }

    fn grant(&mut self, now: Duration, packets: u16) -> u16 {
        self.sprayed.retain(|(when, _)| *when + TEN_MINUTES > now);
        let recent = self
            .sprayed
            .last()
            .is_some_and(|(when, _)| *when + MINUTE > now);
        let spent: u16 = self.sprayed.iter().map(|(_, packets)| packets).sum();
        let granted = packets.min(SPRAY.saturating_sub(spent));
        if recent || granted == 0 {
            return 0;
        }
        self.sprayed.push((now, granted));
        granted
    }
}

impl World {
    pub(crate) fn open_ports(&mut self, node: usize, id: AttemptId, count: u16, measure: bool) {
        let extra = &mut self.nodes[node].extra;
        extra.first += extra.count;
        (extra.count, extra.open) = (count, true);
        let drift = if measure { self.drift(node) } else { None };
        self.log(|| format!("{node}: opens {count} ports, {drift:?}"));
        let pause = if measure {
            self.sites[self.nodes[node].site].delay * 2
        } else {
            Duration::ZERO
        };
        let event = Event::Ports {
            node,
            id,
            opened: count,
            drift,
        };
        self.at(self.now + pause, event);
    }

    /// Opens a port to punch from, too, and asks where the NAT shows it.
    pub(crate) fn open_fresh(&mut self, node: usize, id: AttemptId) {
        let extra = &mut self.nodes[node].extra;
        extra.first += extra.count;
        (extra.count, extra.open) = (1, true);
        let port = extra.first;
        let source = SocketAddr::new(self.nodes[node].ip, port);
        let external = self.seen(node, source, 1);
        self.log(|| format!("{node}: opens a fresh port, seen at {external:?}"));
        let port = FreshPort {
            port,
            ipv6: false,
            external,
        };
        let pause = self.sites[self.nodes[node].site].delay * 2;
        self.at(self.now + pause, Event::Fresh { node, id, port });
    }

    pub(crate) fn fresh_open(&mut self, node: usize, id: AttemptId, port: FreshPort) {
        let now = self.now;
        if let Some(attempt) = &mut self.nodes[node].attempt
            && attempt.id() == id
            && !self.nodes[node].asleep
        {
            attempt.on_fresh(now, port.external.map(|_| port));
        }
    }

    /// Where the NAT stands: which port it gave last, and how far that is from the one before.
    fn drift(&mut self, node: usize) -> Option<Drift> {
        self.nodes[node].extra.measured += 1;
        let source = SocketAddr::new(self.nodes[node].ip, self.nodes[node].extra.measured);
        let first = self.seen(node, source, 0)?.port();
        let last = self.seen(node, source, 1)?.port();
        let step = last.wrapping_sub(first) as i16;
        (step != 0).then_some(Drift { last, step })
    }

    pub(crate) fn ports_open(
        &mut self,
        node: usize,
        id: AttemptId,
        opened: u16,
        drift: Option<Drift>,
    ) {
        let now = self.now;
        if let Some(attempt) = &mut self.nodes[node].attempt
            && attempt.id() == id
            && !self.nodes[node].asleep
        {
            attempt.on_ports(now, opened, drift);
        }
    }

    pub(crate) fn ask_spray(&mut self, node: usize, packets: u16) {
        let now = self.now;
        let granted = self.nodes[node].extra.grant(now, packets);
        self.log(|| format!("{node}: may guess {granted} ports"));
        if let Some(attempt) = &mut self.nodes[node].attempt {
            attempt.on_spray(now, granted);
        }
    }
}
