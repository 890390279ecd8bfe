//! Which allocations there are.

use super::{
    leg::{self, Orders},
    relay::Relay,
};
use crate::{io::UdpHub, turn::TurnServer};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// The first pause after a failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The pause after an allocation that was there is lost.
const SHORT_PAUSE: Duration = Duration::from_millis(200);
/// How long [`Relays::shutdown`] takes at most: packets give the allocations back in a round trip, and they end by themselves.
const SHUTDOWN: Duration = Duration::from_millis(480);

/// Allocations on TURN servers, made when wanted. Clones are the same ones; when the last is dropped, they are given back.
#[derive(Clone)]
pub struct Relays(Arc<Inner>);

struct Inner {
    board: Arc<Board>,
    orders: watch::Sender<Orders>,
}

/// What changes how allocations are kept.
#[derive(Debug, Clone)]
pub struct RelaysConfig {
    /// Servers that are used at once. Default 2: a second one takes over at once when the first fails, and peers whose way to one of
    /// them is bad have another.
    pub at_once: usize,
    /// How long allocations are kept that nobody wants, and by which nothing was sent. Default 30 s: whoever wants one next
    /// finds it.
    pub linger: Duration,
    /// Certificates in DER that are trusted for TLS beside those of the system. Default none. The environment's `SSL_CERT_FILE`
    /// changes those of the system.
    pub roots: Vec<Vec<u8>>,
}

impl Default for RelaysConfig {
    fn default() -> Self {
        Self {
            at_once: 2,
            linger: Duration::from_secs(30),
            roots: Vec::new(),
        }
    }
}

/// How it stands with a server, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayStatus {
    /// The server, without its password.
    pub server: String,
    /// What it is doing, or why it is not used.
    pub state: String,
}

/// While one of these lives, allocations are kept.
#[must_use = "allocations are kept while this lives"]
pub struct RelayWanted(Relays);

impl Relays {
    /// Will use these servers, the first ones first, at most two at once; none before [`Self::want`]. What peers send through
    /// them goes to the hub first. Must be called on a tokio runtime.
    pub fn start(servers: Vec<TurnServer>, hub: UdpHub) -> Self {
        Self::start_with(servers, hub, RelaysConfig::default())
    }

    /// The same with other settings.
    pub fn start_with(servers: Vec<TurnServer>, hub: UdpHub, config: RelaysConfig) -> Self {
        let legs = config.at_once.min(servers.len());
        let board = Arc::new(Board::new(servers, hub, config));
        let orders = watch::Sender::<Orders>::default();
        for _ in 0..legs {
            let running = Running::of(Arc::clone(&board));
            let leg = leg::run(Arc::clone(&board), orders.subscribe());
            tokio::spawn(async move {
                leg.await;
                drop(running);
            });
        }
        Self(Arc::new(Inner { board, orders }))
    }

    /// Makes allocations, and keeps them while what is returned lives and 30 seconds longer, counted from what was sent last.
    pub fn want(&self) -> RelayWanted {
        self.0.orders.send_modify(|orders| orders.wanted += 1);
        RelayWanted(self.clone())
    }

    /// The allocations that are up, in the order of their servers.
    pub fn watch(&self) -> watch::Receiver<Vec<Relay>> {
        self.0.board.relays.subscribe()
    }

    /// How it stands with each server, in the order in which they were given.
    pub fn status(&self) -> watch::Receiver<Vec<RelayStatus>> {
        self.0.board.status.subscribe()
    }

    /// The machine's addresses or routes have changed, or it has slept: allocations are looked after, move to where we are now,
    /// or are made anew, without waiting for earlier failures to be forgotten.
    pub fn network_changed(&self) {
        self.0.board.forgive();
        self.0.orders.send_modify(|orders| orders.networks += 1);
    }

    /// Gives all allocations back, within half a second; afterwards there are none any more.
    pub async fn shutdown(&self) {
        self.0.orders.send_modify(|orders| orders.closing = true);
        let mut running = self.0.board.running.subscribe();
        if timeout(SHUTDOWN, running.wait_for(|legs| *legs == 0))
            .await
            .is_err()
        {
            tracing::debug!("a TURN server did not take its allocation back in time; it runs out");
        }
    }
}

