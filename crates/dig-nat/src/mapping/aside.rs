//! Work that reads what a router wrote, on a thread of its own.
//!
//! `igd-next` parses XML where it awaits: a mebibyte of it takes long enough to hold up every other task of that thread. A thread
//! of the runtime's own pool would not do either, because a runtime waits for those when it ends.

use super::refusal::Refusal;
use std::{thread, time::Duration};
use tokio::{runtime, sync::oneshot, time::timeout};

/// A search and reading two routers that say nothing; whatever takes longer parses for ever.
const LIMIT: Duration = Duration::from_secs(9);

/// Runs a future on a thread of its own, for [`LIMIT`] at most; dropping this one ends it at its next await.
pub(super) async fn aside<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    let (mut answer, answered) = oneshot::channel();
    thread::Builder::new()
        .name("dig-upnp".into())
        .spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async move {
                let done = tokio::select! {
                    done = work => done,
                    () = answer.closed() => return,
                };
                // Nobody may be waiting any more.
                let _ = answer.send(done);
            });
        })?;
    match timeout(LIMIT, answered).await {
        Ok(Ok(answer)) => answer,
        // The thread panicked over what the router wrote, or had no runtime.
        Ok(Err(_)) | Err(_) => Err(Refusal::Nonsense),
    }
}
