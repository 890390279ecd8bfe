//! BYE: why a side ends the lane.

use bytes::{BufMut as _, Bytes, BytesMut};
use dig_types::Frame;
use std::fmt;

/// Longest text of a BYE, in bytes.
const MAX_TEXT: usize = 256;

/// Why a lane is ended, as the other side says it. Codes that this program does not know are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByeCode(pub u16);

impl ByeCode {
    /// Nothing more to say.
    pub const DONE: Self = Self(0);
    /// The other side broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The two sides have no version in common.
    pub const NO_COMMON_VERSION: Self = Self(2);
    /// Refused by policy.
    pub const REFUSED: Self = Self(3);
    /// Too many lanes.
    pub const TOO_MANY_LANES: Self = Self(4);
    /// The program ends.
    pub const SHUTTING_DOWN: Self = Self(5);
    /// Unused for too long.
    pub const IDLE: Self = Self(6);
}

impl fmt::Display for ByeCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::DONE => f.write_str("done"),
            Self::PROTOCOL_ERROR => f.write_str("protocol error"),
            Self::NO_COMMON_VERSION => f.write_str("no common version"),
            Self::REFUSED => f.write_str("refused by policy"),
            Self::TOO_MANY_LANES => f.write_str("too many lanes"),
            Self::SHUTTING_DOWN => f.write_str("shutting down"),
            Self::IDLE => f.write_str("idle"),
            Self(code) => write!(f, "code {code}"),
        }
    }
}

/// The payload of a BYE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// Why.
    pub code: ByeCode,
    /// For people; at most 256 bytes, printable.
    pub text: String,
}

impl Bye {
    /// A farewell. Control characters are dropped, and a text that is too long is cut.
    pub fn new(code: ByeCode, text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        Self {
            code,
            text: cut(&text, MAX_TEXT).to_owned(),
        }
    }

    /// The frame to send.
    pub fn frame(&self) -> Frame {
        let mut payload = BytesMut::with_capacity(2 + self.text.len());
        payload.put_u16(self.code.0);
        payload.put_slice(self.text.as_bytes());
        Frame::new(super::BYE, 0, payload.freeze())
    }

    /// Reads a payload; `None` if it has no code. The text is treated as in [`Bye::new`]: it comes from a stranger and
    /// goes to a terminal.
    pub fn decode(payload: &Bytes) -> Option<Self> {
        let (code, text) = payload.split_first_chunk::<2>()?;
        let text = String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT)]);
        Some(Self::new(ByeCode(u16::from_be_bytes(*code)), &text))
    }
}

/// The longest beginning of a text within `limit` bytes that ends between characters.
fn cut(text: &str, limit: usize) -> &str {
    (0..=limit.min(text.len()))
        .rev()
        .find_map(|end| text.get(..end))
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn round_trip_and_limits() {
        let bye = Bye::new(ByeCode::TOO_MANY_LANES, "eight lanes are open");
        assert_eq!(bye.frame().payload[..4], [0, 4, b'e', b'i']);
        assert_eq!(Bye::decode(&bye.frame().payload), Some(bye));
        let long = Bye::new(ByeCode::DONE, &"ä".repeat(200));
        assert_eq!(long.text.len(), 256);
        assert_eq!(Bye::decode(&Bytes::from_static(&[1])), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_printable_text(bytes in proptest::collection::vec(any::<u8>(), 2..600)) {
            let bye = Bye::decode(&bytes.into()).unwrap();
            prop_assert!(bye.text.len() <= MAX_TEXT && !bye.text.chars().any(char::is_control));
        }
    }
}
