use super::*;
use crate::turn::{TurnServer, credentials::Challenge};
use proptest::prelude::*;

const ID: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);

fn key(user: &str, password: &str, realm: &[u8], algorithms: Option<&[u8]>) -> Key {
    let server = TurnServer::new(user, password, "h", 3478, crate::turn::TurnTransport::Udp);
    let mut writer = Writer::new(Class::Error, Method::Allocate, ID);
    writer.put(attribute::REALM, realm);
    writer.put(attribute::NONCE, b"f//499k954d6OL34oL9FSTvy64sA");
    if let Some(algorithms) = algorithms {
        writer.put(attribute::PASSWORD_ALGORITHMS, algorithms);
    }
    let bytes = writer.finish();
    let challenge = Challenge::read(&Message::parse(&bytes).unwrap()).unwrap();
    Key::derive(&server.unwrap(), &challenge)
}

/// The request of RFC 5769 §2.4, signed with a long-term credential.
#[test]
fn agrees_with_rfc_5769_about_long_term_integrity() {
    let bytes = [
        &b"\x00\x01\x00\x60\x21\x12\xa4\x42"[..],
        b"\x78\xad\x34\x33\xc6\xad\x72\xc0\x29\xda\x41\x2e",
        b"\x00\x06\x00\x12\xe3\x83\x9e\xe3\x83\x88\xe3\x83\xaa\xe3\x83\x83\xe3\x82\xaf\xe3\x82\xb9\x00\x00",
        b"\x00\x15\x00\x1cf//499k954d6OL34oL9FSTvy64sA",
        b"\x00\x14\x00\x0bexample.org\x00",
        b"\x00\x08\x00\x14\xf6\x70\x24\x65\x6d\xd6\x4a\x3e\x02\xb8\xe0\x71\x2e\x85\xc9\xa2\x8c\xa8\x96\x66",
    ]
    .concat();
    let message = Message::parse(&bytes).unwrap();
    assert_eq!(
        (message.class, message.method),
        (Class::Request, Method::Binding)
    );
    // The password after SASLprep, which takes the soft hyphen out.
    let user = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
    assert!(message.is_signed(&key(user, "TheMatrIX", b"example.org", None)));
    assert!(!message.is_signed(&key(user, "TheMatrix", b"example.org", None)));
    assert!(!message.is_signed(&key(user, "TheMatrIX", b"example.com", None)));

    // Written by us, it is the same.
    let mut writer = Writer::new(Class::Request, Method::Binding, message.transaction());
    writer.put(attribute::USERNAME, user.as_bytes());
    writer.put(attribute::NONCE, b"f//499k954d6OL34oL9FSTvy64sA");
    writer.put(attribute::REALM, b"example.org");
    writer.sign(&key(user, "TheMatrIX", b"example.org", None));
    assert_eq!(writer.finish(), bytes);
}

/// The addresses of RFC 5769 §2.2 and §2.3.
#[test]
fn agrees_with_rfc_5769_about_addresses() {
    for (addr, value) in [
        ("192.0.2.1:32853", "0001a147e112a643"),
        (
            "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
            "0002a1470113a9faa5d3f179bc25f4b5bed2b9d9",
        ),
    ] {
        let mut writer = Writer::new(Class::Success, Method::Binding, ID);
        writer.put_address(attribute::XOR_MAPPED_ADDRESS, addr.parse().unwrap());
        let bytes = writer.finish();
        let message = Message::parse(&bytes).unwrap();
        let written = message.value(attribute::XOR_MAPPED_ADDRESS).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(written), value);
        assert_eq!(
            message.address(attribute::XOR_MAPPED_ADDRESS),
            addr.parse().ok()
        );
    }
}

#[test]
fn message_types_are_those_of_the_rfcs() {
    for (class, method, kind) in [
        (Class::Request, Method::Allocate, 0x0003),
        (Class::Success, Method::Allocate, 0x0103),
        (Class::Error, Method::Refresh, 0x0114),
        (Class::Indication, Method::Send, 0x0016),
        (Class::Indication, Method::Data, 0x0017),
        (Class::Request, Method::ChannelBind, 0x0009),
    ] {
        assert_eq!(class.of(method), kind);
        let bytes = Writer::new(class, method, ID).finish();
        let message = Message::parse(&bytes).unwrap();
        assert_eq!((message.class, message.method), (class, method));
    }
    let unknown = Writer(Writer::new(Class::Request, Method::Send, ID).finish());
    let mut unknown = unknown.finish();
    unknown[1] = 0x0A;
    assert!(Message::parse(&unknown).is_none());
}

