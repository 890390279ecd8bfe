//! What both roles do alike: carrying out plans, and keeping time.

use super::{
    Attempt, Ended, Failure, Role, Strategy,
    budget::Budget,
    config::RelayUse,
    event::{Output, StreamFailure},
    message::{Answer, Message, Offer},
    methods::{Dial, Pace, Plan, Probe, Sides, method},
    remote::MAX_UNATTESTED,
    run::{Run, Wait},
    signals::Repeat,
    streams::Stage,
};
use crate::trace::Outcome;
use dig_types::Method;
use std::time::Duration;

/// How much later than everything else simultaneous open begins in a race: it burns ports, and is mostly not needed.
const LAST_RESORT: Duration = Duration::from_millis(100);

/// How much later than everything else ICE begins in a race: it asks the same addresses once more, for those whose firewall lets
/// nothing pass but STUN.
const SECOND_VOICE: Duration = Duration::from_millis(300);

/// Between rounds, so that two sides that missed each other once do not go on doing so in step.
const JITTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));

/// After its last round a method waits for the peer's connection this long: the system repeats a lost SYN after 1 s.
const LINGER: Duration = Duration::from_millis(1200);

impl Attempt {
    /// Time has passed. Calling it early or late is harmless.
    pub fn on_timeout(&mut self, now: Duration) {
        if self.advance(now) {
            self.drive();
        }
    }

    /// Does whatever is due.
    pub(super) fn drive(&mut self) {
        while let Some(repeat) = self.signals.due(self.now) {
            match repeat {
                Repeat::Terms => self.announce(),
                Repeat::Revision(revision) if revision == self.terms.revision => self.announce(),
                Repeat::Revision(_) => {}
                Repeat::Message(message) => self.say(&message),
            }
        }
        for at in 0..self.runs.len() {
            self.drive_run(at);
        }
        self.drive_ice();
        self.settle();
        self.drive_tactic();
        self.drive_checks();
    }

    /// Sends the checks that are due.
    pub(super) fn drive_checks(&mut self) {
        while let Some(keys) = &self.keys
            && let Some((method, output)) =
                self.checks
                    .poll(self.now, keys, &mut self.jitter, &mut self.budget)
        {
            self.sent(method, &output);
            self.outputs.push_back(output);
        }
        self.drive_ice();
    }

    fn drive_run(&mut self, at: usize) {
        let now = self.now;
        let Some(run) = self.runs.get(at).filter(|run| run.is_running()) else {
            return;
        };
        let (method, round, rounds) = (run.method, run.round, run.plan.rounds);
        match run.wait {
            Wait::Begin(when) if when <= now => self.round(at, 0),
            Wait::Barrier(Some(when)) if when <= now => self.pass_barrier(at),
            Wait::Round(when) if when <= now && round + 1 < rounds => self.round(at, round + 1),
            Wait::Round(when) if when <= now => self.fail_run(at),
            Wait::Round(when) => {
                let failed =
                    |stream: &super::streams::Stream| matches!(stream.stage, Stage::Failed(_));
                let mut own = self
                    .streams
                    .of(method)
                    .filter(|stream| stream.round == round)
                    .peekable();
                if own.peek().is_some() && own.all(failed) && self.role == Role::Initiator {
                    let pause = self.jitter.between(JITTER.0, JITTER.1);
                    let next = if round + 1 < rounds {
                        pause + self.signaling.unwrap_or_default()
                    } else {
                        LINGER
                    };
                    self.runs[at].wait = Wait::Round(when.min(now + next));
                }
            }
            _ => {}
        }
        if self.runs[at].is_running() && self.runs[at].limit <= now {
            self.fail_run(at);
        }
    }

    pub(super) fn fail_run(&mut self, at: usize) {
        let given = |path: super::Path| path.method == self.runs[at].method;
        let outcome = if self.chosen.is_some_and(given) {
            Outcome::Connected
        } else {
            self.runs[at].verdict(&self.streams)
        };
        self.end_run(at, outcome);
    }

    /// Ends a run, and what it has under way.
    pub(super) fn end_run(&mut self, at: usize, outcome: Outcome) {
        let (now, method) = (self.now, self.runs[at].method);
        self.runs[at].end(now, outcome);
        self.checks.stop(method);
        if let Some(ice) = self.ice.as_mut().filter(|_| method == Method::Ice) {
            ice.stop();
        }
        let doomed = self
            .streams
            .abandon(|stream| stream.method == Some(method) && stream.stage != Stage::Proved);
        self.outputs
            .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
    }

