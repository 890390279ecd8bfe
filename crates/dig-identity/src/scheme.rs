//! The three signature algorithms, each with the same few operations on plain bytes.

pub(crate) mod ed25519;
pub(crate) mod rsa;
pub(crate) mod secp256k1;
