//! Public keys in their canonical form, and the node ids that follow from them.

use crate::{Algorithm, HexInputError, encoding::decode_hex, scheme};
use data_encoding::HEXLOWER;
use dig_types::NodeId;
use sha2::{Digest, Sha256};
use std::fmt;

/// A valid public key in canonical form (`docs/protocol.md` §1): ed25519 32 bytes, secp256k1
/// compressed 33 bytes, RSA `SubjectPublicKeyInfo` DER of 2048 to 4096 bits.
///
/// Two equal keys have equal bytes, so a key has one node id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: Algorithm,
    bytes: Box<[u8]>,
    node_id: NodeId,
}

impl PublicKey {
    /// Takes the canonical bytes; any other form of the same key is refused.
    pub fn from_canonical(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        match algorithm {
            Algorithm::Ed25519 => scheme::ed25519::check(bytes)?,
            Algorithm::Secp256k1 => scheme::secp256k1::check(bytes)?,
            Algorithm::Rsa => scheme::rsa::check(bytes)?,
        }
        Ok(Self::from_checked(algorithm, bytes))
    }

    /// Reads a key as people have it: hexadecimal of either case, with or without `0x`; a secp256k1 key
    /// may be uncompressed (65 bytes). The result is canonical.
    pub fn parse_hex(algorithm: Algorithm, text: &str) -> Result<Self, KeyError> {
        let bytes = decode_hex(text)?;
        match algorithm {
            Algorithm::Secp256k1 => Ok(Self::from_checked(
                algorithm,
                &scheme::secp256k1::compress(&bytes)?,
            )),
            Algorithm::Ed25519 | Algorithm::Rsa => Self::from_canonical(algorithm, &bytes),
        }
    }

    /// The caller has the canonical form of a valid key.
    pub(crate) fn from_checked(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let node_id = NodeId::from_bytes(Sha256::digest(bytes).into());
        Self {
            algorithm,
            bytes: bytes.into(),
            node_id,
        }
    }

    /// The algorithm of the key.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The canonical bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical bytes in lower-case hexadecimal.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.bytes)
    }

    /// The node known by this key: SHA-256 of the canonical bytes.
    pub const fn node_id(&self) -> NodeId {
        self.node_id
    }

    /// Checks a signature over `message` (not over a digest).
    ///
    /// Strict: a signature that a third party could have altered (ed25519 with a small-order or
    /// non-canonical part, secp256k1 with s in the upper half or in DER) is refused.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        match self.algorithm {
            Algorithm::Ed25519 => scheme::ed25519::verify(&self.bytes, message, signature),
            Algorithm::Secp256k1 => scheme::secp256k1::verify(&self.bytes, message, signature),
            Algorithm::Rsa => scheme::rsa::verify(&self.bytes, message, signature),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm, self.node_id.short())
    }
}

/// Why bytes are not a public key of the algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not hexadecimal.
    #[error("the public key is not hexadecimal: {0}")]
    Hex(#[from] HexInputError),
    /// The key has a length that keys of the algorithm do not have.
    #[error("a public key of {algorithm} has {expected}; this one has {found} bytes")]
    Length {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// The lengths it has, in words.
        expected: &'static str,
        /// Bytes given.
        found: usize,
    },
    /// The bytes are no point of the curve, or no DER of an RSA key.
    #[error("the bytes are not a public key of {0}")]
    Invalid(Algorithm),
    /// The key is one for which anybody can make signatures (an ed25519 point of small order).
    #[error("the public key is weak: anybody can sign for it. Generate another one")]
    Weak,
    /// The bytes encode a valid key in another form than the canonical one.
    #[error("the public key is not in canonical form, so its node id would be ambiguous")]
    NotCanonical,
    /// The RSA modulus is too small to be safe or too large to be checked quickly.
    #[error("an RSA key must have 2048 to 4096 bits; this one has {bits}")]
    RsaSize {
        /// Bits of the modulus.
        bits: u64,
    },
    /// The RSA exponent is even, less than 3, or larger than 33 bits (which makes checking slow).
    #[error("the public exponent of an RSA key must be odd and from 3 to 2^33 - 1; 65537 is usual")]
    RsaExponent,
}

/// The signature is not one by that key over that message. It does not say why, as forgers would like to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match the message and the key")]
pub struct VerifyError;
