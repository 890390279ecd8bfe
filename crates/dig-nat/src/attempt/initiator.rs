//! The side that made the offer: it leads and chooses.

use super::{
    Answer, Attempt, Ended, Failure, Message, Role, Step, Strategy,
    event::{Output, Path},
    keys::Keys,
    methods::{Pace, Probe},
    remote::Remote,
    run::Wait,
    signals::Repeat,
    streams::Stage,
};
use crate::{signaling::Observed, trace::Outcome};
use dig_types::Method;
use std::time::Duration;

/// The word on which the responder sends its checks is said again after these times, until a check comes.
const OPENED_AGAIN: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(450)];

/// How long a method of [`Strategy::Sequential`] waits for the responder to say that its NAT is open, before it goes on regardless.
const READY: Duration = Duration::from_millis(1500);

/// A guess at the signaling round trip where it was not measured.
const UNMEASURED: Duration = Duration::from_millis(200);

/// On a local network who is there answers at once; many networks have the same numbers.
const LOCAL: Duration = Duration::from_millis(1500);

impl Attempt {
    /// Step 1: the offer.
    pub(super) fn offer(&mut self) {
        self.limit = Some(self.now + self.config.offer_timeout);
        if self.terms.methods.is_empty() {
            self.give_up(Failure::NoPath);
            return;
        }
        self.announce();
    }

    pub(super) fn on_reply(&mut self, message: Message, observed: &[Observed]) {
        if let Some(remote) = &mut self.remote
            && remote.observe(observed)
        {
            self.replan();
        }
        match message {
            Message::Answer(answer) => self.on_answer(answer, observed),
            Message::Ready(step) => self.on_ready(step),
            Message::Wide(wide) => self.on_wide(wide),
            Message::Stop(_) if self.chosen.is_none() => self.give_up(Failure::PeerStopped),
            _ => {}
        }
    }

    fn on_answer(&mut self, answer: Answer, observed: &[Observed]) {
        if let Some(remote) = &mut self.remote {
            self.signals.settle(|repeat| *repeat == Repeat::Terms);
            if remote.revise(answer.terms) {
                self.replan();
            }
            return;
        }
        let stamped = self.start + Duration::from_millis(answer.stamp.into());
        let rtt = self
            .now
            .checked_sub(stamped)
            .map(|all| all.saturating_sub(answer.held));
        self.signaling = rtt;
        self.limit = None;
        self.signals.settle(|repeat| *repeat == Repeat::Terms);
        self.keys = Some(Keys::new(self.id, &self.terms.share, &answer.terms.share));
        let mut remote = Remote::new(Role::Responder, answer.terms);
        remote.observe(observed);
        self.remote = Some(remote);
        self.welcome_early();
        let mut methods: Vec<Method> = self
            .terms
            .methods
            .iter()
            .copied()
            .filter(|method| self.agreed(*method))
            .collect();
        // Stable, so the others keep their order.
        methods.sort_by_key(|method| self.config.first != Some(*method));
        match self.config.strategy {
            Strategy::Race => methods
                .into_iter()
                .for_each(|method| self.begin_method(method)),
            Strategy::Sequential => self.waiting = methods.into(),
        }
    }

    fn begin_method(&mut self, method: Method) {
        let timeout = self.config.method_timeout;
        let timeout = if method == Method::Local {
            timeout.min(LOCAL)
        } else {
            timeout
        };
        if let Some(at) = self.enlist(method, self.now + timeout)
            && !self.begin_later(at)
        {
            let round = self.runs[at].round;
            self.begin_round(at, round);
        }
    }

    /// Begins a round of a method, and tells the responder where it must know.
    pub(super) fn begin_round(&mut self, at: usize, round: u8) {
        self.runs[at].round = round;
        self.runs[at].wait = Wait::Nothing;
        let step = Step {
            round,
            method: self.runs[at].method,
        };
        let pace = self.runs[at].plan.pace;
        let told =
            self.config.strategy == Strategy::Race && round == 0 && pace != Pace::Synchronised;
        let rtt = self.signaling.unwrap_or(UNMEASURED);
        if !told {
            self.say(&Message::Go(step));
            let again = self.now + rtt * 3 / 2 + Duration::from_millis(100);
            self.signals.at(again, Repeat::Message(Message::Go(step)));
        }
        match pace {
            Pace::AtOnce => self.act(at, self.now),
            Pace::Barrier if told => self.pass_barrier(at),
            Pace::Barrier => self.runs[at].wait = Wait::Barrier(Some(self.now + READY)),
            Pace::Synchronised => {
                let length =
                    self.config.method_timeout / u32::from(self.runs[at].plan.rounds.max(1));
                self.runs[at].wait = Wait::Round(self.now + length.max(rtt));
                // The responder connects when it hears of it.
                self.act(at, self.now + rtt / 2);
            }
        }
    }

