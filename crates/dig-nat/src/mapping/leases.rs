//! Which mappings are wanted, asked for, held and renewed. No sockets and no clock: the caller does what [`Leases::poll`] says,
//! reports how it went, and comes back at [`Leases::wake`].

use super::{Mapping, MethodState, MethodStatus, Verified, refusal::Refusal};
use crate::candidate::Transport;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

mod ask;
mod epoch;
mod public;

pub(super) use ask::{Ask, Granted, Protocol, Removal, Slot, Want, Way};
use epoch::Epoch;
pub(super) use public::is_public;

/// Time since any fixed start.
pub(super) type Now = Duration;

/// How long the more preferred protocols may take before the next one maps: three tries. A router that is slow, not silent, would
/// otherwise grant the same port twice, and two protocols then disagree about who may renew and remove it.
const HEAD_START: Duration = Duration::from_secs(1);
/// RFC 6887 §11.2.1: renewals are not closer than this.
const MIN_RENEWAL: Duration = Duration::from_secs(4);
/// A mapping that contradicts what others see is asked for again, in case the router's address changed; not more often than this.
const RECHECK: Duration = Duration::from_secs(60);
/// After a failure it is tried again, at double the time each time: a router that was starting is back by then.
const FIRST_RETRY: Duration = Duration::from_secs(60);
const LAST_RETRY: Duration = Duration::from_secs(3600);
/// Outside ports that are tried by UPnP, the own one first; the other protocols let the router choose.
const MAX_PORTS: u32 = 8;

#[derive(Debug, Clone, Copy)]
struct Held {
    granted: Granted,
    since: Now,
    expires: Option<Now>,
    /// How often the router had forgotten everything when it granted this.
    generation: u32,
}

#[derive(Debug, Default)]
struct Cell {
    asking: bool,
    held: Option<Held>,
    due: Now,
    failures: u32,
    /// Which of the outside ports is tried.
    port: u32,
    permanent: bool,
    refusal: Option<Refusal>,
}

#[derive(Debug, Default)]
struct Finder {
    searching: bool,
    found: bool,
    due: Now,
    failures: u32,
    refusal: Option<Refusal>,
}

/// What is mapped on one network.
#[derive(Debug)]
pub(super) struct Leases {
    began: Now,
    port: u16,
    lease: Duration,
    seed: u64,
    internal: [Option<IpAddr>; 2],
    seen: [Option<IpAddr>; 2],
    finders: BTreeMap<Way, Finder>,
    cells: BTreeMap<Slot, Cell>,
    epochs: BTreeMap<Way, Epoch>,
    closing: bool,
}

impl Leases {
    /// Maps `port` of the addresses `internal` (IPv4, IPv6) by the given protocols. The seed chooses the ports that are tried when
    /// the own one is taken.
    pub(super) fn new(
        now: Now,
        protocols: &[Protocol],
        port: u16,
        lease: Duration,
        internal: [Option<IpAddr>; 2],
        seed: u64,
    ) -> Self {
        let mut finders = BTreeMap::new();
        let mut cells = BTreeMap::new();
        let ways = protocols.iter().flat_map(|&protocol| {
            // NAT-PMP knows only IPv4.
            let ipv6 = (protocol != Protocol::NatPmp).then_some(true);
            let families = [false].into_iter().chain(ipv6);
            families.map(move |ipv6| Way { protocol, ipv6 })
        });
        for way in ways.filter(|way| internal[usize::from(way.ipv6)].is_some()) {
            // The other two are looked for before they are asked to map: NAT-PMP for the report, UPnP because it must be.
            let found = way.protocol == Protocol::Pcp;
            finders.insert(
                way,
                Finder {
                    found,
                    ..Finder::default()
                },
            );
            for transport in [Transport::Udp, Transport::Tcp] {
                let Way { protocol, ipv6 } = way;
                let want = Want { ipv6, transport };
                cells.insert(Slot { protocol, want }, Cell::default());
            }
        }
        Self {
            began: now,
            port,
            lease,
            seed,
            internal,
            seen: [None; 2],
            finders,
            cells,
            epochs: BTreeMap::new(),
            closing: false,
        }
    }

