//! What a download may ask of the scheduler, and the values that cross its border.

use crate::chunk::{GROUP_CHUNKS, Run};
use std::time::Duration;

/// Monotonic time since any start; only differences matter.
pub type Now = Duration;

/// A lane, as the caller numbers them. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneKey(pub u64);

/// A peer, as the caller numbers them: all lanes of one node and instance share one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerKey(pub u64);

/// Which chunks are asked for first (whitepaper 6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// What the present peers would otherwise finish last; in order where all hold the same. Shortest total time.
    #[default]
    FastestAvailable,
    /// What the fewest peers hold, ties at random: many downloaders of one source then soon hold different parts.
    RarestFirst,
    /// The lowest first, and the first missing chunks hedged: for whoever reads while it downloads.
    Sequential,
}

/// The knobs of a [`Scheduler`](super::Scheduler).
#[derive(Debug, Clone)]
pub struct SchedulerConfig {
    /// What is asked for first. Default [`Strategy::FastestAvailable`].
    pub strategy: Strategy,
    /// Chunks of the longest request, 1 to 16 (the whitepaper's `chunkSize`). Default 16: 1 MiB, a full batch for the
    /// hashing of 16 chunks at once.
    pub request_chunks: u8,
    /// Bytes asked for and not verified yet, over all lanes. Default 24 MiB: 240 MB/s at 0.1 s, or 40 ms at 600 MB/s;
    /// it also bounds the queues of hashing and writing.
    pub max_in_flight: u64,
    /// Requests unanswered over all lanes (whitepaper 6.1 `concurrency`). Default none: windows adapt.
    pub concurrency: Option<u32>,
    /// Requests unanswered for each peer (whitepaper 6.2 `peerConcurrency`). Default none.
    pub peer_concurrency: Option<u32>,
    /// Bytes a second that are asked for. Default none.
    pub rate_limit: Option<u64>,
    /// First missing chunks that are hedged when [`Strategy::Sequential`]. Default 64 (4 MiB): 40 ms of a 100 MB/s
    /// reader (measured best at 32 to 64).
    pub head_chunks: u64,
    /// How many chunks beyond the first missing one may be asked for: bounds the buffer of a writer that needs order.
    /// Default none.
    pub max_ahead: Option<u64>,
    /// Lanes of one peer that carry data at a time. Default 4; more never helped.
    pub max_active_lanes: u8,
    /// Decides ties. Default 0; two downloads with the same seed and events ask for the same.
    pub seed: u64,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            request_chunks: 16,
            max_in_flight: 24 << 20,
            concurrency: None,
            peer_concurrency: None,
            rate_limit: None,
            head_chunks: 64,
            max_ahead: None,
            max_active_lanes: 4,
            seed: 0,
        }
    }
}

impl SchedulerConfig {
    /// The longest request, whatever was configured.
    pub(super) fn longest_run(&self) -> u8 {
        self.request_chunks.clamp(1, GROUP_CHUNKS as u8)
    }
}

/// What is known of a lane when it comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneTraits {
    /// Requests that the other side takes unanswered; three quarters of them are used, the rest is for other frames.
    pub max_requests: u16,
    /// Round-trip time, where the session measured one.
    pub rtt: Option<Duration>,
    /// What a byte costs on this carrier, 0 the least: TLS/TCP 0, QUIC 1, relayed 2.
    pub carrier_rank: u8,
}

impl LaneTraits {
    /// The [`carrier_rank`](Self::carrier_rank) of relayed lanes.
    pub const RELAYED: u8 = 2;

    /// Whether a relay stands between: such a lane never leads because it is faster, as it costs others.
    pub(super) const fn is_relayed(&self) -> bool {
        self.carrier_rank >= Self::RELAYED
    }
}

/// Why a request was not answered with data. None of these proves a peer false.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A partial holder lacks the group; not asked again until it says that it gained it.
    NotHere,
    /// Asked too much; not asked again for so long.
    Busy(Duration),
    /// The request was cancelled, by us or by the peer.
    Cancelled,
    /// The peer has the content no longer, or holds another form of it by now.
    Gone,
}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Ask for a run.
    Request {
        /// On which lane.
        lane: LaneKey,
        /// The name of the request in later calls; never 0, unique over all lanes.
        request: u32,
        /// The chunks.
        run: Run,
    },
    /// What is still to come of this request is not wanted.
    Cancel {
        /// The lane it was asked on.
        lane: LaneKey,
        /// The request.
        request: u32,
    },
    /// The bulk of this peer's data now goes over this lane. Nothing to do but to report it.
    Active {
        /// The peer.
        peer: PeerKey,
        /// Its lane.
        lane: LaneKey,
    },
    /// The lane has been silent for long; its work was given to others. Nothing to do but to report it.
    Stalled {
        /// The lane.
        lane: LaneKey,
    },
    /// The lane is quiet: ask for a sign of life, and report it with [`Scheduler::alive`](super::Scheduler::alive).
    Ping {
        /// Which.
        lane: LaneKey,
    },
    /// The lane has been silent for 10 s, and so has every other of its peer: a new lane to that peer may serve better.
    Redial {
        /// The silent lane.
        lane: LaneKey,
    },
}
