//! Attempts over carriers that nobody trusts: seals, opens, and refuses what is forged, repeated, turned elsewhere or old.

mod budget;

use self::budget::FirstsBudget;
use super::{
    Observed, Signal,
    bucket::{Bucket, Rate},
    envelope::{Envelope, EnvelopeError},
    prekey::{PrekeyError, Prekeys, SignedPrekey},
    replay::{Replay, ReplayWindow},
    seal::{KEY_LEN, KeyPair, Kind, Sealed},
};
use crate::trace::AttemptId;
use bytes::Bytes;
use dig_identity::{PublicKey, Signer};
use dig_types::{NodeId, Timestamp};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use zeroize::Zeroizing;

/// Oldest message that is opened, and the farthest from the future. Offers are repeated every half second and given up
/// after 5 s, so this is for clocks that disagree: those set by a network do so by much less.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// Attempts that are remembered at once, one's own and those of others.
pub const MAX_ATTEMPTS: usize = 256;
/// An attempt of which nothing was heard for so long is forgotten.
pub const ATTEMPT_IDLE: Duration = Duration::from_secs(60);
/// Messages of one attempt that are opened after its first.
const REPLIES: Rate = Rate {
    per_second: 16,
    burst: 32,
};
/// As many as [`FirstsBudget`] lets in while [`MAX_AGE`] passes twice, so that a flood cannot fill it.
const REMEMBERED: usize = 4096;

/// A message that was opened, and is what its sender meant for this node now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who sent it.
    pub from: NodeId,
    /// The sender's identity key.
    pub key: PublicKey,
    /// Whether it was sealed to the prekey (an offer) or to the one-time key of this attempt (whatever follows).
    pub kind: Kind,
    /// The attempt.
    pub attempt: AttemptId,
    /// Rises with every message of this sender in this attempt; gaps are lost messages.
    pub round: u32,
    /// When it was sent, by the sender's clock.
    pub issued: Timestamp,
    /// What it says.
    pub body: Bytes,
    /// Where the carrier sees the sender; empty where the carrier does not vouch for who that is.
    pub observed: Vec<Observed>,
}

/// Both ends of sealed signaling, for all attempts of a node; sans-IO. `now` is the time of day.
#[derive(Debug)]
pub struct SecureSignaling {
    signer: Arc<dyn Signer>,
    prekeys: Prekeys,
    started: Timestamp,
    attempts: BTreeMap<AttemptId, Attempt>,
    replay: ReplayWindow,
    firsts: FirstsBudget,
}

/// What is remembered of an attempt.
#[derive(Debug)]
struct Attempt {
    peer: NodeId,
    ours: bool,
    reply: KeyPair,
    /// The peer's one-time key, once it is known.
    peer_key: Option<[u8; KEY_LEN]>,
    round: u32,
    used: Timestamp,
    replies: Bucket,
}

impl Attempt {
    fn new(now: Timestamp, peer: NodeId, ours: bool) -> Result<Self, EnvelopeError> {
        Ok(Self {
            peer,
            ours,
            reply: KeyPair::generate()?,
            peer_key: None,
            round: 0,
            used: now,
            replies: Bucket::full(since_epoch(now), REPLIES),
        })
    }

    /// The next message of this side.
    fn envelope(&mut self, now: Timestamp, attempt: AttemptId, body: &[u8]) -> Envelope {
        self.used = now;
        self.round = self.round.saturating_add(1);
        Envelope {
            issued: now,
            attempt,
            round: self.round,
            reply_key: *self.reply.public(),
            body: Bytes::copy_from_slice(body),
        }
    }
}

impl SecureSignaling {
    /// Seals and opens in the name of a signer, with its prekeys.
    pub fn new(now: Timestamp, signer: Arc<dyn Signer>, prekeys: Prekeys) -> Self {
        Self {
            signer,
            prekeys,
            started: now,
            attempts: BTreeMap::new(),
            replay: ReplayWindow::new(REMEMBERED, MAX_AGE),
            firsts: FirstsBudget::new(since_epoch(now)),
        }
    }

    /// The signed prekey to publish.
    pub const fn prekey(&self) -> &Bytes {
        self.prekeys.current().bytes()
    }

    /// Makes a new prekey once a day; says whether there is one to publish. Call it at [`next_rotation`](Self::next_rotation).
    pub fn rotate(&mut self, now: Timestamp) -> Result<bool, PrekeyError> {
        self.prekeys.rotate(now, &*self.signer)
    }

    /// When there will be a new prekey.
    pub fn next_rotation(&self) -> Timestamp {
        self.prekeys.next_rotation()
    }

