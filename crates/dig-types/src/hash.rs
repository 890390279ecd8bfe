//! Fixed-size identifiers, printed as lower-case hexadecimal.

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use std::{fmt, str::FromStr};

/// Why a text is not the hexadecimal form of an identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexError {
    /// The text has another number of digits than the identifier.
    #[error("expected {expected} hexadecimal digits, found {found}")]
    Length {
        /// Digits that the identifier has.
        expected: usize,
        /// Characters that the text has.
        found: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("not hexadecimal: the digits are 0 to 9 and a to f")]
    Digit,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Wraps the raw bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// The first eight digits, for people and logs; not unique.
            pub fn short(&self) -> String {
                HEXLOWER.encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = HexError;

            fn from_str(text: &str) -> Result<Self, HexError> {
                let expected = 2 * $len;
                if text.len() != expected {
                    return Err(HexError::Length { expected, found: text.chars().count() });
                }
                let mut bytes = [0; $len];
                match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) {
                    Ok(_) => Ok(Self(bytes)),
                    Err(_) => Err(HexError::Digit),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

identifier! {
    /// Who a node is: the SHA-256 of its canonical public key (`docs/protocol.md` §1).
    NodeId, 32
}
identifier! {
    /// What a content is: binds kind, size and Merkle root (`docs/protocol.md` §5). Knowing it is the right to fetch.
    ContentHash, 32
}
identifier! {
    /// The SHA-256 of a whole file, as `sha256sum` prints it; written `sha256:HEX` where a content hash could stand.
    Sha256Hash, 32
}
identifier! {
    /// One run of a program: lanes of one node and one instance belong to one peer (`docs/protocol.md` §3).
    InstanceId, 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_refuses_foreign_input() {
        let id = NodeId::from_bytes([0xAB; 32]);
        assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse::<NodeId>(), Ok(id));
        assert_eq!("zz".repeat(32).parse::<NodeId>(), Err(HexError::Digit));
        assert_eq!(
            "0x12".parse::<NodeId>(),
            Err(HexError::Length {
                expected: 64,
                found: 4
            })
        );
        assert_eq!(
            serde_json::from_str::<NodeId>(&serde_json::to_string(&id).unwrap()).unwrap(),
            id
        );
    }
}
