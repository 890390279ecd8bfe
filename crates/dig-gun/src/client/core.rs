//! What a client does, without sockets, tasks or clocks.
//!
//! Each call may leave [`Output`]s, which [`Core::poll_output`] hands out in order; [`Core::deadline`] says when [`Core::on_timeout`] is
//! due. Connections are named by the relay's number: the shell dials when told to, says [`Core::opened`] and then, or instead,
//! [`Core::closed`] once.

mod gets;
mod interests;
mod known;
mod outgoing;
mod putting;
mod refresh;
mod relay;
mod writes;

use super::{
    ClientConfig, GetError, LinkState, PutError, RelayStatus, RelayUrl, Stored, chance::Chance,
};
use crate::{
    graph::{Deferred, DeferredConfig, Node},
    lex::Query,
    message::{Body, Dam, Message, MessageId},
    text::graph_hash,
    value::State,
};
use gets::{Ended, Gets};
use interests::Interests;
use known::Known;
use refresh::Refresh;
use relay::{Asked, Phase, Relay};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};
use writes::Writes;

/// When something happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// By a clock that nobody sets.
    pub(super) now: Duration,
    /// The time of day, for states.
    pub(super) clock: State,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Output {
    /// Dial this relay.
    Dial(u32, RelayUrl),
    /// Send this frame to it.
    Send(u32, String),
    /// A write has ended.
    Stored(u64, Result<Stored, PutError>),
    /// A query has ended.
    Found(u64, Result<Vec<Node>, GetError>),
    /// A subscriber has something to hear.
    Changed(u64, Node),
    /// [`Core::status`] says something else.
    Status,
}

/// The client.
#[derive(Debug)]
pub(super) struct Core {
    config: ClientConfig,
    chance: Chance,
    /// The name of this process, as gun.js has one.
    pid: MessageId,
    relays: BTreeMap<u32, Relay>,
    writes: Writes,
    gets: Gets,
    interests: Interests,
    known: Known,
    refresh: Refresh,
    deferred: Deferred,
    deferred_due: Option<Duration>,
    last_id: u64,
    out: VecDeque<Output>,
}

impl Core {
    /// A client of these relays.
    pub(super) fn new(config: ClientConfig) -> Self {
        let mut chance = Chance::new(config.seed);
        let mut core = Self {
            pid: MessageId::from_random(chance.next()),
            chance,
            relays: BTreeMap::new(),
            writes: Writes::new(config.max_held),
            gets: Gets::default(),
            interests: Interests::default(),
            known: Known::new(config.max_bytes),
            refresh: Refresh::default(),
            deferred: Deferred::new(DeferredConfig::default()),
            deferred_due: None,
            last_id: 0,
            out: VecDeque::new(),
            config,
        };
        for url in std::mem::take(&mut core.config.relays) {
            core.add_relay(url);
        }
        core
    }

    /// One more relay, which is dialled at once; nothing if it is there already.
    pub(super) fn add_relay(&mut self, url: RelayUrl) {
        if self.relays.values().any(|relay| relay.url == url) {
            return;
        }
        let id = self.relays.len() as u32;
        self.relays.insert(id, Relay::new(url.clone()));
        self.out.push_back(Output::Dial(id, url));
        self.out.push_back(Output::Status);
    }

    /// How the relays do.
    pub(super) fn status(&self, now: Duration) -> Vec<RelayStatus> {
        let state = |phase: &Phase| match phase {
            Phase::Dialling => LinkState::Connecting,
            Phase::Up { .. } => LinkState::Up,
            Phase::Waiting { until, why } => LinkState::Down {
                why: why.clone(),
                again_in: until.saturating_sub(now),
            },
        };
        let status = |relay: &Relay| RelayStatus {
            url: relay.url.clone(),
            state: state(&relay.phase),
        };
        self.relays.values().map(status).collect()
    }

    /// A connection to this relay is there.
    pub(super) fn opened(&mut self, at: Moment, id: u32) {
        let Some(relay) = self.relays.get_mut(&id) else {
            return;
        };
        relay.phase = Phase::Up { since: at.now };
        let hello = MessageId::from_random(self.chance.next());
        relay.say(&Message::dam(hello, Dam::Hi));
        for query in self.interests.queries() {
            relay.ask(query.clone(), None, None, &mut self.chance);
        }
        self.gets.on_up(id, relay, &mut self.chance);
        relay.outgoing.fill(self.writes.open_at(id));
        relay.pump(at.now, &mut self.writes, id, &mut self.chance);
        self.out.push_back(Output::Status);
    }

