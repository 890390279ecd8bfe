//! Messages that are wrong in every way.

use super::*;
use proptest::prelude::*;

const TRANSACTION: [u8; 12] = *b"transaction!";

fn message(kind: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (number, value) in attributes {
        body.extend(number.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
        pad(&mut body);
    }
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend((body.len() as u16).to_be_bytes());
    bytes.extend(COOKIE.to_be_bytes());
    bytes.extend(TRANSACTION);
    bytes.extend(body);
    bytes
}

#[test]
fn a_request_is_read() {
    let peer = xor("[2a0d::7]:9".parse().unwrap(), TRANSACTION);
    let other = xor("1.2.3.4:5".parse().unwrap(), TRANSACTION);
    let bytes = message(
        0x0008,
        &[
            (attribute::USERNAME, b"alice"),
            (attribute::XOR_PEER_ADDRESS, &peer),
            (attribute::XOR_PEER_ADDRESS, &other),
            (attribute::USERNAME, b"mallory"),
            (0x7ABC, b"?"),
            (0xFABC, b"?"),
        ],
    );
    let request = Request::parse(&bytes).unwrap();
    assert_eq!(request.method, Method::CreatePermission);
    assert_eq!(request.username, Some("alice"), "the first one counts");
    let peers = ["[2a0d::7]:9", "1.2.3.4:5"].map(|text| text.parse::<SocketAddr>().unwrap());
    assert_eq!(request.peers, peers);
    assert_eq!(request.unknown, [0x7ABC]);
    assert!(!request.malformed && !request.proved);
}

#[test]
fn nothing_behind_the_integrity_counts() {
    let peer = xor("1.2.3.4:5".parse().unwrap(), TRANSACTION);
    let bytes = message(
        0x0008,
        &[
            (attribute::MESSAGE_INTEGRITY, &[0; 20]),
            (attribute::XOR_PEER_ADDRESS, &peer),
            (attribute::USERNAME, b"mallory"),
        ],
    );
    if let Some(request) = Request::parse(&bytes) {
        assert!(request.proved && request.peers.is_empty() && request.username.is_none());
    }
}

/// Addresses that are none: encodings by which a check might be passed that looks at something else than what is used.
#[test]
fn peers_of_a_wrong_form_are_malformed() {
    let good = xor("127.0.0.1:9".parse().unwrap(), TRANSACTION);
    let long = xor("[::1]:9".parse().unwrap(), TRANSACTION);
    let family = |value: &[u8], family| [&value[..1], &[family], &value[2..]].concat();
    let wrong: Vec<Vec<u8>> = vec![
        vec![],
        vec![0],
        good[..7].to_vec(),
        [&good[..], &[0]].concat(),
        [&good[..], &[0; 12]].concat(),
        family(&good, 2),
        family(&good, 0),
        family(&good, 3),
        family(&good, 0x81),
        family(&long, 1),
        long[..19].to_vec(),
        [&long[..], &long[..]].concat(),
    ];
    for value in wrong {
        let bytes = message(0x0008, &[(attribute::XOR_PEER_ADDRESS, &value)]);
        let request = Request::parse(&bytes).unwrap();
        assert!(
            request.malformed && request.peers.is_empty(),
            "{value:02x?}"
        );
        let bytes = message(
            0x0016,
            &[
                (attribute::XOR_PEER_ADDRESS, &value),
                (attribute::DATA, b"x"),
            ],
        );
        assert_eq!(send_indication(&bytes), None, "{value:02x?}");
    }
}

#[test]
fn too_much_is_refused() {
    let peer = xor("1.2.3.4:5".parse().unwrap(), TRANSACTION);
    let peers = vec![(attribute::XOR_PEER_ADDRESS, peer.as_slice()); MAX_PEERS + 1];
    let bytes = message(0x0008, &peers);
    let request = Request::parse(&bytes).unwrap();
    assert!(request.malformed && request.peers.len() == MAX_PEERS);
    let many = vec![(0xF000, b"".as_slice()); MAX_ATTRIBUTES + 1];
    assert!(Request::parse(&message(0x0003, &many)).is_none());
    let long = vec![0; LONGEST_REQUEST];
    assert!(Request::parse(&message(0x0003, &[(0xF000, &long)])).is_none());
}

#[test]
fn what_is_no_request_is_not_answered() {
    for kind in [
        0x0101, 0x0111, 0x0103, 0x0113, 0x0013, 0x0017, 0x0016, 0x0001, 0x000A, 0x0002,
    ] {
        assert!(Request::parse(&message(kind, &[])).is_none(), "{kind:04x}");
    }
}

#[test]
fn data_survives_both_ways_of_framing() {
    let peer: SocketAddr = "[2a0d::7]:9".parse().unwrap();
    for length in [0, 1, 2, 3, 4, 5, 1200, 9216] {
        let data: Vec<u8> = (0..length).map(|n| n as u8).collect();
        let mut out = Vec::new();
        write_channel_data(&mut out, 0x4001, &data, true);
        assert_eq!(channel_data(&out), Some((0x4001, data.as_slice())));
        assert_eq!(out.len() % 4, 0);
        assert_eq!(frame_length(*out.first_chunk().unwrap()), Some(out.len()));
        out.clear();
        write_data_indication(&mut out, TRANSACTION, peer, &data);
        assert_eq!(frame_length(*out.first_chunk().unwrap()), Some(out.len()));
        // A client that sends it back says the same, as an indication of its own.
        out[1] = SEND_INDICATION[1];
        assert_eq!(send_indication(&out), Some((peer, data.as_slice())));
    }
}

#[test]
fn cut_channel_data_is_none() {
    assert_eq!(channel_data(&[0x40, 0, 0, 5, 1, 2, 3, 4]), None);
    assert_eq!(channel_data(&[0x40, 0, 0]), None);
    assert_eq!(
        channel_data(&[0x40, 0, 0, 1, 7, 0, 0, 0]),
        Some((0x4000, [7].as_slice()))
    );
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = (Request::parse(&bytes), send_indication(&bytes), channel_data(&bytes));
    }

    #[test]
    fn no_attributes_do_harm(
        kind in prop_oneof![Just(3_u16), Just(4), Just(8), Just(9), Just(0x16)],
        attributes in proptest::collection::vec(
            (prop_oneof![0_u16..0x30, 0x8000_u16..0x8040], proptest::collection::vec(any::<u8>(), 0..24)),
            0..12,
        ),
    ) {
        let attributes: Vec<(u16, &[u8])> = attributes.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        let bytes = message(kind, &attributes);
        let _ = (Request::parse(&bytes), send_indication(&bytes));
    }
}
