//! The two orders a graph needs: of names, and of values written as JSON.

use super::Value;
use crate::text::NumberText;
use std::{cmp::Ordering, iter};

/// How JavaScript compares text: by UTF-16 code units.
///
/// UTF-8 compares as code points do, so only one thing differs: a character beyond U+FFFF is written with surrogates
/// (U+D800 to U+DFFF), and so comes before U+E000 to U+FFFF.
pub(crate) fn utf16_order(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let at = common_prefix(a, b);
    match (a.get(at), b.get(at)) {
        (Some(&a), Some(&b)) => utf16_rank(a).cmp(&utf16_rank(b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// What to compare in place of this byte of UTF-8, so that the order is that of UTF-16. A lead byte of U+E000 to U+FFFF (0xEE, 0xEF) goes behind those of what is beyond U+FFFF (0xF0 to 0xF4).
const fn utf16_rank(byte: u8) -> u8 {
    match byte {
        0xEE | 0xEF => byte + 0x10,
        _ => byte,
    }
}

/// How many bytes both begin with.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 16;
    let same = iter::zip(a.chunks_exact(STEP), b.chunks_exact(STEP))
        .take_while(|(a, b)| a == b)
        .count()
        * STEP;
    let (a, b) = (&a[same..], &b[same..]);
    same + iter::zip(a, b).take_while(|(a, b)| a == b).count()
}

impl Value {
    /// How the JSON texts of both compare in JavaScript: of two values written at one time, the greater one wins
    /// everywhere. By kind that is: text, negative number, number, false, null, true, link.
    pub fn json_order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => string_order(a, b),
            (Self::Link(a), Self::Link(b)) => string_order(a.as_str(), b.as_str()),
            (Self::Number(a), Self::Number(b)) => NumberText::new(a.get())
                .as_bytes()
                .cmp(NumberText::new(b.get()).as_bytes()),
            _ => self.first_byte().cmp(&other.first_byte()),
        }
    }

    /// The first character of its JSON text, which tells kinds apart.
    fn first_byte(&self) -> u8 {
        match self {
            Self::Text(_) => b'"',
            Self::Number(number) if number.get() < 0.0 => b'-',
            Self::Number(_) => b'0',
            Self::Bool(false) => b'f',
            Self::Null => b'n',
            Self::Bool(true) => b't',
            Self::Link(_) => b'{',
        }
    }
}

/// How two texts compare once written as JSON. Only the first character that differs counts: no escape is the beginning of another.
fn string_order(a: &str, b: &str) -> Ordering {
    let mut at = common_prefix(a.as_bytes(), b.as_bytes());
    if at == a.len() && at == b.len() {
        return Ordering::Equal;
    }
    while !a.is_char_boundary(at) || !b.is_char_boundary(at) {
        at -= 1;
    }
    let written = |rest: &str| {
        let mut text = String::with_capacity(8);
        match rest.chars().next() {
            Some(first) => crate::text::push_escaped(&mut text, first),
            None => text.push('"'),
        }
        text
    };
    utf16_order(&written(&a[at..]), &written(&b[at..]))
}

#[cfg(test)]
mod tests;
