//! ECDSA over secp256k1 with SHA-256, as 64 bytes r ‖ s with s in the lower half.

use crate::{Algorithm, KeyError, PrivateKeyError, VerifyError};
use k256::ecdsa::{
    Signature, SigningKey, VerifyingKey,
    signature::{Signer, Verifier},
};
use zeroize::Zeroizing;

const COMPRESSED: usize = 33;
const UNCOMPRESSED: usize = 65;

/// Whether the bytes are a point of the curve in compressed form.
pub(crate) fn check(bytes: &[u8]) -> Result<(), KeyError> {
    if bytes.len() != COMPRESSED {
        return Err(length(bytes, "33 bytes, compressed"));
    }
    parse(bytes).map(|_| ())
}

/// The compressed form of a key that may be uncompressed (SEC 1 §2.3.3).
pub(crate) fn compress(bytes: &[u8]) -> Result<[u8; COMPRESSED], KeyError> {
    if ![COMPRESSED, UNCOMPRESSED].contains(&bytes.len()) {
        return Err(length(bytes, "33 bytes, compressed, or 65 bytes"));
    }
    compressed(&parse(bytes)?).ok_or(KeyError::Invalid(Algorithm::Secp256k1))
}

fn length(bytes: &[u8], expected: &'static str) -> KeyError {
    KeyError::Length {
        algorithm: Algorithm::Secp256k1,
        expected,
        found: bytes.len(),
    }
}

fn parse(bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    let invalid = KeyError::Invalid(Algorithm::Secp256k1);
    // SEC 1 has further forms (hybrid, compact) that no wallet writes.
    match (bytes.first(), bytes.len()) {
        (Some(2 | 3), COMPRESSED) | (Some(4), UNCOMPRESSED) => {}
        _ => return Err(invalid),
    }
    VerifyingKey::from_sec1_bytes(bytes).map_err(|_| invalid)
}

fn compressed(key: &VerifyingKey) -> Option<[u8; COMPRESSED]> {
    key.to_sec1_point(true).as_bytes().try_into().ok()
}

/// Refuses the upper half of s, which anybody can reach from the lower one.
pub(crate) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let key = parse(key).map_err(|_| VerifyError)?;
    let signature = Signature::from_slice(signature).map_err(|_| VerifyError)?;
    if signature.normalize_s() != signature {
        return Err(VerifyError);
    }
    key.verify(message, &signature).map_err(|_| VerifyError)
}

/// A private key: a scalar of 32 bytes, big-endian. Wiped when dropped.
pub(crate) struct Secret(SigningKey);

impl Secret {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        let algorithm = Algorithm::Secp256k1;
        if bytes.len() != 32 {
            return Err(PrivateKeyError::Length {
                algorithm,
                expected: 32,
                found: bytes.len(),
            });
        }
        let key = SigningKey::from_slice(bytes).map_err(|_| PrivateKeyError::Invalid(algorithm))?;
        Ok(Self(key))
    }

    pub(crate) fn public_bytes(&self) -> Option<[u8; COMPRESSED]> {
        compressed(self.0.verifying_key())
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes().into())
    }

    /// Deterministic (RFC 6979), s in the lower half.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<[u8; 64]> {
        let signature: Signature = self.0.try_sign(message).ok()?;
        Some(signature.normalize_s().to_bytes().into())
    }
}
