//! Announcing and finding over Gun (whitepaper 4.4, 5.1, 5.2).

mod search;

use super::{
    announcement::{Codec, Word, WriteError},
    bus::GunBus,
    signaling::{GunSignaling, Listening},
};
use bytes::Bytes;
use dig_discovery::{Announcement, Discovery, DiscoveryError, Found, Lookup};
use dig_identity::{Signer, record::SignedRecord};
use dig_types::{DiscoveryKey, Ticket, TicketNode, Timestamp};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{self, BoxFuture},
    stream::{self, BoxStream},
};
use search::Search;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time between announcements of one thing (whitepaper 5.1, `reannounceInterval`); each comes up to a sixth of it earlier, so that those who began
/// together do not write together.
const REANNOUNCE: Duration = Duration::from_secs(30 * 60);
/// How often it is looked at whether the node is still where its announcements say.
const LOOK: Duration = Duration::from_secs(5);
/// A word that changed is announced anew no sooner than this after the last one.
const SOONEST: Duration = Duration::from_secs(10);
/// How long the last words may take when the node stops.
const FAREWELL: Duration = Duration::from_millis(250);

/// What a node says of itself, whenever it is asked.
pub trait Presence: Send + Sync + fmt::Debug {
    /// Where it may be reached now.
    fn here(&self) -> TicketNode;

    /// Its signed prekey; empty if nobody is to write to it.
    fn prekey(&self) -> Bytes;
}

/// [`Discovery`] by records in the Gun graph. It must live on a tokio runtime.
#[derive(Debug, Clone)]
pub struct GunDiscovery(Arc<Inner>);

struct Inner {
    bus: GunBus,
    signer: Arc<dyn Signer>,
    presence: Arc<dyn Presence>,
    signaling: GunSignaling,
    table: Mutex<Table>,
    /// Words on their way to relays.
    on_their_way: watch::Sender<usize>,
    stop: CancellationToken,
}

#[derive(Default)]
struct Table {
    announced: BTreeMap<DiscoveryKey, Announced>,
    /// While there is anything.
    listening: Option<Listening>,
    /// Of the latest word; the next has a greater one, also in the next run, unless the clock is set back.
    sequence: u64,
}

/// Something that this node has.
struct Announced {
    codec: Arc<Codec>,
    what: Ticket,
    last: Option<Last>,
}

/// The latest word about it.
struct Last {
    word: Word,
    record: SignedRecord,
    at: Timestamp,
    /// When it is said again.
    again: Timestamp,
}

impl GunDiscovery {
    /// Announces in the name of `signer`, and as `presence` says. `signaling` listens as long as anything is announced, since whoever finds it may
    /// write; the prekeys that are found are left for it.
    pub fn new(
        bus: GunBus,
        signer: Arc<dyn Signer>,
        presence: Arc<dyn Presence>,
        signaling: GunSignaling,
    ) -> Self {
        let inner = Arc::new(Inner {
            bus,
            signer,
            presence,
            signaling,
            table: Mutex::default(),
            on_their_way: watch::Sender::new(0),
            stop: CancellationToken::new(),
        });
        tokio::spawn(keep_announced(Arc::downgrade(&inner), inner.stop.clone()));
        Self(inner)
    }

    /// Waits until all that was announced has come to a relay or failed, but no longer than `patience`.
    pub async fn settled(&self, patience: Duration) {
        let mut on_their_way = self.0.on_their_way.subscribe();
        let none = on_their_way.wait_for(|words| *words == 0);
        let _ = tokio::time::timeout(patience, none).await;
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GunDiscovery")
            .field("bus", &self.bus)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.bus.clock().now()
    }

    /// What is to be said of something that this node has.
    fn word(&self, what: &Ticket) -> Word {
        let ticket = Ticket {
            nodes: vec![self.presence.here()],
            ..what.clone()
        };
        Word {
            ticket: Some(ticket),
            prekey: self.presence.prekey().to_vec(),
        }
    }

    fn sign(
        &self,
        table: &mut Table,
        codec: &Codec,
        word: &Word,
    ) -> Result<SignedRecord, WriteError> {
        let now = self.now();
        let mut nonce = [0; 12];
        getrandom::fill(&mut nonce).map_err(|_| WriteError::Seal)?;
        table.sequence = now.as_millis().max(table.sequence + 1);
        codec.write(&*self.signer, (table.sequence, now), word, nonce)
    }

    /// Says what is to be said about one thing.
    fn say(self: &Arc<Self>, key: DiscoveryKey) -> Result<(), WriteError> {
        let mut table = self.lock();
        let Some(announced) = table.announced.get(&key) else {
            return Ok(());
        };
        let (codec, word) = (announced.codec.clone(), self.word(&announced.what));
        let record = self.sign(&mut table, &codec, &word)?;
        let at = self.now();
        let again = at + REANNOUNCE.saturating_sub(spread(REANNOUNCE / 6));
        if let Some(announced) = table.announced.get_mut(&key) {
            announced.last = Some(Last {
                word,
                record: record.clone(),
                at,
                again,
            });
        }
        drop(table);
        // Whoever is named later is told then.
        if self.bus.graph().has_relays() {
            self.publish(codec, record);
        }
        Ok(())
    }

    /// Hands a record to the bus, which holds it until a relay is there.
    fn publish(self: &Arc<Self>, codec: Arc<Codec>, record: SignedRecord) {
        self.on_their_way.send_modify(|words| *words += 1);
        let inner = self.clone();
        tokio::spawn(async move {
            if let Err(error) = inner.bus.publish(codec.topic(), &record).await {
                tracing::debug!(%error, "not announced over Gun yet");
            }
            inner.on_their_way.send_modify(|words| *words -= 1);
        });
    }

