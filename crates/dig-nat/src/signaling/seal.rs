//! Sealing bytes to an X25519 key (RFC 9180, base mode; `docs/protocol.md` §12).

use aws_lc_rs::agreement;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE,
    hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey},
};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

use super::MAX_SIGNAL;

/// Length of an X25519 key, private or public.
pub const KEY_LEN: usize = 32;
/// Sealed messages are multiples of this many bytes, so that their length says little.
pub const PADDING_STEP: usize = 256;

const VERSION: u8 = 1;
const INFO: &[u8] = b"dig-signal/1";
/// Version, kind and key id: sent in clear, and authenticated.
const CLEAR: usize = 2 + KeyId::LEN;
const TAG: usize = 16;
/// What sealing adds to a text.
pub(super) const OVERHEAD: usize = CLEAR + KEY_LEN + TAG;

/// To which sort of key a message is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To the prekey that the recipient published.
    First,
    /// To the one-time key that the recipient's last message named.
    Reply,
}

impl Kind {
    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::First => 1,
            Self::Reply => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::First),
            2 => Some(Self::Reply),
            _ => None,
        }
    }
}

/// Names the key that a message is sealed to: the first 8 bytes of SHA-256("dig-key/1" ‖ public key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; Self::LEN]);

impl KeyId {
    /// Length in bytes.
    pub const LEN: usize = 8;

    /// The id of a public key.
    pub fn of(public: &[u8; KEY_LEN]) -> Self {
        let digest: [u8; 32] = Sha256::new()
            .chain_update(b"dig-key/1")
            .chain_update(public)
            .finalize()
            .into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

/// An X25519 key pair; the private half is wiped when it is dropped.
pub struct KeyPair {
    public: [u8; KEY_LEN],
    private: HpkePrivateKey,
}

impl KeyPair {
    /// A fresh pair from the system's randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| CryptoError)?;
        let public = public.0.try_into().map_err(|_| CryptoError)?;
        Ok(Self { public, private })
    }

    /// The pair of a stored private key.
    pub fn from_private(private: &[u8; KEY_LEN]) -> Result<Self, CryptoError> {
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, private)
            .map_err(|_| CryptoError)?;
        let public = key.compute_public_key().map_err(|_| CryptoError)?;
        Ok(Self {
            public: public.as_ref().try_into().map_err(|_| CryptoError)?,
            private: HpkePrivateKey::from(private.to_vec()),
        })
    }

    /// The public half.
    pub const fn public(&self) -> &[u8; KEY_LEN] {
        &self.public
    }

    /// The private half, to be stored.
    pub fn private(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.private.secret_bytes().to_vec())
    }

    /// The id by which messages name this key.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.public)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({:?})", self.id())
    }
}

/// Seals a text, filled up with zeros to the next step, to a public key.
///
/// The text has at most [`MAX_SIGNAL`] bytes less [`OVERHEAD`]; callers see to that.
pub(super) fn seal(
    kind: Kind,
    to: &[u8; KEY_LEN],
    mut text: Vec<u8>,
) -> Result<Vec<u8>, CryptoError> {
    let padded = (text.len() + OVERHEAD).next_multiple_of(PADDING_STEP);
    text.resize(padded - OVERHEAD, 0);
    let text = Zeroizing::new(text);
    let mut message = Vec::with_capacity(padded);
    message.extend([VERSION, kind.code()]);
    message.extend(KeyId::of(to).as_bytes());
    let (encapsulated, sealed) = SUITE
        .seal(INFO, &message, &text, &HpkePublicKey(to.to_vec()))
        .map_err(|_| CryptoError)?;
    message.extend(encapsulated.0);
    message.extend(sealed);
    Ok(message)
}

/// A sealed message, taken apart but not opened.
#[derive(Debug, Clone, Copy)]
pub struct Sealed<'a> {
    kind: Kind,
    key: KeyId,
    clear: &'a [u8],
    encapsulated: &'a [u8],
    text: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Takes a message apart; only its form is checked.
    pub fn parse(message: &'a [u8]) -> Result<Self, SealedError> {
        if message.is_empty()
            || message.len() > MAX_SIGNAL
            || !message.len().is_multiple_of(PADDING_STEP)
        {
            return Err(SealedError::Length(message.len()));
        }
        let (clear, rest) = message
            .split_first_chunk::<CLEAR>()
            .ok_or(SealedError::Length(message.len()))?;
        let (encapsulated, text) = rest
            .split_at_checked(KEY_LEN)
            .ok_or(SealedError::Length(message.len()))?;
        let [version, kind, id @ ..] = *clear;
        if version != VERSION {
            return Err(SealedError::Version(version));
        }
        Ok(Self {
            kind: Kind::from_code(kind).ok_or(SealedError::Kind(kind))?,
            key: KeyId(id),
            clear,
            encapsulated,
            text,
        })
    }

    /// To which sort of key it says it is sealed.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// To which key it says it is sealed.
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// The text, if it was sealed to this key and nobody changed a bit.
    pub(super) fn open(&self, key: &KeyPair) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let encapsulated = EncapsulatedSecret(self.encapsulated.to_vec());
        SUITE
            .open(&encapsulated, INFO, self.clear, self.text, &key.private)
            .map(Zeroizing::new)
            .map_err(|_| CryptoError)
    }
}

/// The bytes have not the form of a sealed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    /// Not a multiple of [`PADDING_STEP`], or none, or more than [`MAX_SIGNAL`].
    #[error("a sealed signal has 256 to 4,096 bytes in steps of 256, not {0}")]
    Length(usize),
    /// Of a later version of the protocol.
    #[error("the signal has version {0}, this program reads version 1; get a newer program")]
    Version(u8),
    /// Sealed to a sort of key that does not exist.
    #[error("the signal is of the unknown kind {0}")]
    Kind(u8),
}

/// The cryptographic library refused: randomness or a key failed, or the sealed bytes are not for that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library refused the key or the message")]
pub struct CryptoError;
