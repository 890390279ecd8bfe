//! A peer at the edge: registered with some that introduce it.

mod requests;

use self::requests::Requests;
use super::{
    LaneId,
    frame::{Message, Status},
};
use crate::signaling::{MAX_SIGNAL, Observed, Signal, SignalError, prekey::SignedPrekey};
use bytes::Bytes;
use dig_types::{Frame, NodeId};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// What a [`Client`] has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A rendezvous peer introduces us from now on, and sees this lane come from there.
    Registered {
        /// Over which lane.
        lane: LaneId,
        /// Who.
        carrier: NodeId,
        /// Where it sees us.
        observed: Observed,
    },
    /// A rendezvous peer does not introduce us.
    Declined {
        /// Over which lane it was asked.
        lane: LaneId,
        /// Who.
        carrier: NodeId,
        /// Why.
        status: Status,
    },
    /// The answer to [`Client::find`]: a prekey that the node signed. Its age is not checked.
    Found {
        /// Of the question.
        request: u32,
        /// The signed prekey.
        prekey: Bytes,
    },
    /// The message of [`Client::introduce`] was handed on, by one carrier at least.
    HandedOn {
        /// Of the message.
        request: u32,
    },
    /// A request came to nothing.
    Failed {
        /// Which.
        request: u32,
        /// Why.
        error: SignalError,
    },
    /// A message came.
    Signal(Signal),
}

/// A lane to a rendezvous peer.
#[derive(Debug)]
struct Carrier {
    node: NodeId,
    /// Where it sees us, once it has said so.
    observed: Option<Observed>,
    /// It declined, and was not asked again.
    declined: bool,
    /// When to register again.
    retry: Option<Duration>,
    /// Nothing came on this lane since the network changed: it may be dead without having ended.
    doubted: bool,
}

/// Registers with rendezvous peers, finds and introduces through them; sans-IO.
///
/// Every request ends in one event: an answer, or [`Event::Failed`] after [`TIMEOUT`](Self::TIMEOUT) at the latest. Nothing is
/// repeated: whoever sends signals does that. Only lanes that were given to [`lane_up`](Self::lane_up) are heard.
#[derive(Debug)]
pub struct Client {
    prekey: Bytes,
    discreet: bool,
    carriers: BTreeMap<LaneId, Carrier>,
    requests: Requests,
    /// Through whom a node was found or heard, the latest last.
    known: VecDeque<(NodeId, NodeId)>,
    frames: VecDeque<(LaneId, Frame)>,
    events: VecDeque<Event>,
}

impl Client {
    /// How long an answer is waited for: ten times a slow round trip; whoever does not know the frames never answers.
    pub const TIMEOUT: Duration = Duration::from_secs(2);
    /// Requests that may be unanswered at a time.
    pub const MAX_PENDING: usize = Requests::MAX;
    /// Events that wait to be taken; beyond them, messages are dropped, as carriers may.
    pub const MAX_EVENTS: usize = 256;
    /// Carriers that are asked at a time.
    pub const MAX_CARRIERS: usize = 4;
    const MAX_KNOWN: usize = 256;

