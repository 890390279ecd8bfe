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
    /// [`Self::next`] and come again with the rest.
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
    pub fn next(&mut self) -> Option<Vec<u8>> {
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