    /// The connection is lost, or none came to be.
    pub(super) fn closed(&mut self, at: Moment, id: u32, why: String) {
        let Some(relay) = self.relays.get_mut(&id) else {
            return;
        };
        relay.down(at.now, why, &mut self.chance);
        self.gets.on_down(at.now, id);
        self.out.push_back(Output::Status);
    }

    /// What a relay says.
    pub(super) fn on_messages(&mut self, at: Moment, id: u32, messages: Vec<Message>) {
        for message in messages {
            if !self.relays.get(&id).is_some_and(Relay::is_up) {
                return;
            }
            self.on_message(at, id, message);
        }
    }

    fn on_message(&mut self, at: Moment, id: u32, message: Message) {
        let Some(relay) = self.relays.get_mut(&id) else {
            return;
        };
        let asked = message.answers.as_ref().and_then(|id| relay.asked(id));
        match message.body {
            Body::Put(nodes) => self.on_nodes(at, id, asked, nodes, message.more),
            Body::NotFound => self.on_nodes(at, id, asked, Vec::new(), message.more),
            Body::Ack { ok, error } => {
                let refused = match (ok, error) {
                    (true, None) => None,
                    (_, Some(text)) => Some(readable(&text)),
                    (false, None) => Some("it does not say why".to_owned()),
                };
                match asked {
                    Some(Asked::Write(slot)) => self.settle(at, id, slot, refused),
                    Some(Asked::Get(_)) if refused.is_some() => {
                        self.on_nodes(at, id, asked, Vec::new(), false);
                    }
                    Some(Asked::Get(_) | Asked::Proof(_)) | None => {}
                }
            }
            Body::Dam(dam) => relay.on_dam(&dam, message.id, &self.pid, &mut self.chance),
            Body::Get(query) => {
                if let Some(asking) = message.id {
                    self.answer(at, id, asking, message.hash, &query);
                }
            }
            Body::Other => {}
        }
    }

    /// Tells a relay what subscribers know of a node, unless it holds just that (`hash`).
    fn answer(&mut self, at: Moment, id: u32, asking: MessageId, hash: Option<i32>, query: &Query) {
        // Whoever asks for ranges wants to find out what there is.
        if query.one_soul().is_none() {
            return;
        }
        let known = self.known.matching(query);
        if known.is_empty() || hash == Some(graph_hash(&known)) {
            return;
        }
        if let Some(relay) = self.relays.get_mut(&id) {
            relay.answer(at.now, &asking, known, &mut self.chance);
        }
    }

    fn on_nodes(
        &mut self,
        at: Moment,
        id: u32,
        asked: Option<Asked>,
        nodes: Vec<Node>,
        more: bool,
    ) {
        match asked {
            Some(Asked::Get(get)) => {
                let answer = gets::Answer {
                    from: id,
                    nodes: &nodes,
                    more,
                };
                if let Some(ended) = self.gets.on_answer(at.now, at.clock, get, &answer) {
                    self.found(ended);
                }
            }
            Some(Asked::Proof(slot)) => {
                let relay = self.relays.get_mut(&id);
                let proved = relay
                    .and_then(|relay| relay.outgoing.on_proof(at.now, slot, &nodes, &self.writes));
                if proved == Some(true) {
                    self.settle(at, id, slot, None);
                }
            }
            Some(Asked::Write(_)) | None => {}
        }
        for node in nodes {
            self.take(at, node);
        }
    }

    /// Merges what subscribers want of this, and tells them what of it is new.
    fn take(&mut self, at: Moment, node: Node) {
        let Some(node) = self.interests.wanted(node) else {
            return;
        };
        let merged = self.known.merge(at.clock, &node);
        for (key, field) in merged.deferred {
            if let Err(refused) = self.deferred.hold(at.clock, &node.soul, key, field) {
                tracing::debug!(soul = %node.soul, "not taken from a Gun relay: {refused}");
            }
        }
        self.watch_deferred(at);
        if !merged.changed.fields.is_empty() {
            self.interests.tell(&merged.changed, &mut self.out);
        }
    }

    fn watch_deferred(&mut self, at: Moment) {
        self.deferred_due = self.deferred.next().map(|state| {
            let ahead = ((state.get() - at.clock.get()) / 1000.0).clamp(0.0, 86_400.0);
            // No state is shown too early because of rounding.
            at.now + Duration::from_secs_f64(ahead) + Duration::from_millis(1)
        });
    }