impl Drop for RelayWanted {
    fn drop(&mut self) {
        self.0.0.orders.send_modify(|orders| orders.wanted -= 1);
    }
}

impl fmt::Debug for RelayWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayWanted").finish_non_exhaustive()
    }
}

impl fmt::Debug for Relays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relays")
            .field("servers", &self.0.board.servers)
            .field("relays", &*self.0.board.relays.borrow())
            .finish_non_exhaustive()
    }
}

/// What the legs share.
pub(super) struct Board {
    pub(super) servers: Vec<TurnServer>,
    pub(super) hub: UdpHub,
    pub(super) config: RelaysConfig,
    places: Mutex<Vec<Place>>,
    relays: watch::Sender<Vec<Relay>>,
    status: watch::Sender<Vec<RelayStatus>>,
    running: watch::Sender<usize>,
}

/// How it stands with a server, for choosing.
#[derive(Debug, Clone)]
struct Place {
    taken: bool,
    failures: u32,
    not_before: Option<Instant>,
    mobility: bool,
    relay: Option<Relay>,
}

impl Board {
    fn new(servers: Vec<TurnServer>, hub: UdpHub, config: RelaysConfig) -> Self {
        let places = vec![
            Place {
                taken: false,
                failures: 0,
                not_before: None,
                mobility: true,
                relay: None,
            };
            servers.len()
        ];
        let status = servers.iter().map(|server| RelayStatus {
            server: server.to_string(),
            state: "idle".to_owned(),
        });
        Self {
            status: watch::Sender::new(status.collect()),
            servers,
            hub,
            config,
            places: Mutex::new(places),
            relays: watch::Sender::default(),
            running: watch::Sender::default(),
        }
    }

    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first server that nobody uses and that has not just failed; else when there will be one, if ever.
    pub(super) fn choose(&self, now: Instant) -> Result<usize, Option<Instant>> {
        let mut places = self.places();
        let is_ready = |place: &Place| place.not_before.is_none_or(|at| at <= now);
        let ready = places
            .iter_mut()
            .position(|place| !place.taken && is_ready(place));
        match ready {
            Some(index) => {
                places[index].taken = true;
                Ok(index)
            }
            None => Err((places.iter())
                .filter(|place| !place.taken)
                .filter_map(|place| place.not_before)
                .min()),
        }
    }

    /// The server is free again; returns how long it is left alone.
    pub(super) fn leave(
        &self,
        index: usize,
        failed: bool,
        was_up: bool,
        now: Instant,
    ) -> Option<Duration> {
        let mut places = self.places();
        let place = &mut places[index];
        place.taken = false;
        place.failures = match (failed, was_up) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => place.failures.saturating_add(1),
        };
        let pause = match (place.failures, was_up) {
            (0, _) => None,
            (_, true) => Some(SHORT_PAUSE),
            (failures, false) => {
                Some((FIRST_PAUSE * 2_u32.pow((failures - 1).min(5))).min(LONGEST_PAUSE))
            }
        };
        place.not_before = pause.map(|pause| now + pause);
        pause
    }

    /// Whatever failed may work now.
    fn forgive(&self) {
        for place in self.places().iter_mut() {
            place.failures = 0;
            place.not_before = None;
        }
    }

    pub(super) fn wants_mobility(&self, index: usize) -> bool {
        self.places()[index].mobility
    }

    pub(super) fn note_mobility(&self, index: usize, mobility: bool) {
        self.places()[index].mobility = mobility;
    }

    pub(super) fn publish(&self, index: usize, relay: Relay) {
        self.places()[index].relay = Some(relay);
        self.show();
    }

    pub(super) fn withdraw(&self, index: usize) {
        self.places()[index].relay = None;
        self.show();
    }

    fn show(&self) {
        let places = self.places();
        let up = places.iter().filter_map(|place| place.relay.clone());
        self.relays.send_replace(up.collect());
    }

    pub(super) fn say(&self, index: usize, state: &str) {
        self.status.send_if_modified(|status| {
            let changed = status[index].state != state;
            if changed {
                status[index].state = state.to_owned();
            }
            changed
        });
    }
}

/// Counts a leg while it runs.
struct Running(Arc<Board>);

impl Running {
    fn of(board: Arc<Board>) -> Self {
        board.running.send_modify(|running| *running += 1);
        Self(board)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}
