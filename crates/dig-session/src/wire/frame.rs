//! Cuts frames out of a byte stream.

use bytes::{Buf as _, Bytes, BytesMut};
use dig_types::{Frame, FrameHeader, FrameType, MAX_FRAME_PAYLOAD};

/// Bytes reserved for a lane that is quiet. Thousands of quiet lanes cost next to nothing.
const MIN_PIECE: usize = 4 * 1024;

/// Bytes reserved at a time for a lane that moves data: eight chunks with their frames, so that one part in
/// sixteen is copied (the beginning of a frame that the piece cuts) and the rest never.
const MAX_PIECE: usize = 512 * 1024 + 8 * 1024;

/// Payloads up to this length are copied out, so that a small frame that is kept does not keep a whole piece.
const COPIED: usize = 4 * 1024;

/// A frame declares more than the protocol allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of type {kind:#06x} declares {length} bytes; at most 66,560 are allowed")]
pub struct FrameError {
    /// The type in its header.
    pub kind: u16,
    /// The length in its header.
    pub length: u32,
}

/// A frame that cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame has at most 66,560 bytes, this one has {0}")]
pub struct TooLong(pub usize);

/// Collects received bytes and cuts frames out of them, without copying large payloads.
///
/// Fill what [`FrameDecoder::spare`] gives, then call [`FrameDecoder::next`] until it gives nothing. Memory grows with what has
/// arrived, never with what a header declares.
#[derive(Debug)]
pub struct FrameDecoder {
    buffer: BytesMut,
    piece: usize,
    bulk: bool,
    complete: u64,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            piece: MIN_PIECE,
            bulk: false,
            complete: 0,
        }
    }
}

impl FrameDecoder {
    /// The buffer to append received bytes to; it has room.
    pub fn spare(&mut self) -> &mut BytesMut {
        let room = self.buffer.capacity() - self.buffer.len();
        if room < MIN_PIECE / 2 {
            if self.bulk {
                self.piece = (self.piece * 2).min(MAX_PIECE);
                self.bulk = false;
            }
            // A frame that outgrows the piece doubles it, as a growing vector does.
            self.buffer.reserve(self.piece.max(self.buffer.len()));
        }
        &mut self.buffer
    }

    /// The next complete frame, if it is here.
    ///
    /// # Errors
    /// After an error the stream cannot be followed any more: every further call gives it again.
    #[allow(
        clippy::should_implement_trait,
        reason = "`None` means `not yet`, not the end"
    )]
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer.first_chunk::<{ FrameHeader::LEN }>() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(head);
        let FrameType(kind) = header.kind;
        let length = usize::try_from(header.length)
            .ok()
            .filter(|length| *length <= MAX_FRAME_PAYLOAD)
            .ok_or(FrameError {
                kind,
                length: header.length,
            })?;
        if self.buffer.len() < FrameHeader::LEN + length {
            return Ok(None);
        }
        self.buffer.advance(FrameHeader::LEN);
        let payload = if length <= COPIED {
            let payload = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            payload
        } else {
            self.bulk = true;
            self.buffer.split_to(length).freeze()
        };
        self.complete += 1;
        Ok(Some(Frame::new(header.kind, header.request, payload)))
    }

    /// Bytes of the frame that is not complete yet; 0 between frames.
    pub fn partial(&self) -> usize {
        self.buffer.len()
    }

    /// How many frames were cut so far.
    pub const fn complete(&self) -> u64 {
        self.complete
    }

    /// Gives memory back after a quiet time.
    pub fn relax(&mut self) {
        if self.buffer.is_empty() {
            *self = Self {
                complete: self.complete,
                ..Self::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(frames: &[Frame]) -> Vec<u8> {
        frames
            .iter()
            .flat_map(|frame| [&frame.header()[..], &frame.payload].concat())
            .collect()
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            frames in proptest::collection::vec((any::<u16>(), any::<u32>(), prop_oneof![0_usize..64, 4_000..70_000_usize]), 1..6),
            cuts in proptest::collection::vec(1_usize..40_000, 1..20),
        ) {
            let frames: Vec<_> = frames
                .into_iter()
                .map(|(kind, request, length)| {
                    let payload = vec![kind.to_be_bytes()[1]; length.min(MAX_FRAME_PAYLOAD)];
                    Frame::new(FrameType(kind), request, payload.into())
                })
                .collect();
            let bytes = wire(&frames);
            let (mut decoder, mut rest, mut out) = (FrameDecoder::default(), &bytes[..], Vec::new());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                decoder.spare().extend_from_slice(now);
                while let Some(frame) = decoder.next().unwrap() {
                    out.push(frame);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(out, frames);
            prop_assert_eq!(decoder.partial(), 0);
        }

        #[test]
        fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let mut decoder = FrameDecoder::default();
            decoder.spare().extend_from_slice(&bytes);
            let mut seen = 0;
            while let Ok(Some(frame)) = decoder.next() {
                seen += FrameHeader::LEN + frame.payload.len();
            }
            prop_assert_eq!(seen + decoder.partial(), bytes.len());
        }
    }

    #[test]
    fn a_declared_length_allocates_nothing() {
        let mut decoder = FrameDecoder::default();
        decoder
            .spare()
            .extend_from_slice(&[0, 0x30, 0, 0, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]);
        let error = FrameError {
            kind: 0x30,
            length: u32::MAX,
        };
        assert_eq!(decoder.next(), Err(error));
        assert_eq!(decoder.next(), Err(error), "the error stays");

        let mut decoder = FrameDecoder::default();
        decoder
            .spare()
            .extend_from_slice(&[0, 0x30, 0, 0, 0, 1, 0, 1, 0x04, 0x00]);
        assert_eq!(decoder.next(), Ok(None));
        assert!(
            decoder.spare().capacity() <= 2 * MIN_PIECE,
            "66,560 declared bytes are not here yet"
        );
    }

    #[test]
    fn pieces_grow_with_bulk_and_shrink_in_silence() {
        let frame = Frame::new(FrameType(0x30), 1, vec![7; 65_536].into());
        let bytes = wire(&[frame]);
        let mut decoder = FrameDecoder::default();
        for _ in 0..64 {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let spare = decoder.spare();
                let room = spare.capacity() - spare.len();
                assert!(room >= MIN_PIECE / 2);
                // As much as a TLS record brings, and no more than fits.
                let (now, later) = rest.split_at(room.min(16 * 1024).min(rest.len()));
                spare.extend_from_slice(now);
                rest = later;
                while decoder.next().unwrap().is_some() {}
            }
        }
        assert!(decoder.piece > 256 * 1024);
        decoder.relax();
        assert!(decoder.spare().capacity() <= 2 * MIN_PIECE);
        assert_eq!(decoder.complete(), 64);
    }

    #[test]
    fn small_payloads_do_not_pin_the_piece() {
        let mut decoder = FrameDecoder::default();
        let frame = Frame::new(FrameType(0x24), 1, vec![1; 32].into());
        let start = decoder.spare().as_ptr();
        let mut kept = Vec::new();
        for _ in 0..1_000 {
            decoder
                .spare()
                .extend_from_slice(&wire(std::slice::from_ref(&frame)));
            kept.extend(decoder.next().unwrap());
        }
        assert_eq!(kept.len(), 1_000);
        assert!(
            decoder.spare().capacity() <= 2 * MIN_PIECE,
            "{start:?} was enough"
        );
    }
}
