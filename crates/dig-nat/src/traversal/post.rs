//! Sealed messages, in and out.

use crate::{
    signaling::{
        Signal, SignalError, Signaling,
        secure::{OpenError, Opened, SealError, SecureSignaling},
    },
    trace::AttemptId,
};
use bytes::Bytes;
use dig_types::{Clock, NodeId, Timestamp};
use futures::future::BoxFuture;
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;
use zeroize::Zeroizing;

/// What seals and opens, and the carrier.
pub(super) struct Post {
    secure: Mutex<SecureSignaling>,
    carrier: Arc<dyn Signaling>,
    clock: Arc<dyn Clock>,
    /// The signed prekey to publish.
    prekey: watch::Sender<Bytes>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post")
            .field("carrier", &self.carrier)
            .finish_non_exhaustive()
    }
}

impl Post {
    pub(super) fn new(
        secure: SecureSignaling,
        carrier: Arc<dyn Signaling>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let prekey = watch::Sender::new(secure.prekey().clone());
        Self {
            secure: Mutex::new(secure),
            carrier,
            clock,
            prekey,
        }
    }

    /// Seals to the peer's one-time key if that is known, and to its prekey otherwise.
    pub(super) fn seal(
        &self,
        to: NodeId,
        prekey: Option<&[u8]>,
        attempt: AttemptId,
        body: &[u8],
    ) -> Result<Bytes, SealError> {
        let now = self.clock.now();
        let mut secure = self.secure();
        match (secure.reply(now, attempt, body), prekey) {
            (Err(SealError::NotAnswered | SealError::UnknownAttempt), Some(prekey)) => {
                secure.seal_first(now, to, prekey, attempt, body)
            }
            (sealed, _) => sealed,
        }
    }

    /// Hands a sealed message to the carrier.
    pub(super) fn send(
        self: Arc<Self>,
        to: NodeId,
        message: Bytes,
    ) -> BoxFuture<'static, Result<(), SignalError>> {
        Box::pin(async move { self.carrier.send(to, message).await })
    }

    pub(super) fn open(&self, signal: Signal) -> Result<Opened, OpenError> {
        self.secure().open(self.clock.now(), signal)
    }

    pub(super) async fn receive(&self) -> Option<Signal> {
        self.carrier.receive().await
    }

    pub(super) async fn prekey_of(&self, peer: NodeId) -> Result<Bytes, SignalError> {
        self.carrier.prekey(peer).await
    }

    pub(super) fn forget(&self, attempt: AttemptId) {
        self.secure().forget(self.clock.now(), attempt);
    }

    pub(super) fn prekey(&self) -> watch::Receiver<Bytes> {
        self.prekey.subscribe()
    }

    pub(super) fn state(&self) -> Zeroizing<Vec<u8>> {
        self.secure().state()
    }

    /// Makes a new prekey if it is time; when to call it again.
    pub(super) fn rotate(&self) -> Timestamp {
        let mut secure = self.secure();
        match secure.rotate(self.clock.now()) {
            Ok(true) => {
                self.prekey.send_replace(secure.prekey().clone());
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "no new prekey"),
        }
        secure.next_rotation()
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn secure(&self) -> MutexGuard<'_, SecureSignaling> {
        self.secure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
