//! Signaling through rendezvous peers, for programs that run on tokio.

use super::{
    LaneId,
    client::{Client, Event},
    frame::{Addressee, Status},
};
use crate::signaling::{Observed, Signal, SignalError, Signaling};
use bytes::Bytes;
use dig_types::{Frame, NodeId};
use futures::future::BoxFuture;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::Instant,
};

/// Sends a frame on a lane. It must not block, nor call back; if the lane cannot take the frame now, the frame is lost.
type SendFrame = Arc<dyn Fn(Frame) + Send + Sync>;

/// What changed at the rendezvous peers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CarrierEvent {
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
}

/// [`Signaling`] through every rendezvous peer that there is a lane to.
///
/// Whoever holds the lanes says which are up ([`lane_up`](Self::lane_up)), brings their frames ([`on_frame`](Self::on_frame)) and
/// says which are gone. There is no task of its own: [`send`](Signaling::send) and [`prekey`](Signaling::prekey) put their frames on
/// the lanes when they are called, not when they are first polled, and a dropped future takes nothing back.
pub struct RendezvousSignaling {
    started: Instant,
    state: Mutex<State>,
    signals: AsyncMutex<mpsc::Receiver<Signal>>,
    events: AsyncMutex<mpsc::Receiver<CarrierEvent>>,
}

struct State {
    client: Client,
    lanes: BTreeMap<LaneId, SendFrame>,
    waiting: BTreeMap<u32, oneshot::Sender<Result<Bytes, SignalError>>>,
    /// `None` when it was closed.
    signals: Option<mpsc::Sender<Signal>>,
    events: Option<mpsc::Sender<CarrierEvent>>,
}

impl RendezvousSignaling {
    const QUEUE: usize = Client::MAX_EVENTS;

    /// Will publish this signed prekey at every rendezvous peer.
    pub fn new(prekey: Bytes) -> Self {
        Self::of(Client::new(prekey))
    }

    /// The same, and asks them to tell nobody where this node comes from; see [`Client::discreet`].
    pub fn discreet(prekey: Bytes) -> Self {
        Self::of(Client::new(prekey).discreet())
    }

    fn of(client: Client) -> Self {
        let (signals, signals_out) = mpsc::channel(Self::QUEUE);
        let (events, events_out) = mpsc::channel(Self::QUEUE);
        Self {
            started: Instant::now(),
            state: Mutex::new(State {
                client,
                lanes: BTreeMap::new(),
                waiting: BTreeMap::new(),
                signals: Some(signals),
                events: Some(events),
            }),
            signals: AsyncMutex::new(signals_out),
            events: AsyncMutex::new(events_out),
        }
    }

    /// A lane to a peer that may introduce us is up: registers there. `send` queues a frame for the lane; it must not block, nor
    /// call this again.
    pub fn lane_up(
        &self,
        lane: LaneId,
        node: NodeId,
        send: impl Fn(Frame) + Send + Sync + 'static,
    ) {
        let mut state = self.lock();
        state.lanes.insert(lane, Arc::new(send));
        state.client.lane_up(lane, node);
        state.drive(self.now());
    }

    /// A frame came on a lane. Says whether it was for this; frames of lanes that are not up are not.
    pub fn on_frame(&self, lane: LaneId, frame: &Frame) -> bool {
        if Addressee::of(frame.kind) != Some(Addressee::Client) {
            return false;
        }
        let now = self.now();
        let mut state = self.lock();
        let taken = state.client.on_frame(now, lane, frame);
        state.drive(now);
        taken
    }

    /// A lane is gone.
    pub fn lane_down(&self, lane: LaneId) {
        let mut state = self.lock();
        state.lanes.remove(&lane);
        state.client.lane_down(lane);
        state.drive(self.now());
    }

    /// Publishes another prekey at every rendezvous peer.
    pub fn publish(&self, prekey: Bytes) {
        let mut state = self.lock();
        state.client.publish(prekey);
        state.drive(self.now());
    }

    /// This machine's network changed; see [`Client::refresh`].
    pub fn refresh(&self) {
        let mut state = self.lock();
        state.client.refresh();
        state.drive(self.now());
    }

