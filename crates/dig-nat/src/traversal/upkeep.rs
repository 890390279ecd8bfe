//! Upkeep: what it takes to keep a peer in reach while networks change, and to leave the relay as soon as that can be.
//!
//! An [`Upkeep`] is the policy for one peer, seen from the side that wants it. It has no sockets, clock or randomness of its own: it is
//! told what becomes of the lanes (sessions over paths) and says when to look for a path, which lanes to ask for a sign of life, and which to
//! close. Tell it what happens (`lane_up`, `distress`, …) and that time has passed ([`on_timeout`](Upkeep::on_timeout) at
//! [`deadline`](Upkeep::deadline)), then take what is to be done from [`poll`](Upkeep::poll) until there is nothing. Calls in any
//! order, or too many, do no harm.
//!
//! The rules:
//!
//! - **No lane that answers**: an attempt at any path, at once. After one that led to none, or to one that died within 10 s, the next
//!   waits 0.5 s, then twice as long each time up to 8 s, a quarter more or less by chance; up to 60 s while the peer is not in use.
//! - **Only relayed lanes**: attempts at a direct path, the first at once after whatever attempt is going on, then every 3 s from beginning to
//!   beginning, but never two at a time. While the peer is not in use the pause doubles up to 60 s.
//! - **The network changed**: everything is asked for a sign of life, and an attempt at any path begins at once in place of one that is going on.
//!   At most 3 such at once and 1 a second.
//! - **A direct lane is silent while it should not be**, and no other direct one answers: the same, but for an attempt at any path that
//!   goes on. The lane is not given up for it: it may answer.
//! - **Direct lanes that come and go**: where the last one was lost twice within 10 s while a relayed one answers, the next
//!   attempt waits 2 s, then twice as long for each further loss up to 30 s. A lane that outlives the wait by 10 s ends this.
//! - **A direct lane that is up for 30 s**: one relayed lane is kept as a reserve while the peer is in use; others are closed, and it
//!   too once the peer was not in use for 60 s. No relay is looked for to have a reserve.

mod pace;

use pace::{Burst, Direct, Flap, Retry};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// A lane that died sooner was no success.
const SUCCESS: Duration = Duration::from_secs(10);
/// A direct lane that is up for so long makes all relayed ones but one superfluous.
const STEADY: Duration = Duration::from_secs(30);
/// How long the last relayed lane is kept after the peer was last in use, beside a direct one.
const RESERVE: Duration = Duration::from_secs(60);
/// An attempt of whose end nothing was heard is over then: the longest takes 120 s.
const FORGOTTEN: Duration = Duration::from_secs(150);

/// Which paths an attempt is to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wish {
    /// Any, relayed ones too.
    Any,
    /// Only such as need no relay: there is a relayed one.
    Direct,
}

/// What the owner of an [`Upkeep`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action<K> {
    /// Begin an attempt. One that is going on ends for it; its end need not be told.
    Attempt(Wish),
    /// Ask this lane for a sign of life (a PING), so that both ends see that it lives or how its addresses changed.
    Probe(K),
    /// Close this lane once nothing is under way on it.
    Close(K),
}

/// A lane.
#[derive(Debug)]
struct Lane {
    relayed: bool,
    since: Duration,
    silent: bool,
    closing: bool,
}

impl Lane {
    fn answers(&self) -> bool {
        !self.silent && !self.closing
    }
}

/// An attempt that is going on.
#[derive(Debug, Clone, Copy)]
struct Running {
    wish: Wish,
    since: Duration,
}

/// The policy for one peer. `K` names its lanes.
#[derive(Debug)]
pub struct Upkeep<K> {
    now: Duration,
    lanes: BTreeMap<K, Lane>,
    /// Since when the peer is not in use; `None`: it is.
    idle: Option<Duration>,
    attempt: Option<Running>,
    /// An attempt is to begin whatever lanes there are.
    urgent: bool,
    burst: Burst,
    retry: Retry,
    direct: Direct,
    flap: Flap,
    actions: VecDeque<Action<K>>,
}

