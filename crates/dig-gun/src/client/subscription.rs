//! What a subscriber hears.

use super::engine::Engine;
use crate::{
    graph::{Node, field_weight},
    value::{Key, Soul},
};
use futures::Stream;
use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Bytes of memory for what a subscriber has not taken yet.
const MOST_BYTES: usize = 4 << 20;

/// Changes of what was subscribed: a stream of nodes that hold changed fields only. It ends when the client does; dropping it ends the
/// subscription.
///
/// What is not taken in time is merged: of a field that changed several times the last value is told. Of what would take more than 4 MiB
/// nevertheless, the rest is dropped, and counted by [`Subscription::missed`].
#[derive(Debug)]
pub struct Subscription {
    id: u64,
    mailbox: Arc<Mailbox>,
    engine: Arc<Engine>,
}

impl Subscription {
    pub(super) const fn new(id: u64, mailbox: Arc<Mailbox>, engine: Arc<Engine>) -> Self {
        Self {
            id,
            mailbox,
            engine,
        }
    }

    /// How many changed fields were dropped, because too many others had not been taken.
    pub fn missed(&self) -> u64 {
        self.mailbox.lock().missed
    }
}

impl Stream for Subscription {
    type Item = Node;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Node>> {
        self.mailbox.poll(cx)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.engine.unsubscribe(self.id);
    }
}

/// What waits for a subscriber.
#[derive(Debug, Default)]
pub(super) struct Mailbox(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// In the order in which they are told; each is in `nodes`.
    order: VecDeque<Soul>,
    nodes: HashMap<Soul, Node>,
    bytes: usize,
    missed: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves changed fields for the subscriber.
    pub(super) fn leave(&self, changed: Node) {
        let waker = {
            let mut waiting = self.lock();
            waiting.add(changed);
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the stream when all was taken.
    pub(super) fn close(&self) {
        let waker = {
            let mut waiting = self.lock();
            waiting.closed = true;
            waiting.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Option<Node>> {
        let mut waiting = self.lock();
        if let Some(node) = waiting.take() {
            return Poll::Ready(Some(node));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Waiting {
    fn add(&mut self, changed: Node) {
        for (key, field) in changed.fields {
            let weight = field_weight(&key, &field);
            let waits = self.nodes.get(&changed.soul);
            let known = waits.and_then(|node| node.fields.get(&key));
            let freed = known.map_or(0, |known| field_weight(&key, known));
            let named = if waits.is_some() {
                0
            } else {
                changed.soul.weight()
            };
            if self.bytes - freed + weight + named > MOST_BYTES {
                self.forget(&changed.soul, &key, freed);
                self.missed += 1;
                continue;
            }
            self.bytes = self.bytes - freed + weight + named;
            let node = self.nodes.entry(changed.soul.clone()).or_insert_with(|| {
                self.order.push_back(changed.soul.clone());
                Node::new(changed.soul.clone())
            });
            node.fields.insert(key, field);
        }
    }

    /// Drops what is outdated by something that found no room.
    fn forget(&mut self, soul: &Soul, key: &Key, freed: usize) {
        if let Some(node) = self.nodes.get_mut(soul) {
            node.fields.remove(key);
            self.bytes -= freed;
        }
    }

    fn take(&mut self) -> Option<Node> {
        while let Some(soul) = self.order.pop_front() {
            let Some(node) = self.nodes.remove(&soul) else {
                continue;
            };
            self.bytes = self.bytes.saturating_sub(node.weight());
            if !node.fields.is_empty() {
                return Some(node);
            }
        }
        None
    }
}
