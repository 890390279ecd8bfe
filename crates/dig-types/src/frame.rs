//! What travels on a lane (`docs/protocol.md` §3).

use bytes::Bytes;

/// Longest payload of a frame, in bytes: a chunk of 64 KiB and room for what stands around it.
pub const MAX_FRAME_PAYLOAD: usize = 66_560;

/// The type of a frame. Even types are critical: who does not know one closes the lane. Odd ones may be ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FrameType(pub u16);

impl FrameType {
    /// Whether a receiver that does not know this type must close the lane.
    pub const fn is_critical(self) -> bool {
        self.0.is_multiple_of(2)
    }
}

/// One frame of a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: FrameType,
    /// The request it belongs to, 0 for none.
    pub request: u32,
    /// At most [`MAX_FRAME_PAYLOAD`] bytes.
    pub payload: Bytes,
}

impl Frame {
    /// A frame of the given type, request and payload.
    pub const fn new(kind: FrameType, request: u32, payload: Bytes) -> Self {
        Self {
            kind,
            request,
            payload,
        }
    }

    /// The bytes in front of the payload.
    pub fn header(&self) -> [u8; FrameHeader::LEN] {
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        FrameHeader {
            kind: self.kind,
            request: self.request,
            length,
        }
        .encode()
    }
}

/// The ten bytes in front of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the payload is.
    pub kind: FrameType,
    /// The request it belongs to, 0 for none.
    pub request: u32,
    /// Length of the payload in bytes, as the sender says: check it against [`MAX_FRAME_PAYLOAD`] before allocating.
    pub length: u32,
}

impl FrameHeader {
    /// Length of a header in bytes.
    pub const LEN: usize = 10;

    /// The bytes on the wire.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..2].copy_from_slice(&self.kind.0.to_be_bytes());
        bytes[2..6].copy_from_slice(&self.request.to_be_bytes());
        bytes[6..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    /// Reads the bytes of the wire; any ten bytes are a header.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = *bytes;
        Self {
            kind: FrameType(u16::from_be_bytes([a, b])),
            request: u32::from_be_bytes([c, d, e, f]),
            length: u32::from_be_bytes([g, h, i, j]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips() {
        let frame = Frame::new(FrameType(0x30), 7, Bytes::from_static(b"abc"));
        assert_eq!(frame.header(), [0, 0x30, 0, 0, 0, 7, 0, 0, 0, 3]);
        let header = FrameHeader::decode(&frame.header());
        assert_eq!(
            (header.kind, header.request, header.length),
            (frame.kind, 7, 3)
        );
        assert!(header.kind.is_critical() && !FrameType(0xF001).is_critical());
    }
}