    /// The next thing to do; to be called until it says `None`, after everything that is told to this state.
    pub(super) fn poll(&mut self, now: Now) -> Option<Ask> {
        if self.closing {
            return None;
        }
        self.expire(now);
        let idle = |finder: &&mut Finder| !finder.found && !finder.searching && finder.due <= now;
        for (way, finder) in &mut self.finders {
            if let Some(finder) = Some(finder).filter(idle) {
                finder.searching = true;
                return Some(Ask::Find(*way));
            }
        }
        let slot = (self.cells.keys().copied())
            .find(|slot| self.when(*slot).is_some_and(|when| when <= now))?;
        let external_port = self.suggested_port(slot);
        let lease = self.lease;
        let cell = self.cells.get_mut(&slot)?;
        cell.asking = true;
        Some(Ask::Map {
            slot,
            external_port,
            lease: (!cell.permanent).then_some(lease),
            token: cell.held.and_then(|held| held.granted.token),
        })
    }

    /// When to poll next, if nothing happens before.
    pub(super) fn wake(&self) -> Option<Now> {
        if self.closing {
            return None;
        }
        let finders = self.finders.values();
        let finders =
            finders.filter_map(|finder| (!finder.found && !finder.searching).then_some(finder.due));
        let asks = self.cells.keys().filter_map(|slot| self.when(*slot));
        let ends = self.cells.values().filter_map(|cell| cell.held?.expires);
        finders.chain(asks).chain(ends).min()
    }

    /// When a slot is to be asked for, as things are; `None` if not at all.
    fn when(&self, slot: Slot) -> Option<Now> {
        let cell = self.cells.get(&slot)?;
        if cell.asking || !self.finders.get(&slot.way())?.found {
            return None;
        }
        if cell.held.is_some() {
            return Some(cell.due);
        }
        let mut others = self
            .cells
            .iter()
            .filter(|(other, _)| other.want == slot.want);
        if others.clone().any(|(_, other)| other.held.is_some()) {
            return None;
        }
        let waits = others.any(|(other, cell)| {
            let finder = &self.finders[&other.way()];
            let told = cell.refusal.is_some() || finder.refusal.is_some();
            other.protocol < slot.protocol && !told
        });
        Some(if waits {
            cell.due.max(self.began + HEAD_START)
        } else {
            cell.due
        })
    }

    /// Whether the router speaks a protocol.
    pub(super) fn found(&mut self, now: Now, way: Way, result: Result<(), Refusal>) {
        let Some(finder) = self.finders.get_mut(&way) else {
            return;
        };
        finder.searching = false;
        finder.found = result.is_ok();
        finder.refusal = result.err();
        match finder.refusal {
            None => finder.failures = 0,
            Some(_) => finder.due = now + retry_after(&mut finder.failures),
        }
    }

    /// What the router said. While closing, what it granted comes back to be removed.
    pub(super) fn answered(
        &mut self,
        now: Now,
        slot: Slot,
        answer: Result<Granted, Refusal>,
    ) -> Option<Removal> {
        let closing = self.closing;
        let cell = self.cells.get_mut(&slot)?;
        cell.asking = false;
        match answer {
            Ok(granted) if closing => {
                return Some(Removal {
                    slot,
                    external_port: granted.port,
                    token: granted.token,
                });
            }
            Ok(granted) => self.granted(now, slot, granted),
            Err(refusal) => self.refused(now, slot, refusal),
        }
        None
    }

