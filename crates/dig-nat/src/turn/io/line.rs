//! A line to a server: from the first packet to the last.

use super::{
    leg::Orders,
    link::{In, Link, LinkError, Out, local_towards},
    relay::{Relay, Shared},
};
use crate::{
    attempt::Port,
    io::{UdpHub, Verdict},
    turn::{
        TurnServer,
        client::{Client, ClientError, Event},
    },
};
use bytes::Bytes;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Refusals by the machine that the server is on, after which it is believed that nothing listens there. One alone may be about
/// an earlier datagram.
const REFUSALS: u8 = 2;
/// What is kept of a shutdown for telling who asked.
const RELEASE: Duration = Duration::from_millis(400);

/// What a line needs to know of the world.
pub(super) struct World<'a> {
    pub(super) hub: &'a UdpHub,
    pub(super) roots: &'a [Vec<u8>],
    /// How long an allocation is kept that nobody wants and nothing was sent by.
    pub(super) linger: Duration,
}

pub(super) struct Line<'a> {
    world: World<'a>,
    server: &'a TurnServer,
    shared: Arc<Shared>,
    input: In,
    local: SocketAddr,
    relay: Option<Relay>,
    refusals: u8,
    /// Until when the server has time to take the allocation back.
    closing: Option<Duration>,
    datagrams: Vec<(SocketAddr, Bytes)>,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// What the world has to say while a line runs.
enum Wake {
    Frames(Result<(), LinkError>),
    Due,
    Changed,
    Writable,
    /// Nobody is left to give orders, if `false`.
    Orders(bool),
}

