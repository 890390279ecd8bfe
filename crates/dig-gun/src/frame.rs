//! Frames: what one WebSocket text message holds, which is one message or a list of them.
//!
//! gun.js sends lists of objects and, between its own processes, lists of texts that each hold an object. Its first character decides: what
//! begins with neither `{` nor `[` (a blank, too) is no frame. Elements are found by their brackets alone, so that one that is
//! broken harms none of its neighbours.

mod pack;
mod split;

pub use pack::Packer;
pub use split::{MAX_CHARS, split_put};

use std::borrow::Cow;

/// Most elements of a list that are looked at; gun.js sends lists of at most 9,000 characters, a few hundred messages.
pub const MAX_ELEMENTS: usize = 10_000;

/// What stands in a frame where a message should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It begins with neither `{` nor `[`.
    #[error("a frame must be a JSON object or a list of them")]
    NotAFrame,
    /// An element of the list is neither an object nor a text that holds one.
    #[error("an element of the list is no message")]
    NotAMessage,
    /// The list has no end.
    #[error("the list is cut off")]
    CutOff,
    /// The list has more elements than are looked at.
    #[error("the list has more than {MAX_ELEMENTS} elements")]
    TooMany,
}

/// The texts of the messages of a frame, for [`crate::message::Message::parse`]. The empty list, which is gun.js's heartbeat, has none.
pub fn frames_in(text: &str) -> Frames<'_> {
    let rest = match text.as_bytes().first() {
        Some(b'{') => Rest::One(text),
        Some(b'[') => Rest::List(&text[1..]),
        _ => Rest::Error(FrameError::NotAFrame),
    };
    Frames { rest, count: 0 }
}

/// Iterator over the messages of a frame, see [`frames_in`].
#[derive(Debug, Clone)]
pub struct Frames<'a> {
    rest: Rest<'a>,
    count: usize,
}

#[derive(Debug, Clone, Copy)]
enum Rest<'a> {
    One(&'a str),
    List(&'a str),
    Error(FrameError),
    Nothing,
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Cow<'a, str>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        match std::mem::replace(&mut self.rest, Rest::Nothing) {
            Rest::One(text) => Some(Ok(Cow::Borrowed(text))),
            Rest::List(text) => self.element(text),
            Rest::Error(error) => Some(Err(error)),
            Rest::Nothing => None,
        }
    }
}

impl<'a> Frames<'a> {
    /// Takes the next element of a list from this, what is left of it.
    fn element(&mut self, text: &'a str) -> Option<<Self as Iterator>::Item> {
        let text = text.trim_ascii_start();
        if self.count == 0 && text.starts_with(']') {
            return None;
        }
        if self.count == MAX_ELEMENTS {
            return Some(Err(FrameError::TooMany));
        }
        let Some(len) = element_len(text.as_bytes()) else {
            return Some(Err(FrameError::CutOff));
        };
        self.count += 1;
        if text.as_bytes()[len] == b',' {
            self.rest = Rest::List(&text[len + 1..]);
        }
        Some(message(text[..len].trim_ascii_end()))
    }
}

fn message(element: &str) -> Result<Cow<'_, str>, FrameError> {
    match element.as_bytes().first() {
        Some(b'{') => Ok(Cow::Borrowed(element)),
        Some(b'"') => match serde_json::from_str::<String>(element) {
            Ok(inner) if inner.starts_with('{') => Ok(Cow::Owned(inner)),
            _ => Err(FrameError::NotAMessage),
        },
        _ => Err(FrameError::NotAMessage),
    }
}

/// How far the element of a list at the beginning of this goes; it ends before a `,` or `]`. `None` if there is no such.
fn element_len(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = 0;
    loop {
        match text.get(at)? {
            b'"' => {
                at += string_len(&text[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b',' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
}

/// How long the JSON text is that begins here, quotes included; `None` if it does not end.
pub(crate) fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests;
