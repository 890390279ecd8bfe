//! One attempt of two peers at a path between them: both roles, all methods, one or all at a time.
//!
//! The side that wants the path makes an [`Attempt`] by [`initiate`](Attempt::initiate), the other one out of the offer it gets, by
//! [`respond`](Attempt::respond). Each is a state machine without sockets, clock or randomness of its own: tell it what
//! arrives (`on_…`) and that time has passed ([`on_timeout`](Attempt::on_timeout) at [`deadline`](Attempt::deadline)), then take
//! what is to be done from [`poll`](Attempt::poll) until there is nothing. `now` is the time since any start, and never
//! goes back; calls in any order, or too many, do no harm.
//!
//! How it goes:
//!
//! 1. The offer goes out, sealed by whoever carries it, and again every half second until it is answered.
//! 2. The responder opens its NAT by packets that live too short to reach the initiator's, then answers: the answer says
//!    that it is ready. What can do no harm early (own networks, public addresses, mapped ports) it tries at once.
//! 3. On the answer the initiator begins: checks from its side, then the word ([`Message::Opened`]) on which the responder sends
//!    its own. TCP begins by [`Message::Go`]: the responder connects when it comes, the initiator half a signaling round trip after it left.
//! 4. A path is good when a request of our own was answered there, or, for a stream, both preambles were exchanged. The initiator
//!    chooses; the responder serves all.
//! 5. A direct path ends the attempt when the session over it is [confirmed](Attempt::confirm_path). A relayed one is given out as soon as it
//!    answers, and the search for a better one goes on until every method has ended.
//!
//! Rules, each with a test:
//!
//! - A packet goes only where the rules for the peer's addresses allow: whoever answers an offer is not sent around by it.
//! - Addresses that have not answered get at most [`MAX_UNANSWERED`] packets in all.
//! - Nothing that is not authenticated by both sides' shares changes anything; no answer is larger than its question.
//! - Where a packet comes from counts, not what the peer said about it (peer-reflexive candidates, RFC 8445 §7.3.1.3).

mod arrivals;
mod budget;
mod check;
mod checks;
mod choice;
mod config;
mod drive;
mod event;
pub mod ice;
mod initiator;
mod jitter;
mod keys;
pub mod message;
pub mod methods;
mod remote;
mod responder;
mod run;
mod signals;
mod streams;
mod tactic;

pub use budget::MAX_UNANSWERED;
pub use check::CHECK;
pub use config::{
    AttemptConfig, FreshPort, Local, NatHint, ROUNDS, RelayUse, Strategy, Subnet, UnknownStrategy,
    is_public,
};
pub use event::{
    Connect, Ended, Failure, LocalPort, Output, PREAMBLE, Path, Port, StreamEvent, StreamFailure,
    StreamId,
};
pub use keys::{MAGIC, Role, Tag};
pub use message::{Answer, Drift, MAX_CANDIDATES, Message, MessageError, Offer, Step, Terms, Wide};
pub use methods::{Probe, TraversalMethod};
pub use tactic::{PER_PORT, PORTS, SPRAY, Tactic};

use crate::{
    candidate::{Candidate, CandidateKind},
    signaling::Observed,
    trace::{AttemptId, Trace},
};
use budget::Budget;
use checks::Checks;
use dig_types::{Method, NodeId};
use ice::IceChecks;
use jitter::Jitter;
use keys::{Keys, expand};
use remote::Remote;
use run::Run;
use signals::{Repeat, Signals};
use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use streams::Streams;
use tactic::Guess;

/// One attempt at a path, seen from one of its two sides.
#[derive(Debug)]
pub struct Attempt {
    id: AttemptId,
    peer: NodeId,
    role: Role,
    config: AttemptConfig,
    local: Local,
    terms: Terms,
    remote: Option<Remote>,
    keys: Option<Keys>,
    start: Duration,
    now: Duration,
    /// Until when it may go on: for the offer to be answered; for the initiator to say anything more.
    limit: Option<Duration>,
    signaling: Option<Duration>,
    /// The offer that the responder answers: its stamp, and when it came.
    offered: (u32, Duration),
    signals: Signals,
    /// Sequential: methods that were not begun.
    waiting: VecDeque<Method>,
    runs: Vec<Run>,
    checks: Checks,
    streams: Streams,
    guess: Guess,
    budget: Budget,
    jitter: Jitter,
    ice: Option<IceChecks>,
    /// Ends of a peer that no carrier sees for which the NAT was opened.
    unattested: BTreeSet<SocketAddr>,
    /// Who may come in at which own relay.
    permitted: BTreeSet<(SocketAddr, IpAddr)>,
    paths: Vec<Path>,
    /// The initiator's path, given out last.
    chosen: Option<Path>,
    /// When that was.
    given: Duration,
    /// The path, among those given out, over which there is a session.
    confirmed: Option<Path>,
    /// When the best path so far is taken.
    decide: Option<Duration>,
    outputs: VecDeque<Output>,
    ended: bool,
}

