//! Keys from outside: every form people have is read, every dangerous one is refused quickly.

#![cfg(test)]
#![allow(
    clippy::too_many_lines,
    reason = "tables of cases, a line or more each"
)]

use data_encoding::HEXLOWER;
use dig_identity::{
    Algorithm, CryptoIdentity, HexInputError, KeyError, OutputEncoding, PrivateKeyError, PublicKey,
    SignError, Signer,
};
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// The private key of RFC 8032 §7.1 test 2, and its public key.
const ED25519: (&str, &str) = (
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
);

/// The key of the Ethereum JavaScript documentation; its public key is the generator's multiple by it.
const SECP256K1: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";

fn rsa() -> CryptoIdentity {
    let text = include_str!("fixtures/rsa-2048.pkcs8.hex").trim();
    CryptoIdentity::from_private_hex(Algorithm::Rsa, text).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn private_keys_are_read_with_and_without_prefix_and_nothing_else() {
    let (private, public) = ED25519;
    let identity = CryptoIdentity::from_private_hex(Algorithm::Ed25519, private).unwrap();
    assert_eq!(identity.public_key().to_hex(), public);
    let upper = format!("0x{}", private.to_uppercase());
    let same = CryptoIdentity::from_private_hex(Algorithm::Ed25519, &upper).unwrap();
    assert_eq!(same.node_id(), identity.node_id());

    let read = |text: &str| CryptoIdentity::from_private_hex(Algorithm::Ed25519, text).unwrap_err();
    assert_eq!(
        read(&private[1..]),
        PrivateKeyError::Hex(HexInputError::Odd { digits: 63 })
    );
    assert_eq!(
        read(&format!("{private} ")),
        PrivateKeyError::Hex(HexInputError::Digit { position: 64 })
    );
    assert_eq!(read("0x"), PrivateKeyError::Hex(HexInputError::Empty));
    let algorithm = Algorithm::Ed25519;
    assert_eq!(
        read(&private[2..]),
        PrivateKeyError::Length {
            algorithm,
            expected: 32,
            found: 31
        }
    );
}

#[test]
fn error_texts_do_not_repeat_the_secret() {
    let (private, _) = ED25519;
    for text in [
        &private[1..],
        &private[2..],
        &format!("{private}zz"),
        &format!("{private}00"),
    ] {
        let error = CryptoIdentity::from_private_hex(Algorithm::Ed25519, text).unwrap_err();
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains(&private[8..16]), "{shown}");
        }
    }
}

#[test]
fn secp256k1_private_keys_outside_the_range_are_refused() {
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    for text in ["00".repeat(32), order.into(), "ff".repeat(32)] {
        let error = CryptoIdentity::from_private_hex(Algorithm::Secp256k1, &text).unwrap_err();
        assert_eq!(
            error,
            PrivateKeyError::Invalid(Algorithm::Secp256k1),
            "{text}"
        );
    }
}

#[test]
fn a_public_key_that_does_not_belong_to_the_private_one_is_refused() {
    let other = CryptoIdentity::generate(Algorithm::Ed25519)
        .unwrap()
        .public_key()
        .to_hex();
    let (private, public) = ED25519;
    CryptoIdentity::from_pair_hex(Algorithm::Ed25519, private, public).unwrap();
    let error = CryptoIdentity::from_pair_hex(Algorithm::Ed25519, private, &other).unwrap_err();
    assert_eq!(error, PrivateKeyError::Mismatch);
}

#[test]
fn a_public_only_identity_verifies_and_does_not_sign() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Secp256k1] {
        let whole = CryptoIdentity::generate(algorithm).unwrap();
        let public = CryptoIdentity::public_only(whole.public_key().clone());
        let signature = whole.sign(b"m").unwrap();
        assert_eq!(public.node_id(), whole.node_id());
        assert!(
            public.verify(b"m", &signature).is_ok() && public.verify(b"n", &signature).is_err()
        );
        assert!(matches!(public.sign(b"m"), Err(SignError::PublicOnly)));
        assert!(!public.can_sign() && public.private_hex().is_none());
    }
}

#[test]
fn signatures_are_written_in_both_encodings() {
    let identity = CryptoIdentity::from_private_hex(Algorithm::Secp256k1, SECP256K1).unwrap();
    for encoding in [OutputEncoding::Hex, OutputEncoding::Base64] {
        let text = identity.sign_encoded(b"m", encoding).unwrap();
        identity
            .verify(b"m", &encoding.decode(&text).unwrap())
            .unwrap();
    }
}

