use super::*;
use crate::{
    stun::TransactionId,
    turn::message::{Class, Method},
};

/// What is read of a challenge with that nonce and those algorithms.
fn read(nonce: &[u8], algorithms: Option<&[u8]>) -> Option<Challenge> {
    let mut writer = Writer::new(Class::Error, Method::Allocate, TransactionId([0; 12]));
    writer.put(attribute::REALM, b"realm");
    writer.put(attribute::NONCE, nonce);
    if let Some(algorithms) = algorithms {
        writer.put(attribute::PASSWORD_ALGORITHMS, algorithms);
    }
    let bytes = writer.finish();
    Challenge::read(&Message::parse(&bytes).unwrap())
}

fn chosen(algorithms: &[u8]) -> Option<u16> {
    read(b"n", Some(algorithms)).and_then(|it| it.algorithms.map(|(_, chosen)| chosen))
}

#[test]
fn the_first_algorithm_that_is_known_is_taken() {
    assert_eq!(chosen(&[0, 2, 0, 0, 0, 1, 0, 0]), Some(SHA256));
    assert_eq!(chosen(&[0, 1, 0, 0, 0, 2, 0, 0]), Some(MD5));
    // An unknown one with parameters, padded, before it.
    assert_eq!(chosen(&[0, 9, 0, 3, 1, 2, 3, 0, 0, 2, 0, 0]), Some(SHA256));
    for none in [
        &[][..],
        &[0, 9, 0, 0],
        &[0, 9, 0xFF, 0xFF],
        &[0, 2, 0],
        &[0, 2, 0, 4, 1, 1, 1, 1],
    ] {
        assert_eq!(read(b"n", Some(none)), None, "{none:?}");
    }
}

#[test]
fn algorithms_cannot_be_taken_out_on_the_way() {
    // The first of 24 bits in base64 says that there were some.
    assert_eq!(read(b"obMatJos2gAAAnonce", None), None);
    assert!(read(b"obMatJos2gAAAnonce", Some(&[0, 2, 0, 0])).is_some());
    // The bit of username anonymity alone, which we do not use; and a nonce that is only a nonce.
    assert!(read(b"obMatJos2QAAAnonce", None).is_some());
    assert!(read(b"nonce", None).is_some());
}

#[test]
fn a_later_challenge_does_not_weaken_what_was_agreed_on() {
    let server = TurnServer::new("u", "p", "h", 1, crate::turn::TurnTransport::Udp).unwrap();
    let session = Session::new(&server, read(b"one", Some(&[0, 2, 0, 0])).unwrap());
    let mut writer = Writer::new(Class::Error, Method::Refresh, TransactionId([0; 12]));
    writer.put(attribute::REALM, b"realm");
    writer.put(attribute::NONCE, b"two");
    let bytes = writer.finish();
    let renewed = session.renewed(&Message::parse(&bytes).unwrap()).unwrap();
    assert_eq!(
        (&renewed.nonce[..], renewed.algorithms.unwrap().1),
        (&b"two"[..], SHA256)
    );
}

#[test]
fn a_challenge_without_a_realm_or_with_too_much_of_it_is_none() {
    assert_eq!(read(b"", None), None);
    assert_eq!(read(&[b'n'; 764], None), None);
    assert!(read(&[b'n'; 763], None).is_some());
}

#[test]
fn debug_shows_no_secrets() {
    let server = TurnServer::new(
        "alice",
        "secretive",
        "h",
        1,
        crate::turn::TurnTransport::Udp,
    );
    let session = Session::new(&server.unwrap(), read(b"nonce", None).unwrap());
    let shown = format!("{session:?}");
    assert!(
        shown.contains("alice") && !shown.contains("secretive"),
        "{shown}"
    );
}
