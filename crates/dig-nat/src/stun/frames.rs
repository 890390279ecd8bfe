//! STUN over a byte stream: messages one after the other, each as long as its header says (RFC 8489 §6.2.2).

use super::message::{HEADER, MAX_MESSAGE, ParseError, is_stun};

/// Cuts a stream into messages. Holds at most one message of [`Frames::MAX`] bytes.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// Largest message that a stream may carry, in bytes: as over UDP.
    pub const MAX: usize = MAX_MESSAGE;

    /// Takes bytes, at most until a message is complete; tells how many were taken. Take the message with
    /// [`Self::take`] and come again with the rest.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        let mut taken = 0;
        while let Some(missing) = self.missing()? {
            let more = missing.min(bytes.len() - taken);
            if more == 0 {
                break;
            }
            self.buffer.extend_from_slice(&bytes[taken..taken + more]);
            taken += more;
        }
        Ok(taken)
    }

    /// The message, if it is complete.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        matches!(self.missing(), Ok(None)).then(|| std::mem::take(&mut self.buffer))
    }

    /// How many bytes are still missing, as far as can be told; `None` if none is.
    fn missing(&self) -> Result<Option<usize>, ParseError> {
        let Some(header) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(Some(HEADER - self.buffer.len()));
        };
        let length = HEADER + usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length > MAX_MESSAGE {
            return Err(ParseError::NotStun);
        }
        if self.buffer.len() < length {
            return Ok(Some(length - self.buffer.len()));
        }
        if is_stun(&self.buffer) {
            Ok(None)
        } else {
            Err(ParseError::NotStun)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stun::{Message, Request, TransactionId};
    use proptest::prelude::*;

    /// Feeds pieces and collects messages, as a connection does.
    fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, ParseError> {
        let (mut frames, mut messages) = (Frames::default(), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                let taken = frames.push(piece)?;
                piece = &piece[taken..];
                messages.extend(frames.take());
                assert!(frames.buffer.capacity() <= 2 * MAX_MESSAGE);
            }
        }
        Ok(messages)
    }

    fn request(number: u8) -> Vec<u8> {
        let request = Request {
            response_port: number.is_multiple_of(2).then_some(7),
            ..Request::new(TransactionId([number; 12]))
        };
        request.to_bytes()
    }

    #[test]
    fn a_message_that_declares_too_much_or_is_none_ends_the_stream() {
        let mut large = request(1);
        large[2..4].copy_from_slice(&[0xFF, 0xFC]);
        assert_eq!(cut([&large[..]]), Err(ParseError::NotStun));
        assert_eq!(
            cut([&b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"[..]]),
            Err(ParseError::NotStun)
        );
        let mut cookie = request(1);
        cookie[4] ^= 1;
        assert_eq!(cut([&cookie[..]]), Err(ParseError::NotStun));
    }

    proptest! {
        #[test]
        fn messages_come_out_whole_however_they_are_cut(count in 1_u8..6, size in 1_usize..100) {
            let messages: Vec<Vec<u8>> = (0..count).map(request).collect();
            prop_assert_eq!(cut(messages.concat().chunks(size)), Ok(messages));
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in proptest::collection::vec(any::<u8>(), 0..4000), size in 1_usize..2000) {
            if let Ok(messages) = cut(bytes.chunks(size)) {
                for message in messages {
                    let _ = Message::parse(&message);
                }
            }
        }
    }
}
