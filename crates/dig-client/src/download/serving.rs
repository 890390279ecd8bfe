//! A download that is under way, served to others.

use crate::client::Inner;
use dig_discovery::{Announcement, Discovery as _, Lookup};
use dig_transfer::store::ContentStore;
use dig_types::ContentHash;
use std::sync::Arc;
use tokio_util::task::AbortOnDropHandle;

/// Serves what is already here, as long as the download runs.
pub(super) struct Serving {
    client: Arc<Inner>,
    hash: ContentHash,
    /// Not waited for: some mechanisms take their time, and the download has none to lose.
    announcing: AbortOnDropHandle<()>,
}

impl Serving {
    /// Serves and announces the download; `None` if this very node shares the content anyway.
    pub(super) fn start(client: &Arc<Inner>, store: Arc<dyn ContentStore>) -> Option<Self> {
        let hash = store.header().hash();
        if client.server.serves(&hash) {
            return None;
        }
        client.server.add(store);
        let announcing = tokio::spawn(announce(client.clone(), hash));
        Some(Self {
            client: client.clone(),
            hash,
            announcing: AbortOnDropHandle::new(announcing),
        })
    }

    pub(super) async fn stop(self) {
        drop(self.announcing);
        self.client.server.remove(&self.hash);
        let key = Lookup::Content(self.hash).key();
        if let Err(error) = self.client.discovery.withdraw(key).await {
            tracing::debug!(%error, "the download is still announced");
        }
    }
}

async fn announce(client: Arc<Inner>, hash: ContentHash) {
    if client.config.port == 0 {
        return;
    }
    let lookup = Lookup::Content(hash);
    let key = lookup.key();
    let announcement = Announcement::of(lookup, client.config.port);
    if let Err(error) = client.discovery.announce(key, announcement).await {
        tracing::debug!(%error, "the download is not announced");
    }
}
