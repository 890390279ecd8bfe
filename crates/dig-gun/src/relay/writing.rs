//! Messages as text, in as many as gun.js can read.

use super::core::{Answer, Ask};
use crate::{
    frame::{MAX_CHARS, split_put},
    graph::Node,
    lex::{Query, SoulQuery},
    message::{Body, Message, MessageId},
    text::graph_hash,
};
use std::sync::Arc;

/// Of a longer node than this, in bytes, no hash is sent with a question: to make it takes longer than to get an answer twice.
const HASHED: usize = 64 << 10;

/// Writes an answer, and hands out its messages. Nothing if who asks has what would be told.
pub(super) fn answer(
    answer: Answer,
    id: &mut dyn FnMut() -> MessageId,
    out: &mut dyn FnMut(String),
) {
    let nodes = select(&answer.query, answer.nodes);
    if nodes.is_empty() {
        out(Message::not_found(id(), answer.to).to_text());
        return;
    }
    let parts = if nodes.iter().map(Node::weight).sum::<usize>() < MAX_CHARS / 4 {
        vec![nodes]
    } else {
        split_put(nodes, MAX_CHARS)
    };
    let last = parts.len() - 1;
    for (number, nodes) in parts.into_iter().enumerate() {
        let mut message = Message::answer(id(), answer.to.clone(), nodes);
        if last == 0 && answer.known.is_some() && message.hash == answer.known {
            return;
        }
        message.more = number < last;
        out(message.to_text());
    }
}

/// What is asked for in these nodes.
fn select(query: &Query, nodes: Vec<Arc<Node>>) -> Vec<Node> {
    let mut allowance = query.allowance();
    // What was found by pattern is what is asked for.
    let chosen = matches!(query.soul, SoulQuery::Many(_));
    let nodes = nodes.into_iter().map(|node| match chosen {
        true => Arc::unwrap_or_clone(node),
        false if query.key.is_none() && query.budget.is_none() => Arc::unwrap_or_clone(node),
        false => query.select_within(&node, &mut allowance),
    });
    nodes.filter(|node| !node.fields.is_empty()).collect()
}

/// Writes a question; its hash tells what need not be answered.
pub(super) fn ask(ask: Ask) -> String {
    let known = ask.known.filter(|node| node.weight() < HASHED);
    let hash = known.map(|node| graph_hash(&[ask.query.select(&node)]));
    let mut message = Message::get(ask.id, ask.query);
    message.hash = hash;
    message.to_text()
}

/// Writes any other message, and hands it out; a put that is too long for gun.js in several.
pub(super) fn message(
    message: Message,
    id: &mut dyn FnMut() -> MessageId,
    out: &mut dyn FnMut(String),
) {
    let text = message.to_text();
    if text.len() < MAX_CHARS {
        out(text);
        return;
    }
    match message.body {
        Body::Put(nodes) => {
            for nodes in split_put(nodes, MAX_CHARS) {
                out(Message::put(id(), nodes).to_text());
            }
        }
        _ => out(text),
    }
}
