//! Numbers as JavaScript writes them.

use std::fmt::{self, Write as _};

/// Longest text of a number: a sign, `0.00000` and 17 digits.
const LONGEST: usize = 25;

/// Below this every whole number is exact, and its digits are all written.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number's text, without a heap of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NumberText {
    bytes: [u8; LONGEST],
    len: usize,
}

impl NumberText {
    /// The text JavaScript gives this number; `null` if it is not finite.
    pub(crate) fn new(number: f64) -> Self {
        let mut text = Self {
            bytes: [0; LONGEST],
            len: 0,
        };
        if !number.is_finite() {
            text.push(b"null");
        } else if number.abs() < EXACT && number.trunc() == number {
            text.whole(number);
        } else {
            text.shortest(number);
        }
        text
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Its bytes, all of them ASCII.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within 53 bits; a decimal digit fits a byte"
    )]
    fn whole(&mut self, number: f64) {
        if number < 0.0 {
            self.push(b"-");
        }
        let mut left = number.abs() as u64;
        let mut digits = [0; 16];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }

    /// Number::toString (ECMA-262 §6.1.6.1.20): `digits` are the fewest that mean the number, `point` where the decimal point stands
    /// behind the first of them.
    fn shortest(&mut self, number: f64) {
        let scientific = Scientific::of(number);
        let digits = scientific.digits();
        let point = scientific.exponent + 1;
        if number < 0.0 {
            self.push(b"-");
        }
        match usize::try_from(point) {
            Ok(whole) if (1..=21).contains(&whole) => {
                if digits.len() <= whole {
                    self.push(digits);
                    self.zeros(whole - digits.len());
                } else {
                    self.push(&digits[..whole]);
                    self.push(b".");
                    self.push(&digits[whole..]);
                }
            }
            _ if (-5..=0).contains(&point) => {
                self.push(b"0.");
                self.zeros(point.unsigned_abs().into());
                self.push(digits);
            }
            _ => {
                self.push(&digits[..1]);
                if digits.len() > 1 {
                    self.push(b".");
                    self.push(&digits[1..]);
                }
                self.push(if scientific.exponent < 0 {
                    b"e-"
                } else {
                    b"e+"
                });
                self.whole(f64::from(scientific.exponent.abs()));
            }
        }
    }

    fn zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b"0");
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(free) = self.bytes.get_mut(self.len..end) {
            free.copy_from_slice(bytes);
            self.len = end;
        }
    }
}

/// A number's digits and its power of ten, as Rust writes them: `-1.25e-7` without sign and point.
struct Scientific {
    bytes: [u8; 17],
    len: usize,
    exponent: i16,
    /// What comes belongs to the exponent, which may be negative.
    behind_e: Option<bool>,
}

impl Scientific {
    fn of(number: f64) -> Self {
        let mut this = Self {
            bytes: [0; 17],
            len: 0,
            exponent: 0,
            behind_e: None,
        };
        // Never fails: `write_str` below takes everything.
        let _ = write!(this, "{:e}", number.abs());
        if this.behind_e == Some(true) {
            this.exponent = -this.exponent;
        }
        this
    }

    fn digits(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for Scientific {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match (byte, self.behind_e) {
                (b'e', None) => self.behind_e = Some(false),
                (b'-', Some(_)) => self.behind_e = Some(true),
                (b'0'..=b'9', Some(_)) => {
                    self.exponent = self
                        .exponent
                        .saturating_mul(10)
                        .saturating_add((byte - b'0').into());
                }
                (b'0'..=b'9', None) => {
                    if let Some(free) = self.bytes.get_mut(self.len) {
                        *free = byte;
                        self.len += 1;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
