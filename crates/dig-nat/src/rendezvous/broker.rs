//! The peer in the middle.

use super::{
    LaneId,
    frame::{Addressee, Message, Status},
};
use crate::signaling::{
    Observed, Signal,
    bucket::{Bucket, Rate},
};
use bytes::Bytes;
use dig_types::{Frame, InstanceId, NodeId};
use std::{collections::BTreeMap, time::Duration};

/// What a [`Broker`] does for others at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Nodes that may be registered at a time. Default 4096, at 2 KiB each: more than the 1,000 inbound lanes of a node.
    pub registered: usize,
    /// Requests a second of one lane. Default 16: two attempts at a time send 4 a second each, with room.
    pub lane_per_second: u32,
    /// Messages a second between two nodes, in one direction. Default 8: an attempt repeats itself twice a second.
    pub pair_per_second: u32,
    /// Messages a second to one node, from all together. Default 64: what a popular host takes, 2 Mbit/s at worst.
    pub recipient_per_second: u32,
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            registered: 4096,
            lane_per_second: 16,
            pair_per_second: 8,
            recipient_per_second: 64,
        }
    }
}

/// Twice the rate may come at once.
const fn rate(per_second: u32) -> Rate {
    Rate {
        per_second,
        burst: per_second.saturating_mul(2),
    }
}

/// How often counts of pairs that mean nothing any more are dropped.
const PURGE: Duration = Duration::from_secs(1);

/// How long whoever was too fast is asked to wait: two messages of a pair come back in it.
const WAIT: Duration = Duration::from_millis(250);

/// A lane to this peer.
#[derive(Debug)]
struct Lane {
    node: NodeId,
    instance: InstanceId,
    observed: Observed,
    registered: bool,
    /// Nobody is to be told where it comes from.
    discreet: bool,
    requests: Bucket,
}

/// A node that may be found and introduced.
#[derive(Debug)]
struct Registered {
    prekey: Bytes,
    /// Oldest registration first.
    lanes: Vec<LaneId>,
    inbox: Bucket,
}

/// Introduces nodes that have lanes to this one to each other; sans-IO.
///
/// It reads neither prekeys nor messages. Each frame given to [`on_frame`](Self::on_frame) causes at most one answer and, for
/// `INTRODUCE`, one frame to each running program of the recipient (at most [`MAX_PROGRAMS`](Self::MAX_PROGRAMS)).
#[derive(Debug)]
pub struct Broker {
    limits: BrokerLimits,
    lanes: BTreeMap<LaneId, Lane>,
    /// The lanes of each program of each node, oldest first.
    programs: BTreeMap<(NodeId, InstanceId), Vec<LaneId>>,
    nodes: BTreeMap<NodeId, Registered>,
    /// Of the last seconds only: who has not sent of late has a full bucket, as one who never did. So each lane has at
    /// most as many as it sends in that time.
    pairs: BTreeMap<(NodeId, NodeId), Bucket>,
    purged: Duration,
}

impl Broker {
    /// Programs of one node that a message goes to: most have one, a home with several processes more.
    pub const MAX_PROGRAMS: usize = 4;

    /// Introduces within limits.
    pub const fn new(limits: BrokerLimits) -> Self {
        Self {
            limits,
            lanes: BTreeMap::new(),
            programs: BTreeMap::new(),
            nodes: BTreeMap::new(),
            pairs: BTreeMap::new(),
            purged: Duration::ZERO,
        }
    }

    /// A lane has come up: to whom, and where it comes from.
    pub fn lane_up(
        &mut self,
        now: Duration,
        lane: LaneId,
        node: NodeId,
        instance: InstanceId,
        observed: Observed,
    ) {
        self.lane_down(lane);
        let program = self.programs.entry((node, instance)).or_default();
        program.push(lane);
        let requests = Bucket::full(now, rate(self.limits.lane_per_second));
        self.lanes.insert(
            lane,
            Lane {
                node,
                instance,
                observed,
                registered: false,
                discreet: false,
                requests,
            },
        );
    }

    /// A lane is gone; the node stays registered while another registered lane is up.
    pub fn lane_down(&mut self, lane: LaneId) {
        self.unregister(lane);
        let Some(gone) = self.lanes.remove(&lane) else {
            return;
        };
        let program = (gone.node, gone.instance);
        if let Some(lanes) = self.programs.get_mut(&program) {
            lanes.retain(|&other| other != lane);
            if lanes.is_empty() {
                self.programs.remove(&program);
            }
        }
    }

    /// Where a lane moved to (QUIC can change its path).
    pub fn lane_moved(&mut self, lane: LaneId, observed: Observed) {
        if let Some(lane) = self.lanes.get_mut(&lane) {
            lane.observed = observed;
        }
    }

    /// Nodes that are registered.
    pub fn registered(&self) -> usize {
        self.nodes.len()
    }

    /// A frame came: what to send on which lane. Frames that are not for a broker cause nothing.
    pub fn on_frame(&mut self, now: Duration, from: LaneId, frame: &Frame) -> Vec<(LaneId, Frame)> {
        if Addressee::of(frame.kind) != Some(Addressee::Broker) {
            return Vec::new();
        }
        let limit = rate(self.limits.lane_per_second);
        let Some(lane) = self.lanes.get_mut(&from) else {
            return Vec::new();
        };
        let node = lane.node;
        let mut out = Vec::new();
        let status = if lane.requests.take(now, limit) {
            match Message::decode(frame) {
                Ok(Some(Message::Register { prekey, discreet })) => {
                    lane.discreet = discreet;
                    self.register(now, from, prekey)
                }
                Ok(Some(Message::Find { request, node })) => self.find(from, request, node),
                Ok(Some(Message::Introduce { to, message, .. })) => {
                    match self.introduce(now, from, to, message) {
                        Ok(frames) => {
                            out = frames;
                            Err(Status::Done)
                        }
                        Err(status) => Err(status),
                    }
                }
                _ => Err(Status::Malformed),
            }
        } else {
            Err(Status::Busy(WAIT))
        };
        let answer = match status {
            Ok(answer) => answer,
            Err(status) => {
                if status != Status::Done {
                    tracing::debug!(node = %node.short(), ?status, "rendezvous request declined");
                }
                Message::Result {
                    request: frame.request,
                    status,
                }
            }
        };
        out.push((from, answer.encode()));
        out
    }

