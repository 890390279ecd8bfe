//! How a write ends.

use super::RelayUrl;
use crate::graph::InvalidData;

/// A write is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// How many relays had acknowledged it when this was known; the others are still asked to. 0 for a write of nothing.
    pub by: usize,
}

/// That a relay refused a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which one.
    pub relay: RelayUrl,
    /// What it said, cut to 200 characters, control characters left out.
    pub text: String,
}

/// Why a write is not stored, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// No relay was connected within the time.
    #[error("no Gun relay could be reached{}", why.as_ref().map_or(String::new(), |why| format!(" ({why})")))]
    NoRelay {
        /// What the last try said, if there was one.
        why: Option<String>,
    },
    /// Relays are connected, but none acknowledged the write within the time. It may be stored nevertheless.
    #[error(
        "no Gun relay acknowledged what was written; a state in the future is acknowledged by none, so check this machine's clock"
    )]
    Unanswered,
    /// All relays that are connected refused it. It is not tried again.
    #[error("refused by the Gun relay {}", list(.0))]
    Refused(Vec<Refusal>),
    /// Too much is waiting for relays already.
    #[error(
        "{held} bytes wait for Gun relays to acknowledge them, which is all there is room for; wait for a relay to be connected"
    )]
    Full {
        /// How much.
        held: usize,
    },
    /// The data has no place in a graph.
    #[error(transparent)]
    Invalid(#[from] InvalidData),
    /// The client was closed.
    #[error("the Gun client was closed")]
    Closed,
}

fn list(refusals: &[Refusal]) -> String {
    let texts: Vec<_> = refusals
        .iter()
        .map(|Refusal { relay, text }| format!("{relay} (it says: {text})"))
        .collect();
    texts.join(", ")
}
