#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on must fail at once"
)]

use super::*;
use crate::candidate::Transport;
use proptest::prelude::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn seen(addr: &str, transport: Transport) -> Observed {
    Observed {
        transport,
        addr: addr.parse().unwrap(),
    }
}

fn all() -> Vec<Message> {
    let message = Bytes::from(vec![7; MAX_SIGNAL]);
    let prekey = Bytes::from(vec![8; SignedPrekey::MAX_LEN]);
    let v4 = seen("192.0.2.7:4433", Transport::Udp);
    let v6 = seen("[2001:db8::7]:80", Transport::Tcp);
    let (request, to, from) = (9, node(1), node(2));
    let statuses = [
        Status::Done,
        Status::NotFound,
        Status::Busy(Duration::from_millis(250)),
        Status::NotRegistered,
        Status::Malformed,
        Status::Full,
    ];
    let mut all = vec![
        Message::Register {
            discreet: true,
            prekey: prekey.clone(),
        },
        Message::Register {
            discreet: false,
            prekey: Bytes::new(),
        },
        Message::Registered { observed: v4 },
        Message::Registered { observed: v6 },
        Message::Find { request, node: to },
        Message::Found {
            request,
            node: to,
            prekey,
        },
        Message::Introduce {
            request,
            to,
            message: message.clone(),
        },
        Message::Introduced {
            from,
            observed: [v4, v6].repeat(4),
            message: message.clone(),
        },
        Message::Introduced {
            from,
            observed: Vec::new(),
            message,
        },
    ];
    all.extend(statuses.map(|status| Message::Result { request, status }));
    all
}

#[test]
fn what_is_written_is_read() {
    for message in all() {
        let frame = message.encode();
        assert!(!frame.kind.is_critical(), "others ignore it");
        assert!(frame.payload.len() <= dig_types::MAX_FRAME_PAYLOAD);
        assert!(Addressee::of(frame.kind).is_some());
        assert_eq!(Message::decode(&frame), Ok(Some(message)));
    }
}

#[test]
fn bytes_are_those_of_the_protocol() {
    let registered = Message::Registered {
        observed: seen("192.0.2.7:4433", Transport::Tcp),
    };
    let frame = registered.encode();
    assert_eq!(frame.kind.0, 0x0043);
    assert_eq!(frame.payload[..], [2, 4, 192, 0, 2, 7, 0x11, 0x51]);
    let busy = Message::Result {
        request: 3,
        status: Status::Busy(Duration::from_millis(250)),
    };
    let frame = busy.encode();
    assert_eq!((frame.kind.0, frame.request), (0x004D, 3));
    assert_eq!(frame.payload[..], [0, 2, 0, 0, 0, 250]);
    let introduced = Message::Introduced {
        from: node(2),
        observed: vec![seen("192.0.2.7:4433", Transport::Udp)],
        message: Bytes::from_static(b"m"),
    };
    let frame = introduced.encode();
    assert_eq!(frame.kind.0, 0x004B);
    let mut expected = vec![2; 32];
    expected.extend([1, 1, 4, 192, 0, 2, 7, 0x11, 0x51, b'm']);
    assert_eq!(frame.payload[..], expected);
}

#[test]
fn ipv4_never_wears_ipv6_clothes() {
    let mapped = Message::Registered {
        observed: seen("[::ffff:192.0.2.7]:4433", Transport::Udp),
    };
    let frame = mapped.encode();
    assert_eq!(frame.payload[..], [1, 4, 192, 0, 2, 7, 0x11, 0x51]);
    let mut clothed = vec![1, 6];
    clothed.extend(
        "::ffff:192.0.2.7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    clothed.extend([0x11, 0x51]);
    let frame = Frame::new(FrameType(REGISTERED), 0, clothed.into());
    assert_eq!(
        Message::decode(&frame),
        Ok(Some(Message::Registered {
            observed: seen("192.0.2.7:4433", Transport::Udp)
        }))
    );
}

#[test]
fn cut_and_lengthened_payloads_are_refused() {
    for message in all() {
        let frame = message.encode();
        let payload = frame.payload.clone();
        let with =
            |payload: Bytes| Message::decode(&Frame::new(frame.kind, frame.request, payload));
        for length in 0..payload.len().min(64) {
            let cut = with(payload.slice(..length));
            // A shorter prekey or message is another one; where they end is not written.
            assert_ne!(cut, Ok(Some(message.clone())), "{length}");
        }
        let longer = with([&payload[..], &[0; 8192]].concat().into());
        let ignored = matches!(message, Message::Result { .. });
        assert_eq!(longer.is_ok(), ignored, "{message:?}");
    }
}

#[test]
fn unknown_statuses_and_frames_are_ignored() {
    for (kind, payload) in [
        (RESULT, vec![0, 99, 0, 0, 0, 0]),
        (0x0039, vec![1]),
        (0xF001, vec![]),
    ] {
        let frame = Frame::new(FrameType(kind), 1, payload.into());
        assert_eq!(Message::decode(&frame), Ok(None));
    }
}

proptest! {
    #[test]
    fn any_payload_is_answered(kind in 0x003Eu16..0x0050, request: u32, payload in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let frame = Frame::new(FrameType(kind), request, payload.into());
        if let Ok(Some(message)) = Message::decode(&frame) {
            let again = message.encode();
            prop_assert_eq!(again.kind, frame.kind);
            prop_assert_eq!(Message::decode(&again), Ok(Some(message)));
        }
    }
}