    /// Asks the relays. [`Output::Found`] tells what they say.
    pub(super) fn once(&mut self, at: Moment, query: Query) -> Result<u64, GetError> {
        if self.relays.is_empty() {
            return Err(GetError::NoRelay {
                why: Some("none is named".to_owned()),
            });
        }
        self.last_id += 1;
        let id = self.last_id;
        self.gets.add(
            at.now,
            id,
            query,
            self.config.get_patience,
            self.config.max_bytes,
        )?;
        for (&relay_id, relay) in self.relays.iter_mut().filter(|(_, relay)| relay.is_up()) {
            self.gets.ask(id, relay_id, relay, &mut self.chance);
        }
        Ok(id)
    }

    fn found(&mut self, ended: Ended) {
        for (relay, message) in &ended.ids {
            if let Some(relay) = self.relays.get_mut(relay) {
                relay.answered(message);
            }
        }
        let result = ended.found.ok_or_else(|| {
            if self.relays.values().any(Relay::is_up) {
                GetError::Unanswered
            } else {
                GetError::NoRelay {
                    why: self.why_down(),
                }
            }
        });
        self.out.push_back(Output::Found(ended.id, result));
    }

    /// Tells a new subscriber what is known, and from now on what changes.
    pub(super) fn subscribe(&mut self, at: Moment, query: Query) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        for node in self.known.matching(&query) {
            self.out.push_back(Output::Changed(id, node));
        }
        if self.interests.add(id, &query) {
            for relay in self.relays.values_mut().filter(|relay| relay.is_up()) {
                relay.ask(query.clone(), None, None, &mut self.chance);
            }
        }
        self.refresh.begin(at.now, self.config.refresh);
        id
    }

    /// Tells a subscriber nothing any more.
    pub(super) fn unsubscribe(&mut self, id: u64) {
        if let Some(query) = self.interests.remove(id) {
            self.known
                .retain(&query, |soul| self.interests.wants_soul(soul));
        }
    }

    /// Asks the relays for what the next subscriber follows, unless they hold just what it knows.
    fn refresh(&mut self, at: Moment) {
        let Some(last) = self.refresh.poll(at.now) else {
            return;
        };
        let mut bytes = 0;
        let next = self.interests.next_after(last);
        if let Some((_, query)) = next {
            let known = self.known.matching(query);
            bytes = known.iter().map(Node::weight).sum();
            let hash = (!known.is_empty()).then(|| graph_hash(&known));
            for relay in self.relays.values_mut().filter(|relay| relay.is_up()) {
                relay.ask(query.clone(), hash, None, &mut self.chance);
            }
        }
        let next = next.map(|(id, _)| id);
        let pause = refresh::pause(self.config.refresh, self.interests.len(), bytes);
        self.refresh.asked(next, at.now + pause);
    }

    /// Does what is due.
    pub(super) fn on_timeout(&mut self, at: Moment) {
        for (&id, relay) in &mut self.relays {
            if relay.is_due(at.now) {
                relay.phase = Phase::Dialling;
                self.out.push_back(Output::Dial(id, relay.url.clone()));
                self.out.push_back(Output::Status);
            }
            relay.check(at.now, &self.writes, &mut self.chance);
            relay.pump(at.now, &mut self.writes, id, &mut self.chance);
        }
        while let Some(id) = self.writes.pop_late(at.now) {
            self.give_up(id);
        }
        for ended in self
            .gets
            .on_timeout(at.now, &mut self.relays, &mut self.chance)
        {
            self.found(ended);
        }
        self.refresh(at);
        if self.deferred_due.is_some_and(|due| due <= at.now) {
            for node in self.deferred.due(at.clock) {
                self.take(at, node);
            }
            self.watch_deferred(at);
        }
    }

    /// When [`Core::on_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let relays = self.relays.values().filter_map(Relay::deadline);
        let others = [
            self.writes.deadline(),
            self.gets.deadline(),
            self.refresh.deadline(),
            self.deferred_due,
        ];
        relays.chain(others.into_iter().flatten()).min()
    }

    /// What is to be done next.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        let (id, frame) = self
            .relays
            .iter_mut()
            .find_map(|(&id, relay)| Some((id, relay.poll_frame()?)))?;
        Some(Output::Send(id, frame))
    }

    fn why_down(&self) -> Option<String> {
        self.relays.values().find_map(|relay| match &relay.phase {
            Phase::Waiting { why, .. } => Some(format!("{}: {why}", relay.url)),
            Phase::Dialling | Phase::Up { .. } => None,
        })
    }
}

/// A relay's words as they can be shown to the user.
fn readable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
