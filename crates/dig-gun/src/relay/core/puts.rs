//! Writes.

use super::{ConnId, Core, Now, Output, Waiting};
use crate::{
    graph::{Field, Node},
    message::{Message, MessageId},
    value::{Key, State},
};
use std::sync::Arc;

/// A put that waits for nodes.
pub(super) type PutKey = u64;

/// Fields that are merged, and written, at a time; others wait no longer than for these.
pub(in super::super) const AT_ONCE: usize = 128;

/// A put under way.
#[derive(Debug)]
pub(super) struct Put {
    /// Whoever sent it; nobody where its time came.
    from: Option<ConnId>,
    /// Its name, if it is to be acknowledged.
    id: Option<MessageId>,
    /// Those that are to be acknowledged where its time came.
    due: Vec<(ConnId, MessageId)>,
    /// Nodes that are not merged yet.
    left: usize,
    /// Why it is refused, as a whole or in part.
    error: Option<Arc<str>>,
    /// When its last field is due, if that is in the future.
    until: Option<State>,
}

impl Put {
    /// A put of this connection, to be acknowledged by that name.
    pub(super) const fn of(conn: ConnId, id: Option<MessageId>) -> Self {
        Self {
            from: Some(conn),
            id,
            due: Vec::new(),
            left: 0,
            error: None,
            until: None,
        }
    }
}

impl Core {
    /// Nodes came, to be merged: those that are in memory at once. A long put is left for [`Core::go_on_with_puts`], all of it.
    pub(super) fn on_put(&mut self, now: Now, mut put: Put, nodes: Vec<Node>) {
        let fields: usize = nodes.iter().map(|node| node.fields.len()).sum();
        let (here, later): (Vec<_>, Vec<_>) = nodes
            .into_iter()
            .partition(|node| fields <= AT_ONCE && self.is_here(&node.soul));
        for node in here {
            self.merge(now, &mut put, &node);
        }
        if later.is_empty() {
            self.finish(put);
            return;
        }
        put.left = later.len();
        self.serial += 1;
        let key = self.serial;
        self.puts.insert(key, put);
        if fields > AT_ONCE {
            self.rest.extend(later.into_iter().map(|node| (key, node)));
            return;
        }
        for node in later {
            self.wait(node.soul.clone(), Waiting::Merge { put: key, node });
        }
    }

    /// Goes on with long puts, for as long as nobody minds to wait; `false` when there is nothing left. Between two calls others have
    /// their turn.
    pub(in super::super) fn go_on_with_puts(&mut self, now: Now) -> bool {
        let mut merged = 0;
        while merged < AT_ONCE
            && let Some((key, node)) = self.rest.pop_front()
        {
            merged += node.fields.len().max(1);
            if self.is_here(&node.soul) {
                self.on_part(now, key, &node, None);
            } else {
                self.wait(node.soul.clone(), Waiting::Merge { put: key, node });
            }
        }
        self.settle();
        !self.rest.is_empty()
    }

    /// Forgets what of long puts of a connection is not merged: nobody goes on with it, and nobody waits for its acknowledgement.
    pub(super) fn drop_puts_of(&mut self, conn: ConnId) {
        let puts = &mut self.puts;
        let mut dropped = Vec::new();
        self.rest.retain(|(key, _)| {
            let is_theirs = puts.get(key).is_none_or(|put| put.from == Some(conn));
            if is_theirs {
                dropped.push(*key);
            }
            !is_theirs
        });
        for key in dropped {
            puts.remove(&key);
        }
    }

    /// A node that a put waited for is there, or cannot be read.
    pub(super) fn on_part(&mut self, now: Now, key: PutKey, node: &Node, error: Option<&Arc<str>>) {
        let Some(mut put) = self.puts.remove(&key) else {
            return;
        };
        match error {
            None => self.merge(now, &mut put, node),
            Some(error) => put.error = Some(Arc::clone(error)),
        }
        put.left -= 1;
        if put.left == 0 {
            self.finish(put);
        } else {
            self.puts.insert(key, put);
        }
    }

