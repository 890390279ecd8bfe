//! Mailboxes: where messages for a node lie until it takes them.

use super::{
    graph::{GraphError, SharedGraph},
    layout::{self, Slots},
    rolling::{Bounds, Rolling},
};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use dig_gun::{
    graph::Node,
    value::{Key, Value},
};
use dig_nat::signaling::MAX_SIGNAL;
use dig_types::{Clock, NodeId};
use futures::future::BoxFuture;
use std::sync::Arc;

/// What is read of a mailbox in a minute. Whoever opens messages does so at a rate of its own; this bounds what the flood of a stranger may cost in
/// text that is looked at.
const BOUNDS: Bounds = Bounds {
    fields: 65_536,
    bytes: 32 << 20,
};
/// Longest text of a message.
const MAX_TEXT: usize = MAX_SIGNAL.div_ceil(3) * 4;
/// Messages of one answer that are looked at: who finds a thousand waiting is being flooded.
const MAX_AT_ONCE: usize = 256;

/// Lays a message into the mailbox of a node. `None`: the clock is set to no time that can be.
pub(super) fn post(
    graph: &dyn SharedGraph,
    clock: &dyn Clock,
    to: NodeId,
    key: [u8; 16],
    message: &[u8],
) -> Option<BoxFuture<'static, Result<(), GraphError>>> {
    let slot = Slots::MAILBOX.at(clock.now());
    let key = Key::new(&HEXLOWER.encode(&key)).ok()?;
    let text = Value::text(&BASE64.encode(message));
    let state = Slots::MAILBOX.state(slot)?;
    let node = Node::new(layout::mailbox(to, slot)?).with(key, text, state);
    Some(graph.put(node))
}

/// The mailbox of this node.
#[derive(Debug)]
pub(super) struct Mailbox {
    graph: Arc<dyn SharedGraph>,
    rolling: Rolling,
}

impl Mailbox {
    pub(super) fn new(graph: Arc<dyn SharedGraph>, clock: Arc<dyn Clock>, of: NodeId) -> Self {
        let soul = move |slot| layout::mailbox(of, slot);
        let rolling = Rolling::new(graph.clone(), clock, (Slots::MAILBOX, BOUNDS), soul);
        Self { graph, rolling }
    }

    /// The messages that come next, taken out of the mailbox. They may be lost, repeated, reordered or made up. Cancelling it loses nothing.
    pub(super) async fn take(&mut self) -> Vec<Bytes> {
        let (_, node) = self.rolling.next().await;
        let mut emptied = Node::new(node.soul.clone());
        let mut messages = Vec::new();
        for (key, field) in node.fields {
            let Value::Text(text) = &field.value else {
                continue;
            };
            if messages.len() < MAX_AT_ONCE
                && text.len() <= MAX_TEXT
                && let Ok(message) = BASE64.decode(text.as_bytes())
            {
                messages.push(message.into());
                // Of two words of the same time `null` is the stronger one, so the relay need not keep the message.
                emptied = emptied.with(key, Value::Null, field.state);
            }
        }
        if !emptied.fields.is_empty() {
            let emptying = self.graph.put(emptied);
            tokio::spawn(async move {
                if let Err(error) = emptying.await {
                    tracing::trace!(%error, "a mailbox was not emptied");
                }
            });
        }
        messages
    }
}
