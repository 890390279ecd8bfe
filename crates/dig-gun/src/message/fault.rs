//! What can be wrong with a message.

use super::{MessageId, WireLimits};
use crate::{lex::InvalidQuery, value::InvalidName};

/// A text is no message, or one that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct ParseError {
    /// The name of the message, if it could be read: a refusal ([`super::Message::refused`]) can be sent.
    pub id: Option<MessageId>,
    /// The message that it answers, if it is an answer: to those, no refusal is due.
    pub answers: Option<MessageId>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a message. The texts about graphs are those of gun.js, as far as it has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It has more bytes than are read.
    #[error("Message too big! At most {0} bytes are read.")]
    TooLong(usize),
    /// It is no JSON object.
    #[error("DAM JSON parse error: no object.")]
    NotAnObject,
    /// It is not JSON.
    #[error("DAM JSON parse error at character {0}.")]
    Syntax(usize),
    /// A text in it has half a surrogate pair, which no UTF-8 text can hold.
    #[error("A text with half a surrogate pair cannot be stored: use whole characters.")]
    LoneSurrogate,
    /// More nodes than are read: see [`WireLimits::max_nodes`].
    #[error("Too many nodes in one put: at most {0}.")]
    TooManyNodes(usize),
    /// More fields than are read: see [`WireLimits::max_fields`].
    #[error("Too many fields in one put: at most {0}.")]
    TooManyFields(usize),
    /// `put` is no object.
    #[error("Error: Invalid graph! It is no object.")]
    NoGraph,
    /// A node is no object.
    #[error("Error: Invalid graph! '{0}' no node.")]
    NoNode(Cut),
    /// A node lacks `_`.
    #[error("Error: Invalid graph! '{0}' no meta.")]
    NoMeta(Cut),
    /// The soul in `_` is another one.
    #[error("Error: Invalid graph! '{0}' soul not same.")]
    SoulNotSame(Cut),
    /// `_` has no states.
    #[error("Error: Invalid graph! '{0}' no state.")]
    NoStates(Cut),
    /// A field has no state.
    #[error("Error: Invalid graph! '{key}' on '{soul}' no state.")]
    NoState {
        /// Of the node.
        soul: Cut,
        /// Of the field.
        key: Cut,
    },
    /// A state is no finite number.
    #[error("Error: Invalid graph! '{key}' on '{soul}' bad state.")]
    BadState {
        /// Of the node.
        soul: Cut,
        /// Of the field.
        key: Cut,
    },
    /// A value is neither null, a truth value, a finite number, a text nor a link.
    #[error("Error: Invalid graph! '{key}' on '{soul}' bad {kind}.")]
    BadValue {
        /// Of the node.
        soul: Cut,
        /// Of the field.
        key: Cut,
        /// What it is: `array`, `object` or `number`.
        kind: &'static str,
    },
    /// A soul or key cannot be one.
    #[error("Error: Invalid graph! '{text}': {why}.")]
    BadName {
        /// Its beginning.
        text: Cut,
        /// Why not.
        why: InvalidName,
    },
    /// A question is longer than any can be.
    #[error("Error: Invalid get! It is too long.")]
    LongQuery,
    /// A question makes no sense.
    #[error("Error: Invalid get! {0}")]
    BadQuery(InvalidQuery),
}

/// The beginning of a name, for a message to its sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut(Box<str>);

impl Cut {
    pub(super) fn new(text: &str) -> Self {
        let end = text.char_indices().nth(32);
        Self(match end {
            Some((end, _)) => format!("{}...", &text[..end]).into(),
            None => text.into(),
        })
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fault {
    pub(super) const fn too_many_nodes(limits: &WireLimits) -> Self {
        Self::TooManyNodes(limits.max_nodes)
    }

    pub(super) const fn too_many_fields(limits: &WireLimits) -> Self {
        Self::TooManyFields(limits.max_fields)
    }
}
