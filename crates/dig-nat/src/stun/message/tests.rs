//! The vectors of RFC 5769, what is written read again, and bytes of anybody.

use super::*;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use proptest::prelude::*;

/// RFC 5769 §2.1, with the attributes of ICE, of which PRIORITY demands to be understood.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046e0001ff\
     80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";
/// RFC 5769 §2.2.
const IPV4_RESPONSE: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643\
     000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// RFC 5769 §2.3.
const IPV6_RESPONSE: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a1470113a9faa5\
     d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

fn bytes(hex: &str) -> Vec<u8> {
    HEX.decode(hex.as_bytes()).unwrap()
}

fn name() -> TransactionId {
    TransactionId(bytes("b7e7a701bc34d686fa87dfae").try_into().unwrap())
}

#[test]
fn reads_the_vectors_of_rfc_5769() {
    for (vector, mapped) in [
        (IPV4_RESPONSE, "192.0.2.1:32853"),
        (
            IPV6_RESPONSE,
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
        ),
    ] {
        let success = Success {
            transaction: name(),
            mapped: mapped.parse().unwrap(),
            origin: None,
            other: None,
        };
        assert_eq!(
            Message::parse(&bytes(vector)),
            Ok(Message::Success(success))
        );
    }
    let request = Request::new(name());
    let unknown = vec![0x0024];
    assert_eq!(
        Message::parse(&bytes(REQUEST)),
        Ok(Message::Request { request, unknown })
    );
}

#[test]
fn a_wrong_fingerprint_is_no_message() {
    let mut vector = bytes(IPV4_RESPONSE);
    *vector.last_mut().unwrap() ^= 1;
    assert_eq!(Message::parse(&vector), Err(ParseError::Malformed));
}

#[test]
fn a_plain_request_is_a_header() {
    assert_eq!(
        HEX.encode(&Request::new(name()).to_bytes()),
        "000100002112a442b7e7a701bc34d686fa87dfae"
    );
}

#[test]
fn the_attributes_of_rfc_5780_are_where_they_belong() {
    let request = Request {
        change: Some(ChangeRequest::AddressAndPort),
        response_port: Some(0x1234),
        ..Request::new(name())
    };
    let expected = "000100102112a442b7e7a701bc34d686fa87dfae00030004000000060027000412340000";
    assert_eq!(HEX.encode(&request.to_bytes()), expected);
    let success = Success {
        transaction: name(),
        mapped: "192.0.2.1:32853".parse().unwrap(),
        origin: Some("192.0.2.7:3478".parse().unwrap()),
        other: Some("192.0.2.8:3479".parse().unwrap()),
    };
    let expected = "010100242112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643\
         802b000800010d96c0000207802c000800010d97c0000208";
    assert_eq!(HEX.encode(&success.to_bytes()), expected);
}

#[test]
fn an_old_server_tells_a_plain_address() {
    let answer = "0101000c2112a442b7e7a701bc34d686fa87dfae0001000800018055c0000201";
    let Ok(Message::Success(success)) = Message::parse(&bytes(answer)) else {
        panic!()
    };
    assert_eq!(success.mapped, "192.0.2.1:32853".parse().unwrap());
    let nothing = "010100002112a442b7e7a701bc34d686fa87dfae";
    assert_eq!(Message::parse(&bytes(nothing)), Err(ParseError::NoAddress));
}

#[test]
fn an_address_in_ipv6_clothes_is_undressed() {
    let success = Success {
        transaction: name(),
        mapped: "[::ffff:192.0.2.1]:7".parse().unwrap(),
        origin: None,
        other: None,
    };
    let Ok(Message::Success(read)) = Message::parse(&success.to_bytes()) else {
        panic!()
    };
    assert_eq!(read.mapped, "192.0.2.1:7".parse().unwrap());
    assert_eq!(success.to_bytes().len(), 32);
}

