//! What the scheduler knows of its peers and of its progress.

use super::{LaneKey, PeerKey, Scheduler};
use std::time::Duration;

/// Figures of one peer.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PeerStats {
    /// Goodput of its active lanes while they were asked for something, bytes a second.
    pub rate: f64,
    /// Least round-trip time seen lately.
    pub rtt: Option<Duration>,
    /// Content bytes received.
    pub received: u64,
    /// Bytes of chunks that this peer was first to deliver, verified.
    pub verified: u64,
    /// Bytes received in vain: another was first.
    pub wasted: u64,
    /// Bytes asked for and not received.
    pub in_flight: u64,
    /// Requests unanswered.
    pub requests: u32,
    /// Lanes that are up.
    pub lanes: u32,
}

impl Scheduler {
    /// Whether all chunks are here.
    pub const fn is_done(&self) -> bool {
        self.queue.left() == 0
    }

    /// Chunks still missing.
    pub const fn left(&self) -> u64 {
        self.queue.left()
    }

    /// The first wanted chunk that no present peer can supply.
    pub fn stuck(&self) -> Option<u64> {
        let present = || self.peers.values().filter(|peer| !peer.lanes.is_empty());
        self.queue
            .first_without(|group| present().any(|peer| peer.holding.has(group)))
    }

    /// The lane that carries most of a peer's data.
    pub fn active_lane(&self, peer: PeerKey) -> Option<LaneKey> {
        self.peers.get(&peer)?.active.first().copied()
    }

    /// The figures of a peer, also of one that has left.
    pub fn peer_stats(&self, peer: PeerKey) -> Option<PeerStats> {
        let record = self.peers.get(&peer)?;
        let mut stats = PeerStats {
            rate: record.total(&self.lanes),
            received: record.received,
            verified: record.verified,
            lanes: record.lanes.len() as u32,
            ..PeerStats::default()
        };
        let mut awaited = 0;
        for lane in record.lanes.iter().filter_map(|key| self.lanes.get(key)) {
            stats.rtt = [stats.rtt, lane.rtt()].into_iter().flatten().min();
            stats.received += lane.received;
            stats.verified += lane.verified;
            stats.in_flight += lane.in_flight;
            stats.requests += u32::from(lane.slots);
            awaited += self.flight.awaited(&lane.order, &*self.chunk_len.0);
        }
        stats.wasted = stats.received.saturating_sub(stats.verified + awaited);
        Some(stats)
    }

    /// All peers that were ever named, with their figures.
    pub fn peers(&self) -> impl Iterator<Item = (PeerKey, PeerStats)> + '_ {
        self.peers
            .keys()
            .filter_map(|key| Some((*key, self.peer_stats(*key)?)))
    }

    /// Bytes of a second that the active lanes deliver together.
    pub fn rate(&self) -> f64 {
        self.peers
            .values()
            .map(|peer| peer.total(&self.lanes))
            .sum()
    }
}
