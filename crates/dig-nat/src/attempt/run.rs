//! One method while it is tried.

use super::{
    event::StreamFailure,
    methods::{Pace, Plan},
    streams::{Stage, Streams},
    tactic::Tactic,
};
use crate::trace::{MethodTrace, Outcome};
use dig_types::Method;
use std::{net::SocketAddr, time::Duration};

/// What the run waits for, besides answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Nothing.
    Nothing,
    /// To begin (race: so that what is likelier comes first).
    Begin(Duration),
    /// The barrier: the responder's word to the initiator, the initiator's to the responder; until that time.
    Barrier(Option<Duration>),
    /// The next round.
    Round(Duration),
}

/// A method that was begun.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) method: Method,
    pub(super) plan: Plan,
    pub(super) round: u8,
    pub(super) wait: Wait,
    pub(super) limit: Duration,
    pub(super) sent: u32,
    pub(super) received: u32,
    pub(super) remotes: Vec<SocketAddr>,
    pub(super) outcome: Outcome,
    /// How ports were guessed, if they were.
    pub(super) tactic: Option<Tactic>,
    /// The last round that the initiator said it begins.
    told: Option<u8>,
    started: Duration,
    ended: Option<Duration>,
}

impl Run {
    pub(super) fn new(now: Duration, method: Method, plan: Plan, limit: Duration) -> Self {
        Self {
            method,
            plan,
            round: 0,
            wait: Wait::Nothing,
            limit,
            sent: 0,
            received: 0,
            remotes: Vec::new(),
            outcome: Outcome::Running,
            tactic: None,
            told: None,
            started: now,
            ended: None,
        }
    }

    /// A method that cannot apply.
    pub(super) fn skipped(now: Duration, method: Method, reason: String) -> Self {
        let plan = Plan {
            pace: Pace::AtOnce,
            rounds: 0,
            probes: Vec::new(),
            dials: Vec::new(),
        };
        let mut run = Self::new(now, method, plan, now);
        run.end(now, Outcome::Skipped(reason));
        run
    }

    /// Whether the responder begins it on the initiator's word, in a race too.
    pub(super) fn is_announced(&self) -> bool {
        self.plan.pace == Pace::Synchronised || self.method == Method::Ice
    }

    pub(super) fn is_running(&self) -> bool {
        self.outcome == Outcome::Running
    }

    /// It ends; the first outcome stands.
    pub(super) fn end(&mut self, now: Duration, outcome: Outcome) {
        if self.is_running() {
            self.outcome = outcome;
            self.ended = Some(now);
            self.wait = Wait::Nothing;
        }
    }

    /// It was thought to have ended otherwise.
    pub(super) fn amend(&mut self, now: Duration, outcome: Outcome) {
        self.outcome = Outcome::Running;
        self.end(now, outcome);
    }

    /// It is tried once more.
    pub(super) fn again(&mut self, plan: Plan, limit: Duration) {
        self.plan = plan;
        self.limit = limit;
        self.outcome = Outcome::Running;
        self.ended = None;
        self.wait = Wait::Nothing;
    }

    pub(super) fn sent(&mut self, to: SocketAddr) {
        self.sent += 1;
        if !self.remotes.contains(&to) && self.remotes.len() < 16 {
            self.remotes.push(to);
        }
    }

    /// Why it gave no path.
    pub(super) fn verdict(&self, streams: &Streams) -> Outcome {
        if self.received > 0 {
            return Outcome::OneWay;
        }
        let mut refused = None;
        let mut failed = None;
        for stream in streams.of(self.method) {
            match &stream.stage {
                Stage::Failed(StreamFailure::Refused) => {
                    refused = Some(format!("{} refused the connection", stream.remote))
                }
                Stage::Failed(StreamFailure::Closed) => {
                    refused = Some(format!("{} accepted, but is not the peer", stream.remote));
                }
                Stage::Failed(StreamFailure::Other(text)) => failed = Some(text.clone()),
                _ => {}
            }
        }
        refused
            .map(Outcome::Refused)
            .or(failed.map(Outcome::Failed))
            .unwrap_or(Outcome::NoAnswer)
    }

    /// Whether the initiator said so of that round before, or of a later one.
    pub(super) fn gone(&self, round: u8) -> bool {
        self.told.is_some_and(|told| round <= told)
    }

    /// The initiator says that it begins a round.
    pub(super) fn go(&mut self, round: u8) {
        self.told = Some(round);
        self.round = round;
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let wait = match self.wait {
            Wait::Begin(at) | Wait::Round(at) => Some(at),
            Wait::Barrier(at) => at,
            Wait::Nothing => None,
        };
        let limit = self.is_running().then_some(self.limit);
        [wait, limit].into_iter().flatten().min()
    }

    pub(super) fn trace(&self, now: Duration, start: Duration) -> MethodTrace {
        MethodTrace {
            method: self.method,
            started: self.started.saturating_sub(start),
            took: self.ended.unwrap_or(now).saturating_sub(self.started),
            sent: self.sent,
            received: self.received,
            remotes: self.remotes.clone(),
            outcome: self.outcome.clone(),
            tactic: self.tactic,
        }
    }
}
