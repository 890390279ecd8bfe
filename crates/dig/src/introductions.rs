//! Rendezvous over lanes (`docs/protocol.md` §13): this node introduces peers that have lanes to it, and is introduced by
//! those that it registers with.

use bytes::Bytes;
use dig_nat::{
    rendezvous::{Broker, BrokerLimits, LaneId, RendezvousSignaling, frame::Addressee},
    signaling::Observed,
};
use dig_session::{LaneInfo, LaneSender, Transport};
use dig_types::{Frame, NodeId};
use futures::FutureExt as _;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// The rendezvous of a node, on both sides of it. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Introductions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    next: AtomicU64,
    table: Mutex<Table>,
    signaling: Arc<RendezvousSignaling>,
}

#[derive(Debug)]
struct Table {
    broker: Broker,
    lanes: BTreeMap<LaneId, LaneSender>,
}

impl Introductions {
    /// Publishes this signed prekey wherever the node registers; `discreet`: nobody there is to tell where it comes from.
    pub(crate) fn new(prekey: Bytes, discreet: bool) -> Self {
        let signaling = match discreet {
            true => RendezvousSignaling::discreet(prekey),
            false => RendezvousSignaling::new(prekey),
        };
        Self(Arc::new(Inner {
            started: Instant::now(),
            next: AtomicU64::new(0),
            table: Mutex::new(Table {
                broker: Broker::new(BrokerLimits::default()),
                lanes: BTreeMap::new(),
            }),
            signaling: Arc::new(signaling),
        }))
    }

    /// The carrier of this node's own signals.
    pub(crate) fn signaling(&self) -> &Arc<RendezvousSignaling> {
        &self.0.signaling
    }

    /// A lane is up; whoever is at its other end may register here.
    pub(crate) fn joined(&self, sender: &LaneSender) -> LaneId {
        let lane = LaneId(self.0.next.fetch_add(1, Ordering::Relaxed));
        let info = sender.info();
        let mut table = self.table();
        if let Some(observed) = observed(info) {
            let now = self.0.started.elapsed();
            (table.broker).lane_up(now, lane, info.node, info.instance, observed);
        }
        table.lanes.insert(lane, sender.clone());
        lane
    }

    /// Registers with whoever is at the other end of a lane.
    pub(crate) fn register(&self, lane: LaneId) {
        let sender = self.table().lanes.get(&lane).cloned();
        if let Some(sender) = sender {
            let node = sender.info().node;
            let send = move |frame| offer(&sender, frame);
            self.0.signaling.lane_up(lane, node, send);
        }
    }

    /// Where a rendezvous peer sees this node.
    pub(crate) fn observed_by(&self, carrier: NodeId) -> Vec<Observed> {
        let observed = self.0.signaling.observed();
        let table = self.table();
        let of_it = |lane: &LaneId| {
            let sender = table.lanes.get(lane);
            sender.is_some_and(|sender| sender.info().node == carrier)
        };
        let observed = observed.into_iter().filter(|(lane, _)| of_it(lane));
        observed.map(|(_, observed)| observed).collect()
    }

    /// Where a rendezvous peer is.
    pub(crate) fn addr_of(&self, carrier: NodeId) -> Option<SocketAddr> {
        let table = self.table();
        let mut lanes = table.lanes.values();
        let lane = lanes.find(|lane| lane.info().node == carrier)?;
        let remote = lane.info().remote?;
        Some(SocketAddr::new(remote.ip().to_canonical(), remote.port()))
    }

    /// A lane is gone.
    pub(crate) fn left(&self, lane: LaneId) {
        let mut table = self.table();
        table.broker.lane_down(lane);
        table.lanes.remove(&lane);
        drop(table);
        self.0.signaling.lane_down(lane);
    }

    /// Takes a frame that came on a lane; whether it was one of a rendezvous.
    pub(crate) fn take(&self, lane: LaneId, frame: &Frame) -> bool {
        match Addressee::of(frame.kind) {
            Some(Addressee::Client) => {
                self.0.signaling.on_frame(lane, frame);
            }
            Some(Addressee::Broker) => {
                let now = self.0.started.elapsed();
                let mut table = self.table();
                // QUIC's other end may have moved.
                let seen = table.lanes.get(&lane).and_then(seen_now);
                if let Some(observed) = seen {
                    table.broker.lane_moved(lane, observed);
                }
                for (to, frame) in table.broker.on_frame(now, lane, frame) {
                    if let Some(sender) = table.lanes.get(&to) {
                        offer(sender, frame);
                    }
                }
            }
            None => return false,
        }
        true
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a frame unless the lane is full: signals may be lost, and whoever reads nothing must not hold up others.
fn offer(sender: &LaneSender, frame: Frame) {
    if sender.send(frame).now_or_never().is_none() {
        tracing::debug!(peer = %sender.info().node.short(), "a signal was dropped: the lane is full");
    }
}

/// Where a peer was seen to come from when its lane came up.
fn observed(info: &LaneInfo) -> Option<Observed> {
    Some(seen_at(info, info.remote?))
}

/// Where it is now.
fn seen_now(sender: &LaneSender) -> Option<Observed> {
    Some(seen_at(sender.info(), sender.remote()?))
}

fn seen_at(info: &LaneInfo, remote: SocketAddr) -> Observed {
    Observed {
        transport: match info.transport {
            Transport::Quic => dig_types::Transport::Udp,
            _ => dig_types::Transport::Tcp,
        },
        addr: SocketAddr::new(remote.ip().to_canonical(), remote.port()),
    }
}
