//! Messages: what gun peers tell each other, read from JSON and written as JSON.
//!
//! ```text
//! {"#":"tZr6n19zA","put":{"mark":{"_":{"#":"mark",">":{"age":1795344977193}},"age":23}}}    a write
//! {"#":"UUUUUUUUU","get":{"#":"mark",".":"age"}}                                            a question
//! {"#":"TTTTTTTTT","@":"UUUUUUUUU","##":454053845,"put":{…}}                                its answer
//! {"#":"SSSSSSSSS","@":"UUUUUUUUU"}                                                         not found
//! {"#":"w794dAPp0","@":"tZr6n19zA","ok":true}                                               stored; or "err" and why not
//! {"#":"3vn3vf4Zj","dam":"?","pid":"kVr4QZDh0"}                                             who are you
//! ```
//!
//! Reading takes any text and answers with a message or an error, in time and memory proportional to the text; nothing in it
//! recurses, so the depth of what nobody knows is no matter. What gun.js leaks is tolerated: states of `-Infinity` (which no JSON
//! has), numbers for names, debug marks, fields without a state in answers: the field is left out. A *write* that is at fault is
//! refused whole, where gun.js keeps what comes before the fault. Refused is also what gun.js's own parser takes and no other: a missing
//! last brace, a comma before it; and half a surrogate pair, which JavaScript's texts can hold and others cannot.
//!
//! Three rules of writing are for gun.js's own parser (`lib/yson.js`), which loses a key when one of its slices of 32,768 characters ends
//! between key and value: `put` is the last field of a message, the longest text the last value in it, and [`crate::frame::split_put`]
//! keeps messages below that size.

mod dam;
mod fault;
mod given;
mod graph;
mod id;
mod loose;
mod meta;
mod parse;
mod reading;
mod write;

pub use dam::Dam;
pub use fault::{Fault, ParseError};
pub use id::MessageId;

use crate::{graph::Node, lex::Query};
use std::sync::Arc;

/// Something that one peer tells another.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Its name, by which it is answered and known again. gun.js makes one up for what has none.
    pub id: Option<MessageId>,
    /// `@`: the message that it answers.
    pub answers: Option<MessageId>,
    /// `##`: the hash ([`crate::text::graph_hash`]) of the graph that an answer holds, or that who asks has already.
    pub hash: Option<i32>,
    /// `%` in an answer: more answers follow to the same question. gun.js ignores it.
    pub more: bool,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Nodes: a write or, where the message answers one, what was asked for.
    Put(Vec<Node>),
    /// A question; whoever asks is told of changes from then on.
    Get(Query),
    /// A write was stored or refused.
    Ack {
        /// Whether it was stored.
        ok: bool,
        /// Why not.
        error: Option<Arc<str>>,
    },
    /// An answer without nodes: there is nothing here by that name.
    NotFound,
    /// About the connection.
    Dam(Dam),
    /// Something that is no business of a graph (WebRTC offers of browsers, for example), or nothing at all.
    Other,
}

/// How much of a message is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireLimits {
    /// Bytes of the text; 4 MiB by default. gun.js takes 90 million characters; what people put into a graph, pictures of a few hundred
    /// kilobytes included, is far smaller.
    pub max_text: usize,
    /// Nodes in a put; 10,000 by default.
    pub max_nodes: usize,
    /// Fields of all nodes of a put; 50,000 by default, because gun.js answers with whole files of a mebibyte, which hold half as many.
    /// The shortest fields have 12 bytes in a text and about 120 in memory.
    pub max_fields: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            max_text: 4 << 20,
            max_nodes: 10_000,
            max_fields: 50_000,
        }
    }
}

impl Message {
    const fn new(id: MessageId, answers: Option<MessageId>, body: Body) -> Self {
        Self {
            id: Some(id),
            answers,
            hash: None,
            more: false,
            body,
        }
    }

    /// A write.
    pub const fn put(id: MessageId, nodes: Vec<Node>) -> Self {
        Self::new(id, None, Body::Put(nodes))
    }

    /// A question.
    pub const fn get(id: MessageId, query: Query) -> Self {
        Self::new(id, None, Body::Get(query))
    }

    /// An answer with nodes; its hash is computed.
    pub fn answer(id: MessageId, to: MessageId, nodes: Vec<Node>) -> Self {
        let hash = Some(crate::text::graph_hash(&nodes));
        Self {
            hash,
            ..Self::new(id, Some(to), Body::Put(nodes))
        }
    }

    /// The answer that there is nothing.
    pub const fn not_found(id: MessageId, to: MessageId) -> Self {
        Self::new(id, Some(to), Body::NotFound)
    }

    /// A write was stored.
    pub const fn stored(id: MessageId, to: MessageId) -> Self {
        let body = Body::Ack {
            ok: true,
            error: None,
        };
        Self::new(id, Some(to), body)
    }

    /// A write was refused, and why.
    pub const fn refused(id: MessageId, to: MessageId, why: Arc<str>) -> Self {
        let body = Body::Ack {
            ok: false,
            error: Some(why),
        };
        Self::new(id, Some(to), body)
    }

    /// Something about the connection.
    pub const fn dam(id: MessageId, dam: Dam) -> Self {
        Self::new(id, None, Body::Dam(dam))
    }

    /// The message of this text, which is one JSON object.
    pub fn parse(text: &str, limits: &WireLimits) -> Result<Self, ParseError> {
        parse::message(text, limits)
    }

    /// Writes it as JSON, behind what is in `out`.
    pub fn write(&self, out: &mut String) {
        write::message(out, self);
    }

    /// Its JSON.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

#[cfg(test)]
mod tests;