impl<'a> Line<'a> {
    /// Goes to the server, and asks for an allocation there.
    pub(super) async fn open(
        world: World<'a>,
        server: &'a TurnServer,
        address: SocketAddr,
        mobility: bool,
    ) -> Result<Self, LineError> {
        let link = Link::open(server, address, world.roots).await?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| LineError::Randomness)?;
        let start = Instant::now();
        let client = Client::new(Duration::ZERO, server.clone(), address, seed, mobility);
        Ok(Self {
            world,
            server,
            shared: Shared::new(start, server.transport(), client, link.out),
            input: link.input,
            local: link.local,
            relay: None,
            refusals: 0,
            closing: None,
            datagrams: Vec::new(),
        })
    }

    /// Keeps the allocation until it is not wanted any more (`Ok`) or is lost. `publish` hears when it is there.
    pub(super) async fn run(
        &mut self,
        orders: &mut watch::Receiver<Orders>,
        mut publish: impl FnMut(&Relay),
    ) -> Result<(), LineError> {
        let mut frames = Vec::new();
        let mut seen = *orders.borrow_and_update();
        let mut unwanted_since = None;
        loop {
            let (due, blocked) = self.settle(&mut publish)?;
            let Some(mut due) = due else { return Ok(()) };
            if seen.is_wanted() {
                unwanted_since = None;
            } else if self.closing.is_none() {
                let since: Duration = *unwanted_since.get_or_insert(self.shared.now());
                let end = since.max(self.shared.speaker().used) + self.world.linger;
                if self.shared.now() >= end || seen.closing {
                    self.closing = Some(self.shared.now() + RELEASE);
                    self.speak(|client, now| client.close(now));
                    continue;
                }
                due = due.min(end);
            }
            due = self.closing.map_or(due, |end| due.min(end));
            match self.wait(&mut frames, orders, due, blocked).await {
                Wake::Frames(Ok(())) => self.take(&mut frames),
                Wake::Frames(Err(error)) => self.on_broken(error).await?,
                Wake::Due if self.closing.is_some_and(|end| self.shared.now() >= end) => {
                    return Ok(());
                }
                Wake::Due => self.speak(Client::on_timeout),
                Wake::Changed => {}
                Wake::Writable => self.shared.unblock(),
                Wake::Orders(true) => {
                    let now = *orders.borrow_and_update();
                    if now.networks != seen.networks {
                        self.on_network().await?;
                    }
                    seen = now;
                }
                Wake::Orders(false) => seen.closing = true,
            }
        }
    }

    /// Whether the server has been found not to want mobility.
    pub(super) fn wants_mobility(&self) -> bool {
        self.shared.speaker().client.wants_mobility()
    }

    /// The allocation, if it has come to that.
    pub(super) const fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    async fn wait(
        &mut self,
        frames: &mut Vec<Bytes>,
        orders: &mut watch::Receiver<Orders>,
        due: Duration,
        blocked: Option<Out>,
    ) -> Wake {
        let now = self.shared.now();
        let at = Instant::now() + due.saturating_sub(now);
        let blocked = async {
            match blocked {
                Some(out) => out.writable().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = self.input.receive(frames) => Wake::Frames(received),
            () = sleep_until(at) => Wake::Due,
            () = self.shared.changed.notified() => Wake::Changed,
            () = blocked => Wake::Writable,
            changed = orders.changed() => Wake::Orders(changed.is_ok()),
        }
    }

    /// Sends what there is to send and hears what has happened. When the client wants to be called, or `None` if it has ended as
    /// it was told; and what to wait for if somebody wants to send more.
    fn settle(
        &mut self,
        publish: &mut impl FnMut(&Relay),
    ) -> Result<(Option<Duration>, Option<Out>), LineError> {
        let now = self.shared.now();
        let mut speaker = self.shared.speaker();
        speaker.flush(now);
        while let Some(event) = speaker.client.poll_event() {
            match event {
                Event::Up { relayed, .. } => {
                    let relay = Relay::new(Arc::clone(&self.shared), relayed);
                    publish(self.relay.insert(relay));
                }
                Event::Moved { mapped } => tracing::debug!(%mapped, "seen elsewhere by the relay"),
                Event::Ended(None) => return Ok((None, None)),
                Event::Ended(Some(error)) => return Err(error.into()),
            }
        }
        let blocked = speaker.is_blocked().then(|| speaker.out.clone());
        Ok((speaker.client.timeout().or(Some(now)), blocked))
    }

    fn speak(&self, what: impl FnOnce(&mut Client, Duration)) {
        let now = self.shared.now();
        what(&mut self.shared.speaker().client, now);
    }

    /// Reads frames: attempts have the first look at what is in them.
    fn take(&mut self, frames: &mut Vec<Bytes>) {
        let now = self.shared.now();
        let mut speaker = self.shared.speaker();
        let server = speaker.client.address();
        for frame in frames.drain(..) {
            if let Some(arrival) = speaker.client.on_frame(now, server, &frame) {
                self.datagrams
                    .push((arrival.from, frame.slice(arrival.data)));
            }
        }
        drop(speaker);
        let Some(relay) = &self.relay else {
            return self.datagrams.clear();
        };
        let (hub, at) = (self.world.hub, Port::Relay(relay.relayed()));
        self.datagrams
            .retain(|(from, bytes)| hub.receive_at(at, *from, bytes) == Verdict::Pass);
        self.shared.deliver(&mut self.datagrams);
    }

    /// The link is broken; a mobile allocation is found again by another one.
    async fn on_broken(&mut self, error: LinkError) -> Result<(), LineError> {
        if matches!(error, LinkError::Refused) {
            self.refusals += 1;
            // What is up ends by its own rules: reports of that kind can be forged.
            if self.relay.is_some() || self.refusals < REFUSALS {
                return Ok(());
            }
        }
        if matches!(self.input, In::Stream { .. }) && self.is_mobile() {
            return self.relink().await;
        }
        Err(error.into())
    }

    /// The machine's addresses or routes have changed.
    async fn on_network(&mut self) -> Result<(), LineError> {
        if self.relay.is_none() {
            return Ok(());
        }
        match local_towards(self.address()) {
            Some(local) if local != self.local.ip() => {
                if !self.is_mobile() {
                    return Err(ClientError::Moved.into());
                }
                self.relink().await
            }
            // Nothing changed as far as the server is concerned, or there is no network at all, which may pass.
            _ => {
                self.speak(Client::verify);
                Ok(())
            }
        }
    }

    /// Goes to the server from where we are now.
    async fn relink(&mut self) -> Result<(), LineError> {
        let link = Link::open(self.server, self.address(), self.world.roots).await?;
        self.input = link.input;
        self.local = link.local;
        let now = self.shared.now();
        let mut speaker = self.shared.speaker();
        speaker.out = link.out;
        speaker.client.moved(now);
        drop(speaker);
        self.shared.unblock();
        Ok(())
    }

    fn address(&self) -> SocketAddr {
        self.shared.speaker().client.address()
    }

    fn is_mobile(&self) -> bool {
        self.shared.speaker().client.is_mobile()
    }
}

/// Why there is no allocation by this line, or no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum LineError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the operating system gives no random numbers")]
    Randomness,
}
