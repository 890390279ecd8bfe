//! What is on its way to the disk.

use super::{ConnId, Core, Output};
use crate::{
    graph::Node,
    message::{Message, MessageId},
    value::Soul,
};
use std::{collections::VecDeque, sync::Arc};

/// Commits, and what waits for them. They become durable in their order.
#[derive(Debug, Default)]
pub(super) struct Commits {
    submitted: u64,
    durable: u64,
    /// The changes for the next one.
    batch: Vec<Node>,
    /// Whether somebody waits for the next one who keeps to their rate.
    hurried: bool,
    /// Those on their way: their bytes and souls.
    under_way: VecDeque<(usize, Vec<Soul>)>,
    unwritten: usize,
    /// Acknowledgements, and the commit after which they are true.
    acks: VecDeque<(u64, ConnId, MessageId)>,
}

impl Commits {
    /// The commit that a change of now belongs to.
    pub(super) const fn next(&self) -> u64 {
        self.submitted + 1
    }

    /// The commit after which everything until now is durable.
    pub(super) const fn last(&self) -> u64 {
        if self.batch.is_empty() {
            self.submitted
        } else {
            self.submitted + 1
        }
    }

    /// The last commit that is durable, or failed.
    pub(super) const fn durable(&self) -> u64 {
        self.durable
    }

    /// Bytes on their way.
    pub(super) const fn unwritten(&self) -> usize {
        self.unwritten
    }

    /// A node changed so; `hurried` unless who wrote it has to let others go first.
    pub(super) fn add(&mut self, change: Node, hurried: bool) {
        self.batch.push(change);
        self.hurried |= hurried;
    }

    /// Acknowledges when everything until now is durable.
    pub(super) fn acknowledge(&mut self, conn: ConnId, id: MessageId) {
        let commit = self.last();
        self.acks.push_back((commit, conn, id));
    }

    fn submit(&mut self) -> Option<(Vec<Node>, bool)> {
        if self.batch.is_empty() {
            return None;
        }
        let batch = std::mem::take(&mut self.batch);
        let bytes = batch.iter().map(Node::weight).sum();
        let souls = batch.iter().map(|node| node.soul.clone()).collect();
        self.submitted += 1;
        self.unwritten += bytes;
        self.under_way.push_back((bytes, souls));
        Some((batch, std::mem::take(&mut self.hurried)))
    }

    fn finish(&mut self) -> Vec<Soul> {
        let (bytes, souls) = self.under_way.pop_front().unwrap_or_default();
        self.durable += 1;
        self.unwritten -= bytes;
        souls
    }

    fn pop_ack(&mut self) -> Option<(ConnId, MessageId)> {
        let (commit, ..) = self.acks.front()?;
        if *commit > self.durable {
            return None;
        }
        let (_, conn, id) = self.acks.pop_front()?;
        Some((conn, id))
    }
}

impl Core {
    /// A commit, the next one in their order, is durable or failed.
    pub(in super::super) fn committed(&mut self, result: Result<(), Arc<str>>) {
        let souls = self.commits.finish();
        let error = result.err();
        if error.is_some() {
            self.counters.store_errors += 1;
            // What is in memory is not what the disk has; it is to be read again.
            for soul in &souls {
                self.cache.distrust(soul, self.commits.durable());
            }
        }
        self.acknowledge(error.as_ref());
        self.cache.forget_distrusted(self.commits.durable());
        self.settle();
    }

    /// Sends acknowledgements that are true by now, or refusals.
    fn acknowledge(&mut self, error: Option<&Arc<str>>) {
        while let Some((conn, id)) = self.commits.pop_ack() {
            if !self.connections.contains_key(&conn) {
                continue;
            }
            let reply = match error {
                None => Message::stored(self.ids.next(), id),
                Some(error) => Message::refused(self.ids.next(), id, Arc::clone(error)),
            };
            self.counters.acks += 1;
            self.output.push_back(Output::Send(conn, reply));
        }
    }

    /// Ends a call: what changed during it goes to the disk together.
    pub(super) fn settle(&mut self) {
        self.find_merged();
        if let Some((changes, hurried)) = self.commits.submit() {
            self.counters.commits += 1;
            self.output.push_back(Output::Commit { changes, hurried });
        }
        self.acknowledge(None);
        self.find_written();
        self.cache.shrink(self.commits.durable());
    }
}