#[test]
fn private_keys_survive_the_way_through_text_and_stay_out_of_debug() {
    let generated = [Algorithm::Ed25519, Algorithm::Secp256k1]
        .map(|algorithm| CryptoIdentity::generate(algorithm).unwrap());
    for identity in generated.into_iter().chain([rsa()]) {
        let text = identity.private_hex().unwrap();
        let again = CryptoIdentity::from_private_hex(identity.algorithm(), &text).unwrap();
        assert_eq!(again.public_key(), identity.public_key());
        let shown = format!("{identity:?}");
        let short = identity.node_id().short();
        let algorithm = identity.algorithm();
        assert_eq!(
            shown,
            format!("CryptoIdentity {{ public: PublicKey({algorithm} {short}), can_sign: true }}")
        );
    }
}

#[test]
fn ed25519_points_of_small_order_are_refused_in_every_spelling() {
    // All encodings of the eight points, canonical or not ("Taming the many EdDSAs", table 6b).
    let y = [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for bytes in y.map(hex) {
        for sign in [0, 0x80] {
            let mut bytes = bytes.clone();
            bytes[31] |= sign;
            let error = PublicKey::from_canonical(Algorithm::Ed25519, &bytes).unwrap_err();
            assert!(
                matches!(error, KeyError::Weak | KeyError::Invalid(_)),
                "{bytes:?}: {error}"
            );
        }
    }
}

#[test]
fn ed25519_keys_have_one_spelling() {
    // y = p + 3 is y = 3, a point of the curve of large order.
    let mut bytes = [0xFF; 32];
    (bytes[0], bytes[31]) = (0xED + 3, 0x7F);
    let error = PublicKey::from_canonical(Algorithm::Ed25519, &bytes).unwrap_err();
    let mut canonical = [0; 32];
    canonical[0] = 3;
    assert!(PublicKey::from_canonical(Algorithm::Ed25519, &canonical).is_ok());
    assert_eq!(error, KeyError::NotCanonical);
}

#[test]
fn altered_signatures_are_refused() {
    // Ed25519: S + L is the same S modulo the group order L.
    let identity = CryptoIdentity::from_private_hex(Algorithm::Ed25519, ED25519.0).unwrap();
    let mut signature = identity.sign(b"m").unwrap();
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let mut carry = 0;
    for (byte, add) in signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(carry, 0);
    assert!(identity.verify(b"m", &signature).is_err());
    // R is the neutral element and S fits it: the equation of RFC 8032 holds, but nobody signs like that.
    let (r, s) = (
        "01",
        "c7d916957dd68cc9199dcaa2cdc3055204533fe9f8b33f585d8acc4f3d1e000c",
    );
    let neutral = hex(&format!("{r}{}{s}", "00".repeat(31)));
    assert!(identity.verify(b"m", &neutral).is_err());

    // ECDSA: n - s is as good as s, and DER says the same.
    let identity = CryptoIdentity::from_private_hex(Algorithm::Secp256k1, SECP256K1).unwrap();
    let signature = k256::ecdsa::Signature::from_slice(&identity.sign(b"m").unwrap()).unwrap();
    let (r, s) = signature.split_scalars();
    let twin = k256::ecdsa::Signature::from_scalars(*r, -*s).unwrap();
    assert!(identity.verify(b"m", &signature.to_bytes()).is_ok());
    assert!(identity.verify(b"m", &twin.to_bytes()).is_err());
    assert!(
        identity
            .verify(b"m", signature.to_der().as_bytes())
            .is_err()
    );
}

#[test]
fn secp256k1_has_one_canonical_form_and_two_that_are_read() {
    let identity = CryptoIdentity::from_private_hex(Algorithm::Secp256k1, SECP256K1).unwrap();
    let compressed = identity.public_key().as_bytes();
    let point = k256::ecdsa::VerifyingKey::from_sec1_bytes(compressed)
        .unwrap()
        .to_sec1_point(false);
    let uncompressed = point.as_bytes();
    let parse = |bytes: &[u8]| PublicKey::parse_hex(Algorithm::Secp256k1, &HEXLOWER.encode(bytes));
    assert_eq!(parse(compressed).as_ref(), Ok(identity.public_key()));
    assert_eq!(parse(uncompressed).as_ref(), Ok(identity.public_key()));
    assert!(matches!(
        PublicKey::from_canonical(Algorithm::Secp256k1, uncompressed),
        Err(KeyError::Length { found: 65, .. })
    ));
    // The hybrid form, a point beside the curve, the point at infinity.
    let mut hybrid = uncompressed.to_vec();
    hybrid[0] = 6 + (uncompressed[64] & 1);
    let mut beside = uncompressed.to_vec();
    beside[64] ^= 1;
    for bytes in [&hybrid[..], &beside] {
        assert_eq!(parse(bytes), Err(KeyError::Invalid(Algorithm::Secp256k1)));
    }
    assert!(matches!(
        parse(&[0]),
        Err(KeyError::Length { found: 1, .. })
    ));
}

/// One DER element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let header = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
    };
    [header, content.to_vec()].concat()
}

