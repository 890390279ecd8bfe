//! A peer in use: dialled, kept in reach while networks change, and brought off the relay as soon as that can be.
//!
//! The policy is [`Upkeep`]'s; here it gets its eyes and hands. The stream of a connector lives as long as somebody wants the
//! peer, and yields a link whenever a better or another path to it comes up.

use super::{Inner, dial::Dialling};
use dig_client::Dial;
use dig_nat::{
    traversal::upkeep::{Action, Upkeep, Wish},
    turn::RelayWanted,
};
use dig_transfer::link::{Link, LinkId};
use dig_types::{Method, NodeId, PeerRecord};
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval},
};

/// How often links are looked at that should not be silent.
const LOOK: Duration = Duration::from_millis(50);
/// `BYE` code of a link that is not needed any more (`docs/protocol.md` §3).
const DONE: u16 = 0;

/// The nodes that are kept in reach: one look-out a node is enough, however many ask for it.
#[derive(Debug, Clone, Default)]
pub(super) struct LookOuts(Arc<Mutex<BTreeSet<NodeId>>>);

impl LookOuts {
    /// The look-out for this node, unless there is one.
    fn take(&self, node: Option<NodeId>) -> Option<LookOut> {
        if let Some(node) = node {
            let mut nodes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !nodes.insert(node) {
                return None;
            }
        }
        Some(LookOut(self.clone(), node))
    }
}

/// Ends when dropped.
struct LookOut(LookOuts, Option<NodeId>);

impl Drop for LookOut {
    fn drop(&mut self) {
        if let Some(node) = self.1 {
            let nodes = &self.0.0;
            nodes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&node);
        }
    }
}

/// A peer that somebody wants.
pub(super) struct Keeping {
    inner: Arc<Inner>,
    /// `None`: somebody else looks out for this node; here it is dialled once.
    look_out: Option<LookOut>,
    peer: PeerRecord,
    started: Instant,
    upkeep: Upkeep<LinkId>,
    attempt: Option<Attempt>,
    links: BTreeMap<LinkId, Kept>,
    gone: FuturesUnordered<BoxFuture<'static, LinkId>>,
    network: watch::Receiver<u64>,
    looks: Interval,
    ready: VecDeque<Dial>,
    /// Keeps allocations, which the first attempt should find up.
    _relays: RelayWanted,
    /// What was asked for has been tried; what follows are improvements.
    settled: bool,
}

/// An attempt that is going on.
struct Attempt {
    dialling: Dialling,
    /// Whether its failures are told: those of an attempt at something better concern nobody.
    told: bool,
}

/// A link that is up.
struct Kept {
    link: Weak<Link>,
    silent: bool,
}

