//! Remembers which hosts are still computing a SHA-256 that was asked for.

use dig_discovery::{Answer, Lookup, NodeQuery, QueryError};
use dig_types::Sha256Hash;
use futures::{FutureExt as _, future::BoxFuture};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Most hashes that are remembered.
const MAX_PENDING: usize = 64;

/// Asks nodes through another [`NodeQuery`], and remembers who answered "pending": so that who waits for a
/// SHA-256 knows how long, whichever mechanism asked the node.
#[derive(Debug)]
pub struct PendingWatch {
    query: Arc<dyn NodeQuery>,
    until: Arc<Mutex<HashMap<Sha256Hash, Instant>>>,
}

impl PendingWatch {
    /// Asks through `query`.
    pub fn new(query: Arc<dyn NodeQuery>) -> Self {
        Self {
            query,
            until: Arc::default(),
        }
    }

    /// How long it may still take until some host knows whether it has a file of this SHA-256.
    pub fn estimate(&self, sha256: &Sha256Hash) -> Option<Duration> {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.get(sha256)?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl NodeQuery for PendingWatch {
    fn resolve(
        &self,
        addrs: Vec<SocketAddr>,
        lookup: Lookup,
    ) -> BoxFuture<'static, Result<Answer, QueryError>> {
        let answer = self.query.resolve(addrs, lookup.clone());
        let until = self.until.clone();
        async move {
            let answer = answer.await;
            if let (Ok(Answer::Pending { eta }), Lookup::Sha256(sha256)) = (&answer, &lookup) {
                let mut until = until.lock().unwrap_or_else(PoisonError::into_inner);
                let end = Instant::now()
                    .checked_add(*eta)
                    .unwrap_or_else(Instant::now);
                if until.len() < MAX_PENDING || until.contains_key(sha256) {
                    until
                        .entry(*sha256)
                        .and_modify(|known| *known = end.max(*known))
                        .or_insert(end);
                }
            }
            answer
        }
        .boxed()
    }
}