fn integer(bytes: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if bytes[0] & 0x80 == 0 { &[] } else { &[0] };
    element(0x02, &[sign, bytes].concat())
}

const RSA_ENCRYPTION: &str = "06092a864886f70d010101";
const RSASSA_PSS: &str = "06092a864886f70d01010a";
const NULL: &[u8] = &[5, 0];

/// A `SubjectPublicKeyInfo` of any numbers.
fn spki(oid: &str, parameters: &[u8], modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let key = element(0x30, &[integer(modulus), integer(exponent)].concat());
    let bits = element(0x03, &[&[0], &key[..]].concat());
    let algorithm = element(0x30, &[&hex(oid)[..], parameters].concat());
    element(0x30, &[algorithm, bits].concat())
}

#[test]
fn hostile_rsa_keys_are_refused_at_once() {
    let odd = |bits: usize| vec![0xA5; bits / 8];
    let plain = |modulus: &[u8], exponent: &[u8]| spki(RSA_ENCRYPTION, NULL, modulus, exponent);
    let usual = [1, 0, 1];
    let mut even = odd(2048);
    even[255] = 0xA4;
    let good = plain(&odd(2048), &usual);
    let invalid = KeyError::Invalid(Algorithm::Rsa);
    let mut negative = good.clone();
    let sign = negative
        .windows(6)
        .position(|bytes| bytes == [0x02, 0x82, 1, 1, 0, 0xA5])
        .unwrap();
    negative[sign + 4] = 0x80;
    let cases = [
        (
            "1024 bits",
            plain(&odd(1024), &usual),
            KeyError::RsaSize { bits: 1024 },
        ),
        (
            "2040 bits",
            plain(&odd(2040), &usual),
            KeyError::RsaSize { bits: 2040 },
        ),
        (
            "4104 bits",
            plain(&odd(4104), &usual),
            KeyError::RsaSize { bits: 4104 },
        ),
        (
            "16384 bits",
            plain(&odd(16_384), &usual),
            KeyError::RsaSize { bits: 16_384 },
        ),
        ("e = 1", plain(&odd(2048), &[1]), KeyError::RsaExponent),
        ("e = 0", plain(&odd(2048), &[0]), KeyError::RsaExponent),
        ("e = 2", plain(&odd(2048), &[2]), KeyError::RsaExponent),
        (
            "e even",
            plain(&odd(2048), &[1, 0, 0]),
            KeyError::RsaExponent,
        ),
        (
            "e of 34 bits",
            plain(&odd(2048), &[2, 0, 0, 0, 1]),
            KeyError::RsaExponent,
        ),
        (
            "e of 2048 bits",
            plain(&odd(2048), &odd(2048)),
            KeyError::RsaExponent,
        ),
        ("even modulus", plain(&even, &usual), invalid),
        ("negative modulus", negative, invalid),
        (
            "no parameters",
            spki(RSA_ENCRYPTION, &[], &odd(2048), &usual),
            KeyError::NotCanonical,
        ),
        (
            "other parameters",
            spki(RSA_ENCRYPTION, &[4, 0], &odd(2048), &usual),
            KeyError::NotCanonical,
        ),
        (
            "two zeros before the modulus",
            plain(&[&[0, 0], &odd(2048)[..]].concat(), &usual),
            invalid,
        ),
        ("zero before e", plain(&odd(2048), &[0, 1, 0, 1]), invalid),
        (
            "length in three bytes",
            [&[0x30, 0x83, 0], &good[2..]].concat(),
            invalid,
        ),
        (
            "length without end",
            [&[0x30, 0x80], &good[4..]].concat(),
            invalid,
        ),
        (
            "RSASSA-PSS",
            spki(RSASSA_PSS, NULL, &odd(2048), &usual),
            invalid,
        ),
        ("bytes after", [&good[..], &[0]].concat(), invalid),
        ("cut short", good[..good.len() - 1].to_vec(), invalid),
        (
            "PKCS#1",
            element(0x30, &[integer(&odd(2048)), integer(&usual)].concat()),
            invalid,
        ),
        ("empty", vec![], invalid),
    ];
    PublicKey::from_canonical(Algorithm::Rsa, &good).unwrap();
    PublicKey::from_canonical(Algorithm::Rsa, &plain(&odd(2048), &[3])).unwrap();
    PublicKey::from_canonical(Algorithm::Rsa, &plain(&odd(4096), &[1, 0, 0, 0, 1])).unwrap();
    for (name, bytes, expected) in cases {
        let error = PublicKey::from_canonical(Algorithm::Rsa, &bytes).unwrap_err();
        // The best of three, as other tests take the processor meanwhile.
        let took = [(); 3].map(|()| {
            let start = Instant::now();
            PublicKey::from_canonical(Algorithm::Rsa, &bytes).unwrap_err();
            start.elapsed()
        });
        let took = took.into_iter().min().unwrap();
        assert_eq!(error, expected, "{name}");
        assert!(took < Duration::from_millis(5), "{name} took {took:?}");
    }
}

