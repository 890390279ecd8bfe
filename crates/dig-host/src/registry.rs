//! What is shared at the moment, and what names and hashes stand for.

use crate::share::Share;
use dig_discovery::AnnounceLevel;
use dig_transfer::source::SharedContent;
use dig_types::{ContentHash, ContentName, DiscoveryKey, Sha256Hash};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Counts of a host since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HostStatistics {
    /// Contents shared now.
    pub shares: usize,
    /// Peers that have been served.
    pub peers: u64,
    /// Bytes sent, of contents.
    pub bytes: u64,
    /// Complete deliveries that peers confirmed.
    pub deliveries: u64,
}

/// The SHA-256 of a shared file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WholeHash {
    /// It is being computed.
    Pending { since: Instant },
    /// It is known.
    Known(Sha256Hash),
    /// There will be none: a folder, or the computation is switched off.
    None,
}

/// One shared content.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) share: Share,
    pub(crate) name: ContentName,
    pub(crate) content: Arc<SharedContent>,
    pub(crate) sha256: WholeHash,
    pub(crate) public: bool,
    pub(crate) level: AnnounceLevel,
}

/// The shared contents by their hash.
#[derive(Debug, Default)]
pub(crate) struct Registry(Mutex<BTreeMap<ContentHash, Entry>>);

impl Registry {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ContentHash, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, entry: Entry) {
        self.lock().insert(entry.share.hash, entry);
    }

    pub(crate) fn remove(&self, hash: &ContentHash) -> Option<Entry> {
        self.lock().remove(hash)
    }

    pub(crate) fn get(&self, hash: &ContentHash) -> Option<Entry> {
        self.lock().get(hash).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Entry> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn set_sha256(&self, hash: &ContentHash, sha256: WholeHash) {
        if let Some(entry) = self.lock().get_mut(hash) {
            entry.sha256 = sha256;
        }
    }

    /// What is shared under a discovery key of its content hash.
    pub(crate) fn by_key(&self, key: &DiscoveryKey) -> Vec<Entry> {
        self.select(|entry| DiscoveryKey::content(&entry.share.hash) == *key)
    }

    /// What is shared under a name.
    pub(crate) fn by_name(&self, name: &ContentName) -> Vec<Entry> {
        self.select(|entry| entry.name == *name)
    }

    /// What is shared that has this SHA-256.
    pub(crate) fn by_sha256(&self, sha256: &Sha256Hash) -> Vec<Entry> {
        self.select(|entry| matches!(&entry.sha256, WholeHash::Known(known) if known == sha256))
    }

    /// When the computations of SHA-256 that are still running began, and how many bytes they have before them.
    pub(crate) fn pending(&self) -> Vec<(Instant, u64)> {
        let entries = self.lock();
        let pending = entries.values().filter_map(|entry| match entry.sha256 {
            WholeHash::Pending { since } => Some((since, entry.share.size)),
            WholeHash::Known(_) | WholeHash::None => None,
        });
        pending.collect()
    }

    fn select(&self, fits: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        self.lock()
            .values()
            .filter(|entry| fits(entry))
            .cloned()
            .collect()
    }
}
