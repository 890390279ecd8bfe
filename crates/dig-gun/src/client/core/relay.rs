//! One relay: how its connection does, what it was asked, and what goes to it.

use super::{
    outgoing::{Due, Outgoing, Slot},
    readable,
    writes::Writes,
};
use crate::{
    client::{RelayUrl, backoff::Backoff, chance::Chance},
    frame::{MAX_CHARS, Packer, split_put},
    graph::Node,
    lex::Query,
    message::{Dam, Message, MessageId},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);
/// Bytes of memory that a relay is told a second on its own questions, give or take one answer; it might ask for ever.
const MOST_TOLD: usize = 1 << 20;

/// How a connection does.
#[derive(Debug)]
pub(super) enum Phase {
    /// The shell dials.
    Dialling,
    /// It is there.
    Up { since: Duration },
    /// It is not there, and dialled again then.
    Waiting { until: Duration, why: String },
}

/// What a message asked a relay, so that its answer is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// To store a part of a write.
    Write(Slot),
    /// Whether it has stored it.
    Proof(Slot),
    /// What [`Core::once`](super::Core::once) is to tell.
    Get(u64),
}

#[derive(Debug)]
pub(super) struct Relay {
    pub(super) url: RelayUrl,
    pub(super) phase: Phase,
    pub(super) outgoing: Outgoing,
    backoff: Backoff,
    /// What it said before it closed the connection.
    parting: Option<String>,
    /// How many bytes it was told on its own questions, and since when.
    told: (Duration, usize),
    asked: HashMap<MessageId, Asked>,
    packer: Packer,
    frames: VecDeque<String>,
}

impl Relay {
    /// A relay that is being dialled.
    pub(super) fn new(url: RelayUrl) -> Self {
        Self {
            url,
            phase: Phase::Dialling,
            outgoing: Outgoing::default(),
            backoff: Backoff::default(),
            parting: None,
            told: (Duration::ZERO, 0),
            asked: HashMap::new(),
            packer: Packer::default(),
            frames: VecDeque::new(),
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up { .. })
    }

    /// Whether it is time to dial it.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        matches!(self.phase, Phase::Waiting { until, .. } if until <= now)
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Dialling => None,
            Phase::Up { .. } => self.outgoing.deadline(),
        }
    }

    /// What was to be said to it is not; it is dialled again after a while.
    pub(super) fn down(&mut self, now: Duration, why: String, chance: &mut Chance) {
        let up = match self.phase {
            Phase::Up { since } => now.saturating_sub(since),
            Phase::Dialling | Phase::Waiting { .. } => Duration::ZERO,
        };
        let why = self.parting.take().unwrap_or(why);
        let until = now + self.backoff.after(up, chance);
        self.phase = Phase::Waiting { until, why };
        self.outgoing = Outgoing::default();
        self.asked = HashMap::new();
        self.packer = Packer::default();
        self.frames = VecDeque::new();
    }

    /// Sends a message.
    pub(super) fn say(&mut self, message: &Message) {
        self.frames.extend(self.packer.push(&message.to_text()));
    }

    /// Asks it something; the answer is for `asked`, and for subscribers in any case. There is none if it holds just what has this hash.
    pub(super) fn ask(
        &mut self,
        query: Query,
        hash: Option<i32>,
        asked: Option<Asked>,
        chance: &mut Chance,
    ) -> MessageId {
        let id = MessageId::from_random(chance.next());
        if let Some(asked) = asked {
            self.asked.insert(id.clone(), asked);
        }
        self.say(&Message {
            hash,
            ..Message::get(id.clone(), query)
        });
        id
    }

    /// Answers its question, in as many messages as it takes, unless it has asked for too much lately.
    pub(super) fn answer(
        &mut self,
        now: Duration,
        asking: &MessageId,
        nodes: Vec<Node>,
        chance: &mut Chance,
    ) {
        let (since, bytes) = &mut self.told;
        if now.saturating_sub(*since) >= SECOND {
            (*since, *bytes) = (now, 0);
        }
        if *bytes >= MOST_TOLD {
            return;
        }
        *bytes += nodes.iter().map(Node::weight).sum::<usize>();
        let mut parts = split_put(nodes, MAX_CHARS).into_iter().peekable();
        while let Some(part) = parts.next() {
            let id = MessageId::from_random(chance.next());
            let answer = Message {
                more: parts.peek().is_some(),
                ..Message::answer(id, asking.clone(), part)
            };
            self.say(&answer);
        }
    }

    /// What the message of this name asked it.
    pub(super) fn asked(&self, id: &MessageId) -> Option<Asked> {
        self.asked.get(id).copied()
    }

    /// No answer to this message matters any more.
    pub(super) fn answered(&mut self, id: &MessageId) {
        self.asked.remove(id);
    }

    /// No answer about this part of a write matters any more.
    pub(super) fn forget(&mut self, slot: Slot) {
        for id in self.outgoing.forget(slot) {
            self.asked.remove(&id);
        }
    }

    /// Sends as many of the waiting writes as may be under way at a time.
    pub(super) fn pump(
        &mut self,
        now: Duration,
        writes: &mut Writes,
        relay: u32,
        chance: &mut Chance,
    ) {
        while let Some(slot) = self.outgoing.next() {
            let again = writes.sent(relay, slot);
            let Some(part) = writes.part(slot) else {
                continue;
            };
            let id = MessageId::from_random(chance.next());
            self.asked.insert(id.clone(), Asked::Write(slot));
            self.say(&Message::put(id.clone(), part.nodes.clone()));
            self.outgoing.sent(now, slot, id, part.weight, again);
        }
    }

    /// Asks for what it should have acknowledged by now.
    pub(super) fn check(&mut self, now: Duration, writes: &Writes, chance: &mut Chance) {
        while let Some(due) = self.outgoing.pop_due(now) {
            let Due::Ask(slot) = due else {
                continue;
            };
            let Some(part) = writes.part(slot) else {
                continue;
            };
            let mut ids = Vec::new();
            for query in part.questions() {
                ids.push(self.ask(query, None, Some(Asked::Proof(slot)), chance));
            }
            self.outgoing.asked(now, slot, part, ids);
        }
    }

    /// What it says about the connection.
    pub(super) fn on_dam(
        &mut self,
        dam: &Dam,
        id: Option<MessageId>,
        pid: &MessageId,
        chance: &mut Chance,
    ) {
        match dam {
            Dam::AskPid(_) => {
                let own = MessageId::from_random(chance.next());
                let answer = Message {
                    answers: id,
                    ..Message::dam(own, Dam::Pid(pid.as_str().into()))
                };
                self.say(&answer);
            }
            Dam::Error(text) => {
                let text = readable(text);
                tracing::debug!(relay = %self.url, "the Gun relay says: {text}");
                self.parting = Some(format!("it said: {text}"));
            }
            // Where it wants us to go instead is not for it to say.
            Dam::Mob(_) => self.parting = Some("it has too many clients".to_owned()),
            Dam::Hi | Dam::Pid(_) | Dam::Other => {}
        }
    }

    /// The next frame for it.
    pub(super) fn poll_frame(&mut self) -> Option<String> {
        self.frames.pop_front().or_else(|| self.packer.finish())
    }
}
