//! The relays that we joined: they hear of every change, and of what they missed when they are back.
//!
//! What changed since shortly before a relay was lost is sent to it whole when it is back, as far as [`Limits::missed`]
//! souls reach. What changed there is found by asking for all that our clients follow; and both sides ask each other
//! for whatever a client asks for, so that what is beyond those bounds comes together as soon as somebody wants it.
//!
//! [`Limits::missed`]: crate::relay::Limits::missed

use super::{ConnId, Core, Now, Output, Waiting, subscriptions::Interest};
use crate::{graph::Node, message::Message, value::Soul};
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

/// What was sent so shortly before a relay was lost may not have arrived.
const UNSURE: Duration = Duration::from_secs(30);
/// What is sent or asked at a time, and how long until the next, so that nobody else waits: 5,000 a second.
const AT_ONCE: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The relays that we joined, or try to.
#[derive(Debug)]
pub(super) struct Joins {
    links: Vec<Link>,
    /// What changed lately.
    recent: VecDeque<(Duration, Soul)>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Link {
    conn: Option<ConnId>,
    /// When it was lost; nothing if it never was there.
    parted: Duration,
    /// What is to be told and asked, and when.
    tasks: VecDeque<Task>,
    next: Duration,
}

#[derive(Debug)]
enum Task {
    Tell(Soul),
    Ask(Interest),
}

impl Joins {
    pub(super) fn new(links: usize, limit: usize) -> Self {
        Self {
            links: std::iter::repeat_with(Link::default).take(links).collect(),
            recent: VecDeque::new(),
            limit,
        }
    }

    /// Those that are there.
    pub(super) fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.links.iter().filter_map(|link| link.conn)
    }

    /// A node changed.
    pub(super) fn changed(&mut self, now: Duration, soul: &Soul) {
        if self.links.is_empty() {
            return;
        }
        if self.recent.len() >= self.limit {
            self.recent.pop_front();
        }
        self.recent.push_back((now, soul.clone()));
    }

    /// One of them is lost.
    pub(super) fn parted(&mut self, now: Duration, number: usize, conn: ConnId) {
        if let Some(link) = self.links.get_mut(number)
            && link.conn == Some(conn)
        {
            // What it was still to be told, it has missed.
            let told = link.tasks.is_empty();
            link.parted = if told { now } else { link.parted };
            link.conn = None;
            link.tasks.clear();
        }
    }

    /// When something is to be told or asked.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let busy = self.links.iter().filter(|link| !link.tasks.is_empty());
        busy.map(|link| link.next).min()
    }

    fn take(&mut self, now: Duration) -> Vec<(ConnId, Task)> {
        let mut tasks = Vec::new();
        for link in &mut self.links {
            let Some(conn) = link.conn.filter(|_| link.next <= now) else {
                continue;
            };
            let count = link.tasks.len().min(AT_ONCE);
            tasks.extend(link.tasks.drain(..count).map(|task| (conn, task)));
            link.next = now + PAUSE;
        }
        tasks
    }
}

impl Core {
    /// A relay that we joined is there.
    pub(super) fn on_joined(&mut self, now: Now, number: usize, conn: ConnId) {
        let interests = self.subscriptions.all(self.limits.subscriptions_in_all);
        let Some(link) = self.joins.links.get_mut(number) else {
            return;
        };
        let since = link.parted.saturating_sub(UNSURE);
        let mut told = HashSet::new();
        let missed = self.joins.recent.iter().filter(|(at, _)| *at >= since);
        let missed = missed.filter(|(_, soul)| told.insert(soul.clone()));
        let missed = missed.map(|(_, soul)| Task::Tell(soul.clone()));
        link.tasks = missed.chain(interests.into_iter().map(Task::Ask)).collect();
        link.conn = Some(conn);
        link.next = now.since;
    }

    /// Tells and asks some of what is to be told and asked.
    pub(super) fn on_sync(&mut self, now: Now) {
        for (conn, task) in self.joins.take(now.since) {
            match task {
                Task::Tell(soul) if self.is_here(&soul) => self.sync(conn, &soul),
                Task::Tell(soul) => self.wait(soul.clone(), Waiting::Sync(conn, soul)),
                Task::Ask(interest) => {
                    let known = self.cache.get(&interest.soul).cloned();
                    let known = known.unwrap_or_else(|| Arc::new(Node::new(interest.soul.clone())));
                    self.ask(now, conn, &interest, &known, None);
                }
            }
        }
    }

    /// Tells a relay all of a node.
    pub(super) fn sync(&mut self, conn: ConnId, soul: &Soul) {
        let node = self.cache.get(soul).filter(|node| !node.fields.is_empty());
        if let Some(node) = node {
            let nodes = vec![Node::clone(node)];
            let message = Message::put(self.ids.next(), nodes);
            self.output.push_back(Output::Push(vec![conn], message));
        }
    }
}