    /// What this side does for a method, without addresses that another method checks anyway.
    pub(super) fn plan(&self, name: Method) -> Result<Plan, String> {
        let remote = self.remote.as_ref().ok_or("the peer has not answered")?;
        let method = method(name).ok_or("an attempt does not know this method")?;
        let mut plan = method.plan(&Sides::new(&self.local, remote))?;
        if self.config.relay == RelayUse::Only {
            plan.dials.clear();
        }
        if self.config.relay == RelayUse::Only && self.local.relays.is_empty() {
            return Err("this side may use nothing but relays, and has none so far".into());
        }
        let ice = name == Method::Ice;
        plan.probes.retain(|probe| self.may_use(name, *probe));
        let all = plan.probes.len();
        plan.probes
            .retain(|probe| ice || !self.checks.taken(*probe, name));
        if all > 0 && plan.probes.is_empty() && plan.dials.is_empty() {
            return Err("another method checks the same addresses".into());
        }
        Ok(plan)
    }

    /// Puts a method into the list of those that are tried; where it stands there, unless it cannot apply.
    pub(super) fn enlist(&mut self, method: Method, limit: Duration) -> Option<usize> {
        let run = match self.plan(method) {
            Ok(plan) => Run::new(self.now, method, plan, limit),
            Err(reason) => Run::skipped(self.now, method, reason),
        };
        if method != Method::Ice {
            self.checks.hold(method, &run.plan.probes);
        }
        let running = run.is_running();
        let at = self
            .runs
            .iter()
            .position(|other| other.method == method)
            .unwrap_or(self.runs.len());
        if at == self.runs.len() {
            self.runs.push(run);
        } else if running {
            let plan = run.plan;
            self.runs[at].again(plan, limit);
        }
        running.then_some(at)
    }

    /// Sends checks and makes the connections of the run's present round, these not before that time.
    pub(super) fn act(&mut self, at: usize, not_before: Duration) {
        let Run {
            method,
            round,
            limit,
            ref plan,
            ..
        } = self.runs[at];
        let dials: Vec<Dial> = plan
            .dials
            .iter()
            .filter(|dial| dial.round.is_none_or(|of| of == round))
            .copied()
            .collect();
        if method == Method::Ice {
            self.start_ice(limit);
        } else {
            self.checks.start(self.now, method, limit);
        }
        let timeout = limit.saturating_sub(not_before);
        for dial in dials {
            if let Some(connect) = self
                .streams
                .connect(method, round, &dial, not_before, timeout)
            {
                let output = Output::Connect(connect);
                if !self.budget.spend(Budget::syns(timeout)) {
                    let text = "as many packets as unanswered addresses get".into();
                    if let Some(stream) = self.streams.get(connect.id) {
                        stream.stage = Stage::Failed(StreamFailure::Other(text));
                    }
                    continue;
                }
                self.sent(method, &output);
                self.outputs.push_back(output);
            }
        }
    }

    /// Sends packets that open this side's NAT for the peer's checks.
    pub(super) fn open(&mut self, at: usize) {
        let method = self.runs[at].method;
        if method == Method::Ice {
            self.open_ice(at);
            return;
        }
        let probes: Vec<Probe> = self.checks.probes(method).collect();
        self.send_openers(method, &probes);
        if method == Method::UdpHolePunch {
            self.open_unattested();
        }
    }

    fn send_openers(&mut self, method: Method, probes: &[Probe]) {
        let Some(keys) = &self.keys else { return };
        let (ttl, jitter, budget) = (self.config.opener_ttl, &mut self.jitter, &mut self.budget);
        for output in (self.checks).openers(probes, method, keys, ttl, jitter, budget) {
            self.sent(method, &output);
            self.outputs.push_back(output);
        }
    }

    /// Ends of a peer that no carrier sees, each once: this side's NAT is opened for them by packets that end before any other, so
    /// whoever is aimed at hears nothing; the peer's own check proves that it is there.
    fn open_unattested(&mut self) {
        let Some(remote) = &self.remote else { return };
        let mut ends = remote.unattested_ends(&self.local);
        ends.retain(|end| self.unattested.len() < MAX_UNATTESTED && self.unattested.insert(*end));
        let probes: Vec<Probe> = ends.into_iter().map(Probe::shared).collect();
        self.send_openers(Method::UdpHolePunch, &probes);
    }