/// A later revision of the terms is said again after these times.
const REVISED_AGAIN: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(450)];

/// Why an offer is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferRefused {
    /// The two sides allow no method that both know.
    #[error(
        "the peer allows none of the methods that this side does; --methods of both sides must overlap"
    )]
    NoMethod,
}

/// What to do about an offer to a peer that has made one to us at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glare {
    /// Our offer stands; the peer's is not answered.
    Keep,
    /// The peer's stands; ours ends, and its attempt goes on as responder of the peer's.
    Yield,
}

impl Glare {
    /// The offer of the lower NodeId stands, so both sides decide alike.
    pub fn between(own: NodeId, peer: NodeId) -> Self {
        if own < peer { Self::Keep } else { Self::Yield }
    }
}

impl Attempt {
    /// Begins an attempt at a path to a peer. `id` is fresh and random.
    pub fn initiate(
        now: Duration,
        config: AttemptConfig,
        local: Local,
        peer: NodeId,
        id: AttemptId,
    ) -> Self {
        let mut attempt = Self::new(now, Role::Initiator, config, local, peer, id);
        attempt.offer();
        attempt
    }

    /// Answers an offer. `id` is that of the envelope, `observed` where a carrier sees the peer.
    pub fn respond(
        now: Duration,
        config: AttemptConfig,
        local: Local,
        (peer, id): (NodeId, AttemptId),
        offer: Offer,
        observed: &[Observed],
    ) -> Result<Self, OfferRefused> {
        let mut attempt = Self::new(now, Role::Responder, config, local, peer, id);
        attempt.accept(offer, observed)?;
        Ok(attempt)
    }

    fn new(
        now: Duration,
        role: Role,
        mut config: AttemptConfig,
        mut local: Local,
        peer: NodeId,
        id: AttemptId,
    ) -> Self {
        config.relay.restrict(&mut config.methods, &mut local);
        local.predict();
        let share = expand(&id.0, &config.seed, b"dig-attempt/1 share");
        let methods = Method::ALL
            .into_iter()
            .filter(|method| config.methods.contains(method))
            .collect();
        let mut terms = Terms {
            share,
            revision: 0,
            methods,
            candidates: Vec::new(),
            fresh: local.fresh_addresses(),
            nat: local.nat,
        };
        terms.candidates = advertised(&local, &terms.methods);
        Self {
            id,
            peer,
            role,
            terms,
            remote: None,
            keys: None,
            start: now,
            now,
            limit: None,
            signaling: None,
            offered: (0, now),
            signals: Signals::default(),
            waiting: VecDeque::new(),
            runs: Vec::new(),
            checks: Checks::new(role),
            streams: Streams::default(),
            guess: Guess::default(),
            budget: Budget::new(),
            jitter: Jitter::new(&config.seed),
            ice: None,
            unattested: BTreeSet::new(),
            permitted: BTreeSet::new(),
            paths: Vec::new(),
            chosen: None,
            given: now,
            confirmed: None,
            decide: None,
            outputs: VecDeque::new(),
            ended: false,
            config,
            local,
        }
    }

    /// Its id.
    pub fn id(&self) -> AttemptId {
        self.id
    }

    /// With whom.
    pub fn peer(&self) -> NodeId {
        self.peer
    }

    /// Which side this is.
    pub fn role(&self) -> Role {
        self.role
    }

    /// What its datagrams and preambles carry, so that a shared socket can tell it from others.
    pub fn tag(&self) -> Tag {
        Tag::of(self.id)
    }

    /// Whether [`Output::Ended`] was or will be the last output.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The peer's allocations, as far as it has named them and they may be tried.
    pub fn relays_of_peer(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.remote.iter().flat_map(Remote::relays)
    }

