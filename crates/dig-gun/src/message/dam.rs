//! What peers say about their connection.

use std::sync::Arc;

/// About the connection rather than the graph; gun.js calls it DAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dam {
    /// `hi`: a client's first word.
    Hi,
    /// `?` without a name, or with one in what answers nothing: tell me the name of your process. The name of who asks, if it tells it.
    AskPid(Option<Arc<str>>),
    /// `?` as an answer: the name of my process.
    Pid(Arc<str>),
    /// `!`: something went wrong there. To be logged, no more.
    Error(Arc<str>),
    /// `mob`: too many are here; go to one of these URLs.
    Mob(Vec<Arc<str>>),
    /// A word that is not known, or that is not obeyed: `opt` makes gun.js's relay dial any URL it is told.
    Other,
}

impl Dam {
    /// Longest name of a process and longest error text, in bytes; of longer ones, nothing is kept.
    pub(super) const MAX_TEXT: usize = 1024;
    /// Most URLs of [`Dam::Mob`] that are kept.
    pub(super) const MAX_URLS: usize = 64;
}
