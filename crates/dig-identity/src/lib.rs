//! Keys, node ids, signed records, certificates and challenge–response for peers that know each
//! other by key.
//!
//! A node is its public key: [`NodeId`](dig_types::NodeId) = SHA-256 of the [canonical
//! key](PublicKey), for ed25519, secp256k1 and RSA alike. Whatever signs for a node is a [`Signer`];
//! [`CryptoIdentity`] is the one with the key in memory. On it stand
//!
//! - [`certificate`]: the TLS certificate of a throw-away key that the identity key vouches for,
//! - [`auth`]: mutual challenge–response bound to one TLS connection,
//! - [`record`]: small signed JSON statements with sequence numbers and expiry,
//! - [`file`](mod@file): the identity of a home folder, created once and kept private.
//!
//! Assumptions: keys are checked where they are parsed, so a [`PublicKey`] in hand is valid and in
//! its only form; signatures are verified in the strictest reading of their standard, so that a third
//! party cannot make a second signature from a first; time is an argument. This crate never
//! encrypts or decrypts, and speaks to no network.
//!
//! ```
//! use dig_identity::{Algorithm, CryptoIdentity, Signer};
//!
//! let identity = CryptoIdentity::generate(Algorithm::Ed25519)?;
//! let signature = identity.sign(b"hello")?;
//! identity.public_key().verify(b"hello", &signature)?;
//! assert!(identity.public_key().verify(b"hallo", &signature).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithm;
pub mod auth;
pub mod certificate;
mod encoding;
pub mod file;
mod identity;
mod json;
mod public_key;
pub mod record;
mod scheme;
mod signer;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use encoding::{DecodeError, HexInputError, OutputEncoding};
pub use identity::{CryptoIdentity, GenerateError, PrivateKeyError};
pub use json::UnsignableError;
pub use public_key::{KeyError, PublicKey, VerifyError};
pub use signer::{SignError, Signer};
