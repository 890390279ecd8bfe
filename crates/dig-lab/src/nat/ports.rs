//! Which outside port a new mapping gets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use super::Allocation;
use super::table::Table;
use crate::packet::Protocol;

/// Draws before looking at every port in order: with half of them taken, 64 draws miss once in 2^64.
const DRAWS: usize = 64;

/// The allocator.
#[derive(Debug)]
pub(super) struct Ports {
    allocation: Allocation,
    range: RangeInclusive<u16>,
    rng: fastrand::Rng,
    /// Of sequential allocation, the last port given out on each address.
    last: HashMap<(Protocol, IpAddr), u16>,
}

impl Ports {
    pub(super) fn new(allocation: Allocation, range: RangeInclusive<u16>, seed: u64) -> Self {
        Self {
            allocation,
            range,
            rng: fastrand::Rng::with_seed(seed),
            last: HashMap::new(),
        }
    }

    /// A free end on `address` whose pair with `remote` the router does not hold itself. `wish` is the inside port.
    pub(super) fn take(
        &mut self,
        table: &Table,
        protocol: Protocol,
        address: IpAddr,
        remote: SocketAddr,
        wish: Option<u16>,
    ) -> Option<SocketAddr> {
        let free = |port: u16| {
            let end = SocketAddr::new(address, port);
            (table.at(protocol, end).is_none() && !table.poisoned(protocol, end, remote))
                .then_some(end)
        };
        match self.allocation {
            Allocation::Sequential { delta } => {
                let last = *self
                    .last
                    .entry((protocol, address))
                    .or_insert_with(|| self.rng.u16(self.range.clone()));
                let found = steps(last, delta, &self.range).find_map(free)?;
                self.last.insert((protocol, address), found.port());
                Some(found)
            }
            Allocation::Preserve | Allocation::Random => {
                let kept = wish
                    .filter(|port| {
                        self.allocation == Allocation::Preserve && self.range.contains(port)
                    })
                    .and_then(free);
                if kept.is_some() {
                    return kept;
                }
                let drawn = (0..DRAWS).find_map(|_| free(self.rng.u16(self.range.clone())));
                drawn.or_else(|| {
                    steps(self.rng.u16(self.range.clone()), 1, &self.range).find_map(free)
                })
            }
        }
    }
}

/// The ports after `last`, `delta` apart, around the range; once around, every port where `delta` is 1.
fn steps(last: u16, delta: i16, range: &RangeInclusive<u16>) -> impl Iterator<Item = u16> + use<> {
    let low = i64::from(*range.start());
    let count = (i64::from(*range.end()) - low + 1).max(1);
    let delta = if delta == 0 { 1 } else { i64::from(delta) };
    (1..=count).map(move |step| {
        let port = low + (i64::from(last) - low + step * delta).rem_euclid(count);
        u16::try_from(port).unwrap_or(u16::MAX)
    })
}
