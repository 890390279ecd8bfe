use super::*;
use proptest::prelude::*;

fn cut<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Bytes>, NotTurn> {
    let (mut arrived, mut frames) = (BytesMut::new(), vec![]);
    for piece in pieces {
        arrived.extend_from_slice(piece);
        while let Some(frame) = next_frame(&mut arrived)? {
            frames.push(frame);
        }
        assert!(arrived.len() < LONGEST);
    }
    Ok(frames)
}

/// A message of the given length behind its header.
fn message(words: u8) -> Vec<u8> {
    let mut bytes = vec![0, 1, 0, words * 4, 0x21, 0x12, 0xA4, 0x42];
    bytes.resize(HEADER + usize::from(words) * 4, 7);
    bytes
}

#[test]
fn channel_data_is_padded_on_streams_only() {
    let mut frame = vec![];
    write_channel(&mut frame, 0x4001, b"12345", false);
    assert_eq!(frame, b"\x40\x01\x00\x0512345");
    write_channel(&mut frame, 0x4001, b"12345", true);
    assert_eq!(frame, b"\x40\x01\x00\x0512345\0\0\0");
    assert_eq!(read_channel(&frame), Some((0x4001, 5)));
    assert_eq!(read_channel(&frame[..8]), None);
    assert_eq!(read_channel(b"\x3f\xff\x00\x00"), None);
    assert_eq!(read_channel(b"\x50\x00\x00\x00"), None);
    assert_eq!(read_channel(b"\x4f\xff\x00\x00"), Some((0x4FFF, 0)));
}

#[test]
fn something_else_ends_the_stream() {
    for other in [
        &b"SSH-2.0-OpenSSH"[..],
        b"\x16\x03\x01\x00\xc8\x01",
        b"\x80\0\0\0",
        b"\x50\0\0\0",
        b"\0\x01\0\x03",
    ] {
        assert_eq!(cut([other]), Err(NotTurn), "{other:?}");
    }
}

proptest! {
    #[test]
    fn frames_come_out_whole_however_they_are_cut(
        kinds in proptest::collection::vec((any::<bool>(), 0_u8..60), 1..12),
        size in 1_usize..90,
    ) {
        let frames: Vec<Vec<u8>> = kinds
            .into_iter()
            .map(|(channel, length)| {
                let mut frame = message(length);
                if channel {
                    write_channel(&mut frame, 0x4000 + u16::from(length), &vec![9; length.into()], true);
                }
                frame
            })
            .collect();
        let whole = frames.concat();
        let cut = cut(whole.chunks(size)).unwrap();
        prop_assert_eq!(cut.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), size in 1_usize..700) {
        let _ = cut(bytes.chunks(size));
        let _ = read_channel(&bytes);
    }
}