    /// Merges a node into what is in memory, and tells whoever follows it.
    fn merge(&mut self, now: Now, put: &mut Put, node: &Node) {
        let growth = self.cache.assess(now.clock, node);
        if !growth.changes {
            self.counters.unchanged += 1;
            return;
        }
        if growth.fields > self.limits.fields || growth.bytes > self.limits.node {
            let refusal =
                "this node would have more fields or bytes than the relay keeps; use several nodes";
            put.error = Some(refusal.into());
            return;
        }
        let origin = put
            .from
            .and_then(|conn| self.connections.get(&conn)?.origin);
        if let Some(origin) = origin {
            let new = usize::from(growth.new);
            if let Err(exhausted) = self.origins.store(now.since, origin, new, node.weight()) {
                put.error = Some(exhausted.to_string().into());
                return;
            }
        }
        let Some(merged) = self.cache.merge(now.clock, node, self.commits.next()) else {
            return;
        };
        self.defer(now, put, node, merged.deferred);
        if merged.changed.fields.is_empty() {
            return;
        }
        self.counters.changes += 1;
        self.joins.changed(now.since, &node.soul);
        self.push(put.from, &merged.changed);
        let hurried = self.is_hurried(now, put.from);
        self.commits.add(merged.changed, hurried);
    }

    /// Keeps what is for a time to come.
    fn defer(&mut self, now: Now, put: &mut Put, node: &Node, fields: Vec<(Key, Field)>) {
        for (key, field) in fields {
            let state = field.state;
            match self.deferred.hold(now.clock, &node.soul, key, field) {
                Ok(()) => put.until = put.until.max(Some(state)),
                Err(error) => put.error = Some(error.to_string().into()),
            }
        }
    }

    /// All nodes of a put are merged: acknowledges it when it is durable; if some of it is for a time to come, then.
    fn finish(&mut self, put: Put) {
        for (conn, id) in put.due {
            match &put.error {
                None => self.commits.acknowledge(conn, id),
                Some(error) => self.refuse(conn, Some(id), Arc::clone(error)),
            }
        }
        let (Some(conn), Some(id)) = (put.from, put.id) else {
            if put.error.is_some() {
                self.counters.refused += 1;
            }
            return;
        };
        if let Some(error) = put.error {
            self.refuse(conn, Some(id), error);
        } else if let Some(state) = put.until {
            self.serial += 1;
            self.future.insert((state, self.serial), (conn, id));
        } else {
            self.commits.acknowledge(conn, id);
        }
    }

    /// The time of some fields came.
    pub(super) fn on_due(&mut self, now: Now) {
        let nodes = self.deferred.due(now.clock);
        if nodes.is_empty() {
            return;
        }
        let mut due = Vec::new();
        while let Some(first) = self
            .future
            .first_entry()
            .filter(|first| first.key().0 <= now.clock)
        {
            due.push(first.remove());
        }
        let put = Put {
            from: None,
            id: None,
            due,
            left: 0,
            error: None,
            until: None,
        };
        self.on_put(now, put, nodes);
    }

    /// Tells whoever follows a node what changed in it, but for whoever changed it; and the relays that we joined, all of it. Under a
    /// name of ours: who knows the writer's could forestall it elsewhere.
    fn push(&mut self, from: Option<ConnId>, changed: &Node) {
        let mut whole = Vec::new();
        self.subscriptions.whole(&changed.soul, &mut whole);
        whole.extend(self.joins.connections());
        whole.sort_unstable();
        whole.dedup();
        whole.retain(|conn| Some(*conn) != from);
        if self.subscriptions.has_fields(&changed.soul) {
            self.push_fields(from, &whole, changed);
        }
        if whole.is_empty() {
            return;
        }
        self.counters.pushes += whole.len() as u64;
        let message = Message::put(self.ids.next(), vec![changed.clone()]);
        self.output.push_back(Output::Push(whole, message));
    }

    fn push_fields(&mut self, from: Option<ConnId>, told: &[ConnId], changed: &Node) {
        for (key, field) in &changed.fields {
            let to = self.subscriptions.field(&changed.soul, key).iter().copied();
            let to: Vec<_> = to
                .filter(|conn| Some(*conn) != from && told.binary_search(conn).is_err())
                .collect();
            if to.is_empty() {
                continue;
            }
            let mut node = Node::new(changed.soul.clone());
            node.fields.insert(key.clone(), field.clone());
            self.counters.pushes += to.len() as u64;
            let message = Message::put(self.ids.next(), vec![node]);
            self.output.push_back(Output::Push(to, message));
        }
    }
}
