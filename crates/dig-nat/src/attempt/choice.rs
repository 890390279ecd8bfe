//! Which path the initiator takes, and when it goes on looking for a better one.
//!
//! A direct path ends the search. A relayed one is given out as soon as nothing better is about to answer, so that work can begin;
//! what else is being tried goes on, and a path that passes fewer relays is given out in its turn.

use super::{
    Attempt, Ended, Failure, Strategy,
    event::{Output, Path},
    message::Message,
    methods::Probe,
    streams::Stage,
};
use crate::{candidate::Transport, trace::Outcome};
use dig_types::Method;
use std::time::Duration;

/// How long after a relayed path was given the attempt waits for what became of it, when there is nothing else to do: longer than a
/// session takes, even with lost packets.
const PATIENCE: Duration = Duration::from_secs(10);

impl Attempt {
    /// Chooses a path when it is time to; begins the next method when there is none, and ends when there is no next.
    pub(super) fn consider(&mut self) {
        if self.remote.is_none() {
            if self.limit.is_some_and(|limit| limit <= self.now) {
                self.give_up(Failure::NoSignal);
            }
            return;
        }
        if self.is_settled() {
            return;
        }
        let better_than_chosen = |path: &Path| {
            self.chosen
                .is_none_or(|chosen| class(path) < class(&chosen))
        };
        if let Some(best) = self.best().filter(better_than_chosen) {
            let better = self
                .runs
                .iter()
                .any(|run| run.is_running() && rank(run.method) < class(&best));
            let decide = *self.decide.get_or_insert(self.now + self.config.grace);
            if !better || decide <= self.now || self.config.strategy == Strategy::Sequential {
                self.choose(best);
            } else {
                return;
            }
        }
        self.decide = None;
        self.go_on();
    }

    /// Until when a relayed path that was given, and is the best there will be, may go without a word.
    pub(super) fn patience(&self) -> Option<Duration> {
        let open = self.chosen.is_some_and(|chosen| chosen.is_relayed())
            && self.waiting.is_empty()
            && !self.runs.iter().any(|run| run.is_running());
        open.then_some(self.given + PATIENCE)
    }

    /// Whether the search is over: there is a direct path.
    pub(super) fn is_settled(&self) -> bool {
        self.chosen.is_some_and(|chosen| !chosen.is_relayed())
    }

    /// Begins the next method if none is running; without any, it is over, unless a session over a relayed path is still being made.
    fn go_on(&mut self) {
        if self.is_settled() {
            return;
        }
        while !self.runs.iter().any(|run| run.is_running()) {
            if let Some(method) = self.waiting.pop_front() {
                if self
                    .chosen
                    .is_none_or(|chosen| rank(method) < class(&chosen))
                {
                    self.begin_method(method);
                }
                continue;
            }
            match self.chosen {
                None => {
                    self.say(&Message::Stop(None));
                    self.give_up(Failure::NoPath);
                }
                Some(path) if self.confirmed == Some(path) => self.succeed(path),
                // Whoever was given a path and says nothing of it does not keep the attempt alive.
                Some(path) if self.given + PATIENCE <= self.now => {
                    self.succeed(self.confirmed.unwrap_or(path));
                }
                Some(_) => {}
            }
            return;
        }
    }

    pub(super) fn best(&self) -> Option<Path> {
        self.paths
            .iter()
            .min_by_key(|path| (class(path), path.rtt.unwrap_or(Duration::MAX)))
            .copied()
    }

    fn choose(&mut self, path: Path) {
        self.chosen = Some(path);
        self.given = self.now;
        self.decide = None;
        self.outputs.push_back(Output::Path(path));
        let last = !path.is_relayed();
        for at in 0..self.runs.len() {
            let run = &self.runs[at];
            let finds_better = !last && (run.method == Method::Ice || path.relays > 1);
            if run.method == path.method {
                if !finds_better {
                    self.end_run(at, Outcome::Connected);
                    self.runs[at].amend(self.now, Outcome::Connected);
                }
            } else if last && run.is_running() {
                self.end_run(at, Outcome::Cancelled);
            } else if run.outcome == Outcome::Connected {
                self.runs[at].amend(self.now, Outcome::Cancelled);
            }
        }
        if !last {
            return;
        }
        self.signals.settle(|_| true);
        let doomed = self.streams.abandon(|stream| stream.stage != Stage::Proved);
        self.outputs
            .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
    }

