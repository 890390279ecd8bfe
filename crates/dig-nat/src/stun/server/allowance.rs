//! How many answers each network still gets.

use super::ServerLimits;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Bits of an IPv6 address that name a network: what one customer usually gets.
const IPV6_NETWORK: u32 = 56;

/// One token bucket a network, a limited number of networks, and one bucket for all the others.
#[derive(Debug)]
pub(crate) struct Allowance {
    limits: ServerLimits,
    networks: BTreeMap<IpAddr, Bucket>,
    others: Bucket,
    /// Networks that may have become idle are looked for at most once a second.
    swept: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In thousandths of an answer.
    left: u64,
    at: Duration,
}

impl Bucket {
    fn full(now: Duration, limits: &ServerLimits) -> Self {
        Self {
            left: u64::from(limits.burst) * 1000,
            at: now,
        }
    }

    fn refill(&mut self, now: Duration, limits: &ServerLimits) -> u64 {
        let millis = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        let more = millis.saturating_mul(u64::from(limits.per_second));
        self.left = self
            .left
            .saturating_add(more)
            .min(u64::from(limits.burst) * 1000);
        self.at += Duration::from_millis(millis);
        self.left
    }

    fn take(&mut self, now: Duration, limits: &ServerLimits) -> bool {
        if self.refill(now, limits) < 1000 {
            return false;
        }
        self.left -= 1000;
        true
    }
}

impl Allowance {
    pub(crate) fn new(limits: ServerLimits) -> Self {
        Self {
            limits,
            networks: BTreeMap::new(),
            others: Bucket::full(Duration::ZERO, &limits),
            swept: Duration::ZERO,
        }
    }

    /// Takes one answer from the allowance of this address's network.
    pub(crate) fn take(&mut self, now: Duration, source: IpAddr) -> bool {
        let network = customer(source);
        if !self.networks.contains_key(&network) && !self.has_room(now) {
            return self.others.take(now, &self.limits);
        }
        let fresh = Bucket::full(now, &self.limits);
        self.networks
            .entry(network)
            .or_insert(fresh)
            .take(now, &self.limits)
    }

    /// Forgets networks whose allowance is whole again: a new bucket would be the same.
    fn has_room(&mut self, now: Duration) -> bool {
        if self.networks.len() < self.limits.networks {
            return true;
        }
        if now.saturating_sub(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            let (limits, whole) = (self.limits, u64::from(self.limits.burst) * 1000);
            self.networks
                .retain(|_, bucket| bucket.refill(now, &limits) < whole);
        }
        self.networks.len() < self.limits.networks
    }
}

/// The network of whoever has this address: an IPv4 address, or an IPv6 /56.
pub(crate) fn customer(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(
            ip.to_bits() & (u128::MAX << (128 - IPV6_NETWORK)),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(networks: usize) -> Allowance {
        Allowance::new(ServerLimits {
            per_second: 10,
            burst: 20,
            networks,
        })
    }

    fn taken(allowance: &mut Allowance, now: Duration, ip: &str) -> usize {
        (0..1000)
            .filter(|_| allowance.take(now, ip.parse().unwrap()))
            .count()
    }

    #[test]
    fn one_network_gets_its_burst_and_then_its_rate() {
        let mut allowance = allowance(8);
        let start = Duration::from_secs(5);
        assert_eq!(taken(&mut allowance, start, "192.0.2.1"), 20);
        assert_eq!(
            taken(
                &mut allowance,
                start + Duration::from_millis(500),
                "192.0.2.1"
            ),
            5
        );
        assert_eq!(taken(&mut allowance, start, "192.0.2.2"), 20);
        assert_eq!(
            taken(&mut allowance, start + Duration::from_secs(60), "192.0.2.1"),
            20
        );
    }

    #[test]
    fn the_addresses_of_an_ipv6_customer_share_an_allowance() {
        let mut allowance = allowance(8);
        assert_eq!(
            taken(&mut allowance, Duration::ZERO, "2001:db8:0:11::1"),
            20
        );
        assert_eq!(taken(&mut allowance, Duration::ZERO, "2001:db8:0:22::2"), 0);
        assert_eq!(
            taken(&mut allowance, Duration::ZERO, "2001:db8:0:122::2"),
            20
        );
    }

    #[test]
    fn a_flood_of_sources_takes_bounded_memory_and_passes() {
        let mut allowance = allowance(8);
        let answered: usize = (0..100)
            .map(|n| taken(&mut allowance, Duration::ZERO, &format!("192.0.2.{n}")))
            .sum();
        assert_eq!(
            answered,
            8 * 20 + 20,
            "eight networks, and one allowance for all the others"
        );
        assert_eq!(allowance.networks.len(), 8);
        assert_eq!(
            taken(&mut allowance, Duration::from_secs(30), "192.0.2.99"),
            20
        );
        assert!(allowance.networks.len() <= 8);
    }
}
