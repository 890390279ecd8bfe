//! A carrier in memory that loses, repeats, delays and reorders, for tests and simulation.

use super::{MAX_SIGNAL, Observed, Signal, SignalError, Signaling};
use bytes::Bytes;
use dig_types::NodeId;
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How a [`MemoryCarrier`] treats messages.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryConfig {
    /// Part of the messages that are lost, 0 to 1. Default 0.
    pub loss: f64,
    /// Part of the messages that arrive twice, each with a delay of its own, 0 to 1. Default 0.
    pub duplicate: f64,
    /// How long a message takes; a range reorders. Default none.
    pub delay: RangeInclusive<Duration>,
    /// The same seed, the same fates. Default 0.
    pub seed: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            loss: 0.0,
            duplicate: 0.0,
            delay: Duration::ZERO..=Duration::ZERO,
            seed: 0,
        }
    }
}

/// A node at a [`MemoryCarrier`].
#[derive(Debug)]
struct Member {
    prekey: Bytes,
    observed: Vec<Observed>,
    /// By when it arrives, then by when it was sent.
    inbox: BTreeMap<(Duration, u64), Signal>,
}

/// Carries messages between nodes in memory; sans-IO, so a simulation can hold it on its own clock.
#[derive(Debug)]
pub struct MemoryCarrier {
    config: MemoryConfig,
    random: u64,
    sent: u64,
    members: BTreeMap<NodeId, Member>,
}

impl MemoryCarrier {
    /// Messages that wait for one node; what comes beyond is lost.
    pub const MAX_WAITING: usize = 4096;

    /// A carrier that treats messages so.
    pub const fn new(config: MemoryConfig) -> Self {
        Self {
            random: config.seed,
            config,
            sent: 0,
            members: BTreeMap::new(),
        }
    }

    /// A node joins, or changes its prekey or where it is seen.
    pub fn join(&mut self, node: NodeId, prekey: Bytes, observed: Vec<Observed>) {
        let inbox = self.members.remove(&node).map(|member| member.inbox);
        let member = Member {
            prekey,
            observed,
            inbox: inbox.unwrap_or_default(),
        };
        self.members.insert(node, member);
    }

    /// A node leaves; what waits for it is lost.
    pub fn leave(&mut self, node: NodeId) {
        self.members.remove(&node);
    }

    /// The prekey that a node published.
    pub fn prekey(&self, of: NodeId) -> Result<Bytes, SignalError> {
        let member = self.members.get(&of).ok_or(SignalError::NotFound(of))?;
        Ok(member.prekey.clone())
    }

    /// Takes a message on its way.
    pub fn send(
        &mut self,
        now: Duration,
        from: NodeId,
        to: NodeId,
        message: Bytes,
    ) -> Result<(), SignalError> {
        if message.len() > MAX_SIGNAL {
            return Err(SignalError::TooLarge);
        }
        let sender = self.members.get(&from).ok_or(SignalError::NoCarrier)?;
        let signal = Signal {
            from: Some(from),
            observed: sender.observed.clone(),
            bytes: message,
        };
        if !self.members.contains_key(&to) {
            return Err(SignalError::NotFound(to));
        }
        let copies = if self.chance(self.config.loss) {
            0
        } else {
            1 + u8::from(self.chance(self.config.duplicate))
        };
        for _ in 0..copies {
            let arrives = now + self.delay();
            self.sent += 1;
            let key = (arrives, self.sent);
            if let Some(member) = self.members.get_mut(&to)
                && member.inbox.len() < Self::MAX_WAITING
            {
                member.inbox.insert(key, signal.clone());
            }
        }
        Ok(())
    }

    /// The next message that has arrived for a node.
    pub fn receive(&mut self, now: Duration, node: NodeId) -> Option<Signal> {
        let inbox = &mut self.members.get_mut(&node)?.inbox;
        let first = inbox.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }

    /// When the next message arrives for a node.
    pub fn next_arrival(&self, node: NodeId) -> Option<Duration> {
        let (key, _) = self.members.get(&node)?.inbox.first_key_value()?;
        Some(key.0)
    }

    fn chance(&mut self, part: f64) -> bool {
        // 32 bits of the number are exact in a float.
        let drawn = f64::from((self.draw() >> 32) as u32) / f64::from(u32::MAX);
        drawn < part
    }

    fn delay(&mut self) -> Duration {
        let (least, most) = (*self.config.delay.start(), *self.config.delay.end());
        let span = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.draw() % span.saturating_add(1).max(1))
    }

    /// SplitMix64: enough to choose fates, and the same everywhere.
    const fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

/// A [`MemoryCarrier`] that several tasks share, on tokio's clock (which tests may pause).
#[derive(Debug, Clone)]
pub struct MemoryNetwork {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    started: Instant,
    carrier: Mutex<MemoryCarrier>,
    changed: Notify,
}

impl MemoryNetwork {
    /// A network whose carrier treats messages so.
    pub fn new(config: MemoryConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                started: Instant::now(),
                carrier: Mutex::new(MemoryCarrier::new(config)),
                changed: Notify::new(),
            }),
        }
    }

    /// A node joins: its end of the carrier.
    pub fn join(&self, node: NodeId, prekey: Bytes, observed: Vec<Observed>) -> MemorySignaling {
        self.shared.carrier().join(node, prekey, observed);
        MemorySignaling {
            node,
            shared: Arc::clone(&self.shared),
        }
    }

    /// A node leaves: it is not found any more, and its [`receive`](Signaling::receive) ends.
    pub fn leave(&self, node: NodeId) {
        self.shared.carrier().leave(node);
        self.shared.changed.notify_waiters();
    }
}

impl Shared {
    fn carrier(&self) -> MutexGuard<'_, MemoryCarrier> {
        self.carrier.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's end of a [`MemoryNetwork`].
#[derive(Debug)]
pub struct MemorySignaling {
    node: NodeId,
    shared: Arc<Shared>,
}

impl Signaling for MemorySignaling {
    fn send(&self, to: NodeId, message: Bytes) -> BoxFuture<'_, Result<(), SignalError>> {
        let now = self.shared.started.elapsed();
        let sent = self.shared.carrier().send(now, self.node, to, message);
        self.shared.changed.notify_waiters();
        Box::pin(async { sent })
    }

    fn receive(&self) -> BoxFuture<'_, Option<Signal>> {
        Box::pin(async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                // Before looking, so that nothing sent in between is missed.
                changed.as_mut().enable();
                let next = {
                    let mut carrier = self.shared.carrier();
                    let now = self.shared.started.elapsed();
                    if let Some(signal) = carrier.receive(now, self.node) {
                        return Some(signal);
                    }
                    if !carrier.members.contains_key(&self.node) {
                        return None;
                    }
                    carrier.next_arrival(self.node)
                };
                match next {
                    Some(arrival) => {
                        let at = self.shared.started + arrival;
                        let _ = tokio::time::timeout_at(at, changed).await;
                    }
                    None => changed.await,
                }
            }
        })
    }

    fn prekey(&self, of: NodeId) -> BoxFuture<'_, Result<Bytes, SignalError>> {
        let prekey = self.shared.carrier().prekey(of);
        Box::pin(async { prekey })
    }
}

#[cfg(test)]
mod tests;
