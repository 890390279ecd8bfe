//! Who asked for a path, and wants to know.

use super::progress::{Failed, Progress};
use tokio::sync::mpsc;

/// What whoever asked says of the path that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// It is used.
    Confirm,
    /// It is of no use.
    Reject,
}

/// The other end of a [`Connecting`](super::Connecting), if anybody here asked.
#[derive(Debug)]
pub(super) struct Audience(Option<Ends>);

#[derive(Debug)]
struct Ends {
    progress: mpsc::Sender<Progress>,
    commands: mpsc::UnboundedReceiver<Command>,
}

impl Audience {
    pub(super) fn new(
        progress: mpsc::Sender<Progress>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Self {
        Self(Some(Ends { progress, commands }))
    }

    /// Nobody here asked: the peer did.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells, without waiting: whoever does not listen misses what does not fit.
    pub(super) fn tell(&self, progress: Progress) {
        if let Some(ends) = &self.0
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
        match &mut self.0 {
            Some(ends) => ends.commands.recv().await,
            None => std::future::pending().await,
        }
    }

    /// Nobody is told anything more.
    pub(super) fn leave(&mut self) {
        self.0 = None;
    }
}
