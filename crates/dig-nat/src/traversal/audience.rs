//! Who asked for a path, and wants to know.

use super::{
    Wish,
    progress::{Failed, Progress},
};
use tokio::sync::mpsc;

/// Names one of the paths that an attempt gave: a better one may follow before anything was said of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PathNumber(pub(super) u32);

/// What whoever asked says of a path that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// It is used.
    Confirm(PathNumber),
    /// It is of no use.
    Reject(PathNumber),
}

/// The other end of a [`Connecting`](super::Connecting), if anybody here asked.
#[derive(Debug)]
pub(super) struct Audience {
    ends: Option<Ends>,
    wish: Wish,
}

#[derive(Debug)]
struct Ends {
    progress: mpsc::Sender<Progress>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Audience {
    pub(super) fn new(
        progress: mpsc::Sender<Progress>,
        commands: mpsc::UnboundedReceiver<Command>,
        wish: Wish,
    ) -> Self {
        let ends = Some(Ends { progress, commands });
        Self { ends, wish }
    }

    /// Nobody here asked: the peer did.
    pub(super) const fn none() -> Self {
        let (ends, wish) = (None, Wish::Any);
        Self { ends, wish }
    }

    pub(super) const fn is_there(&self) -> bool {
        self.ends.is_some()
    }

    /// What it asked for.
    pub(super) const fn wish(&self) -> Wish {
        self.wish
    }

    /// Tells, without waiting: whoever does not listen misses what does not fit.
    pub(super) fn tell(&self, progress: Progress) {
        if let Some(ends) = &self.ends
            && ends.progress.try_send(progress).is_err()
        {
            tracing::trace!("nobody listens to an attempt");
        }
    }

    /// Nothing will be done.
    pub(super) fn refuse(self, failed: Failed) {
        self.tell(Progress::Failed(failed));
    }

    /// What is said next; `None` if whoever asked has gone. For ever pending if nobody asked.
    pub(super) async fn next(&mut self) -> Option<Command> {
        match &mut self.ends {
            Some(ends) => ends.commands.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Nobody is told anything more.
    pub(super) fn leave(&mut self) {
        self.ends = None;
    }
}