    /// The first round of a method in a race: not all of them begin at the same time.
    pub(super) fn begin_later(&mut self, at: usize) -> bool {
        let method = self.runs[at].method;
        let later = match method {
            Method::TcpSimultaneousOpen => LAST_RESORT,
            Method::Ice if self.agreed(Method::UdpHolePunch) => SECOND_VOICE,
            _ => return false,
        };
        if self.config.strategy != Strategy::Race || self.config.first == Some(method) {
            return false;
        }
        self.runs[at].wait = Wait::Begin(self.now + later);
        true
    }

    /// More is known of either side than when the methods began.
    pub(super) fn replan(&mut self) {
        if self.remote.is_none() || self.is_settled() {
            return;
        }
        self.update_ice();
        for at in 0..self.runs.len() {
            let Run {
                method,
                limit,
                round,
                ..
            } = self.runs[at];
            let skipped = matches!(self.runs[at].outcome, Outcome::Skipped(_));
            if !skipped && !self.runs[at].is_running() {
                continue;
            }
            let Ok(plan) = self.plan(method) else {
                continue;
            };
            if method != Method::Ice {
                self.checks.hold(method, &plan.probes);
            }
            if skipped {
                self.runs[at].again(plan, self.now + self.config.method_timeout);
                self.begin(at, round);
                continue;
            }
            self.runs[at].plan = plan;
            let awaited = self.runs[at].is_announced() && !self.runs[at].gone(round);
            if self.role == Role::Responder && awaited {
                continue;
            }
            let held = self.runs[at].wait != Wait::Nothing
                || self.runs[at].plan.pace == Pace::Synchronised;
            if held && self.role == Role::Responder {
                self.open(at);
            } else if !held {
                if self.role == Role::Responder && method == Method::UdpHolePunch {
                    self.open_unattested();
                }
                self.act(at, self.now);
            }
            debug_assert!(limit == self.runs[at].limit);
        }
    }

    fn begin(&mut self, at: usize, round: u8) {
        match self.role {
            Role::Initiator => {
                if !self.begin_later(at) {
                    self.begin_round(at, round);
                }
            }
            Role::Responder => {
                if !self.runs[at].is_announced() {
                    self.prepare(at);
                }
            }
        }
    }

    fn round(&mut self, at: usize, round: u8) {
        match self.role {
            Role::Initiator => self.begin_round(at, round),
            Role::Responder => {}
        }
    }

    /// Offers or answers once more, and again later if nothing comes.
    pub(super) fn announce(&mut self) {
        let milliseconds = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let terms = self.terms.clone();
        let message = match self.role {
            Role::Initiator => {
                let stamp = milliseconds(self.now.saturating_sub(self.start));
                Message::Offer(Offer {
                    terms,
                    stamp,
                    strategy: self.config.strategy,
                })
            }
            Role::Responder => {
                let (stamp, came) = self.offered;
                Message::Answer(Answer {
                    terms,
                    stamp,
                    held: self.now.saturating_sub(came),
                })
            }
        };
        self.say(&message);
        self.signals.settle(|repeat| *repeat == Repeat::Terms);
        if self.limit.is_some_and(|limit| self.now + RESEND < limit) {
            self.signals.at(self.now + RESEND, Repeat::Terms);
        }
    }

    /// Whether both sides allow a method.
    pub(super) fn agreed(&self, method: Method) -> bool {
        let theirs = self
            .remote
            .as_ref()
            .is_some_and(|remote| remote.terms.methods.contains(&method));
        theirs && self.terms.methods.contains(&method)
    }

    pub(super) fn running(&self, method: Method) -> Option<&Run> {
        self.runs
            .iter()
            .find(|run| run.method == method && run.is_running())
    }

    pub(super) fn sent(&mut self, method: Method, output: &Output) {
        let to = match output {
            Output::Datagram { to, .. } => *to,
            Output::Connect(connect) => connect.to,
            _ => return,
        };
        if let Some(run) = self.runs.iter_mut().find(|run| run.method == method) {
            run.sent(to);
        }
    }

    /// Whether it is over, or a path is to be chosen.
    fn settle(&mut self) {
        if self.ended {
            return;
        }
        match self.role {
            Role::Initiator => self.consider(),
            Role::Responder => self.expire(),
        }
    }

    /// The end without a path.
    pub(super) fn give_up(&mut self, failure: Failure) {
        self.finish(Ended::Failed(failure));
    }
}

/// The offer, and the answer while nothing shows that it arrived, are repeated so often.
pub(super) const RESEND: Duration = Duration::from_millis(500);