    /// Says again what is due, or is no longer true; and all of it to a relay that was not there.
    fn look(self: &Arc<Self>, new_relay: bool) {
        let now = self.now();
        let (mut due, mut again) = (Vec::new(), Vec::new());
        for (key, announced) in &self.lock().announced {
            match &announced.last {
                None => due.push(*key),
                Some(last) if now >= last.again => due.push(*key),
                Some(last)
                    if now >= last.at + SOONEST && self.word(&announced.what) != last.word =>
                {
                    due.push(*key);
                }
                Some(last) if new_relay => {
                    again.push((announced.codec.clone(), last.record.clone()))
                }
                Some(_) => {}
            }
        }
        for (codec, record) in again {
            self.publish(codec, record);
        }
        for key in due {
            if let Err(error) = self.say(key) {
                tracing::warn!(%error, "not announced over Gun");
            }
        }
    }

    /// Says that this node no longer has it.
    fn unsay(self: &Arc<Self>, key: DiscoveryKey) -> Result<(), WriteError> {
        let mut table = self.lock();
        let Some(announced) = table.announced.remove(&key) else {
            return Ok(());
        };
        let word = Word {
            ticket: None,
            prekey: Vec::new(),
        };
        if table.announced.is_empty() {
            table.listening = None;
        }
        let record = self.sign(&mut table, &announced.codec, &word)?;
        drop(table);
        self.publish(announced.codec, record);
        Ok(())
    }
}

/// A random part of a time.
fn spread(longest: Duration) -> Duration {
    let mut drawn = [0; 4];
    // Without randomness those who began together go on together.
    let _ = getrandom::fill(&mut drawn);
    longest.mul_f64(f64::from(u32::from_be_bytes(drawn)) / f64::from(u32::MAX))
}

/// Keeps what was announced true.
async fn keep_announced(inner: std::sync::Weak<Inner>, stop: CancellationToken) {
    let mut relays: Vec<Arc<str>> = Vec::new();
    loop {
        let Some(strong) = inner.upgrade() else {
            return;
        };
        let changed = strong.bus.graph().relays_changed();
        let up = strong.bus.graph().relays();
        strong.look(up.iter().any(|relay| !relays.contains(relay)));
        relays = up;
        drop(strong);
        tokio::select! {
            () = stop.cancelled() => return,
            () = changed => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Why something cannot be announced over Gun.
#[derive(Debug, thiserror::Error)]
enum NotAnnounced {
    /// Nobody could open what would be sealed.
    #[error(
        "what is announced over Gun is sealed to those who look for it, and it was not said what that is"
    )]
    Secret,
    /// The record was not made.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<NotAnnounced> for DiscoveryError {
    fn from(error: NotAnnounced) -> Self {
        Self::Mechanism(Box::new(error))
    }
}

/// The ticket of what is announced, without the node.
fn what(lookup: &Lookup, announcement: &Announcement) -> Option<Ticket> {
    let claim = announcement.claim.as_ref();
    let hash = match lookup {
        Lookup::Content(hash) => Some(*hash),
        _ => claim.and_then(|claim| claim.hash),
    };
    let name = match lookup {
        Lookup::Name(name) => Some(name.clone()),
        _ => claim.and_then(|claim| claim.name.clone()),
    };
    Some(Ticket {
        name,
        kind: claim.map(|claim| claim.kind),
        size: claim.map(|claim| claim.size),
        ..Ticket::new(hash?)
    })
}

impl Discovery for GunDiscovery {
    fn announce(
        &self,
        key: DiscoveryKey,
        announcement: Announcement,
    ) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let announce = move || {
            let secret = announcement.secret.as_ref();
            let lookup = secret.filter(|lookup| lookup.key() == key);
            let lookup = lookup.ok_or(NotAnnounced::Secret)?;
            let what = what(lookup, &announcement).ok_or(NotAnnounced::Secret)?;
            let codec = Codec::new(lookup.clone()).ok_or(WriteError::Seal)?;
            {
                let mut table = self.0.lock();
                let last = table.announced.remove(&key);
                let last = last
                    .filter(|last| last.what == what)
                    .and_then(|last| last.last);
                let codec = Arc::new(codec);
                let signaling = &self.0.signaling;
                table.listening.get_or_insert_with(|| signaling.listen());
                table.announced.insert(key, Announced { codec, what, last });
            }
            Ok(self.0.say(key)?)
        };
        let announced: Result<(), NotAnnounced> = announce();
        future::ready(announced.map_err(Into::into)).boxed()
    }

    fn withdraw(&self, key: DiscoveryKey) -> BoxFuture<'_, Result<(), DiscoveryError>> {
        let unsaid = self.0.unsay(key).map_err(NotAnnounced::from);
        future::ready(unsaid.map_err(Into::into)).boxed()
    }

    fn find(&self, lookup: Lookup) -> BoxStream<'static, Found> {
        let graph = self.0.bus.graph().clone();
        let Some(codec) = Codec::new(lookup).filter(|_| graph.has_relays()) else {
            return stream::empty().boxed();
        };
        let search = Search::new(self.0.clone(), codec);
        let found = stream::unfold(search, |mut search| async {
            Some((stream::iter(search.next().await?), search))
        });
        found.flatten().boxed()
    }

    /// The last words of this node are that it has nothing.
    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            let keys: Vec<_> = self.0.lock().announced.keys().copied().collect();
            for key in keys {
                if let Err(error) = self.0.unsay(key) {
                    tracing::debug!(%error, "not withdrawn over Gun");
                }
            }
            self.0.stop.cancel();
            if !self.0.bus.graph().relays().is_empty() {
                self.settled(FAREWELL).await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
