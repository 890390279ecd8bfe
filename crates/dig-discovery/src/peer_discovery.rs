//! All mechanisms as one (the whitepaper's `PeerDiscoveryManager`, 4.5).

use crate::{
    discovery::{Announcement, Discovery, DiscoveryError, Found, Lookup},
    merge::Merge,
};
use dig_types::{DiscoveryKey, PeerSource};
use futures::{
    FutureExt, StreamExt,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use std::{future::Future, time::Duration};
use tokio::time::{Instant, timeout, timeout_at};

/// Which mechanisms are used, and how much they may report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscoveryConfig {
    /// Use the distributed hash table (whitepaper 4.1). Default: yes.
    pub enable_dht: bool,
    /// Use peer exchange (whitepaper 4.2). Default: yes.
    pub enable_pex: bool,
    /// Use the local network (whitepaper 4.3). Default: yes.
    pub enable_local: bool,
    /// Use Gun (whitepaper 4.4). Default: yes; it only ever contacts relays that the user names.
    pub enable_gun: bool,
    /// Most peers that one lookup reports. Default: 512, ten times the connections a node opens,
    /// so that there is a choice, and below 200 KiB a lookup.
    pub max_peers: usize,
    /// How long one mechanism may take to announce or withdraw. Default: 5 s, the stack's
    /// time limit for one method of anything.
    pub announce_timeout: Duration,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            enable_dht: true,
            enable_pex: true,
            enable_local: true,
            enable_gun: true,
            max_peers: 512,
            announce_timeout: Duration::from_secs(5),
        }
    }
}

impl DiscoveryConfig {
    fn enables(&self, mechanism: PeerSource) -> bool {
        match mechanism {
            PeerSource::Dht => self.enable_dht,
            PeerSource::Exchange => self.enable_pex,
            PeerSource::Local => self.enable_local,
            PeerSource::Gun => self.enable_gun,
            // What the user names is never switched off.
            _ => true,
        }
    }
}

/// Asks all registered mechanisms at once and merges what they report.
///
/// A mechanism that fails, hangs or floods does not disturb the others: each is asked
/// independently, announcing has a time limit, and reports are bounded (see [`DiscoveryConfig`]).
#[derive(Debug)]
pub struct PeerDiscoveryManager {
    config: DiscoveryConfig,
    mechanisms: Vec<(PeerSource, Box<dyn Discovery>)>,
}

impl PeerDiscoveryManager {
    /// A manager without mechanisms.
    pub const fn new(config: DiscoveryConfig) -> Self {
        Self {
            config,
            mechanisms: Vec::new(),
        }
    }

    /// Adds a mechanism. Whether it is used: not if the configuration switches its kind off.
    ///
    /// `kind` is also the most trust that its reports get.
    pub fn register(&mut self, kind: PeerSource, mechanism: Box<dyn Discovery>) -> bool {
        let enabled = self.config.enables(kind);
        if enabled {
            self.mechanisms.push((kind, mechanism));
        }
        enabled
    }

    /// The kinds of the mechanisms in use.
    pub fn mechanisms(&self) -> impl Iterator<Item = PeerSource> + '_ {
        self.mechanisms.iter().map(|(kind, _)| *kind)
    }

    /// The peers that are known after `within`, or earlier if no mechanism has more to say; those of
    /// more trusted sources first.
    pub async fn find_peers(&self, lookup: Lookup, within: Duration) -> Vec<Found> {
        let deadline = Instant::now() + within;
        let mut merge = Merge::new(self.config.max_peers);
        let mut reports = self.reports(&lookup);
        while let Ok(Some(found)) = timeout_at(deadline, reports.next()).await {
            merge.add(found);
        }
        merge.into_found()
    }

    fn reports(&self, lookup: &Lookup) -> BoxStream<'static, Found> {
        let reports = self.mechanisms.iter().map(|(kind, mechanism)| {
            let kind = *kind;
            let cap = move |mut found: Found| {
                found.peer.source = found.peer.source.max(kind);
                found
            };
            mechanism.find(lookup.clone()).map(cap).boxed()
        });
        stream::select_all(reports).boxed()
    }

    /// Runs one call on each mechanism, in parallel and bounded; an error only if all fail.
    async fn all<'a, F>(
        &self,
        calls: impl Iterator<Item = (PeerSource, F)> + Send,
    ) -> Result<(), DiscoveryError>
    where
        F: Future<Output = Result<(), DiscoveryError>> + Send + 'a,
    {
        let limit = self.config.announce_timeout;
        let calls = calls.map(|(kind, call)| async move {
            let result = timeout(limit, call).await;
            (kind, result.unwrap_or(Err(DiscoveryError::TimedOut)))
        });
        let results = future::join_all(calls).await;
        let asked = results.len();
        let mut failures = Vec::new();
        for (kind, result) in results {
            if let Err(error) = result {
                tracing::warn!(?kind, %error, "a discovery mechanism failed");
                failures.push((kind, error));
            }
        }
        if asked > 0 && failures.len() == asked {
            return Err(DiscoveryError::Everywhere(failures));
        }
        Ok(())
    }
}

impl Discovery for PeerDiscoveryManager {
    /// Announces with every mechanism that the level reaches. An error only if each of them fails;
    /// single failures are traced.
    fn announce(
        &self,
        key: DiscoveryKey,
        announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let level = announcement.level;
        let mechanisms = self.mechanisms.iter();
        let calls: Vec<_> = mechanisms
            .filter(|(kind, _)| level.reaches(*kind))
            .map(|(kind, mechanism)| (*kind, mechanism.announce(key, announcement.clone())))
            .collect();
        async move { self.all(calls.into_iter()).await }.boxed()
    }

    fn withdraw(&self, key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let mechanisms = self.mechanisms.iter();
        let calls: Vec<_> = mechanisms
            .map(|(kind, mechanism)| (*kind, mechanism.withdraw(key)))
            .collect();
        async move { self.all(calls.into_iter()).await }.boxed()
    }

    /// Everything that the mechanisms report, merged, live.
    fn find(&self, lookup: Lookup) -> BoxStream<'static, Found> {
        let mut merge = Merge::new(self.config.max_peers);
        self.reports(&lookup)
            .filter_map(move |found| future::ready(merge.add(found)))
            .boxed()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let closing = self
            .mechanisms
            .iter()
            .map(|(_, mechanism)| mechanism.close());
        let closing = future::join_all(closing);
        let limit = Duration::from_millis(300);
        async move {
            if timeout(limit, closing).await.is_err() {
                tracing::debug!("a discovery mechanism did not close in time");
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
