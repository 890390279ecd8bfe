//! Ed25519 (RFC 8032), verified strictly.

use crate::{Algorithm, KeyError, PrivateKeyError, VerifyError};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

/// Whether the bytes are a canonical key that is safe to trust.
pub(crate) fn check(bytes: &[u8]) -> Result<(), KeyError> {
    let key = parse(bytes)?;
    if key.is_weak() {
        return Err(KeyError::Weak);
    }
    // Decompression reduces y modulo p, so a few points have a second spelling (RFC 8032 §5.1.3 forbids it).
    if key.to_edwards().compress().as_bytes() != bytes {
        return Err(KeyError::NotCanonical);
    }
    Ok(())
}

fn parse(bytes: &[u8]) -> Result<VerifyingKey, KeyError> {
    let algorithm = Algorithm::Ed25519;
    let bytes = bytes.try_into().map_err(|_| KeyError::Length {
        algorithm,
        expected: "32 bytes",
        found: bytes.len(),
    })?;
    VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Invalid(algorithm))
}

/// Not `verify`, which accepts forgeries for small-order keys and signatures that others altered.
pub(crate) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    let key = parse(key).map_err(|_| VerifyError)?;
    let signature = Signature::from_slice(signature).map_err(|_| VerifyError)?;
    key.verify_strict(message, &signature)
        .map_err(|_| VerifyError)
}

/// A private key: the 32-byte seed of RFC 8032 §5.1.5. Wiped when dropped.
pub(crate) struct Secret(SigningKey);

impl Secret {
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        let seed = bytes.try_into().map_err(|_| PrivateKeyError::Length {
            algorithm: Algorithm::Ed25519,
            expected: 32,
            found: bytes.len(),
        })?;
        Ok(Self(SigningKey::from_bytes(seed)))
    }

    pub(crate) fn public_bytes(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
