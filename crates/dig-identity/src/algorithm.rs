//! The signature algorithms a node may be known by.

use std::{fmt, str::FromStr};

/// A signature algorithm (`docs/protocol.md` §1).
///
/// Closed on purpose: a further algorithm is a change of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over secp256k1 with SHA-256: the keys of Bitcoin and Ethereum.
    Secp256k1,
    /// RSASSA-PSS with SHA-256, 2048 to 4096 bits.
    Rsa,
}

impl Algorithm {
    /// All algorithms, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::Secp256k1, Self::Rsa];

    /// The number of the algorithm on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Ed25519 => 1,
            Self::Secp256k1 => 2,
            Self::Rsa => 3,
        }
    }

    /// The algorithm of that number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Ed25519),
            2 => Some(Self::Secp256k1),
            3 => Some(Self::Rsa),
            _ => None,
        }
    }

    /// The name of the algorithm in records, files and options.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "ed25519",
            Self::Secp256k1 => "secp256k1",
            Self::Rsa => "rsa",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or(UnknownAlgorithm)
    }
}

/// The text names no algorithm of [`Algorithm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown signature algorithm: use ed25519, secp256k1 or rsa")]
pub struct UnknownAlgorithm;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_protocol() {
        for (algorithm, code, name) in [
            (Algorithm::Ed25519, 1, "ed25519"),
            (Algorithm::Secp256k1, 2, "secp256k1"),
            (Algorithm::Rsa, 3, "rsa"),
        ] {
            assert_eq!(algorithm.code(), code);
            assert_eq!(Algorithm::from_code(code), Some(algorithm));
            assert_eq!(algorithm.to_string(), name);
            assert_eq!(name.parse(), Ok(algorithm));
        }
        assert_eq!(Algorithm::from_code(0), None);
        assert_eq!(Algorithm::from_code(4), None);
        assert_eq!("Ed25519".parse::<Algorithm>(), Err(UnknownAlgorithm));
    }
}
