//! The side that answered the offer: it opens its NAT, follows, and serves what works.

use super::{
    Attempt, Ended, Failure, Message, Offer, OfferRefused, Role, Step, Strategy, keys::Keys,
    methods::Pace, remote::Remote, run::Wait, signals::Repeat,
};
use crate::{signaling::Observed, trace::Outcome};
use std::time::Duration;

/// How long after its answer the responder sends checks unasked: the word that asks for them may be lost. Sooner could be before the
/// initiator's NAT is open.
const UNASKED: Duration = Duration::from_secs(1);

/// How much longer than the initiator the responder holds out: the way of the answer there and of the last word back.
const SLACK: Duration = Duration::from_secs(2);

/// However much the initiator has to say, it is over then: every method one after the other takes less than half of it.
const LONGEST: Duration = Duration::from_secs(120);

impl Attempt {
    /// Step 2: what can begin begins, and the answer goes out.
    pub(super) fn accept(
        &mut self,
        offer: Offer,
        observed: &[Observed],
    ) -> Result<(), OfferRefused> {
        self.keys = Some(Keys::new(self.id, &offer.terms.share, &self.terms.share));
        self.config.strategy = offer.strategy;
        self.offered = (offer.stamp, self.now);
        let mut remote = Remote::new(Role::Initiator, offer.terms);
        remote.observe(observed);
        self.remote = Some(remote);
        self.terms.methods.retain(|method| {
            self.remote
                .as_ref()
                .is_some_and(|r| r.terms.methods.contains(method))
        });
        if self.terms.methods.is_empty() {
            return Err(OfferRefused::NoMethod);
        }
        self.prepare_ice();
        self.extend();
        if self.config.strategy == Strategy::Race {
            for method in self.terms.methods.clone() {
                if let Some(at) = self.enlist(method, self.now + self.config.method_timeout + SLACK)
                    && !self.runs[at].is_announced()
                {
                    self.prepare(at);
                }
            }
        }
        self.drive_checks();
        self.announce();
        self.drive();
        Ok(())
    }

    /// What may begin before the initiator says anything more.
    pub(super) fn prepare(&mut self, at: usize) {
        match self.runs[at].plan.pace {
            Pace::AtOnce => self.act(at, self.now),
            Pace::Barrier => {
                self.open(at);
                self.runs[at].wait = Wait::Barrier(Some(self.now + UNASKED));
            }
            Pace::Synchronised => {}
        }
    }

    pub(super) fn on_request(&mut self, message: Message, observed: &[Observed]) {
        if let Some(remote) = &mut self.remote
            && remote.observe(observed)
        {
            self.replan();
        }
        if !matches!(message, Message::Offer(_)) {
            self.signals.settle(|repeat| *repeat == Repeat::Terms);
        }
        match message {
            Message::Offer(offer) => self.on_offer_again(offer),
            Message::Go(step) => self.on_go(step),
            Message::Opened(_) => self.on_opened(),
            Message::Widen(round) => {
                self.extend();
                self.on_widen(round);
            }
            Message::Wide(wide) => {
                self.extend();
                self.on_wide(wide);
            }
            Message::Fresh(end) => {
                self.extend();
                self.on_fresh_peer(end);
            }
            Message::Stop(Some(method)) => {
                for at in 0..self.runs.len() {
                    let used = self.runs[at].method == method;
                    self.end_run(
                        at,
                        if used {
                            Outcome::Connected
                        } else {
                            Outcome::Cancelled
                        },
                    );
                }
                self.finish(Ended::Connected(method));
            }
            Message::Stop(None) => {
                for at in 0..self.runs.len() {
                    let outcome = self.runs[at].verdict(&self.streams);
                    self.end_run(at, outcome);
                }
                self.give_up(Failure::PeerStopped);
            }
            Message::Answer(_) | Message::Ready(_) => {}
        }
    }

    /// The answer was lost, or the initiator knows more candidates.
    fn on_offer_again(&mut self, offer: Offer) {
        self.offered = (offer.stamp, self.now);
        if self
            .remote
            .as_mut()
            .is_some_and(|remote| remote.revise(offer.terms))
        {
            self.replan();
        }
        for run in &mut self.runs {
            if let Wait::Barrier(Some(when)) = &mut run.wait {
                *when = self.now + UNASKED;
            }
        }
        self.drive_checks();
        self.announce();
    }

    fn on_go(&mut self, step: Step) {
        self.extend();
        if !self.agreed(step.method) {
            return;
        }
        let known = self.runs.iter().position(|run| run.method == step.method);
        // Said again, or late: it must not end what came after it.
        if known.is_some_and(|at| self.runs[at].gone(step.round)) {
            self.say(&Message::Ready(step));
            return;
        }
        if self.config.strategy == Strategy::Sequential {
            for at in (0..self.runs.len()).filter(|at| Some(*at) != known) {
                let outcome = self.runs[at].verdict(&self.streams);
                self.end_run(at, outcome);
            }
        }
        let limit = self.now + self.config.method_timeout + SLACK;
        let running = known.filter(|at| self.runs[*at].is_running());
        if let Some(at) = running.or_else(|| self.enlist(step.method, limit)) {
            self.runs[at].limit = limit;
            self.follow(at, step.round);
            self.drive_checks();
            self.say(&Message::Ready(step));
        }
    }

    /// Begins a round that the initiator begins.
    fn follow(&mut self, at: usize, round: u8) {
        self.runs[at].go(round);
        match self.runs[at].plan.pace {
            Pace::AtOnce | Pace::Barrier => self.prepare(at),
            Pace::Synchronised => self.act(at, self.now),
        }
    }

    fn on_opened(&mut self) {
        for at in 0..self.runs.len() {
            if matches!(self.runs[at].wait, Wait::Barrier(_)) {
                self.pass_barrier(at);
            }
        }
    }

    /// The initiator has been silent for too long.
    pub(super) fn expire(&mut self) {
        if self.limit.is_none_or(|limit| self.now < limit) {
            return;
        }
        let used = self.best().map(|path| path.method);
        for at in 0..self.runs.len() {
            let connected = used == Some(self.runs[at].method);
            let outcome = if connected {
                Outcome::Connected
            } else {
                self.runs[at].verdict(&self.streams)
            };
            self.end_run(at, outcome);
        }
        match used {
            Some(method) => self.finish(Ended::Connected(method)),
            None => self.give_up(Failure::NoPath),
        }
    }

    /// Holds out as long as a method takes, from now on.
    fn extend(&mut self) {
        let limit = self.now + self.config.method_timeout + SLACK;
        self.limit = Some(limit.min(self.start + LONGEST));
    }
}