    /// Takes every registration back, and ends [`receive`](Signaling::receive) and [`next_event`](Self::next_event) after what has
    /// already come.
    pub fn close(&self) {
        let mut state = self.lock();
        state.client.withdraw();
        state.drive(self.now());
        state.signals = None;
        state.events = None;
    }

    /// Where the rendezvous peers see this node, by lane.
    pub fn observed(&self) -> Vec<(LaneId, Observed)> {
        self.lock().client.observed()
    }

    /// What happens next at the rendezvous peers; `None` after [`close`](Self::close). Cancelling it loses nothing. If nobody
    /// reads, the latest are lost; [`observed`](Self::observed) still has their sum.
    pub fn next_event(&self) -> BoxFuture<'_, Option<CarrierEvent>> {
        Box::pin(async { self.events.lock().await.recv().await })
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request on the lanes now; the future is its end.
    fn request(
        &self,
        begin: impl FnOnce(&mut Client, Duration) -> Result<u32, SignalError>,
    ) -> BoxFuture<'_, Result<Bytes, SignalError>> {
        let now = self.now();
        let mut state = self.lock();
        let request = match begin(&mut state.client, now) {
            Ok(request) => request,
            Err(error) => return Box::pin(async { Err(error) }),
        };
        let (end, mut ended) = oneshot::channel();
        state.waiting.insert(request, end);
        state.drive(now);
        drop(state);
        let deadline = self.started + now + Client::TIMEOUT;
        Box::pin(async move {
            if let Ok(end) = tokio::time::timeout_at(deadline, &mut ended).await {
                return end.unwrap_or(Err(SignalError::NoCarrier));
            }
            self.lock().drive(now + Client::TIMEOUT);
            ended.try_recv().unwrap_or(Err(SignalError::NoCarrier))
        })
    }
}

impl Signaling for RendezvousSignaling {
    fn send(&self, to: NodeId, message: Bytes) -> BoxFuture<'_, Result<(), SignalError>> {
        let end = self.request(|client, now| client.introduce(now, to, &message));
        Box::pin(async { end.await.map(drop) })
    }

    fn receive(&self) -> BoxFuture<'_, Option<Signal>> {
        Box::pin(async { self.signals.lock().await.recv().await })
    }

    fn prekey(&self, of: NodeId) -> BoxFuture<'_, Result<Bytes, SignalError>> {
        self.request(|client, now| client.find(now, of))
    }
}

impl State {
    /// Sends what is to be sent and tells what is to be told. The lock is held, so frames keep their order.
    fn drive(&mut self, now: Duration) {
        self.client.handle_timeout(now);
        while let Some((lane, frame)) = self.client.poll_transmit() {
            if let Some(send) = self.lanes.get(&lane) {
                send(frame);
            }
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Found { request, prekey } => self.end(request, Ok(prekey)),
                Event::HandedOn { request } => self.end(request, Ok(Bytes::new())),
                Event::Failed { request, error } => self.end(request, Err(error)),
                // A full queue loses messages, as carriers may.
                Event::Signal(signal) => {
                    let _ = self.signals.as_ref().map(|queue| queue.try_send(signal));
                }
                Event::Registered {
                    lane,
                    carrier,
                    observed,
                } => self.tell(CarrierEvent::Registered {
                    lane,
                    carrier,
                    observed,
                }),
                Event::Declined {
                    lane,
                    carrier,
                    status,
                } => self.tell(CarrierEvent::Declined {
                    lane,
                    carrier,
                    status,
                }),
            }
        }
    }

    /// Whoever asked may have gone; then nobody is told.
    fn end(&mut self, request: u32, end: Result<Bytes, SignalError>) {
        let _ = self
            .waiting
            .remove(&request)
            .map(|waiting| waiting.send(end));
    }

    fn tell(&self, event: CarrierEvent) {
        let _ = self.events.as_ref().map(|queue| queue.try_send(event));
    }
}

impl fmt::Debug for RendezvousSignaling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lanes: Vec<_> = self.lock().lanes.keys().copied().collect();
        f.debug_struct("RendezvousSignaling")
            .field("lanes", &lanes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