#[test]
fn an_error_names_what_was_not_understood() {
    let error = ErrorCode::UNKNOWN_ATTRIBUTE.to_bytes(name(), &[3, 4, 5]);
    let Ok(Message::Error { transaction, code }) = Message::parse(&error) else {
        panic!()
    };
    assert_eq!((transaction, code), (name(), ErrorCode(420)));
    assert_eq!(
        HEX.encode(&error[20..]),
        "0009000400000414000a00060003000400050000"
    );
    let many = ErrorCode::UNKNOWN_ATTRIBUTE.to_bytes(name(), &[7; 500]);
    assert_eq!(many.len(), 20 + 8 + 4 + 16, "at most eight");
}

#[test]
fn other_protocols_of_the_socket_are_not_stun() {
    assert!(is_stun(&Request::new(name()).to_bytes()));
    let mut longer = Request::new(name()).to_bytes();
    longer.push(0);
    for datagram in [&[][..], &[0; 20], &[0x40; 1200], &[0xC3; 1200], &longer] {
        assert!(!is_stun(datagram));
        assert_eq!(Message::parse(datagram), Err(ParseError::NotStun));
    }
}

#[test]
fn the_work_for_one_datagram_is_bounded() {
    let mut many = Request::new(name()).to_bytes();
    for _ in 0..MAX_ATTRIBUTES {
        many.extend([0x7F, 0, 0, 0]);
    }
    let set_length = |message: &mut Vec<u8>| {
        let length = u16::try_from(message.len() - HEADER).unwrap();
        message[2..4].copy_from_slice(&length.to_be_bytes());
    };
    set_length(&mut many);
    assert!(
        matches!(Message::parse(&many), Ok(Message::Request { unknown, .. }) if unknown.len() == MAX_ATTRIBUTES)
    );
    many.extend([0x7F, 0, 0, 0]);
    set_length(&mut many);
    assert_eq!(Message::parse(&many), Err(ParseError::TooManyAttributes));
    many.resize(HEADER + 65_532, 0);
    set_length(&mut many);
    assert_eq!(Message::parse(&many), Err(ParseError::NotStun));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u16; 8], u16)>().prop_map(|(ip, port)| canonical(SocketAddr::from((ip, port)))),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        id in any::<[u8; 12]>(),
        change in prop_oneof![Just(None), Just(Some(ChangeRequest::Port)), Just(Some(ChangeRequest::Address)), Just(Some(ChangeRequest::AddressAndPort))],
        response_port in any::<Option<u16>>(),
        mapped in address(),
        origin in proptest::option::of(address()),
        other in proptest::option::of(address()),
        code in 300_u16..700,
    ) {
        let transaction = TransactionId(id);
        let request = Request { transaction, change, response_port };
        prop_assert_eq!(Message::parse(&request.to_bytes()), Ok(Message::Request { request, unknown: vec![] }));
        let success = Success { transaction, mapped, origin, other };
        prop_assert!(success.to_bytes().len() <= 92);
        prop_assert_eq!(Message::parse(&success.to_bytes()), Ok(Message::Success(success)));
        let error = ErrorCode(code);
        prop_assert_eq!(Message::parse(&error.to_bytes(transaction, &[])), Ok(Message::Error { transaction, code: error }));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1400)) {
        let _ = Message::parse(&bytes);
        let mut message = b"\x01\x01\0\0\x21\x12\xA4\x42".to_vec();
        message.extend_from_slice(&bytes);
        message.truncate(HEADER + (message.len().saturating_sub(HEADER) & !3));
        if message.len() >= HEADER {
            let length = u16::try_from(message.len() - HEADER).unwrap();
            message[2..4].copy_from_slice(&length.to_be_bytes());
            for kind in [[0, 1], [1, 1], [1, 0x11], [0, 0x11]] {
                message[..2].copy_from_slice(&kind);
                let _ = Message::parse(&message);
            }
        }
    }

    #[test]
    fn no_change_to_a_message_makes_it_panic(vector in 0_usize..3, changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut message = bytes([REQUEST, IPV4_RESPONSE, IPV6_RESPONSE][vector]);
        for (at, value) in changes {
            let at = at.index(message.len());
            message[at] = value;
        }
        let _ = Message::parse(&message);
    }
}
