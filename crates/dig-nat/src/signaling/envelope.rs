//! What is inside a sealed message: who says what to whom, when, in which attempt (`docs/protocol.md` §12).

use super::{
    MAX_SIGNAL,
    seal::{self, CryptoError, KEY_LEN, KeyPair, Kind, OVERHEAD, Sealed, SealedError},
};
use crate::trace::AttemptId;
use bytes::Bytes;
use dig_identity::{Algorithm, PublicKey, SignError, Signer};
use dig_types::{NodeId, Timestamp};

const CONTEXT: &[u8] = b"dig-signal/1:";

/// A message and what its signature covers beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// When it was signed.
    pub issued: Timestamp,
    /// The attempt it belongs to.
    pub attempt: AttemptId,
    /// Rises with every message of this sender in this attempt.
    pub round: u32,
    /// The sender's one-time X25519 key: answers are sealed to it.
    pub reply_key: [u8; KEY_LEN],
    /// What the attempt has to say; at most [`MAX_BODY`](Self::MAX_BODY) bytes.
    pub body: Bytes,
}

impl Envelope {
    /// Longest body in bytes: fits beside the largest key and signature (RSA of 4096 bits).
    pub const MAX_BODY: usize = 2816;

    /// Signs for the recipient, and seals to a key of its.
    pub fn seal(
        &self,
        signer: &dyn Signer,
        kind: Kind,
        to: NodeId,
        key: &[u8; KEY_LEN],
    ) -> Result<Bytes, EnvelopeError> {
        if self.body.len() > Self::MAX_BODY {
            return Err(EnvelopeError::BodyTooLong(self.body.len()));
        }
        let signature = signer.sign(&self.signed_text(kind, to, key))?;
        let public = signer.public_key();
        let mut text = Vec::with_capacity(MAX_SIGNAL);
        text.extend(self.issued.as_millis().to_be_bytes());
        text.extend(self.attempt.0);
        text.extend(self.round.to_be_bytes());
        text.extend(self.reply_key);
        text.push(public.algorithm().code());
        for field in [public.as_bytes(), &self.body, &signature] {
            let length = u16::try_from(field.len()).map_err(|_| EnvelopeError::Signature)?;
            text.extend(length.to_be_bytes());
            text.extend(field);
        }
        if text.len() > MAX_SIGNAL - OVERHEAD {
            // Only a signer whose signatures are no signatures of its algorithm gets here.
            return Err(EnvelopeError::Signature);
        }
        Ok(seal::seal(kind, key, text)?.into())
    }

    /// Opens a message with the key it is sealed to, and checks that its sender meant it for this recipient and this key.
    pub fn open(
        message: &Sealed<'_>,
        key: &KeyPair,
        recipient: NodeId,
    ) -> Result<(Self, PublicKey), EnvelopeError> {
        let text = message.open(key)?;
        let (envelope, sender, signature) = Self::decode(&text).ok_or(EnvelopeError::Malformed)?;
        let sender = sender.ok_or(EnvelopeError::Key)?;
        let signed = envelope.signed_text(message.kind(), recipient, key.public());
        sender
            .verify(&signed, signature)
            .map_err(|_| EnvelopeError::Signature)?;
        Ok((envelope, sender))
    }

    /// What the sender signs. All parts but the last have a fixed length.
    fn signed_text(&self, kind: Kind, to: NodeId, key: &[u8; KEY_LEN]) -> Vec<u8> {
        [
            CONTEXT,
            &[kind.code()],
            to.as_bytes(),
            key,
            &self.issued.as_millis().to_be_bytes(),
            &self.attempt.0,
            &self.round.to_be_bytes(),
            &self.reply_key,
            &self.body,
        ]
        .concat()
    }

    /// The fields, the sender's key if it is one, and the signature; `None` if the text is not of this form.
    fn decode(text: &[u8]) -> Option<(Self, Option<PublicKey>, &[u8])> {
        let mut rest = text;
        let issued = u64::from_be_bytes(take(&mut rest)?);
        let attempt = AttemptId(take(&mut rest)?);
        let round = u32::from_be_bytes(take(&mut rest)?);
        let reply_key = take(&mut rest)?;
        let [algorithm] = take(&mut rest)?;
        let key = take_field(&mut rest)?;
        let body = take_field(&mut rest)?;
        let signature = take_field(&mut rest)?;
        // One spelling only, and no room for what nobody signed.
        let fitting = text.len() - rest.len() + OVERHEAD;
        let padded = fitting.next_multiple_of(seal::PADDING_STEP);
        if body.len() > Self::MAX_BODY
            || rest.iter().any(|&byte| byte != 0)
            || text.len() + OVERHEAD != padded
        {
            return None;
        }
        let sender = Algorithm::from_code(algorithm)
            .and_then(|algorithm| PublicKey::from_canonical(algorithm, key).ok());
        let envelope = Self {
            issued: Timestamp::from_millis(issued),
            attempt,
            round,
            reply_key,
            body: Bytes::copy_from_slice(body),
        };
        Some((envelope, sender, signature))
    }
}

/// Takes a fixed number of bytes from the front.
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (field, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*field)
}

/// Takes a field with its length in front.
pub(super) fn take_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (field, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(field)
}

/// Why a message cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not a sealed message.
    #[error(transparent)]
    Form(#[from] SealedError),
    /// The body has more than [`Envelope::MAX_BODY`] bytes.
    #[error("a signal says at most {max} bytes, not {0}", max = Envelope::MAX_BODY)]
    BodyTooLong(usize),
    /// Opening: sealed to another key, or changed on the way. Sealing: the key is no X25519 key, or randomness failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// What was sealed is no message.
    #[error("the signal was sealed by a program that does not follow the protocol")]
    Malformed,
    /// The sender's key is not valid.
    #[error("the sender of the signal has no valid identity key")]
    Key,
    /// The sender did not sign this for this recipient and this key.
    #[error(
        "the signal is not signed by its sender for this recipient: somebody forged or re-sealed it"
    )]
    Signature,
    /// The signer failed.
    #[error("the signal cannot be signed")]
    Sign(#[from] SignError),
}
