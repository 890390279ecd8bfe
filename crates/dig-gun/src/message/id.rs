//! Names of messages.

use std::{fmt, sync::Arc};

/// The name of a message: any text that is not empty, of at most [`MessageId::MAX_LEN`] bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Longest name in bytes. gun.js's have 9 characters.
    pub const MAX_LEN: usize = 128;

    /// Characters of a name of our own: as gun.js's, so that no peer's bookkeeping (which appends digits to names) takes one for another.
    const LEN: usize = 9;
    const ALPHABET: &[u8; 61] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXZabcdefghijklmnopqrstuvwxyz";

    /// A new name. There are 61⁹ of them, about 2⁵³.
    pub fn from_random(mut random: u64) -> Self {
        let mut text = [0; Self::LEN];
        for byte in &mut text {
            *byte = Self::ALPHABET[(random % 61) as usize];
            random /= 61;
        }
        Self(str::from_utf8(&text).unwrap_or_default().into())
    }

    /// The name of this text, if it may be one.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= Self::MAX_LEN).then(|| Self(text.into()))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