impl<K: Copy + Ord> Upkeep<K> {
    /// For a peer without a lane, in use. `seed` decides by how much pauses differ from those of others.
    pub fn new(now: Duration, seed: u64) -> Self {
        Self {
            now,
            lanes: BTreeMap::new(),
            idle: None,
            attempt: None,
            urgent: false,
            burst: Burst::default(),
            retry: Retry::new(seed),
            direct: Direct::default(),
            flap: Flap::default(),
            actions: VecDeque::new(),
        }
    }

    /// The owner began an attempt by itself.
    pub fn attempt_began(&mut self, now: Duration, wish: Wish) {
        self.advance(now);
        self.attempt = Some(Running { wish, since: now });
        self.drive();
    }

    /// The latest attempt is over. The lane that it led to, if it did, is [told](Self::lane_up) before.
    pub fn attempt_ended(&mut self, now: Duration) {
        self.advance(now);
        if self.attempt.take().is_some() && self.need() == Some(Wish::Any) {
            self.retry.failed(self.now, self.idle.is_some());
        }
        self.drive();
    }

    /// A lane to the peer is up: both sides have proved who they are on it.
    pub fn lane_up(&mut self, now: Duration, key: K, relayed: bool) {
        self.advance(now);
        let lane = Lane {
            relayed,
            since: self.now,
            silent: false,
            closing: false,
        };
        self.lanes.insert(key, lane);
        self.urgent &= relayed;
        self.drive();
    }

    /// A lane is gone, for whatever reason.
    pub fn lane_down(&mut self, now: Duration, key: K) {
        self.advance(now);
        if let Some(lane) = self.lanes.remove(&key).filter(Lane::answers) {
            self.lost(lane.relayed, lane.since);
        }
        self.drive();
    }