    /// A client that will publish this signed prekey.
    pub const fn new(prekey: Bytes) -> Self {
        Self {
            prekey,
            discreet: false,
            carriers: BTreeMap::new(),
            requests: Requests::new(),
            known: VecDeque::new(),
            frames: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Asks the carriers from now on to tell nobody where this node comes from: no direct path can be found then. They see it
    /// themselves, and have to be believed.
    #[must_use]
    pub const fn discreet(mut self) -> Self {
        self.discreet = true;
        self
    }

    /// A lane to a peer that may introduce us is up: registers with it.
    pub fn lane_up(&mut self, lane: LaneId, node: NodeId) {
        self.lane_down(lane);
        self.carriers.insert(
            lane,
            Carrier {
                node,
                observed: None,
                declined: false,
                retry: None,
                doubted: false,
            },
        );
        self.register(lane);
    }

    /// A lane is gone, and with it the answers that it owed.
    pub fn lane_down(&mut self, lane: LaneId) {
        self.carriers.remove(&lane);
        self.frames.retain(|&(on, _)| on != lane);
        for (request, error) in self.requests.lane_down(lane) {
            self.tell(Event::Failed { request, error });
        }
    }

    /// Publishes another prekey.
    pub fn publish(&mut self, prekey: Bytes) {
        self.prekey = prekey;
        let lanes: Vec<_> = self.carriers.keys().copied().collect();
        for lane in lanes {
            self.register(lane);
        }
    }

    /// The network changed: registers again on every lane, so that the carriers see where each comes from now and answer on one
    /// that works. Until a lane has shown that it does, requests go out on all of its carrier's.
    pub fn refresh(&mut self) {
        for carrier in self.carriers.values_mut() {
            carrier.doubted = true;
        }
        self.publish(self.prekey.clone());
    }

    /// Takes the registration back everywhere: nobody finds this node any more.
    pub fn withdraw(&mut self) {
        self.publish(Bytes::new());
    }

    /// Where the carriers see this node.
    pub fn observed(&self) -> Vec<(LaneId, Observed)> {
        let seen = self.carriers.iter();
        seen.filter_map(|(&lane, carrier)| Some((lane, carrier.observed?)))
            .collect()
    }

    /// Asks all carriers for a node's prekey; the first that is the node's own is the answer.
    pub fn find(&mut self, now: Duration, node: NodeId) -> Result<u32, SignalError> {
        let lanes: Vec<_> = self.asked().into_iter().map(|(lane, _)| lane).collect();
        self.request(now, node, lanes, |request| Message::Find { request, node })
    }

    /// Hands a message to the carriers that know the node, or to all if none is known to.
    pub fn introduce(
        &mut self,
        now: Duration,
        to: NodeId,
        message: &Bytes,
    ) -> Result<u32, SignalError> {
        if message.is_empty() || message.len() > MAX_SIGNAL {
            return Err(SignalError::TooLarge);
        }
        let all = self.asked();
        let knowing = all
            .iter()
            .filter(|&&(_, carrier)| self.known.contains(&(to, carrier)));
        let mut lanes: Vec<_> = knowing.map(|&(lane, _)| lane).collect();
        if lanes.is_empty() {
            lanes = all.into_iter().map(|(lane, _)| lane).collect();
        }
        self.request(now, to, lanes, |request| Message::Introduce {
            request,
            to,
            message: message.clone(),
        })
    }

    /// A frame came on a lane. Says whether it was one for a client, of a carrier.
    pub fn on_frame(&mut self, now: Duration, lane: LaneId, frame: &Frame) -> bool {
        let Some(carrier) = self.carriers.get_mut(&lane) else {
            return false;
        };
        let node = carrier.node;
        carrier.doubted = false;
        match Message::decode(frame) {
            Ok(Some(Message::Registered { observed })) => {
                carrier.observed = Some(observed);
                self.tell(Event::Registered {
                    lane,
                    carrier: node,
                    observed,
                });
            }
            Ok(Some(Message::Found {
                request,
                node: found,
                prekey,
            })) => self.found(request, lane, node, found, prekey),
            Ok(Some(Message::Introduced {
                from,
                observed,
                message,
            })) => {
                self.remember(from, node);
                self.tell(Event::Signal(Signal {
                    from: Some(from),
                    observed,
                    // A copy: the payload may be a part of a large buffer, which would live as long.
                    bytes: Bytes::copy_from_slice(&message),
                }));
            }
            Ok(Some(Message::Result { request: 0, status })) => {
                self.not_registered(now, lane, status);
            }
            Ok(Some(Message::Result { request, status })) => self.result(request, lane, status),
            Ok(_) => return false,
            Err(error) => tracing::debug!(carrier = %node.short(), %error, "ignored"),
        }
        true
    }

    /// Gives up what was not answered in time, and registers again where it is due.
    pub fn handle_timeout(&mut self, now: Duration) {
        for (request, error) in self.requests.expire(now) {
            self.tell(Event::Failed { request, error });
        }
        let due = self.carriers.iter();
        let due: Vec<_> = due
            .filter(|(_, carrier)| carrier.retry.is_some_and(|retry| retry <= now))
            .map(|(&lane, _)| lane)
            .collect();
        for lane in due {
            self.register(lane);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Duration> {
        let retries = self.carriers.values().filter_map(|carrier| carrier.retry);
        retries.chain(self.requests.next_deadline()).min()
    }

    /// The next frame to send, and on which lane.
    pub fn poll_transmit(&mut self) -> Option<(LaneId, Frame)> {
        self.frames.pop_front()
    }

    /// What happened next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// One lane to each carrier that did not decline, the newest carriers first; all of those that are doubted, where no other is.
    fn asked(&self) -> Vec<(LaneId, NodeId)> {
        let mut asked: Vec<(LaneId, NodeId)> = Vec::new();
        let (doubted, sound): (Vec<_>, Vec<_>) = self
            .carriers
            .iter()
            .rev()
            .filter(|(_, carrier)| !carrier.declined)
            .partition(|(_, carrier)| carrier.doubted);
        for (&lane, carrier) in sound {
            let new = asked.iter().all(|&(_, node)| node != carrier.node);
            if new && asked.len() < Self::MAX_CARRIERS {
                asked.push((lane, carrier.node));
            }
        }
        let sound = asked.len();
        for (&lane, carrier) in doubted {
            let new = asked[..sound].iter().all(|&(_, node)| node != carrier.node);
            if new && asked.len() < Self::MAX_CARRIERS {
                asked.push((lane, carrier.node));
            }
        }
        asked
    }

    fn register(&mut self, lane: LaneId) {
        if let Some(carrier) = self.carriers.get_mut(&lane) {
            carrier.declined = false;
            carrier.retry = None;
            let (prekey, discreet) = (self.prekey.clone(), self.discreet);
            self.frames
                .push_back((lane, Message::Register { prekey, discreet }.encode()));
        }
    }

    fn request(
        &mut self,
        now: Duration,
        node: NodeId,
        lanes: Vec<LaneId>,
        message: impl FnOnce(u32) -> Message,
    ) -> Result<u32, SignalError> {
        if lanes.is_empty() {
            return Err(SignalError::NoCarrier);
        }
        let deadline = now + Self::TIMEOUT;
        let begun = self.requests.begin(node, lanes.clone(), deadline);
        let request = begun.ok_or(SignalError::Busy)?;
        let frame = message(request).encode();
        self.frames
            .extend(lanes.iter().map(|&lane| (lane, frame.clone())));
        Ok(request)
    }

    fn found(&mut self, request: u32, lane: LaneId, carrier: NodeId, node: NodeId, prekey: Bytes) {
        if self.requests.node(request, lane) != Some(node) {
            return;
        }
        // A carrier that makes one up must not keep the answers of the others away.
        if let Err(error) = SignedPrekey::parse(&prekey, node) {
            tracing::debug!(carrier = %carrier.short(), %error, "a false prekey");
            self.give_up(request, lane, SignalError::NotFound(node));
            return;
        }
        self.requests.end(request);
        self.remember(node, carrier);
        self.tell(Event::Found {
            request,
            prekey: Bytes::copy_from_slice(&prekey),
        });
    }

    fn not_registered(&mut self, now: Duration, lane: LaneId, status: Status) {
        let Some(carrier) = self.carriers.get_mut(&lane) else {
            return;
        };
        carrier.observed = None;
        if status == Status::Done {
            return;
        }
        match status {
            Status::Busy(wait) => carrier.retry = Some(now + wait.clamp(MIN_WAIT, MAX_WAIT)),
            _ => carrier.declined = true,
        }
        let carrier = carrier.node;
        self.tell(Event::Declined {
            lane,
            carrier,
            status,
        });
    }

    fn result(&mut self, request: u32, lane: LaneId, status: Status) {
        let Some(node) = self.requests.node(request, lane) else {
            return;
        };
        let error = match status {
            Status::Done => {
                self.requests.end(request);
                self.tell(Event::HandedOn { request });
                return;
            }
            Status::NotFound => {
                if let Some(carrier) = self.carriers.get(&lane).map(|carrier| carrier.node) {
                    self.known.retain(|&known| known != (node, carrier));
                }
                SignalError::NotFound(node)
            }
            Status::Busy(_) => SignalError::Busy,
            Status::Malformed => SignalError::TooLarge,
            Status::NotRegistered | Status::Full => SignalError::NoCarrier,
        };
        self.give_up(request, lane, error);
    }

    /// A carrier has no good answer; if it was the last one, the request has failed.
    fn give_up(&mut self, request: u32, lane: LaneId, error: SignalError) {
        if let Some(error) = self.requests.give_up(request, lane, error) {
            self.tell(Event::Failed { request, error });
        }
    }

    fn remember(&mut self, node: NodeId, carrier: NodeId) {
        self.known.retain(|&known| known != (node, carrier));
        if self.known.len() >= Self::MAX_KNOWN {
            self.known.pop_front();
        }
        self.known.push_back((node, carrier));
    }

    /// Ends of requests are never dropped: there are at most as many as there were requests.
    fn tell(&mut self, event: Event) {
        let droppable = !matches!(
            event,
            Event::Found { .. } | Event::HandedOn { .. } | Event::Failed { .. }
        );
        if droppable && self.events.len() >= Self::MAX_EVENTS {
            tracing::debug!("too many signals wait to be read; one was dropped");
            return;
        }
        self.events.push_back(event);
    }
}

/// What a carrier may ask us to wait before registering again.
const MIN_WAIT: Duration = Duration::from_millis(100);
const MAX_WAIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
