//! RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 bytes (RFC 8017 §8.1).
//!
//! Signing and verifying are aws-lc-rs. The crate `rsa` reads public keys, where no secret is at
//! stake: RUSTSEC-2023-0071 concerns its private-key operations, of which none is called.

use crate::{Algorithm, GenerateError, KeyError, PrivateKeyError, SignError, VerifyError};
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, UnparsedPublicKey},
};
use rsa::{
    pkcs1::{ALGORITHM_ID, RsaPublicKeyRef},
    pkcs8::{der::Decode, spki::SubjectPublicKeyInfoRef},
};
use zeroize::Zeroizing;

/// Bits of a generated key: as strong as the curves (128 bits, NIST SP 800-57).
const GENERATED: KeySize = KeySize::Rsa3072;
/// Bits of the smallest and the largest modulus.
const MODULUS_BITS: std::ops::RangeInclusive<u64> = 2048..=4096;
/// Bits of the largest exponent: the bound that BoringSSL set against slow verification.
const EXPONENT_BITS: u64 = 33;
/// Largest private key read: PKCS#8 of 4096 bits has about 2,400 bytes.
const MAX_PRIVATE: usize = 4096;

/// Whether the bytes are the canonical DER of a key within the limits. No arithmetic is done on what a
/// hostile key claims, so a refusal takes microseconds.
pub(crate) fn check(bytes: &[u8]) -> Result<(), KeyError> {
    let invalid = KeyError::Invalid(Algorithm::Rsa);
    let info = SubjectPublicKeyInfoRef::from_der(bytes).map_err(|_| invalid)?;
    if info.algorithm.oid != ALGORITHM_ID.oid {
        return Err(invalid);
    }
    let pkcs1 = info.subject_public_key.as_bytes().ok_or(invalid)?;
    let key = RsaPublicKeyRef::from_der(pkcs1).map_err(|_| invalid)?;
    let (modulus, exponent) = (key.modulus.as_bytes(), key.public_exponent.as_bytes());
    let bits = bit_length(modulus);
    if !MODULUS_BITS.contains(&bits) {
        return Err(KeyError::RsaSize { bits });
    }
    if !is_odd(exponent) || !(2..=EXPONENT_BITS).contains(&bit_length(exponent)) {
        return Err(KeyError::RsaExponent);
    }
    if !is_odd(modulus) {
        return Err(invalid);
    }
    // The parser takes DER only, so numbers and lengths have one spelling; the parameters it leaves to us (RFC 3279 §2.3.1: NULL).
    if info.algorithm != ALGORITHM_ID {
        return Err(KeyError::NotCanonical);
    }
    Ok(())
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|low| low & 1 == 1)
}

/// Bits of a big-endian number without leading zero bytes.
fn bit_length(number: &[u8]) -> u64 {
    let Some(first) = number.first() else {
        return 0;
    };
    8 * number.len() as u64 - u64::from(first.leading_zeros())
}

pub(crate) fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key)
        .verify(message, signature)
        .map_err(|_| VerifyError)
}

/// A private key. aws-lc wipes it when dropped.
pub(crate) struct Secret(KeyPair);

impl Secret {
    /// Takes PKCS#8 DER (RFC 5208); the library checks that the numbers of the key belong together.
    pub(crate) fn from_pkcs8(bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        let invalid = PrivateKeyError::Invalid(Algorithm::Rsa);
        if bytes.len() > MAX_PRIVATE {
            return Err(invalid);
        }
        Ok(Self(KeyPair::from_pkcs8(bytes).map_err(|_| invalid)?))
    }

    pub(crate) fn generate() -> Result<Self, GenerateError> {
        Ok(Self(
            KeyPair::generate(GENERATED).map_err(|_| GenerateError::Rsa)?,
        ))
    }

    pub(crate) fn public_bytes(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().ok()?;
        Some(der.as_ref().to_vec())
    }

    pub(crate) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        let der: Pkcs8V1Der<'_> = self.0.as_der().ok()?;
        Some(Zeroizing::new(der.as_ref().to_vec()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PSS_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| SignError::Library)?;
        Ok(signature)
    }
}