    fn register(&mut self, now: Duration, id: LaneId, prekey: Bytes) -> Result<Message, Status> {
        let lane = self.lanes.get_mut(&id).ok_or(Status::NotRegistered)?;
        if prekey.is_empty() {
            self.unregister(id);
            return Err(Status::Done);
        }
        let full = self.nodes.len() >= self.limits.registered;
        if full && !self.nodes.contains_key(&lane.node) {
            return Err(Status::Full);
        }
        let inbox = rate(self.limits.recipient_per_second);
        lane.registered = true;
        let entry = self.nodes.entry(lane.node);
        let node = entry.or_insert_with(|| Registered {
            prekey: Bytes::new(),
            lanes: Vec::new(),
            inbox: Bucket::full(now, inbox),
        });
        // A copy: the payload may be a part of a large buffer, which would live as long.
        node.prekey = Bytes::copy_from_slice(&prekey);
        node.lanes.retain(|&other| other != id);
        node.lanes.push(id);
        Ok(Message::Registered {
            observed: lane.observed,
        })
    }

    fn unregister(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        lane.registered = false;
        let Some(node) = self.nodes.get_mut(&lane.node) else {
            return;
        };
        node.lanes.retain(|&other| other != id);
        if node.lanes.is_empty() {
            self.nodes.remove(&lane.node);
        }
    }

    fn find(&self, from: LaneId, request: u32, node: NodeId) -> Result<Message, Status> {
        self.registered_program(from)?;
        let found = self.nodes.get(&node).ok_or(Status::NotFound)?;
        Ok(Message::Found {
            request,
            node,
            prekey: found.prekey.clone(),
        })
    }

    fn introduce(
        &mut self,
        now: Duration,
        from: LaneId,
        to: NodeId,
        message: Bytes,
    ) -> Result<Vec<(LaneId, Frame)>, Status> {
        let program = self.registered_program(from)?;
        let node = program.0;
        if node == to {
            return Err(Status::NotFound);
        }
        let recipient = self.nodes.get_mut(&to).ok_or(Status::NotFound)?;
        let limit = rate(self.limits.pair_per_second);
        if now.saturating_sub(self.purged) >= PURGE {
            self.purged = now;
            self.pairs.retain(|_, pair| !pair.is_full(now, limit));
        }
        let pair = self.pairs.entry((node, to));
        let pair = pair.or_insert_with(|| Bucket::full(now, limit));
        let inbox = rate(self.limits.recipient_per_second);
        if !pair.take(now, limit) || !recipient.inbox.take(now, inbox) {
            return Err(Status::Busy(WAIT));
        }
        let introduced = Message::Introduced {
            from: node,
            observed: self.observed(program, from),
            message,
        };
        let frame = introduced.encode();
        let lanes = self.recipients(to);
        Ok(lanes
            .into_iter()
            .map(|lane| (lane, frame.clone()))
            .collect())
    }

    /// The node and program at the other end of a lane, if one of its lanes is registered.
    fn registered_program(&self, lane: LaneId) -> Result<(NodeId, InstanceId), Status> {
        let lane = self.lanes.get(&lane).ok_or(Status::NotRegistered)?;
        let program = (lane.node, lane.instance);
        self.lanes_of(program)
            .any(|(_, lane)| lane.registered)
            .then_some(program)
            .ok_or(Status::NotRegistered)
    }

    fn lanes_of(&self, program: (NodeId, InstanceId)) -> impl Iterator<Item = (LaneId, &Lane)> {
        let lanes = self.programs.get(&program).into_iter().flatten();
        lanes.filter_map(|&id| Some((id, self.lanes.get(&id)?)))
    }

    /// Where all lanes of a program come from, that of the sending lane first; nothing if it wishes so on any of them.
    fn observed(&self, program: (NodeId, InstanceId), sending: LaneId) -> Vec<Observed> {
        if self.lanes_of(program).any(|(_, lane)| lane.discreet) {
            return Vec::new();
        }
        let first = self.lanes.get(&sending).map(|lane| lane.observed);
        let mut observed: Vec<_> = first.into_iter().collect();
        for (_, lane) in self.lanes_of(program) {
            if !observed.contains(&lane.observed) && observed.len() < Signal::MAX_OBSERVED {
                observed.push(lane.observed);
            }
        }
        observed
    }

    /// The lane registered last of each program of a node.
    fn recipients(&self, node: NodeId) -> Vec<LaneId> {
        let mut seen = Vec::new();
        let registered = self.nodes.get(&node).into_iter();
        for &id in registered.flat_map(|node| node.lanes.iter().rev()) {
            let Some(lane) = self.lanes.get(&id) else {
                continue;
            };
            if seen.len() < Self::MAX_PROGRAMS
                && seen.iter().all(|&(_, instance)| instance != lane.instance)
            {
                seen.push((id, lane.instance));
            }
        }
        seen.into_iter().map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests;
