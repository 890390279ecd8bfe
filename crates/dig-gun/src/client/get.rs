//! How a query ends without an answer.

/// Why nothing is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// No relay was connected within the time.
    #[error("no Gun relay could be reached{}", why.as_ref().map_or(String::new(), |why| format!(" ({why})")))]
    NoRelay {
        /// What the last try said, if there was one.
        why: Option<String>,
    },
    /// Relays are connected, but none answered within the time.
    #[error("no Gun relay answered in time; try again, or another relay")]
    Unanswered,
    /// More queries wait for an answer than can.
    #[error("too many queries to Gun relays wait for an answer; ask fewer at a time")]
    TooMany,
    /// The client was closed.
    #[error("the Gun client was closed")]
    Closed,
}
