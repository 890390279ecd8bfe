//! One download, from what the user asked for to the verified file.

use crate::{
    client::Inner,
    error::DownloadError,
    event::{DownloadEvent, Downloaded},
    options::DownloadOptions,
    what::What,
};
use futures::{Stream, StreamExt as _};
use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

mod fetching;
mod links;
mod listing;
mod plan;
mod serving;

pub(crate) use fetching::SEARCH;
pub use listing::Listing;
pub(crate) use listing::list;

/// Events that wait for a slow listener; progress is dropped first.
const EVENT_QUEUE: usize = 1024;

/// A running download. Dropping it cancels it; what is verified by then is kept for the next run.
#[derive(Debug)]
pub struct Download {
    events: Mutex<Option<mpsc::Receiver<DownloadEvent>>>,
    outcome: Option<oneshot::Receiver<Result<Downloaded, DownloadError>>>,
    cancel: CancellationToken,
    _cancelled_with_it: DropGuard,
}

impl Download {
    pub(crate) fn start(client: Arc<Inner>, what: What, options: DownloadOptions) -> Self {
        let (events, receiver) = mpsc::channel(EVENT_QUEUE);
        let (sender, outcome) = oneshot::channel();
        let cancel = CancellationToken::new();
        let tell = Teller(events);
        let job = plan::run(client, what, options, tell, cancel.clone());
        tokio::spawn(async move {
            let _ = sender.send(job.await);
        });
        Self {
            events: Mutex::new(Some(receiver)),
            outcome: Some(outcome),
            _cancelled_with_it: cancel.clone().drop_guard(),
            cancel,
        }
    }

    /// News of the download; ends with it. Only the first call gets them.
    pub fn events(&self) -> impl Stream<Item = DownloadEvent> + Send + Unpin + use<> {
        let receiver = self
            .events
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let events = futures::stream::unfold(receiver, |receiver| async {
            let mut receiver = receiver?;
            let event = receiver.recv().await?;
            Some((event, Some(receiver)))
        });
        Box::pin(events.fuse())
    }

    /// Ends the download within a second. What is verified is kept.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Waits for the end.
    pub fn finished(
        &mut self,
    ) -> impl Future<Output = Result<Downloaded, DownloadError>> + Send + use<> {
        let outcome = self.outcome.take();
        async move {
            match outcome {
                Some(outcome) => outcome.await.unwrap_or(Err(DownloadError::Cancelled)),
                None => Err(DownloadError::Cancelled),
            }
        }
    }
}

/// Sends events to whoever listens; nobody listening, or too slowly, is no error.
#[derive(Debug, Clone)]
pub(crate) struct Teller(mpsc::Sender<DownloadEvent>);

impl Teller {
    /// Tells nobody.
    pub(crate) fn silent() -> Self {
        Self(mpsc::channel(1).0)
    }

    pub(crate) fn tell(&self, event: DownloadEvent) {
        let _ = self.0.try_send(event);
    }
}
