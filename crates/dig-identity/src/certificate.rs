//! The TLS certificate that an identity key vouches for (`docs/protocol.md` §2).
//!
//! TLS proves that the other side holds the throw-away key of its certificate; the certificate's
//! extension proves that the identity key stands behind that throw-away key. Rules:
//!
//! 1. The signature covers the certificate's `SubjectPublicKeyInfo` and both times, so the extension is
//!    worth nothing in another certificate. Names, serial, validity and the self-signature of the
//!    certificate carry no meaning and are not read: whoever alters them changes nothing.
//! 2. The certificate is read as strict DER, at the positions of RFC 5280 §4.1. Thus the key seen here is the key
//!    that the TLS library checks the handshake with.
//! 3. Time is the caller's. Clocks may disagree by [`CLOCK_TOLERANCE`].

mod binding;
mod layout;
#[cfg(test)]
mod tests;

use crate::{KeyError, PublicKey, SignError, Signer};
use binding::Binding;
use dig_types::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey, pkcs8::EncodePrivateKey};
use std::{fmt, time::Duration};
use zeroize::Zeroizing;

/// The object identifier of the extension: a UUID-based arc (ITU-T X.667), so nobody had to assign it.
pub const EXTENSION_OID: [u64; 3] = [2, 25, 8_064_779_717_801_458_205];

/// Longest life of a certificate (`docs/protocol.md` §2).
pub const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Usual life of a certificate: long enough for any session, short enough that a stolen one is soon worthless (`docs/protocol.md` §11).
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How far the clocks of two nodes may disagree: an hour covers a wrong summer time.
pub const CLOCK_TOLERANCE: Duration = Duration::from_secs(60 * 60);

/// Largest certificate read, in bytes. One with a 4096-bit RSA identity has about 1,400.
pub const MAX_LEN: usize = 16 * 1024;

/// A certificate and the private key of it, ready for a TLS library.
pub struct Issued {
    /// The X.509 certificate, DER.
    pub der: Vec<u8>,
    /// The throw-away Ed25519 key, PKCS#8 DER; wiped when dropped.
    pub private_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issued({} bytes)", self.der.len())
    }
}

/// Makes a certificate of a fresh throw-away key, valid from `now` for `lifetime` (whole seconds, at least
/// one, at most [`MAX_LIFETIME`]).
pub fn issue(
    signer: &dyn Signer,
    now: Timestamp,
    lifetime: Duration,
) -> Result<Issued, IssueError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| IssueError::Random)?;
    issue_for(&SigningKey::from_bytes(&seed), signer, now, lifetime)
}

/// [`issue`] for a given throw-away key: the same input gives the same certificate, but for RSA identities.
fn issue_for(
    throwaway: &SigningKey,
    signer: &dyn Signer,
    now: Timestamp,
    lifetime: Duration,
) -> Result<Issued, IssueError> {
    if lifetime.as_secs() == 0 || lifetime > MAX_LIFETIME {
        return Err(IssueError::Lifetime);
    }
    let private_key = throwaway.to_pkcs8_der().map_err(|_| IssueError::Encoding)?;
    let throwaway = Throwaway {
        key: throwaway,
        public: throwaway.verifying_key().to_bytes(),
    };
    let (issued, expires) = (now.as_secs(), (now + lifetime).as_secs());
    let spki = rcgen::PublicKeyData::subject_public_key_info(&throwaway);
    let signature = signer.sign(&binding::signed_text(&spki, issued, expires))?;
    let key = signer.public_key();
    let binding = Binding {
        algorithm: key.algorithm(),
        issued,
        expires,
        key: key.as_bytes(),
        signature: &signature,
    };
    let content = binding.encode().ok_or(IssueError::Encoding)?;

    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, "dig");
    parameters.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(
        &EXTENSION_OID,
        content,
    )];
    let certificate = parameters
        .self_signed(&throwaway)
        .map_err(|_| IssueError::Encoding)?;
    Ok(Issued {
        der: certificate.der().to_vec(),
        private_key: Zeroizing::new(private_key.as_bytes().to_vec()),
    })
}

/// Lets rcgen sign with the key where it is, instead of with a copy that is not wiped.
struct Throwaway<'a> {
    key: &'a SigningKey,
    public: [u8; 32],
}

impl rcgen::PublicKeyData for Throwaway<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Throwaway<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.key.sign(message).to_bytes().to_vec())
    }
}

/// Checks a certificate that a peer presented, and gives the identity key behind it.
///
/// That the peer holds the certificate's own key is for TLS to check (RFC 8446 §4.4.3); without that check the
/// result says nothing about the peer.
pub fn verify(der: &[u8], now: Timestamp) -> Result<PublicKey, CertificateError> {
    let parts = layout::read(der)?;
    let binding = Binding::decode(parts.binding)?;
    binding.check_times(now)?;
    let key = PublicKey::from_canonical(binding.algorithm, binding.key)?;
    let text = binding::signed_text(parts.spki, binding.issued, binding.expires);
    key.verify(&text, binding.signature)
        .map_err(|_| CertificateError::Signature)?;
    Ok(key)
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The lifetime is below a second or above [`MAX_LIFETIME`].
    #[error("a certificate lives from one second to 30 days")]
    Lifetime,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness for a certificate key")]
    Random,
    /// The identity did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The certificate could not be written as DER, or the signer gave an impossibly long key or signature.
    #[error("the certificate could not be encoded")]
    Encoding,
}

/// Why a certificate is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Larger than [`MAX_LEN`].
    #[error("the certificate has more than 16 KiB")]
    TooLarge,
    /// Not the DER of an X.509 version 3 certificate.
    #[error("the certificate is not X.509 version 3 in DER")]
    Malformed,
    /// Bytes follow the certificate.
    #[error("bytes follow the certificate")]
    TrailingBytes,
    /// The extension is missing: an ordinary certificate.
    #[error("the certificate names no DIG identity: the other side speaks another protocol")]
    NoBinding,
    /// The extension is there twice.
    #[error("the certificate names its identity more than once")]
    Duplicate,
    /// The extension is marked critical, which the protocol excludes.
    #[error("the identity extension is marked critical")]
    Critical,
    /// The extension does not hold the fields of the protocol, or bytes follow them.
    #[error("the identity extension is malformed")]
    BindingMalformed,
    /// Bytes follow the fields of the extension.
    #[error("bytes follow the fields of the identity extension")]
    BindingTrailingBytes,
    /// The extension has a version that this program does not know.
    #[error("the identity extension has version {0}; this program knows version 1")]
    Version(u8),
    /// The identity has an algorithm that this program does not know.
    #[error("the identity has the unknown key algorithm {0}")]
    Algorithm(u8),
    /// The identity key is refused.
    #[error("the identity key is refused: {0}")]
    Key(#[from] KeyError),
    /// The certificate ends before it begins, or lives longer than [`MAX_LIFETIME`].
    #[error("the certificate does not live from one second to 30 days")]
    Lifetime,
    /// Issued in the future by more than [`CLOCK_TOLERANCE`].
    #[error("the certificate was issued in the future: check the clocks of both machines")]
    NotYetValid,
    /// Expired by more than [`CLOCK_TOLERANCE`].
    #[error("the certificate has expired: check the clocks, or restart the other side")]
    Expired,
    /// The identity key did not sign this certificate.
    #[error("the identity did not sign this certificate")]
    Signature,
}