#[test]
fn what_follows_the_integrity_is_not_there() {
    let key = key("u", "p", b"r", None);
    let mut writer = Writer::new(Class::Success, Method::Refresh, ID);
    writer.sign(&key);
    writer.put(attribute::LIFETIME, &600_u32.to_be_bytes());
    let bytes = writer.finish();
    let message = Message::parse(&bytes).unwrap();
    assert!(message.is_signed(&key));
    assert_eq!(message.number(attribute::LIFETIME), None);
}

#[test]
fn sha256_signs_where_it_is_offered() {
    // SHA-256 first, then MD5.
    let key = key("u", "p", b"r", Some(&[0, 2, 0, 0, 0, 1, 0, 0]));
    let mut writer = Writer::new(Class::Request, Method::Refresh, ID);
    writer.sign(&key);
    let bytes = writer.finish();
    assert_eq!(bytes.len(), HEADER + 4 + 32);
    assert_eq!(bytes[HEADER..HEADER + 4], [0, 0x1C, 0, 32]);
    assert!(Message::parse(&bytes).unwrap().is_signed(&key));
}

#[test]
fn error_codes_are_300_to_699() {
    for (value, expected) in [
        (vec![0, 0, 4, 38], Some(438)),
        (vec![0, 0, 4, 38, b'x', b'y'], Some(438)),
        (vec![0, 0, 2, 0], None),
        (vec![0, 0, 7, 0], None),
        (vec![0, 0, 4, 100], None),
        (vec![0, 0, 4], None),
    ] {
        let mut writer = Writer::new(Class::Error, Method::Refresh, ID);
        writer.put(attribute::ERROR_CODE, &value);
        let bytes = writer.finish();
        assert_eq!(
            Message::parse(&bytes).unwrap().error(),
            expected,
            "{value:?}"
        );
    }
}

#[test]
fn cut_and_overlong_attributes_are_no_message() {
    let mut writer = Writer::new(Class::Success, Method::Allocate, ID);
    writer.put(attribute::LIFETIME, &[0; 4]);
    let whole = writer.finish();
    assert!(Message::parse(&whole).is_some());
    for at in 0..whole.len() {
        assert!(Message::parse(&whole[..at]).is_none(), "{at}");
    }
    let mut longer = whole.clone();
    longer[HEADER + 3] = 5;
    assert!(Message::parse(&longer).is_none());
    let mut writer = Writer::new(Class::Success, Method::Allocate, ID);
    for _ in 0..=MAX_ATTRIBUTES {
        writer.put(attribute::LIFETIME, &[]);
    }
    assert!(Message::parse(&writer.finish()).is_none());
}

proptest! {
    #[test]
    fn addresses_survive(ip: IpAddr, port: u16, id: [u8; 12]) {
        let mut writer = Writer::new(Class::Indication, Method::Data, TransactionId(id));
        writer.put_address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, port));
        let bytes = writer.finish();
        let read = Message::parse(&bytes).unwrap().address(attribute::XOR_PEER_ADDRESS);
        prop_assert_eq!(read, Some(SocketAddr::new(ip.to_canonical(), port)));
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 20..400), dress: bool) {
        if dress {
            let length = bytes.len() / 4 * 4;
            bytes.truncate(length);
            bytes[..2].copy_from_slice(&[0x01, 0x03]);
            bytes[2..4].copy_from_slice(&((length - 20) as u16).to_be_bytes());
            bytes[4..8].copy_from_slice(&COOKIE);
        }
        if let Some(message) = Message::parse(&bytes) {
            for kind in [attribute::XOR_PEER_ADDRESS, attribute::LIFETIME, attribute::ERROR_CODE, attribute::ALTERNATE_SERVER] {
                let _ = (message.address(kind), message.plain_address(kind), message.number(kind), message.find(kind));
            }
            let _ = (message.error(), Challenge::read(&message), message.transaction());
            prop_assert!(!message.is_signed(&key("u", "p", b"r", None)));
        }
    }

    /// Attributes of every length, a few of which are known: so that parsing comes to their insides.
    #[test]
    fn any_attributes_are_read_or_refused(all in proptest::collection::vec((0_u16..0x30, proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
        let mut writer = Writer::new(Class::Error, Method::Allocate, ID);
        for (kind, value) in &all {
            writer.put(*kind, value);
        }
        let bytes = writer.finish();
        let message = Message::parse(&bytes).unwrap();
        for kind in 0..0x30 {
            let _ = (message.address(kind), message.number(kind), message.value(kind));
        }
        let _ = Challenge::read(&message);
    }
}