    fn granted(&mut self, now: Now, slot: Slot, granted: Granted) {
        let generation = self.generation(now, slot, granted.epoch);
        let asked = self.lease;
        let Some(cell) = self.cells.get_mut(&slot) else {
            return;
        };
        // A router that grants longer than asked for is renewed as asked for.
        let lifetime = granted.lifetime.map(|granted| granted.min(asked));
        cell.held = Some(Held {
            granted,
            since: now,
            expires: lifetime.map(|lifetime| now + lifetime),
            generation,
        });
        cell.due = now + (lifetime.unwrap_or(asked) / 2).max(MIN_RENEWAL);
        cell.failures = 0;
        cell.refusal = None;
    }

    /// How often the router has forgotten everything. When it just did, what it granted before is due.
    fn generation(&mut self, now: Now, slot: Slot, epoch: Option<u32>) -> u32 {
        let Some(seconds) = epoch else { return 0 };
        let epoch = self.epochs.entry(slot.way()).or_default();
        epoch.heard(now, seconds, slot.protocol == Protocol::Pcp);
        let generation = epoch.generation();
        for (other, cell) in &mut self.cells {
            let Some(held) = cell.held.filter(|_| other.way() == slot.way()) else {
                continue;
            };
            if held.generation < generation {
                // Not at once if it was granted just now: a router that makes its epochs up must not keep us busy.
                cell.due = cell.due.min(now.max(held.since + MIN_RENEWAL));
            }
        }
        generation
    }

    fn refused(&mut self, now: Now, slot: Slot, refusal: Refusal) {
        let Some(cell) = self.cells.get_mut(&slot) else {
            return;
        };
        let another_port = slot.protocol == Protocol::Upnp && cell.port + 1 < MAX_PORTS;
        match refusal {
            Refusal::Conflict if another_port => {
                cell.port += 1;
                cell.held = None;
                cell.due = now;
                return;
            }
            Refusal::OnlyPermanent if !cell.permanent => {
                cell.permanent = true;
                cell.due = now;
                return;
            }
            _ => {}
        }
        cell.due = match cell.held.and_then(|held| held.expires) {
            // RFC 6886 §3.3: again at half of what is left.
            Some(expires) => now + (expires.saturating_sub(now) / 2).max(MIN_RENEWAL),
            None => now + retry_after(&mut cell.failures),
        };
        cell.port = 0;
        let due = cell.due;
        let lost = refusal == Refusal::NoAnswer && slot.protocol == Protocol::Upnp;
        cell.refusal = Some(refusal);
        // It may have moved to another port or address: to be looked for again.
        if let Some(finder) = self.finders.get_mut(&slot.way()).filter(|_| lost) {
            finder.found = false;
            finder.due = due;
        }
    }

    /// Others see this machine at this address.
    pub(super) fn seen(&mut self, now: Now, ip: IpAddr) {
        let ip = ip.to_canonical();
        if !is_public(ip) {
            return;
        }
        self.seen[usize::from(ip.is_ipv6())] = Some(ip);
        for (slot, cell) in &mut self.cells {
            let Some(held) = cell.held.filter(|_| slot.want.ipv6 == ip.is_ipv6()) else {
                continue;
            };
            if held.granted.external.is_some_and(|external| external != ip) {
                cell.due = cell.due.min(now.max(held.since + RECHECK));
            }
        }
    }

    fn expire(&mut self, now: Now) {
        for cell in self.cells.values_mut() {
            let over = |held: &Held| held.expires.is_some_and(|expires| expires <= now);
            if cell.held.as_ref().is_some_and(over) && !cell.asking {
                cell.held = None;
                cell.due = now;
            }
        }
    }

    /// The own port, or what was granted before, or one of the ports tried instead: the same ones for UDP and TCP.
    fn suggested_port(&self, slot: Slot) -> u16 {
        let Some(cell) = self.cells.get(&slot) else {
            return self.port;
        };
        match (cell.held, cell.port) {
            (Some(held), _) => held.granted.port,
            (None, 0) => self.port,
            (None, n) => other_port(self.seed, n),
        }
    }

