//! Channel data (RFC 8656 §12.4), and how it and messages follow each other on a stream.

use super::message::{COOKIE, HEADER};
use bytes::{Bytes, BytesMut};

/// Bytes before the data of a channel.
pub(super) const CHANNEL_HEADER: usize = 4;
/// The numbers that a channel may have (RFC 8656 §12).
pub(super) const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4FFF;
/// The longest frame: 64 KiB of data, its header and padding. No message is longer, since its length has 16 bits too and its header
/// counts apart.
const LONGEST: usize = HEADER + 65_535;

/// Writes channel data. On a stream its end is padded to a multiple of four (RFC 8656 §12.5).
pub(super) fn write_channel(frame: &mut Vec<u8>, channel: u16, data: &[u8], stream: bool) {
    frame.clear();
    frame.extend(channel.to_be_bytes());
    frame.extend((data.len() as u16).to_be_bytes());
    frame.extend(data);
    if stream {
        frame.resize(frame.len().next_multiple_of(4), 0);
    }
}

/// The channel and the length of the data, which begins after [`CHANNEL_HEADER`] bytes; nothing, if it is no channel data or cut.
pub(super) fn read_channel(frame: &[u8]) -> Option<(u16, usize)> {
    let [c0, c1, l0, l1] = *frame.first_chunk()?;
    let (channel, length) = (
        u16::from_be_bytes([c0, c1]),
        usize::from(u16::from_be_bytes([l0, l1])),
    );
    let whole = CHANNELS.contains(&channel) && frame.len() >= CHANNEL_HEADER + length;
    whole.then_some((channel, length))
}

/// Cuts the next frame off what has arrived of a stream: a message, or channel data with its padding. `Ok(None)`: it is not there as a
/// whole yet. It holds what has arrived, which is less than a frame of at most 64 KiB, and what was read with it.
pub(super) fn next_frame(arrived: &mut BytesMut) -> Result<Option<Bytes>, NotTurn> {
    let Some([first, second, l0, l1]) = arrived.first_chunk().copied() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let cookie = arrived.iter().skip(4).take(COOKIE.len());
    let is_message = cookie.zip(&COOKIE).all(|(came, cookie)| came == cookie);
    let whole = match first >> 6 {
        0 if length.is_multiple_of(4) && is_message => HEADER + length,
        1 if CHANNELS.contains(&u16::from_be_bytes([first, second])) => {
            CHANNEL_HEADER + length.next_multiple_of(4)
        }
        _ => return Err(NotTurn),
    };
    debug_assert!(whole <= LONGEST);
    if arrived.len() < whole {
        return Ok(None);
    }
    Ok(Some(arrived.split_to(whole).freeze()))
}

/// A stream on which something else than TURN comes; there is no way to find the next frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what came is not TURN")]
pub(super) struct NotTurn;

#[cfg(test)]
mod tests;
