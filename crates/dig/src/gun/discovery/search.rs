//! Finding: of many records, whom to believe.

use super::Inner;
use crate::gun::announcement::{Codec, MAX_TEXT, ReadError};
use dig_discovery::{Found, Networks};
use dig_identity::record::SignedRecord;
use dig_types::{NodeId, Ticket};
use futures::{StreamExt as _, stream::BoxStream};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// Nodes that one lookup finds, and bytes of their announcements that are kept.
pub(super) const MAX_FOUND: usize = 256;
const MAX_BYTES: usize = 512 << 10;
/// Gun relays of our own that a peer is said to be reached over: it was found through one of them.
const MAX_OWN_RELAYS: usize = Ticket::MAX_RELAYS;
/// What comes within this time is judged together. A relay answers for all slots at once, or nearly.
const MOMENT: Duration = Duration::from_millis(100);

/// One lookup.
pub(super) struct Search {
    inner: Arc<Inner>,
    codec: Codec,
    texts: BoxStream<'static, Vec<Arc<str>>>,
    /// The latest record of each node.
    latest: BTreeMap<NodeId, SignedRecord>,
    bytes: usize,
}

impl Search {
    pub(super) fn new(inner: Arc<Inner>, codec: Codec) -> Self {
        Self {
            texts: inner.bus.texts(codec.topic(), MAX_TEXT),
            inner,
            codec,
            latest: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Who is said to have it now, as far as that is news. What comes within a moment is judged together: the word that takes something back may
    /// come after it, since it lies elsewhere. Cancelling it may lose news.
    pub(super) async fn next(&mut self) -> Option<Vec<Found>> {
        let mut changed = BTreeMap::new();
        let texts = self.texts.next().await?;
        self.hear(&texts, &mut changed);
        let end = Instant::now() + MOMENT;
        while let Ok(Some(texts)) = timeout_at(end, self.texts.next()).await {
            self.hear(&texts, &mut changed);
        }
        let networks = Networks::current().unwrap_or_default();
        let relays = self.inner.bus.graph().relays();
        let found = changed.into_values().flatten().filter_map(Codec::found);
        Some(
            found
                .map(|found| dialable(found, &networks, &relays))
                .collect(),
        )
    }

    /// Of each node the latest word counts.
    fn hear(&mut self, texts: &[Arc<str>], changed: &mut BTreeMap<NodeId, Option<Ticket>>) {
        for text in texts {
            match self.codec.read(text, self.inner.now()) {
                Ok((record, word)) => {
                    let node = record.node_id();
                    if node != self.inner.signer.node_id() && self.is_news(&record) {
                        self.keep(record);
                        self.inner.signaling.shelf().keep(node, word.prekey);
                        changed.insert(node, word.ticket);
                    }
                }
                // Strangers may write what they like; it is not worth a word each.
                Err(ReadError::Seal) => tracing::trace!("a record is not for this lookup"),
                Err(error) => tracing::debug!(%error, "an announcement is not believed"),
            }
        }
    }

    fn is_news(&self, record: &SignedRecord) -> bool {
        match self.latest.get(&record.node_id()) {
            Some(latest) => record.sequence() > latest.sequence(),
            None => {
                self.latest.len() < MAX_FOUND && self.bytes + record.as_str().len() <= MAX_BYTES
            }
        }
    }

    fn keep(&mut self, record: SignedRecord) {
        self.bytes += record.as_str().len();
        if let Some(old) = self.latest.insert(record.node_id(), record) {
            self.bytes = self.bytes.saturating_sub(old.as_str().len());
        }
    }
}

/// A stranger's word makes us dial what a ticket may make us dial, and no more.
fn dialable(mut found: Found, networks: &Networks, relays: &[Arc<str>]) -> Found {
    let peer = &mut found.peer;
    peer.addrs.retain(|addr| networks.allows_ticket(addr));
    peer.mapped
        .retain(|mapped| networks.allows_ticket(&mapped.addr));
    peer.via.retain(|via| networks.allows_ticket(&via.addr));
    // It was found through a relay that both sides are connected to; no stranger names further ones.
    peer.relays = relays.iter().take(MAX_OWN_RELAYS).cloned().collect();
    found
}
