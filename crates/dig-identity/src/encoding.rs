//! Keys and signatures as text.

use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use zeroize::Zeroizing;

/// How a signature is written as text: the whitepaper's `outputEncoding` (11.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutputEncoding {
    /// Lower-case hexadecimal. The default, as in the whitepaper.
    #[default]
    Hex,
    /// Base64 of RFC 4648 §4, with padding.
    Base64,
}

impl OutputEncoding {
    /// Writes bytes as text.
    pub fn encode(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => HEXLOWER.encode(bytes),
            Self::Base64 => BASE64.encode(bytes),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; hexadecimal digits may be of either case.
    pub fn decode(self, text: &str) -> Result<Vec<u8>, DecodeError> {
        match self {
            Self::Hex => Ok(decode_hex(text)?.to_vec()),
            Self::Base64 => BASE64
                .decode(text.as_bytes())
                .map_err(|_| DecodeError::Base64),
        }
    }
}

/// Reads hexadecimal digits of either case, with or without `0x`, and nothing else. The result may
/// be a secret, so it is wiped.
pub(crate) fn decode_hex(text: &str) -> Result<Zeroizing<Vec<u8>>, HexInputError> {
    let digits = text
        .strip_prefix("0x")
        .or(text.strip_prefix("0X"))
        .unwrap_or(text);
    if digits.is_empty() {
        return Err(HexInputError::Empty);
    }
    if let Some(position) = digits.bytes().position(|digit| !digit.is_ascii_hexdigit()) {
        return Err(HexInputError::Digit {
            position: position + text.len() - digits.len(),
        });
    }
    if digits.len() % 2 == 1 {
        return Err(HexInputError::Odd {
            digits: digits.len(),
        });
    }
    let mut bytes = Zeroizing::new(vec![0; digits.len() / 2]);
    match HEXLOWER_PERMISSIVE.decode_mut(digits.as_bytes(), &mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(HexInputError::Odd {
            digits: digits.len(),
        }),
    }
}

/// Why a text is not hexadecimal. It never repeats the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HexInputError {
    /// There are no digits.
    #[error("no hexadecimal digits: write the bytes as 0 to 9 and a to f, with or without 0x")]
    Empty,
    /// The number of digits is odd, so at least one is missing.
    #[error("{digits} hexadecimal digits are an odd number: at least one is missing or too many")]
    Odd {
        /// Digits after `0x`.
        digits: usize,
    },
    /// A character is not a hexadecimal digit.
    #[error("the character at byte {position} is not a hexadecimal digit: use 0 to 9 and a to f")]
    Digit {
        /// Where it stands, counted in bytes from the start of the text.
        position: usize,
    },
}

/// Why a text is not what [`OutputEncoding::encode`] writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not hexadecimal.
    #[error(transparent)]
    Hex(#[from] HexInputError),
    /// Not base64.
    #[error("not base64 of RFC 4648 §4 with padding")]
    Base64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_strictly() {
        assert_eq!(*decode_hex("0xAbcd").unwrap(), [0xAB, 0xCD]);
        assert_eq!(*decode_hex("abcd").unwrap(), [0xAB, 0xCD]);
        for (text, error) in [
            ("", HexInputError::Empty),
            ("0x", HexInputError::Empty),
            ("abc", HexInputError::Odd { digits: 3 }),
            ("0xabc", HexInputError::Odd { digits: 3 }),
            ("0xab cd", HexInputError::Digit { position: 4 }),
            ("0x0xab", HexInputError::Digit { position: 3 }),
            ("ab\n", HexInputError::Digit { position: 2 }),
            ("äb", HexInputError::Digit { position: 0 }),
        ] {
            assert_eq!(decode_hex(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn signatures_round_trip_in_both_encodings() {
        for encoding in [OutputEncoding::Hex, OutputEncoding::Base64] {
            assert_eq!(
                encoding.decode(&encoding.encode(b"\x00\xff!")).unwrap(),
                b"\x00\xff!"
            );
        }
        assert_eq!(OutputEncoding::Base64.encode(b"\xff"), "/w==");
        assert_eq!(
            OutputEncoding::Base64.decode("/w"),
            Err(DecodeError::Base64)
        );
    }
}
