//! Numbers as JavaScript writes them (Number::toString, ECMA-262 §6.1.6.1.20).

use std::fmt;

/// More than the longest text of a number takes: `-0.0000012345678901234567` and `-1.2345678901234567e-100` have 25 and 24 bytes.
const ROOM: usize = 32;

/// Below this every whole number is exact, and all its digits are written.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number's text, without a heap of its own.
#[derive(Clone, Copy)]
pub(crate) struct NumberText {
    bytes: [u8; ROOM],
    start: usize,
    end: usize,
}

impl NumberText {
    /// The text JavaScript gives this number; `null` if it is not finite.
    pub(crate) fn new(number: f64) -> Self {
        // Nearly every state, and most numbers.
        if number.abs() < EXACT && number.trunc() == number {
            return Self::whole(number);
        }
        let mut shortest = ryu_js::Buffer::new();
        let text = if number.is_finite() {
            shortest.format_finite(number)
        } else {
            "null"
        };
        let mut this = Self {
            bytes: [0; ROOM],
            start: 0,
            end: text.len(),
        };
        this.bytes[..text.len()].copy_from_slice(text.as_bytes());
        this
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its bytes, all of them ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 53 bits; a decimal digit fits a byte"
    )]
    fn whole(number: f64) -> Self {
        let mut this = Self {
            bytes: [0; ROOM],
            start: ROOM,
            end: ROOM,
        };
        let mut left = number.abs() as u64;
        // Two digits a division, which is what takes the time.
        while left >= 10 {
            let pair = (left % 100) as u8;
            left /= 100;
            this.push_front(b'0' + pair % 10);
            this.push_front(b'0' + pair / 10);
        }
        if left > 0 || this.start == ROOM {
            this.push_front(b'0' + left as u8);
        }
        if number < 0.0 {
            this.push_front(b'-');
        }
        this
    }

    const fn push_front(&mut self, byte: u8) {
        self.start -= 1;
        self.bytes[self.start] = byte;
    }
}

impl fmt::Debug for NumberText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
