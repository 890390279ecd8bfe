//! Puts frames together for one write.

use bytes::{BufMut as _, Bytes, BytesMut};
use dig_types::{Frame, FrameHeader};
use std::collections::VecDeque;

/// Payloads up to this length are copied next to their header: fewer, larger pieces make fewer system calls and TLS records.
const COPIED: usize = 2 * 1024;

/// Frames as a list of byte pieces, in order: small frames gathered, large payloads as they are.
#[derive(Debug, Default)]
pub(crate) struct FrameBatch {
    pieces: VecDeque<Bytes>,
    heads: BytesMut,
    bytes: usize,
}

impl FrameBatch {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += FrameHeader::LEN + frame.payload.len();
        self.heads.put_slice(&frame.header());
        if frame.payload.len() <= COPIED {
            self.heads.put_slice(&frame.payload);
        } else {
            self.pieces.push_back(self.heads.split().freeze());
            self.pieces.push_back(frame.payload);
        }
    }

    /// Bytes pushed since the pieces were last taken.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// The pieces, ready to be written; the batch is empty afterwards.
    pub(crate) fn pieces(&mut self) -> &mut VecDeque<Bytes> {
        if !self.heads.is_empty() {
            self.pieces.push_back(self.heads.split().freeze());
        }
        self.bytes = 0;
        &mut self.pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dig_types::FrameType;

    #[test]
    fn the_pieces_are_the_frames_in_order() {
        let sizes = [0, 8, 65_536, 65_536, 100, 2_048, 2_049, 3];
        let mut batch = FrameBatch::default();
        let mut expected = Vec::new();
        for (request, size) in sizes.into_iter().enumerate() {
            let request = u32::try_from(request).unwrap();
            let frame = Frame::new(FrameType(0x30), request, vec![9; size].into());
            expected.extend_from_slice(&frame.header());
            expected.extend_from_slice(&frame.payload);
            batch.push(frame);
        }
        assert_eq!(batch.bytes(), expected.len());
        let pieces = batch.pieces();
        assert_eq!(pieces.len(), 7, "small frames are gathered");
        assert_eq!(
            pieces.iter().flatten().copied().collect::<Vec<_>>(),
            expected
        );
        pieces.clear();
        assert!(batch.pieces().is_empty() && batch.bytes() == 0);
    }
}
