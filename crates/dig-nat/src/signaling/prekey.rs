//! Prekeys: short-lived X25519 keys that a node signs and publishes, so that the first message of an attempt can be
//! sealed without an exchange before it (`docs/protocol.md` §12).

use super::{
    envelope::{take, take_field},
    seal::{CryptoError, KEY_LEN, KeyId, KeyPair},
};
use bytes::Bytes;
use dig_identity::{Algorithm, PublicKey, SignError, Signer};
use dig_types::{NodeId, Timestamp};
use std::time::Duration;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const CONTEXT: &[u8] = b"dig-prekey/1:";
const STATE_MAGIC: &[u8; 8] = b"digpkey1";

/// A prekey as its node published it: checked to be the node's own, but not yet for its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPrekey {
    signer: PublicKey,
    key: [u8; KEY_LEN],
    issued: Timestamp,
    expires: Timestamp,
    bytes: Bytes,
}

impl SignedPrekey {
    /// Longest signed prekey in bytes: that of an RSA key of 4096 bits is a little shorter.
    pub const MAX_LEN: usize = 1200;
    /// Longest life: what a stolen private key opens at most.
    pub const MAX_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
    /// How far ahead of ours the publisher's clock may be, as with certificates.
    pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

    /// Signs the public half of a key.
    fn sign(
        signer: &dyn Signer,
        key: [u8; KEY_LEN],
        issued: Timestamp,
        expires: Timestamp,
    ) -> Result<Self, PrekeyError> {
        let signature = signer.sign(&signed_text(&key, issued, expires))?;
        let public = signer.public_key();
        let mut bytes = vec![VERSION, public.algorithm().code()];
        bytes.extend(issued.as_millis().to_be_bytes());
        bytes.extend(expires.as_millis().to_be_bytes());
        bytes.extend(key);
        for field in [public.as_bytes(), &signature] {
            let length = u16::try_from(field.len()).map_err(|_| PrekeyError::Signature)?;
            bytes.extend(length.to_be_bytes());
            bytes.extend(field);
        }
        Ok(Self {
            signer: public.clone(),
            key,
            issued,
            expires,
            bytes: bytes.into(),
        })
    }

    /// Reads what a node published: its form, the life it claims, the node, the signature.
    pub fn parse(bytes: &[u8], node: NodeId) -> Result<Self, PrekeyError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(PrekeyError::Malformed);
        }
        if let Some(&version) = bytes.first()
            && version != VERSION
        {
            return Err(PrekeyError::Version(version));
        }
        let (fields, signature) = Self::decode(bytes).ok_or(PrekeyError::Malformed)?;
        if fields.signer.node_id() != node {
            return Err(PrekeyError::WrongNode);
        }
        let life = fields
            .expires
            .as_millis()
            .checked_sub(fields.issued.as_millis());
        if life.is_none_or(|life| life == 0 || u128::from(life) > Self::MAX_LIFETIME.as_millis()) {
            return Err(PrekeyError::Lifetime);
        }
        fields
            .signer
            .verify(
                &signed_text(&fields.key, fields.issued, fields.expires),
                signature,
            )
            .map_err(|_| PrekeyError::Signature)?;
        Ok(fields)
    }

    /// Whether it may be sealed to now.
    pub fn check(&self, now: Timestamp) -> Result<(), PrekeyError> {
        if now >= self.expires {
            return Err(PrekeyError::Expired);
        }
        if self.issued > now + Self::CLOCK_TOLERANCE {
            return Err(PrekeyError::NotYetValid);
        }
        Ok(())
    }

    /// The bytes to publish.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The X25519 public key.
    pub const fn key(&self) -> &[u8; KEY_LEN] {
        &self.key
    }

    /// Whose it is.
    pub const fn node(&self) -> NodeId {
        self.signer.node_id()
    }

    /// When it was signed.
    pub const fn issued(&self) -> Timestamp {
        self.issued
    }

    /// From when on nothing may be sealed to it.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        let [_version, algorithm] = take(&mut rest)?;
        let issued = Timestamp::from_millis(u64::from_be_bytes(take(&mut rest)?));
        let expires = Timestamp::from_millis(u64::from_be_bytes(take(&mut rest)?));
        let key = take(&mut rest)?;
        let signer = take_field(&mut rest)?;
        let signature = take_field(&mut rest)?;
        if !rest.is_empty() {
            return None;
        }
        let signer = PublicKey::from_canonical(Algorithm::from_code(algorithm)?, signer).ok()?;
        let fields = Self {
            signer,
            key,
            issued,
            expires,
            bytes: Bytes::copy_from_slice(bytes),
        };
        Some((fields, signature))
    }
}

fn signed_text(key: &[u8; KEY_LEN], issued: Timestamp, expires: Timestamp) -> Vec<u8> {
    [
        CONTEXT,
        key,
        &issued.as_millis().to_be_bytes(),
        &expires.as_millis().to_be_bytes(),
    ]
    .concat()
}

/// A prekey of this node, with its private half.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) pair: KeyPair,
    pub(super) signed: SignedPrekey,
    /// From an earlier run, of which nobody remembers what was answered.
    pub(super) restored: bool,
}

/// The prekeys of this node: one that is published, and the older ones that somebody may still seal to.
#[derive(Debug)]
pub struct Prekeys {
    /// Oldest first, never empty.
    held: Vec<Held>,
    current: SignedPrekey,
}

