//! An identity whose private key is in memory.

use crate::{
    Algorithm, HexInputError, KeyError, OutputEncoding, PublicKey, SignError, Signer, VerifyError,
    encoding::decode_hex,
    scheme::{ed25519, rsa, secp256k1},
};
use data_encoding::HEXLOWER;
use std::fmt;
use zeroize::Zeroizing;

/// A node's key, with the operations of the whitepaper (11.1.1): sign, verify, node id.
///
/// The public key is always derived from the private one; a pair that does not belong together cannot
/// be built (RUSTSEC-2022-0093). Private keys are wiped from memory when the identity is dropped, and
/// never appear in `Debug`.
pub struct CryptoIdentity {
    public: PublicKey,
    secret: Option<Secret>,
}

enum Secret {
    Ed25519(ed25519::Secret),
    Secp256k1(secp256k1::Secret),
    Rsa(rsa::Secret),
}

impl CryptoIdentity {
    /// A fresh identity from the randomness of the operating system. An RSA key has 3072 bits and takes
    /// about a second; the others take microseconds.
    pub fn generate(algorithm: Algorithm) -> Result<Self, GenerateError> {
        if algorithm == Algorithm::Rsa {
            let secret = Secret::Rsa(rsa::Secret::generate()?);
            return Self::from_secret(secret).map_err(|_| GenerateError::Rsa);
        }
        // About one in 2^128 strings of 32 bytes is no secp256k1 key.
        loop {
            let mut bytes = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *bytes).map_err(|_| GenerateError::Random)?;
            if let Ok(identity) = Self::from_private_bytes(algorithm, &*bytes) {
                return Ok(identity);
            }
        }
    }

    /// From a private key: ed25519 the 32-byte seed (RFC 8032), secp256k1 the 32-byte number
    /// (as wallets export it), RSA PKCS#8 DER of 2048 to 4096 bits.
    pub fn from_private_bytes(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, PrivateKeyError> {
        Self::from_secret(match algorithm {
            Algorithm::Ed25519 => Secret::Ed25519(ed25519::Secret::from_bytes(bytes)?),
            Algorithm::Secp256k1 => Secret::Secp256k1(secp256k1::Secret::from_bytes(bytes)?),
            Algorithm::Rsa => Secret::Rsa(rsa::Secret::from_pkcs8(bytes)?),
        })
    }

    /// As [`from_private_bytes`](Self::from_private_bytes), from hexadecimal with or without `0x`.
    pub fn from_private_hex(algorithm: Algorithm, text: &str) -> Result<Self, PrivateKeyError> {
        Self::from_private_bytes(algorithm, &decode_hex(text)?)
    }

    /// From a private key and the public key that is said to belong to it (the whitepaper's `privateKey` and
    /// `publicKey`, 11.1.1), both in hexadecimal. A public key of another private key is refused.
    pub fn from_pair_hex(
        algorithm: Algorithm,
        private: &str,
        public: &str,
    ) -> Result<Self, PrivateKeyError> {
        let identity = Self::from_private_hex(algorithm, private)?;
        if identity.public != PublicKey::parse_hex(algorithm, public)? {
            return Err(PrivateKeyError::Mismatch);
        }
        Ok(identity)
    }

    /// An identity that verifies but cannot sign.
    pub const fn public_only(public: PublicKey) -> Self {
        Self {
            public,
            secret: None,
        }
    }

    fn from_secret(secret: Secret) -> Result<Self, PrivateKeyError> {
        let algorithm = secret.algorithm();
        let bytes = secret
            .public_bytes()
            .ok_or(PrivateKeyError::Invalid(algorithm))?;
        let public = PublicKey::from_canonical(algorithm, &bytes)?;
        Ok(Self {
            public,
            secret: Some(secret),
        })
    }

    /// Signs a message and writes the signature as text.
    pub fn sign_encoded(
        &self,
        message: &[u8],
        encoding: OutputEncoding,
    ) -> Result<String, SignError> {
        Ok(encoding.encode(&self.sign(message)?))
    }

    /// Checks a signature of this identity. For another node's, see [`PublicKey::verify`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
        self.public.verify(message, signature)
    }

    /// The algorithm of the key.
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Whether the identity can sign.
    pub const fn can_sign(&self) -> bool {
        self.secret.is_some()
    }

    /// The private key in the form that [`from_private_hex`](Self::from_private_hex) reads, for a key file;
    /// `None` for a public-only identity. Never log it.
    pub fn private_hex(&self) -> Option<Zeroizing<String>> {
        let bytes = self.secret.as_ref()?.private_bytes()?;
        // Written into its final allocation, so that no copy stays behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * bytes.len()));
        HEXLOWER.encode_append(&bytes, &mut text);
        Some(text)
    }
}

impl Signer for CryptoIdentity {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        match self.secret.as_ref().ok_or(SignError::PublicOnly)? {
            Secret::Ed25519(secret) => Ok(secret.sign(message).to_vec()),
            Secret::Secp256k1(secret) => {
                Ok(secret.sign(message).ok_or(SignError::Library)?.to_vec())
            }
            Secret::Rsa(secret) => secret.sign(message),
        }
    }
}

impl fmt::Debug for CryptoIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CryptoIdentity")
            .field("public", &self.public)
            .field("can_sign", &self.can_sign())
            .finish()
    }
}

impl Secret {
    const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Secp256k1(_) => Algorithm::Secp256k1,
            Self::Rsa(_) => Algorithm::Rsa,
        }
    }

    fn public_bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Ed25519(secret) => Some(secret.public_bytes().to_vec()),
            Self::Secp256k1(secret) => secret.public_bytes().map(Vec::from),
            Self::Rsa(secret) => secret.public_bytes(),
        }
    }

    fn private_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Ed25519(secret) => Some(Zeroizing::new(secret.to_bytes().to_vec())),
            Self::Secp256k1(secret) => Some(Zeroizing::new(secret.to_bytes().to_vec())),
            Self::Rsa(secret) => secret.to_pkcs8(),
        }
    }
}

/// Why no identity was generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GenerateError {
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness for a new key")]
    Random,
    /// The cryptographic library made no RSA key.
    #[error("the cryptographic library could not generate an RSA key")]
    Rsa,
}

/// Why bytes or text are not a private key of the algorithm. It never repeats what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrivateKeyError {
    /// The text is not hexadecimal.
    #[error("the private key is not hexadecimal: {0}")]
    Hex(#[from] HexInputError),
    /// The key has the wrong length.
    #[error("a private key of {algorithm} has {expected} bytes ({} hexadecimal digits); this one has {found}", 2 * .expected)]
    Length {
        /// The algorithm asked for.
        algorithm: Algorithm,
        /// Bytes that its private keys have.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The bytes are no private key: a number out of range, or (RSA) not PKCS#8 DER or a broken key.
    #[error(
        "the bytes are not a private key of {0} (RSA keys are PKCS#8 DER of 2048 to 4096 bits)"
    )]
    Invalid(Algorithm),
    /// The public key that follows from it is refused, or the public key given with it is malformed.
    #[error(transparent)]
    Public(#[from] KeyError),
    /// The public key given with it belongs to another private key.
    #[error("the public key does not belong to the private key: leave it out, it is derived")]
    Mismatch,
}
