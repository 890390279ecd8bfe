//! The side that made the offer: it leads.

use super::{
    Answer, Attempt, Failure, Message, Role, Step, Strategy, keys::Keys, methods::Pace,
    remote::Remote, run::Wait, signals::Repeat,
};
use crate::signaling::Observed;
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
            Message::Fresh(end) => self.on_fresh_peer(end),
            Message::Stop(_) => self.on_stop(),
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
        self.prepare_ice();
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

    pub(super) fn begin_method(&mut self, method: Method) {
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
            self.config.strategy == Strategy::Race && round == 0 && !self.runs[at].is_announced();
        let rtt = self.signaling.unwrap_or(UNMEASURED);
        if !told {
            self.say(&Message::Go(step));
            let again = rtt * 3 / 2 + Duration::from_millis(100);
            for times in [1, 2] {
                let go = Repeat::Message(Message::Go(step));
                self.signals.at(self.now + again * times, go);
            }
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
}