    /// The session over the path given last is made. A direct one: the others are given up, and the peer is told. Not sooner: a peer
    /// that is told before it has read what comes over the path closes it. A relayed one: the search for a better one goes on, and
    /// the attempt ends when it does. Of no effect on the responder.
    pub fn confirm(&mut self, now: Duration) {
        if let Some(path) = self.chosen {
            self.confirm_path(now, &path);
        }
    }

    /// The same for a path given earlier: while a session over a relayed path was being made, a better path may have been given.
    pub fn confirm_path(&mut self, now: Duration, path: &Path) {
        // A session over a worse path that comes about later changes nothing.
        if !self.advance(now) || self.chosen.is_none() || self.confirmed == self.chosen {
            return;
        }
        if self.chosen == Some(*path) || path.is_relayed() {
            self.confirmed = Some(*path);
        }
        if self.is_settled() && self.confirmed == self.chosen {
            self.succeed(*path);
        } else {
            self.drive();
        }
    }

    fn succeed(&mut self, path: Path) {
        self.say(&Message::Stop(Some(path.method)));
        self.finish(Ended::Connected(path.method));
    }

    /// The peer ended the attempt. What was given stays given.
    pub(super) fn on_stop(&mut self) {
        if self.chosen.is_none() {
            self.give_up(Failure::PeerStopped);
        }
        if self.is_settled() || self.ended {
            return;
        }
        self.waiting.clear();
        for at in 0..self.runs.len() {
            self.fail_run(at);
        }
    }

    /// The session over a path given does not work. Another one follows, if there is one: one that answered too, or
    /// one by the methods that were cancelled for this one. A relayed path that was confirmed before stays. Of no effect on the responder,
    /// and for a path that was not given.
    pub fn reject_path(&mut self, now: Duration, path: &Path) {
        if !self.advance(now) || (self.chosen != Some(*path) && self.confirmed != Some(*path)) {
            return;
        }
        self.confirmed = self.confirmed.filter(|known| known != path);
        if self.chosen == Some(*path) {
            self.chosen = self.confirmed;
        }
        self.paths.retain(|known| known != path);
        if path.transport == Transport::Udp {
            let probe = Probe {
                from: path.from,
                to: path.remote,
            };
            self.checks.forget(probe);
            if let Some(ice) = self.ice.as_mut().filter(|_| path.method == Method::Ice) {
                ice.forget(probe);
            }
        }
        let doomed = self
            .streams
            .abandon(|stream| path.stream == Some(stream.id));
        self.outputs
            .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
        if let Some(run) = self.runs.iter_mut().find(|run| run.method == path.method) {
            run.amend(
                self.now,
                Outcome::Failed("the path answered, but no session came about over it".into()),
            );
        }
        if let Some(kept) = self.chosen
            && let Some(run) = self.runs.iter_mut().find(|run| run.method == kept.method)
        {
            run.amend(self.now, Outcome::Connected);
        }
        if self.paths.iter().all(Path::is_relayed) {
            self.revive();
        }
        self.drive();
    }

    /// Tries what was cancelled once more, from the beginning.
    fn revive(&mut self) {
        for at in 0..self.runs.len() {
            if self.runs[at].outcome == Outcome::Cancelled {
                let method = self.runs[at].method;
                let round = self.runs[at].round.saturating_add(1);
                if let Some(at) = self.enlist(method, self.now + self.config.method_timeout) {
                    self.runs[at].plan.rounds = self.runs[at].plan.rounds.saturating_add(round);
                    self.begin_round(at, round);
                }
            }
        }
    }
}

/// Which path is preferred: what passes least on its way. UDP and TCP count alike.
pub(super) fn class(path: &Path) -> u8 {
    if path.is_relayed() {
        DIRECT + path.relays
    } else {
        rank(path.method).min(DIRECT)
    }
}

/// The class of the worst direct path.
const DIRECT: u8 = 3;

/// The class of the best path that a method may find.
fn rank(method: Method) -> u8 {
    match method {
        Method::Local => 0,
        Method::Direct => 1,
        Method::Pcp | Method::NatPmp | Method::Upnp => 2,
        Method::Turn => DIRECT + 1,
        _ => DIRECT,
    }
}