    /// What it has done so far.
    pub fn trace(&self) -> Trace {
        let methods = self
            .runs
            .iter()
            .map(|run| run.trace(self.now, self.start))
            .collect();
        Trace {
            attempt: self.id,
            peer: self.peer,
            signaling: self.signaling,
            own_nat: self.terms.nat,
            peer_nat: self.remote.as_ref().map(|remote| remote.terms.nat),
            methods,
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called; at once while there is anything to poll.
    pub fn deadline(&self) -> Option<Duration> {
        if !self.outputs.is_empty() {
            return Some(self.now);
        }
        if self.ended {
            return None;
        }
        let runs = self.runs.iter().filter_map(Run::deadline).min();
        [
            self.limit,
            self.decide,
            self.signals.deadline(),
            self.checks.deadline(),
            self.ice.as_ref().and_then(IceChecks::deadline),
            self.patience(),
            self.guess.deadline(),
            runs,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// A message of this attempt came, opened and authenticated, and a carrier sees its sender at these addresses. What is
    /// no message does nothing.
    pub fn on_signal(&mut self, now: Duration, body: &[u8], observed: &[Observed]) {
        let Ok(message) = Message::decode(body) else {
            return;
        };
        if self.advance(now) {
            match self.role {
                Role::Initiator => self.on_reply(message, observed),
                Role::Responder => self.on_request(message, observed),
            }
            self.drive();
        }
    }

    /// A candidate of this side was found after the attempt began.
    pub fn add_candidate(&mut self, now: Duration, candidate: Candidate) {
        if !self.advance(now) || self.local.candidates.contains(&candidate) {
            return;
        }
        self.local.candidates.push(candidate);
        if candidate.kind == CandidateKind::Relayed && !self.local.relays.contains(&candidate.addr)
        {
            self.local.relays.push(candidate.addr);
        }
        self.config.relay.restrict(&mut Vec::new(), &mut self.local);
        self.local.predict();
        let candidates = advertised(&self.local, &self.terms.methods);
        if candidates != self.terms.candidates {
            self.terms.candidates = candidates;
            self.terms.fresh = self.local.fresh_addresses();
            self.revised();
        }
        self.replan();
        self.drive();
    }

    /// More is known of how this side's NAT maps the UDP port than when the attempt began.
    pub fn set_nat(&mut self, now: Duration, nat: NatHint) {
        let news = nat != NatHint::Unknown && nat != self.terms.nat;
        if self.advance(now) && news && self.config.relay != RelayUse::Only {
            self.local.nat = nat;
            self.terms.nat = nat;
            self.revised();
            self.drive();
        }
    }

    /// The peer is told what has changed, and again, since nobody confirms it.
    fn revised(&mut self) {
        self.terms.revision = self.terms.revision.saturating_add(1);
        self.announce();
        for again in REVISED_AGAIN {
            let revision = Repeat::Revision(self.terms.revision);
            self.signals.at(self.now + again, revision);
        }
    }

    /// It is of no more use: the peer is told. A path that was [output](Output::Path) stays as it is.
    pub fn stop(&mut self, now: Duration) {
        if self.advance(now) {
            self.say(&Message::Stop(None));
            self.finish(Ended::Failed(Failure::Stopped));
        }
    }

    /// Takes over the time; false once it is over.
    fn advance(&mut self, now: Duration) -> bool {
        self.now = self.now.max(now);
        !self.ended
    }

    fn say(&mut self, message: &Message) {
        self.outputs.push_back(Output::Signal(message.encode()));
    }

    /// It is over.
    fn finish(&mut self, ended: Ended) {
        self.ended = true;
        let given = |id| self.chosen.is_some_and(|path| path.stream == Some(id));
        let served = self.role == Role::Responder;
        let kept = |stream: &streams::Stream| {
            given(stream.id) || served && stream.stage == streams::Stage::Proved
        };
        let doomed = self.streams.abandon(|stream| !kept(stream));
        self.outputs
            .extend(doomed.into_iter().map(|id| Output::Abandon { id }));
        self.end_tactic();
        self.outputs.push_back(Output::Ended(ended));
    }
}

/// What the peer is told of this side's candidates: what helps most comes first, should there be too many, and
/// private addresses only where they may be used.
fn advertised(local: &Local, methods: &[Method]) -> Vec<Candidate> {
    let shown = |c: &&Candidate| {
        let link_local =
            matches!(c.addr, SocketAddr::V6(addr) if addr.ip().is_unicast_link_local());
        let known = !link_local && !c.addr.ip().is_unspecified() && c.addr.port() != 0;
        known
            && match c.kind {
                CandidateKind::Mapped(method) => {
                    methods.contains(&method) && is_public(c.addr.ip())
                }
                CandidateKind::Host => is_public(c.addr.ip()) || methods.contains(&Method::Local),
                CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => true,
                CandidateKind::Relayed => {
                    methods.contains(&Method::Turn) || methods.contains(&Method::Ice)
                }
            }
    };
    let order = |c: &Candidate| match c.kind {
        CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => 0,
        CandidateKind::Host if is_public(c.addr.ip()) => 1,
        CandidateKind::Relayed => 2,
        CandidateKind::Mapped(_) => 3,
        CandidateKind::Host => 4,
    };
    let mut candidates: Vec<Candidate> = local.candidates.iter().filter(shown).copied().collect();
    candidates.sort_by_key(order);
    candidates.dedup();
    candidates.truncate(MAX_CANDIDATES);
    candidates
}

#[cfg(test)]
mod tests;