impl Keeping {
    /// Begins to dial a peer; `existing` is a link to it that is up already.
    pub(super) fn new(
        inner: Arc<Inner>,
        peer: PeerRecord,
        existing: Option<(Arc<Link>, Method)>,
    ) -> Self {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Any number that two nodes do not share.
        let seed = u64::from_be_bytes(std::array::from_fn(|at| {
            inner.endpoint.instance().as_bytes()[at]
        }));
        let mut keeping = Self {
            network: inner.nat.network_changes(),
            _relays: inner.nat.relays().want(),
            upkeep: Upkeep::new(Duration::ZERO, seed),
            started: Instant::now(),
            attempt: None,
            links: BTreeMap::new(),
            gone: FuturesUnordered::new(),
            looks,
            ready: VecDeque::new(),
            settled: false,
            look_out: inner.look_outs.take(peer.node),
            inner,
            peer,
        };
        keeping.network.mark_unchanged();
        match existing {
            Some((link, method)) => {
                keeping.link_up(&link);
                keeping.ready.push_back(Dial::Up {
                    link,
                    method,
                    timing: dig_client::Timing::default(),
                });
                keeping.settle();
            }
            None => {
                keeping.upkeep.attempt_began(Duration::ZERO, Wish::Any);
                keeping.begin(Wish::Any);
            }
        }
        keeping
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The next news; `None` when the peer is not in reach and nothing is left to try.
    pub(super) async fn next(&mut self) -> Option<Dial> {
        loop {
            self.act();
            if let Some(dial) = self.ready.pop_front() {
                return Some(dial);
            }
            if self.attempt.is_none() && (self.links.is_empty() || self.look_out.is_none()) {
                return None;
            }
            self.wait().await;
        }
    }

    /// Does what the policy asks for.
    fn act(&mut self) {
        while let Some(action) = self.upkeep.poll() {
            match action {
                Action::Attempt(_) if self.look_out.is_none() => {}
                Action::Attempt(wish) => self.begin(wish),
                Action::Probe(id) => {
                    if let Some(link) = self.link(id) {
                        link.ping();
                    }
                }
                Action::Close(id) => {
                    if let Some(link) = self.link(id) {
                        link.close(DONE, "a direct path is up");
                    }
                }
            }
        }
    }

    fn link(&self, id: LinkId) -> Option<Arc<Link>> {
        self.links.get(&id)?.link.upgrade()
    }

    fn begin(&mut self, wish: Wish) {
        tracing::debug!(peer = ?self.peer.node, ?wish, "looking for a path");
        self.attempt = Some(Attempt {
            dialling: Dialling::new(self.inner.clone(), self.peer.clone(), wish),
            told: self.links.is_empty(),
        });
    }

    fn settle(&mut self) {
        if !std::mem::replace(&mut self.settled, true) {
            self.ready.push_back(Dial::Settled);
        }
    }

    /// Waits for something to happen, and tells the policy.
    async fn wait(&mut self) {
        let due = self.upkeep.deadline().map(|due| self.started + due);
        let attempt = self.attempt.as_mut();
        let dialled = async {
            match attempt {
                Some(attempt) => attempt.dialling.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            dial = dialled => self.on_dial(dial),
            Some(id) = self.gone.next() => {
                self.links.remove(&id);
                let now = self.now();
                self.upkeep.lane_down(now, id);
            }
            Ok(()) = self.network.changed() => {
                let now = self.now();
                self.upkeep.network_changed(now);
            }
            _ = self.looks.tick(), if !self.links.is_empty() => self.look(),
            () = at(due) => {
                let now = self.now();
                self.upkeep.on_timeout(now);
            }
        }
    }

    fn on_dial(&mut self, dial: Option<Dial>) {
        let now = self.now();
        match dial {
            None => {
                self.attempt = None;
                self.upkeep.attempt_ended(now);
                if !self.links.is_empty() {
                    self.settle();
                }
            }
            Some(Dial::Up {
                link,
                method,
                timing,
            }) => {
                self.link_up(&link);
                self.ready.push_back(Dial::Up {
                    link,
                    method,
                    timing,
                });
                self.settle();
            }
            Some(dial) => {
                if self.attempt.as_ref().is_some_and(|attempt| attempt.told) {
                    self.ready.push_back(dial);
                }
            }
        }
    }

    fn link_up(&mut self, link: &Arc<Link>) {
        let (id, now) = (link.id(), self.now());
        let kept = Kept {
            link: Arc::downgrade(link),
            silent: false,
        };
        if self.links.insert(id, kept).is_some() {
            return;
        }
        self.upkeep.lane_up(now, id, link.info().relayed);
        let link = link.clone();
        self.gone.push(
            async move {
                link.closed().await;
                id
            }
            .boxed(),
        );
    }

    /// Sees which links are silent that should not be, and which are no longer.
    fn look(&mut self) {
        let now = self.now();
        for (id, kept) in &mut self.links {
            let Some(link) = kept.link.upgrade() else {
                continue;
            };
            let silent = is_silent(&link);
            if silent != kept.silent {
                kept.silent = silent;
                if silent {
                    self.upkeep.distress(now, *id);
                } else {
                    self.upkeep.answered(now, *id);
                }
            }
        }
    }
}

/// Whether something is due on a link, and has not come for longer than its path explains.
fn is_silent(link: &Link) -> bool {
    /// Never less: a busy machine may pause so long.
    const LEAST: Duration = Duration::from_millis(250);
    let Some(silence) = link.silence() else {
        return false;
    };
    let rtt = link.rtt().unwrap_or(Duration::from_millis(100));
    link.is_waiting() && silence > LEAST + rtt * 3
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