impl Prekeys {
    /// How long one is published: whoever steals a machine's memory opens few messages of the past.
    pub const ROTATION: Duration = Duration::from_secs(24 * 3600);
    /// Most that are held: one a day for [`SignedPrekey::MAX_LIFETIME`], and restarts between.
    pub const MAX_HELD: usize = 16;

    /// Begins with a fresh prekey.
    pub fn new(now: Timestamp, signer: &dyn Signer) -> Result<Self, PrekeyError> {
        let fresh = fresh(now, signer)?;
        Ok(Self {
            current: fresh.signed.clone(),
            held: vec![fresh],
        })
    }

    /// Goes on with what [`state`](Self::state) gave in an earlier run. Expired keys are dropped; the published one is
    /// kept if it is younger than a day.
    pub fn restore(now: Timestamp, signer: &dyn Signer, state: &[u8]) -> Result<Self, PrekeyError> {
        let mut held = Vec::new();
        let mut rest = state
            .strip_prefix(STATE_MAGIC)
            .ok_or(PrekeyError::StateMalformed)?;
        while !rest.is_empty() {
            let private = take(&mut rest).map(Zeroizing::new);
            let private = private.ok_or(PrekeyError::StateMalformed)?;
            let signed = take_field(&mut rest).ok_or(PrekeyError::StateMalformed)?;
            let signed = SignedPrekey::parse(signed, signer.node_id())?;
            let pair = KeyPair::from_private(&private)?;
            if pair.public() != signed.key() || held.len() == Self::MAX_HELD {
                return Err(PrekeyError::StateMalformed);
            }
            held.push(Held {
                pair,
                signed,
                restored: true,
            });
        }
        held.sort_by_key(|held| held.signed.issued);
        let Some(last) = held.last() else {
            return Self::new(now, signer);
        };
        let mut prekeys = Self {
            current: last.signed.clone(),
            held,
        };
        prekeys.rotate(now, signer)?;
        Ok(prekeys)
    }

    /// What the next run needs. It holds private keys: keep it as the identity is kept.
    pub fn state(&self) -> Zeroizing<Vec<u8>> {
        let mut state = Zeroizing::new(STATE_MAGIC.to_vec());
        for held in &self.held {
            let signed = held.signed.bytes();
            let Ok(length) = u16::try_from(signed.len()) else {
                continue;
            };
            state.extend_from_slice(&held.pair.private());
            state.extend_from_slice(&length.to_be_bytes());
            state.extend_from_slice(signed);
        }
        state
    }

    /// Drops what has expired, and makes a new prekey once a day. Says whether there is a new one to publish.
    pub fn rotate(&mut self, now: Timestamp, signer: &dyn Signer) -> Result<bool, PrekeyError> {
        // One from the future was made by a clock that has been set back since.
        let due = now >= self.next_rotation() || self.current.issued > now;
        if due {
            let fresh = fresh(now, signer)?;
            self.current = fresh.signed.clone();
            self.held.push(fresh);
        }
        let current = *self.current.key();
        self.held
            .retain(|held| held.signed.expires > now || *held.signed.key() == current);
        while self.held.len() > Self::MAX_HELD {
            self.held.remove(0);
        }
        Ok(due)
    }

    /// When [`rotate`](Self::rotate) makes the next prekey.
    pub fn next_rotation(&self) -> Timestamp {
        self.current.issued + Self::ROTATION
    }

    /// The prekey to publish.
    pub const fn current(&self) -> &SignedPrekey {
        &self.current
    }

    /// The key pair that a message is sealed to, unless it has expired.
    pub(super) fn find(&self, now: Timestamp, id: KeyId) -> Option<&Held> {
        self.held
            .iter()
            .find(|held| held.pair.id() == id && held.signed.expires > now)
    }
}

fn fresh(now: Timestamp, signer: &dyn Signer) -> Result<Held, PrekeyError> {
    let pair = KeyPair::generate()?;
    let expires = now + SignedPrekey::MAX_LIFETIME;
    let signed = SignedPrekey::sign(signer, *pair.public(), now, expires)?;
    Ok(Held {
        pair,
        signed,
        restored: false,
    })
}

/// Why a prekey cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum PrekeyError {
    /// The bytes are no signed prekey.
    #[error("what the node published is no signed prekey")]
    Malformed,
    /// Of a later version of the protocol.
    #[error("the prekey has version {0}, this program reads version 1; get a newer program")]
    Version(u8),
    /// It is another node's.
    #[error("the prekey belongs to another node: whoever gave it is wrong or lies")]
    WrongNode,
    /// Its node did not sign it.
    #[error("the prekey is not signed by its node: whoever gave it is wrong or lies")]
    Signature,
    /// It claims to live longer than [`SignedPrekey::MAX_LIFETIME`], or not at all.
    #[error("the prekey claims a life that is not between 0 and 7 days")]
    Lifetime,
    /// It is too old.
    #[error("the prekey has expired: its node is gone, or one of the clocks is wrong")]
    Expired,
    /// It is from the future.
    #[error("the prekey is from the future: check the clock of this machine")]
    NotYetValid,
    /// The stored state is not one of [`Prekeys::state`].
    #[error("the stored prekeys are damaged; remove their file, new ones are made")]
    StateMalformed,
    /// The signer failed.
    #[error("the prekey cannot be signed")]
    Sign(#[from] SignError),
    /// No key could be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

#[cfg(test)]
mod tests;
