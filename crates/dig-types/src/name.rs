//! Content names: what people call a content (the whitepaper's content id).

use std::{fmt, str::FromStr};
use unicode_normalization::UnicodeNormalization as _;

/// Why a text is no content name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The text is longer than [`ContentName::MAX_LEN`] bytes.
    #[error("a name has at most {} bytes", ContentName::MAX_LEN)]
    TooLong,
    /// The text has a control character, which could fool a terminal.
    #[error("a name cannot hold control characters")]
    Control,
    /// The text has a path separator, so it could be mistaken for a path.
    #[error("a name cannot hold `/` or `\\`")]
    Separator,
}

/// What people call a content: text in Unicode normal form C, 1 to 255 bytes, one line, no path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentName(String);

impl ContentName {
    /// Longest name in bytes.
    pub const MAX_LEN: usize = 255;

    /// Checks and normalises a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.len() > 4 * Self::MAX_LEN {
            return Err(NameError::TooLong);
        }
        let text: String = text.nfc().collect();
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > Self::MAX_LEN {
            return Err(NameError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        if text.contains(['/', '\\']) {
            return Err(NameError::Separator);
        }
        Ok(Self(text))
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for ContentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_refused() {
        for (text, error) in [
            ("", NameError::Empty),
            ("a\u{1b}]52;c", NameError::Control),
            ("nul\0", NameError::Control),
            ("../x", NameError::Separator),
            (&"x".repeat(256), NameError::TooLong),
        ] {
            assert_eq!(ContentName::new(text), Err(error), "{text:?}");
        }
        assert_eq!(ContentName::new("e\u{301}").unwrap().as_str(), "\u{e9}");
    }
}
