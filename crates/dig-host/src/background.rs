//! What a host does besides serving: telling what is served, announcing again, looking at the files, computing SHA-256.

use crate::{
    event::HostEvent,
    host::Inner,
    registry::{Registry, WholeHash},
};
use dig_transfer::{
    serve::{Resolver, ServeEvent},
    source::SharedContent,
    wire::{Claim, Query, Resolved},
};
use dig_types::ContentHash;
use futures::StreamExt as _;
use std::{sync::Arc, time::Duration};
use tokio::time::MissedTickBehavior;

/// Bytes a second that the SHA-256 of a whole file is assumed to take, for estimates.
const ASSUMED_RATE: u64 = 250_000_000;
/// Why a content is withdrawn.
const CHANGED: &str = "it changed on disk";
/// Most claims of one answer (`docs/protocol.md` §7).
const MAX_CLAIMS: usize = 16;

/// Starts the tasks that run as long as the host.
pub(crate) fn start(inner: &Arc<Inner>) {
    inner.tasks.spawn(tell(inner.clone()));
    inner.tasks.spawn(announce_again(inner.clone()));
    inner.tasks.spawn(watch(inner.clone()));
}

async fn tell(inner: Arc<Inner>) {
    let mut events = inner.server.events();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = inner.stop.cancelled() => return,
        };
        match event {
            Some(ServeEvent::Started { node, hash, path }) => {
                inner.statistics().peers += 1;
                inner.emit(HostEvent::Serving {
                    node,
                    remote: path.remote,
                    hash,
                    carrier: path.carrier,
                    relayed: path.relayed,
                });
            }
            Some(ServeEvent::Moved { node, hash, path }) => inner.emit(HostEvent::Path {
                node,
                remote: path.remote,
                hash,
                carrier: path.carrier,
                relayed: path.relayed,
            }),
            Some(ServeEvent::Progress { node, hash, bytes }) => {
                inner.emit(HostEvent::Progress { node, hash, bytes });
            }
            Some(ServeEvent::Delivered { node, hash }) => {
                inner.statistics().deliveries += 1;
                inner.emit(HostEvent::Delivered { node, hash });
            }
            Some(ServeEvent::Ended { node, hash, bytes }) => {
                inner.statistics().bytes += bytes;
                inner.emit(HostEvent::Ended { node, hash, bytes });
            }
            Some(ServeEvent::Withdrawn { hash }) => {
                inner.withdraw(&hash, CHANGED, true).await;
            }
            Some(_) => {}
            None => return,
        }
    }
}

async fn announce_again(inner: Arc<Inner>) {
    while sleep(&inner, inner.config.reannounce).await {
        for entry in inner.registry.all() {
            inner.announce(&entry).await;
        }
    }
}

async fn watch(inner: Arc<Inner>) {
    let mut ticks = tokio::time::interval(inner.config.watch);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = inner.stop.cancelled() => return,
        }
        for entry in inner.registry.all() {
            let content = entry.content.clone();
            let same = tokio::task::spawn_blocking(move || content.fingerprint_ok()).await;
            if matches!(same, Ok(false)) {
                inner.withdraw(&entry.share.hash, CHANGED, true).await;
            }
        }
    }
}

/// Computes the SHA-256 of a whole file, while nobody is being served.
pub(crate) fn hash_whole(inner: &Arc<Inner>, hash: ContentHash, content: Arc<SharedContent>) {
    let inner = inner.clone();
    inner.tasks.clone().spawn(async move {
        let (server, cancel) = (inner.server.clone(), inner.stop.child_token());
        let pass = move || content.whole_sha256(&|| server.is_serving(), &cancel);
        match tokio::task::spawn_blocking(pass).await {
            Ok(Ok(sha256)) => {
                inner.registry.set_sha256(&hash, WholeHash::Known(sha256));
                inner.emit(HostEvent::Sha256 { hash, sha256 });
                if let Some(entry) = inner.registry.get(&hash).filter(|entry| entry.public) {
                    inner.announce(&entry).await;
                }
            }
            Ok(Err(error)) if !inner.stop.is_cancelled() => {
                inner.withdraw(&hash, &error.to_string(), true).await;
            }
            Ok(Err(_)) | Err(_) => {}
        }
    });
}

async fn sleep(inner: &Inner, time: Duration) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = inner.stop.cancelled() => false,
    }
}

impl Resolver for Registry {
    fn resolve(&self, query: &Query) -> Option<Resolved> {
        let (entries, asked_by_key) = match query {
            Query::Content(key) => (self.by_key(key), true),
            Query::Sha256(sha256) => (self.by_sha256(sha256), false),
            Query::Name(name) => (self.by_name(name), false),
            _ => return None,
        };
        if entries.is_empty() {
            return matches!(query, Query::Sha256(_))
                .then(|| self.estimate())
                .flatten();
        }
        let claims = entries.into_iter().take(MAX_CLAIMS).map(|entry| Claim {
            hash: (!asked_by_key).then_some(entry.share.hash),
            kind: entry.share.kind,
            size: entry.share.size,
            name: Some(entry.name),
        });
        Some(Resolved::Found(claims.collect()))
    }
}

impl Registry {
    /// How long the computations of SHA-256 that are still running may take.
    fn estimate(&self) -> Option<Resolved> {
        let left = self.pending().into_iter().map(|(since, size)| {
            Duration::from_secs(size / ASSUMED_RATE + 1).saturating_sub(since.elapsed())
        });
        let longest = left.max()?;
        Some(Resolved::Pending {
            estimate: longest.max(Duration::from_millis(500)),
        })
    }
}
