//! A link with delay, jitter, loss, a rate and reordering, as a state machine: packets and the time go in, packets
//! come out when they are due.
//!
//! The order of things is that of a real line: a packet is lost or not, waits until the line has sent what was before
//! it (or finds the buffer full), is sent at the line's rate, and travels. Packets keep their order, whatever the
//! jitter, except those chosen to be held back. The same seed and the same packets at the same times give the same
//! result.

use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// Time since any start, monotonic.
pub type Now = Duration;

/// Bytes that may be on the way at once; what comes on top is lost. 64 MiB is 2.5 Gbit/s at 200 ms.
const IN_FLIGHT: usize = 64 << 20;

/// One direction of a link. The default is perfect: no delay, no loss, no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Time on the way.
    pub delay: Duration,
    /// The time on the way varies evenly by this much to either side.
    pub jitter: Duration,
    /// Part of the packets that is lost, 0 to 1.
    pub loss: f64,
    /// Bytes a second; `None` is no limit.
    pub rate: Option<u64>,
    /// Bytes that a busy line holds until it has sent them; what comes on top is lost. 256 KiB. Without effect
    /// without a rate.
    pub queue: usize,
    /// Part of the packets that is held back, so that later ones overtake them, 0 to 1.
    pub reorder: f64,
    /// How long those are held back. 5 ms.
    pub hold: Duration,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            rate: None,
            queue: 256 << 10,
            reorder: 0.0,
            hold: Duration::from_millis(5),
        }
    }
}

impl Link {
    /// A link with nothing but a delay.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// The same link with jitter.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same link that loses this part of its packets.
    #[must_use]
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same link with a rate in bytes a second.
    #[must_use]
    pub fn with_rate(self, rate: u64) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }

    /// The same link that holds back this part of its packets.
    #[must_use]
    pub fn with_reorder(self, reorder: f64) -> Self {
        Self { reorder, ..self }
    }

    /// Whether every packet of the wire counts by itself. If not, the kernel's aggregates of segments may pass whole.
    #[must_use]
    pub fn counts_packets(&self) -> bool {
        self.loss > 0.0 || self.rate.is_some() || self.reorder > 0.0
    }
}

/// What a link did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Packets that went in.
    pub offered: u64,
    /// Packets that came out.
    pub delivered: u64,
    /// Packets lost by chance.
    pub lost: u64,
    /// Packets that found the buffer full.
    pub overflowed: u64,
}

/// One direction of a link at work, with packets of any kind.
#[derive(Debug)]
pub struct Emulator<P> {
    link: Link,
    rng: fastrand::Rng,
    /// By arrival, then by departure.
    way: BTreeMap<(Now, u64), (usize, P)>,
    in_flight: usize,
    sent: u64,
    /// When the line has sent everything that was put on it.
    idle_at: Now,
    /// Nothing that keeps its order arrives before this.
    last_arrival: Now,
    tally: Tally,
}

impl<P> Emulator<P> {
    /// An idle link. `seed` decides what is lost, held back, and the jitter.
    #[must_use]
    pub fn new(link: Link, seed: u64) -> Self {
        Self {
            link,
            rng: fastrand::Rng::with_seed(seed),
            way: BTreeMap::new(),
            in_flight: 0,
            sent: 0,
            idle_at: Now::ZERO,
            last_arrival: Now::ZERO,
            tally: Tally::default(),
        }
    }

    /// Makes it another link for what is yet to come. What is on the way arrives as it would have.
    pub fn set(&mut self, link: Link) {
        self.link = link;
    }

    /// What kind of link it is now.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// What it did so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Puts a packet of `size` bytes on the link. Says whether it will arrive.
    pub fn push(&mut self, now: Now, size: usize, packet: P) -> bool {
        self.tally.offered += 1;
        if self.link.loss > 0.0 && self.rng.f64() < self.link.loss {
            self.tally.lost += 1;
            return false;
        }
        if self.in_flight + size > IN_FLIGHT {
            self.tally.overflowed += 1;
            return false;
        }
        let departure = match self.link.rate {
            None => now,
            Some(rate) => {
                let start = now.max(self.idle_at);
                let waiting = (start - now).as_secs_f64() * rate as f64;
                if start > now && waiting + size as f64 > self.link.queue as f64 {
                    self.tally.overflowed += 1;
                    return false;
                }
                self.idle_at = start + Duration::from_secs_f64(size as f64 / rate.max(1) as f64);
                self.idle_at
            }
        };
        let arrival = self.arrival(departure);
        self.in_flight += size;
        self.sent += 1;
        self.way.insert((arrival, self.sent), (size, packet));
        true
    }

    fn arrival(&mut self, departure: Now) -> Now {
        let jitter = self.link.jitter;
        let mut travel = self.link.delay;
        if !jitter.is_zero() {
            travel = (travel + jitter.mul_f64(2.0 * self.rng.f64())).saturating_sub(jitter);
        }
        let arrival = (departure + travel).max(self.last_arrival);
        if self.link.reorder > 0.0 && self.rng.f64() < self.link.reorder {
            return arrival + self.link.hold;
        }
        self.last_arrival = arrival;
        arrival
    }

    /// The next packet that has arrived by `now`.
    pub fn poll(&mut self, now: Now) -> Option<P> {
        let first = self.way.first_entry()?;
        if first.key().0 > now {
            return None;
        }
        let (size, packet) = first.remove();
        self.in_flight -= size;
        self.tally.delivered += 1;
        Some(packet)
    }

    /// When the next packet arrives.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Now> {
        self.way.keys().next().map(|(arrival, _)| *arrival)
    }
}