    fn on_ready(&mut self, step: Step) {
        let go = Repeat::Message(Message::Go(step));
        self.signals.settle(|repeat| *repeat == go);
        let Some(at) = self
            .runs
            .iter()
            .position(|run| run.method == step.method && run.round == step.round)
        else {
            return;
        };
        if matches!(self.runs[at].wait, Wait::Barrier(_)) {
            self.pass_barrier(at);
        }
    }

    /// The barrier of a datagram method is behind this side.
    pub(super) fn pass_barrier(&mut self, at: usize) {
        self.runs[at].wait = Wait::Nothing;
        self.act(at, self.now);
        if self.role == Role::Initiator {
            let opened = Message::Opened(self.runs[at].round);
            // The checks must leave before the word does: both are taken from the same queue.
            self.drive_checks();
            self.say(&opened);
            for again in OPENED_AGAIN {
                self.signals
                    .at(self.now + again, Repeat::Message(opened.clone()));
            }
        }
    }

    /// Chooses a path when it is time to; begins the next method when there is none, and ends when there is no next.
    pub(super) fn consider(&mut self) {
        if self.chosen.is_some() || self.remote.is_none() {
            if self.remote.is_none() && self.limit.is_some_and(|limit| limit <= self.now) {
                self.give_up(Failure::NoSignal);
            }
            return;
        }
        if let Some(best) = self.best() {
            let better = self
                .runs
                .iter()
                .any(|run| run.is_running() && rank(run.method) < rank(best.method));
            let decide = *self.decide.get_or_insert(self.now + self.config.grace);
            if !better || decide <= self.now || self.config.strategy == Strategy::Sequential {
                self.choose(best);
            }
            return;
        }
        self.decide = None;
        while !self.runs.iter().any(|run| run.is_running()) {
            let Some(method) = self.waiting.pop_front() else {
                self.say(&Message::Stop(None));
                self.give_up(Failure::NoPath);
                return;
            };
            self.begin_method(method);
        }
    }

    fn best(&self) -> Option<Path> {
        self.paths
            .iter()
            .min_by_key(|path| (rank(path.method), path.rtt.unwrap_or(Duration::MAX)))
            .copied()
    }

    fn choose(&mut self, path: Path) {
        self.chosen = Some(path);
        self.decide = None;
        self.outputs.push_back(Output::Path(path));
        for at in 0..self.runs.len() {
            if self.runs[at].method == path.method {
                self.end_run(at, Outcome::Connected);
                self.runs[at].amend(self.now, Outcome::Connected);
            } else if self.runs[at].is_running() {
                self.end_run(at, Outcome::Cancelled);
            }
        }
        self.signals.settle(|_| true);
        let doomed = self.streams.abandon(|stream| stream.stage != Stage::Proved);
        self.outputs
            .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
    }

    /// The session over the path given is made: the others are given up, and the peer is told. Not sooner: a peer that is told
    /// before it has read what comes over the path closes it. Of no effect on the responder.
    pub fn confirm(&mut self, now: Duration) {
        if !self.advance(now) {
            return;
        }
        if let Some(path) = self.chosen {
            self.say(&Message::Stop(Some(path.method)));
            self.finish(Ended::Connected(path.method));
        }
    }

    /// The session over the path given does not work. Another one follows, if there is one: one that answered too, or
    /// one by the methods that were cancelled for this one. Of no effect on the responder, and for any other path.
    pub fn reject_path(&mut self, now: Duration, path: &Path) {
        if !self.advance(now) || self.chosen != Some(*path) {
            return;
        }
        self.chosen = None;
        self.paths.retain(|known| known != path);
        if path.transport == crate::candidate::Transport::Udp {
            self.checks.forget(Probe {
                from: path.from,
                to: path.remote,
            });
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
        if self.paths.is_empty() {
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
fn rank(method: Method) -> u8 {
    match method {
        Method::Local => 0,
        Method::Direct => 1,
        Method::Pcp | Method::NatPmp | Method::Upnp => 2,
        _ => 3,
    }
}