    /// The prekeys as [`Prekeys::restore`] takes them; holds private keys.
    pub fn state(&self) -> Zeroizing<Vec<u8>> {
        self.prekeys.state()
    }

    /// Seals a message that begins an attempt, or repeats its beginning, to the prekey that the peer published.
    pub fn seal_first(
        &mut self,
        now: Timestamp,
        to: NodeId,
        prekey: &[u8],
        attempt: AttemptId,
        body: &[u8],
    ) -> Result<Bytes, SealError> {
        let prekey = SignedPrekey::parse(prekey, to)?;
        prekey.check(now)?;
        if !self.attempts.contains_key(&attempt) {
            self.make_room(now);
            if self.attempts.len() >= MAX_ATTEMPTS {
                return Err(SealError::TooManyAttempts);
            }
            self.attempts.insert(attempt, Attempt::new(now, to, true)?);
        }
        let known = self.attempts.get_mut(&attempt);
        let known = known.filter(|known| known.ours && known.peer == to);
        let known = known.ok_or(SealError::OtherAttempt)?;
        let envelope = known.envelope(now, attempt, body);
        Ok(envelope.seal(&*self.signer, Kind::First, to, prekey.key())?)
    }

    /// Seals what follows in an attempt to the one-time key that the peer's last message named.
    pub fn reply(
        &mut self,
        now: Timestamp,
        attempt: AttemptId,
        body: &[u8],
    ) -> Result<Bytes, SealError> {
        let known = self.attempts.get_mut(&attempt);
        let known = known.ok_or(SealError::UnknownAttempt)?;
        let key = known.peer_key.ok_or(SealError::NotAnswered)?;
        let to = known.peer;
        let envelope = known.envelope(now, attempt, body);
        Ok(envelope.seal(&*self.signer, Kind::Reply, to, &key)?)
    }

    /// Opens a message, once.
    pub fn open(&mut self, now: Timestamp, signal: Signal) -> Result<Opened, OpenError> {
        let sealed = Sealed::parse(&signal.bytes).map_err(EnvelopeError::from)?;
        let (envelope, key) = match sealed.kind() {
            Kind::First => self.open_first(now, &sealed, signal.from)?,
            Kind::Reply => self.open_reply(now, &sealed)?,
        };
        let from = key.node_id();
        // Somebody else's message, sent on as one's own, would send the answer's probes where its new sender is.
        if signal.from.is_some_and(|carried| carried != from) {
            return Err(OpenError::Readdressed);
        }
        self.accept(now, sealed.kind(), from, &envelope)?;
        let mut observed = signal.observed;
        observed.truncate(if signal.from.is_some() {
            Signal::MAX_OBSERVED
        } else {
            0
        });
        Ok(Opened {
            from,
            key,
            kind: sealed.kind(),
            attempt: envelope.attempt,
            round: envelope.round,
            issued: envelope.issued,
            body: envelope.body,
            observed,
        })
    }

    /// Forgets an attempt that has ended. What the peer still sends in it is refused.
    pub fn forget(&mut self, now: Timestamp, attempt: AttemptId) {
        if let Some(known) = self.attempts.remove(&attempt) {
            self.replay.close(now, known.peer, attempt);
        }
    }

    fn open_first(
        &mut self,
        now: Timestamp,
        sealed: &Sealed<'_>,
        from: Option<NodeId>,
    ) -> Result<(Envelope, PublicKey), OpenError> {
        let held = self.prekeys.find(now, sealed.key());
        let held = held.ok_or(OpenError::UnknownKey)?;
        if !self.firsts.take(since_epoch(now), from) {
            return Err(OpenError::TooMany);
        }
        let (envelope, key) = Envelope::open(sealed, &held.pair, self.signer.node_id())?;
        if held.restored && envelope.issued < self.started {
            return Err(OpenError::BeforeStart);
        }
        Ok((envelope, key))
    }

    fn open_reply(
        &mut self,
        now: Timestamp,
        sealed: &Sealed<'_>,
    ) -> Result<(Envelope, PublicKey), OpenError> {
        let (&id, attempt) = self
            .attempts
            .iter_mut()
            .find(|(_, attempt)| attempt.reply.id() == sealed.key())
            .ok_or(OpenError::UnknownKey)?;
        if !attempt.replies.take(since_epoch(now), REPLIES) {
            return Err(OpenError::TooMany);
        }
        let (envelope, key) = Envelope::open(sealed, &attempt.reply, self.signer.node_id())?;
        if envelope.attempt != id {
            return Err(OpenError::WrongAttempt);
        }
        Ok((envelope, key))
    }

