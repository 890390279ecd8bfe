//! What a Gun graph is made of: souls, keys, states and values.

mod order;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

pub(crate) use order::utf16_order;

use dig_types::Timestamp;
use std::{cmp::Ordering, fmt, sync::Arc};

/// The name of a node: any text that is not empty, of at most [`Soul::MAX_LEN`] bytes. Ordered as JavaScript orders text, by
/// UTF-16 code units.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Soul(Arc<str>);

/// The name of a field of a node: any text that is neither empty nor `_`, of at most [`Key::MAX_LEN`] bytes. Ordered as
/// JavaScript orders text, by UTF-16 code units.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Key(Arc<str>);

impl Soul {
    /// Longest soul, in bytes of UTF-8. Gun has no limit; real souls are under 300.
    pub const MAX_LEN: usize = 4096;

    /// The soul of this text, if it may be one.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        match text.len() {
            0 => Err(InvalidName::Empty),
            len if len > Self::MAX_LEN => Err(InvalidName::TooLong),
            _ => Ok(Self(text.into())),
        }
    }

    /// The soul of a text that is known to be one.
    pub(crate) fn of_valid(text: Arc<str>) -> Self {
        debug_assert!(Self::new(&text).is_ok(), "{text:?} is no soul");
        Self(text)
    }

    /// Something to compare souls with: it ends a range, and need not be a soul itself.
    pub(crate) fn bound(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        SHARED + self.0.len()
    }
}

impl Key {
    /// Longest key, in bytes of UTF-8. Gun has no limit; a longer one is data in the wrong place.
    pub const MAX_LEN: usize = 4096;

    /// The key of this text, if it may be one.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        match text.len() {
            0 => Err(InvalidName::Empty),
            len if len > Self::MAX_LEN => Err(InvalidName::TooLong),
            _ if text == "_" => Err(InvalidName::Reserved),
            _ => Ok(Self(text.into())),
        }
    }

    /// Something to compare keys with: it ends a range, and need not be a key itself.
    pub(crate) fn bound(text: &str) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        SHARED + self.0.len()
    }
}

/// What a text that is shared takes beside its bytes: the reference, both counts and the allocator's own.
const SHARED: usize = size_of::<Arc<str>>() + 2 * size_of::<usize>() + 8;

/// Why a text names no node or field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// It is empty.
    #[error("a soul or key must not be empty")]
    Empty,
    /// It has more bytes than allowed.
    #[error("a soul or key has at most 4096 bytes")]
    TooLong,
    /// `_` holds what Gun says of the node.
    #[error("`_` cannot be a key")]
    Reserved,
}

/// When a field was written, in milliseconds since 1970 (fractions allowed, so are 0 and negative numbers); always finite.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct State(f64);

impl State {
    /// The beginning of 1970.
    pub const EPOCH: Self = Self(0.0);

    /// The state of this number; `None` if it is not finite. -0 becomes 0, as it does on the wire.
    pub fn new(milliseconds: f64) -> Option<Self> {
        milliseconds.is_finite().then_some(Self(milliseconds + 0.0))
    }

    /// Milliseconds since 1970.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl From<Timestamp> for State {
    fn from(time: Timestamp) -> Self {
        Self(time.as_millis() as f64)
    }
}

impl Eq for State {}

#[expect(
    clippy::derive_ord_xor_partial_ord,
    reason = "no state is NaN, so both orders are one"
)]
impl Ord for State {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// A finite IEEE double, as JavaScript has it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Number(f64);

impl Number {
    /// The number; `None` if it is not finite. -0 becomes 0, as it does on the wire.
    pub fn new(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number + 0.0))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Eq for Number {}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the tombstone of what was there.
    Null,
    /// True or false.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text; JavaScript's lone surrogates cannot be had.
    Text(Arc<str>),
    /// Another node.
    Link(Soul),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        let text = match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 0,
            Self::Text(text) => text.len(),
            Self::Link(soul) => soul.as_str().len(),
        };
        size_of::<Self>() + if text > 0 { SHARED + text } else { 0 }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Self::Number(Number(number.into()))
    }
}

impl From<Number> for Value {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

/// A link.
impl From<Soul> for Value {
    fn from(soul: Soul) -> Self {
        Self::Link(soul)
    }
}

impl fmt::Debug for Soul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Soul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Ord for Soul {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        utf16_order(&self.0, &other.0)
    }
}

impl PartialOrd for Soul {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        utf16_order(&self.0, &other.0)
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