    /// What is mapped, the most preferred first.
    pub(super) fn mappings(&self) -> Vec<Mapping> {
        let mapping = |(slot, cell): (&Slot, &Cell)| {
            let held = cell.held?;
            let family = usize::from(slot.want.ipv6);
            let internal = SocketAddr::new(self.internal[family]?, self.port);
            // A router that keeps its address to itself: others have seen it.
            let ip = held.granted.external.or(self.seen[family])?;
            Some(Mapping {
                method: slot.protocol.method(),
                transport: slot.want.transport,
                external: SocketAddr::new(ip, held.granted.port),
                internal,
                lifetime: held.granted.lifetime,
                verified: match self.seen[family] {
                    _ if !is_public(ip) => Verified::NotPublic,
                    None => Verified::Unconfirmed,
                    Some(seen) if seen == ip => Verified::Confirmed,
                    Some(seen) => Verified::Contradicted { seen },
                },
            })
        };
        self.cells.iter().filter_map(mapping).collect()
    }

    /// How each protocol does.
    pub(super) fn status(&self) -> Vec<MethodStatus> {
        let status = |protocol: Protocol| MethodStatus {
            method: protocol.method(),
            state: self.state(protocol),
        };
        Protocol::ALL.into_iter().map(status).collect()
    }

    /// Of both address families; what went well counts more, then IPv4.
    fn state(&self, protocol: Protocol) -> MethodState {
        let finders = (self.finders.iter()).filter(|(way, _)| way.protocol == protocol);
        let cells = (self.cells.iter()).filter(|(slot, _)| slot.protocol == protocol);
        if finders.clone().next().is_none() {
            return MethodState::Off;
        }
        if cells.clone().any(|(_, cell)| cell.held.is_some()) {
            return MethodState::Mapped;
        }
        let idle = |way: &Way| {
            let mut own = cells.clone().filter(|(slot, _)| slot.way() == *way);
            own.all(|(_, cell)| cell.refusal.is_none() && !cell.asking)
        };
        let is_asked_first = protocol == Protocol::Pcp;
        let available = finders
            .clone()
            .any(|(way, finder)| finder.found && idle(way));
        if available && !is_asked_first {
            return MethodState::Available;
        }
        let not_found = finders.filter_map(|(_, finder)| finder.refusal.clone());
        let not_mapped = cells.filter_map(|(_, cell)| cell.refusal.clone());
        match not_found.chain(not_mapped).next() {
            Some(refusal) => MethodState::Refused(refusal),
            None => MethodState::Asking,
        }
    }

    /// Ends it: nothing more is asked for, and this is to be removed. What routers still answer is returned by [`Leases::answered`].
    pub(super) fn close(&mut self) -> Vec<Removal> {
        self.closing = true;
        let removal = |(slot, cell): (&Slot, &mut Cell)| {
            let held = cell.held.take()?;
            Some(Removal {
                slot: *slot,
                external_port: held.granted.port,
                token: held.granted.token,
            })
        };
        self.cells.iter_mut().filter_map(removal).collect()
    }

    /// What is being asked for.
    pub(super) fn asking(&self) -> impl Iterator<Item = Slot> {
        let asking = self.cells.iter().filter(|(_, cell)| cell.asking);
        asking.map(|(slot, _)| *slot)
    }
}

fn retry_after(failures: &mut u32) -> Duration {
    let after = FIRST_RETRY * 2_u32.pow((*failures).min(10));
    *failures += 1;
    after.min(LAST_RETRY)
}

/// The n-th port that is tried instead, from 1024 on; the splitmix64 generator, so that two machines behind one router differ.
fn other_port(seed: u64, n: u32) -> u16 {
    let mut z = seed.wrapping_add(u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    1024 + ((z ^ (z >> 31)) % (65536 - 1024)) as u16
}

#[cfg(test)]
mod tests;
