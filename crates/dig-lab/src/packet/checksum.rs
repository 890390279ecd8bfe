//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// The ones' complement sum of `bytes` as big-endian words, added to `start` and folded.
#[must_use]
pub fn sum(bytes: &[u8], start: u16) -> u16 {
    let mut chunks = bytes.chunks_exact(4);
    let words = chunks
        .by_ref()
        .map(|word| u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]])));
    let mut total = u64::from(start) + words.sum::<u64>();
    let mut rest = chunks.remainder().chunks_exact(2);
    total += rest
        .by_ref()
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum::<u64>();
    if let [last] = rest.remainder() {
        total += u64::from(*last) << 8;
    }
    fold(total)
}

fn fold(mut total: u64) -> u16 {
    while total > 0xFFFF {
        total = (total & 0xFFFF) + (total >> 16);
    }
    u16::try_from(total).unwrap_or(u16::MAX)
}

/// The checksum field of a packet whose summed words are `bytes`, the field itself being 0.
#[must_use]
pub fn finish(sum: u16) -> u16 {
    !sum
}

/// The checksum field after words with sum `old` became words with sum `new`: RFC 1624, equation 3.
#[must_use]
pub fn update(field: u16, old: u16, new: u16) -> u16 {
    !fold(u64::from(!field) + u64::from(!old) + u64::from(new))
}

/// The same for a field that holds the bare sum of the pseudo header, as the kernel leaves it to be finished by the
/// device.
#[must_use]
pub fn update_partial(field: u16, old: u16, new: u16) -> u16 {
    fold(u64::from(field) + u64::from(!old) + u64::from(new))
}