    /// What can be said only after the signature: is it new, is it young, is it of the one who may say it.
    fn accept(
        &mut self,
        now: Timestamp,
        kind: Kind,
        from: NodeId,
        envelope: &Envelope,
    ) -> Result<(), OpenError> {
        if envelope.issued + MAX_AGE < now {
            return Err(OpenError::Aged);
        }
        if envelope.issued > now + MAX_AGE {
            return Err(OpenError::Future);
        }
        if from == self.signer.node_id() {
            return Err(OpenError::WrongSigner);
        }
        let id = envelope.attempt;
        if let Some(known) = self.attempts.get(&id) {
            if known.peer != from {
                return Err(OpenError::WrongSigner);
            }
            if known.ours && kind == Kind::First {
                return Err(OpenError::WrongAttempt);
            }
        }
        self.replay
            .accept(now, from, id, envelope.round, envelope.issued)?;
        if !self.attempts.contains_key(&id) {
            self.make_room(now);
            if self.attempts.len() >= MAX_ATTEMPTS {
                return Err(OpenError::TooMany);
            }
            let new = Attempt::new(now, from, false)?;
            self.attempts.insert(id, new);
        }
        if let Some(known) = self.attempts.get_mut(&id) {
            known.used = now;
            known.peer_key = Some(envelope.reply_key);
        }
        Ok(())
    }

    /// Drops idle attempts, and if all are busy the one of others that was idle longest.
    fn make_room(&mut self, now: Timestamp) {
        if self.attempts.len() < MAX_ATTEMPTS {
            return;
        }
        self.attempts
            .retain(|_, attempt| attempt.used + ATTEMPT_IDLE > now);
        if self.attempts.len() < MAX_ATTEMPTS {
            return;
        }
        let oldest = self.attempts.iter().filter(|(_, attempt)| !attempt.ours);
        let oldest = oldest.min_by_key(|(_, attempt)| attempt.used);
        if let Some((&id, _)) = oldest {
            self.attempts.remove(&id);
        }
    }
}

fn since_epoch(now: Timestamp) -> Duration {
    Duration::from_millis(now.as_millis())
}

/// Why a message is not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The peer's prekey cannot be used.
    #[error("the peer cannot be written to: {0}")]
    Prekey(#[from] PrekeyError),
    /// The message cannot be made.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The attempt id names an attempt with another peer, or one that the peer began.
    #[error("this attempt was begun by the peer, or is one with another peer")]
    OtherAttempt,
    /// The attempt was never begun, has been idle for long, or was forgotten.
    #[error("there is no such attempt, or no longer; begin another one")]
    UnknownAttempt,
    /// The peer has not answered yet, so its one-time key is unknown.
    #[error("the peer has not answered in this attempt yet")]
    NotAnswered,
    /// [`MAX_ATTEMPTS`] of one's own are running.
    #[error("{MAX_ATTEMPTS} attempts are running; wait until some have ended")]
    TooManyAttempts,
}

/// Why a message is refused. Whoever sent it is not told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no sealed message, or was changed, or is not signed for this node.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is sealed to a key that this node does not have, or no longer.
    #[error("the signal is sealed to a key that is not, or no longer, this node's")]
    UnknownKey,
    /// More messages than are opened in a second.
    #[error("too many signals arrive; this one was dropped unread")]
    TooMany,
    /// Its carrier says that another node than its signer sent it.
    #[error("the signal was sent on by a node that did not write it")]
    Readdressed,
    /// It is older than [`MAX_AGE`].
    #[error(
        "the signal is more than a minute old: it was held back, or one of the clocks is wrong"
    )]
    Aged,
    /// It is from the future by more than [`MAX_AGE`].
    #[error("the signal is from the future: check the clock of this machine")]
    Future,
    /// It is older than this run, and may have been answered by an earlier one.
    #[error("the signal is from before this program started")]
    BeforeStart,
    /// It was opened before.
    #[error("the signal was received before")]
    Replayed,
    /// A later message of the same attempt was opened before.
    #[error("a later signal of this attempt was received before")]
    RolledBack,
    /// The attempt is with another node.
    #[error("the signal is signed by another node than the one this attempt is with")]
    WrongSigner,
    /// It answers one attempt under the name of another, or begins one that this node began itself.
    #[error("the signal does not belong to the attempt that it names")]
    WrongAttempt,
}

impl From<Replay> for OpenError {
    fn from(replay: Replay) -> Self {
        match replay {
            Replay::Repeated => Self::Replayed,
            Replay::RolledBack => Self::RolledBack,
            Replay::Full => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests;