#[test]
fn rsa_private_keys_outside_the_limits_are_refused() {
    use rsa::pkcs8::EncodePrivateKey;
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let small = rsa::RsaPrivateKey::new(&mut random, 1024)
        .unwrap()
        .to_pkcs8_der()
        .unwrap();
    let error = CryptoIdentity::from_private_bytes(Algorithm::Rsa, small.as_bytes()).unwrap_err();
    assert_eq!(error, PrivateKeyError::Invalid(Algorithm::Rsa));

    // A private key whose numbers do not belong together would leak its factors with the first signature.
    let mut broken = rsa().private_hex().unwrap().to_string().into_bytes();
    let middle = broken.len() / 2;
    broken[middle] = if broken[middle] == b'0' { b'1' } else { b'0' };
    let broken = String::from_utf8(broken).unwrap();
    assert!(CryptoIdentity::from_private_hex(Algorithm::Rsa, &broken).is_err());
}

#[test]
fn rsa_signatures_agree_with_a_second_implementation() {
    use rsa::{
        pkcs8::{DecodePrivateKey, DecodePublicKey},
        signature::{RandomizedSigner, SignatureEncoding, Verifier},
    };
    let identity = rsa();
    let public = rsa::RsaPublicKey::from_public_key_der(identity.public_key().as_bytes()).unwrap();
    let verifier = rsa::pss::VerifyingKey::<sha2::Sha256>::new(public);
    let signature = identity.sign(b"m").unwrap();
    let parsed = rsa::pss::Signature::try_from(&signature[..]).unwrap();
    verifier.verify(b"m", &parsed).unwrap();
    assert!(verifier.verify(b"n", &parsed).is_err());

    let private =
        rsa::RsaPrivateKey::from_pkcs8_der(&hex(&identity.private_hex().unwrap())).unwrap();
    let mut random = rsa::rand_core::UnwrapErr(getrandom::SysRng);
    let pss = rsa::pss::SigningKey::<sha2::Sha256>::new(private.clone());
    identity
        .verify(b"m", &pss.sign_with_rng(&mut random, b"m").to_vec())
        .unwrap();
    let pkcs1 = rsa::pkcs1v15::SigningKey::<sha2::Sha256>::new(private);
    assert!(
        identity
            .verify(b"m", &pkcs1.sign_with_rng(&mut random, b"m").to_vec())
            .is_err()
    );
}

proptest! {
    #[test]
    fn any_bytes_are_a_key_in_canonical_form_or_none(bytes in prop::collection::vec(any::<u8>(), 0..700), code in 1..=3_u8) {
        let algorithm = Algorithm::from_code(code).unwrap();
        if let Ok(key) = PublicKey::from_canonical(algorithm, &bytes) {
            prop_assert_eq!(key.as_bytes(), &bytes[..]);
        }
    }

    #[test]
    fn any_32_or_33_bytes_are_a_key_in_canonical_form_or_none(bytes: [u8; 33], code in 1..=2_u8) {
        let algorithm = Algorithm::from_code(code).unwrap();
        let bytes = if code == 1 { &bytes[1..] } else { &bytes[..] };
        if let Ok(key) = PublicKey::from_canonical(algorithm, bytes) {
            prop_assert_eq!(key.as_bytes(), bytes);
            prop_assert!(key.verify(b"m", &[0; 64]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_no_signature(signature in prop::collection::vec(any::<u8>(), 0..300), message: Vec<u8>) {
        let ed25519 = CryptoIdentity::from_private_hex(Algorithm::Ed25519, ED25519.0).unwrap();
        let secp256k1 = CryptoIdentity::from_private_hex(Algorithm::Secp256k1, SECP256K1).unwrap();
        for identity in [ed25519, secp256k1, rsa()] {
            prop_assert!(identity.verify(&message, &signature).is_err());
        }
    }
}