    /// A lane is silent although something is due on it (about three round trips, at least 200 ms).
    pub fn distress(&mut self, now: Duration, key: K) {
        self.advance(now);
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.answers()) else {
            return;
        };
        lane.silent = true;
        let (relayed, since) = (lane.relayed, lane.since);
        self.lost(relayed, since);
        if relayed || self.answers(false) {
            self.actions.push_back(Action::Probe(key));
        } else {
            self.probe_all();
            let any = |attempt: Running| attempt.wish == Wish::Any;
            self.urgent |= !self.attempt.is_some_and(any) && !self.is_held();
        }
        self.drive();
    }

    /// Something came on a lane. Only of use after [`distress`](Self::distress).
    pub fn answered(&mut self, now: Duration, key: K) {
        self.advance(now);
        if let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.silent) {
            lane.silent = false;
            // What it did before it fell silent proves nothing.
            lane.since = self.now;
        }
        self.drive();
    }

    /// This machine's addresses or routes changed, or it was asleep.
    pub fn network_changed(&mut self, now: Duration) {
        self.advance(now);
        self.probe_all();
        self.retry.succeeded();
        self.flap = Flap::default();
        self.urgent = true;
        self.drive();
    }

    /// Whether there is anything to be had from the peer.
    pub fn in_use(&mut self, now: Duration, in_use: bool) {
        self.advance(now);
        match (in_use, self.idle) {
            (true, _) => {
                self.idle = None;
                self.retry.hurry(self.now);
                self.direct.hurry();
            }
            (false, None) => self.idle = Some(self.now),
            (false, Some(_)) => {}
        }
        self.drive();
    }

    /// Time has passed.
    pub fn on_timeout(&mut self, now: Duration) {
        self.advance(now);
        self.drive();
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action<K>> {
        self.actions.pop_front()
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called; at once while there is anything to poll.
    pub fn deadline(&self) -> Option<Duration> {
        if !self.actions.is_empty() {
            return Some(self.now);
        }
        let attempt = self.due().map(|(when, _)| when);
        let forgotten = self.attempt.map(|attempt| attempt.since + FORGOTTEN);
        let close = self.superfluous().map(|(when, _)| when);
        [attempt, forgotten, close].into_iter().flatten().min()
    }

    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Does whatever is due.
    fn drive(&mut self) {
        if self
            .attempt
            .is_some_and(|attempt| attempt.since + FORGOTTEN <= self.now)
        {
            self.attempt = None;
        }
        if let Some((when, wish)) = self.due()
            && when <= self.now
        {
            self.begin(wish);
        }
        while let Some((when, key)) = self.superfluous()
            && when <= self.now
        {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.closing = true;
            }
            self.actions.push_back(Action::Close(key));
        }
    }

    /// Which attempt comes next, and when; `None` while none is needed or the one that is needed goes on.
    fn due(&self) -> Option<(Duration, Wish)> {
        if self.urgent {
            return Some((self.burst.free(), Wish::Any));
        }
        match (self.need()?, self.attempt.map(|attempt| attempt.wish)) {
            (Wish::Any, None) => Some((self.retry.ready(), Wish::Any)),
            (Wish::Any, Some(Wish::Direct)) => Some((self.burst.free(), Wish::Any)),
            (Wish::Direct, None) => {
                Some((self.direct.ready().max(self.flap.until()), Wish::Direct))
            }
            (Wish::Any | Wish::Direct, Some(_)) => None,
        }
    }

    fn begin(&mut self, wish: Wish) {
        if self.urgent || self.attempt.is_some() {
            self.burst.take(self.now);
        }
        if wish == Wish::Direct {
            self.direct.began(self.now, self.idle.is_some());
        }
        self.urgent = false;
        self.attempt = Some(Running {
            wish,
            since: self.now,
        });
        self.actions.push_back(Action::Attempt(wish));
    }

    /// What is missing.
    fn need(&self) -> Option<Wish> {
        if self.answers(false) {
            None
        } else if self.answers(true) {
            Some(Wish::Direct)
        } else {
            Some(Wish::Any)
        }
    }

    /// Whether a lane of that kind answers.
    fn answers(&self, relayed: bool) -> bool {
        self.lanes
            .values()
            .any(|lane| lane.answers() && lane.relayed == relayed)
    }

    /// Whether direct lanes came and went, so that the next is waited with, which only a relayed one allows.
    fn is_held(&self) -> bool {
        self.flap.until() > self.now && self.answers(true)
    }

    /// A lane that answered does so no more.
    fn lost(&mut self, relayed: bool, since: Duration) {
        let lasted = self.now.saturating_sub(since) >= SUCCESS;
        if lasted {
            self.retry.succeeded();
        }
        if !relayed && !self.answers(false) {
            self.flap.lost(self.now);
        }
        if !lasted && self.attempt.is_none() && self.need() == Some(Wish::Any) {
            self.retry.failed(self.now, self.idle.is_some());
        }
    }

    fn probe_all(&mut self) {
        let open = self.lanes.iter().filter(|(_, lane)| !lane.closing);
        let probes = open.map(|(key, _)| Action::Probe(*key));
        self.actions.extend(probes);
    }

    /// A relayed lane that is to be closed beside a direct one, and when.
    fn superfluous(&self) -> Option<(Duration, K)> {
        let direct = self
            .lanes
            .values()
            .filter(|lane| lane.answers() && !lane.relayed);
        let steady = direct.map(|lane| lane.since + STEADY).min()?;
        let relayed = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.relayed && !lane.closing);
        let mut oldest: Vec<(Duration, K)> =
            relayed.map(|(key, lane)| (lane.since, *key)).collect();
        oldest.sort_unstable();
        let (_, key) = *oldest.first()?;
        if oldest.len() > 1 {
            return Some((steady, key));
        }
        Some((steady.max(self.idle? + RESERVE), key))
    }
}

#[cfg(test)]
mod tests;
