//! `identity.json`: keys, node ids and signatures.

use crate::{PRIVATE_KEYS, committed, hex, identity, unhex};
use data_encoding::HEXLOWER;
use dig_identity::{Algorithm, CryptoIdentity, PublicKey, Signer};
use k256::ecdsa::{Signature, VerifyingKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const ABOUT: &str = "Section 1. kind `key`: the private key gives the public key and the node id, and the signature verifies. \
kind `alias`: the text is read as the key of that node id. kind `bad-key`: the bytes are refused as a canonical public key. \
kind `bad-signature`: the signature over the message does not verify. Private keys: ed25519 seed, secp256k1 number, RSA PKCS#8. \
These keys are published: never use them.";

const MESSAGE: &[u8] = "a message, Grüße".as_bytes();

/// S for `MESSAGE`, the ed25519 key and R the neutral element: the equation of RFC 8032 §5.1.7 holds.
const NEUTRAL_S: [u8; 32] = [
    0xB4, 0x27, 0x92, 0xE9, 0x00, 0x2B, 0x4F, 0x47, 0x84, 0x08, 0xB9, 0x6A, 0x09, 0xD1, 0x53, 0xBD,
    0x84, 0x8D, 0xFB, 0xF7, 0x73, 0x3B, 0x97, 0x8C, 0x56, 0x7D, 0x28, 0x53, 0xCF, 0x68, 0xDF, 0x09,
];

fn build() -> Vec<Value> {
    let mut cases: Vec<_> = PRIVATE_KEYS
        .into_iter()
        .map(|(algorithm, private)| key_case(algorithm, private.trim()))
        .collect();
    let secp256k1 = identity(Algorithm::Secp256k1);
    let compressed = secp256k1.public_key().as_bytes();
    let point = VerifyingKey::from_sec1_bytes(compressed)
        .unwrap()
        .to_sec1_point(false);
    let uncompressed = hex(point.as_bytes());
    for text in [
        format!("0x{}", hex(compressed)),
        uncompressed.clone(),
        format!("0x{}", uncompressed.to_uppercase()),
    ] {
        cases.push(json!({"kind": "alias", "algorithm": "secp256k1", "text": text, "node_id": node_id(compressed)}));
    }
    let bad_keys = [
        (
            "neutral element",
            Algorithm::Ed25519,
            format!("01{}", "00".repeat(31)),
        ),
        (
            "point of order 8",
            Algorithm::Ed25519,
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".into(),
        ),
        (
            "y = 3 written as p + 3",
            Algorithm::Ed25519,
            format!("f0{}7f", "ff".repeat(30)),
        ),
        ("31 bytes", Algorithm::Ed25519, "3d".repeat(31)),
        ("uncompressed", Algorithm::Secp256k1, uncompressed),
        (
            "x not on the curve",
            Algorithm::Secp256k1,
            format!("02{}", "00".repeat(31) + "05"),
        ),
        (
            "byte after the key",
            Algorithm::Rsa,
            hex(identity(Algorithm::Rsa).public_key().as_bytes()) + "00",
        ),
    ];
    for (name, algorithm, public) in bad_keys {
        cases.push(json!({"kind": "bad-key", "name": name, "algorithm": algorithm.name(), "public": public}));
    }
    let signature = Signature::from_slice(&secp256k1.sign(MESSAGE).unwrap()).unwrap();
    let (r, s) = signature.split_scalars();
    let upper = Signature::from_scalars(*r, -*s).unwrap();
    let mut altered = identity(Algorithm::Ed25519).sign(MESSAGE).unwrap();
    altered[63] ^= 0x20;
    let bad_signatures = [
        (
            "s in the upper half",
            Algorithm::Secp256k1,
            upper.to_bytes().to_vec(),
        ),
        (
            "DER",
            Algorithm::Secp256k1,
            signature.to_der().as_bytes().to_vec(),
        ),
        ("S not below the group order", Algorithm::Ed25519, altered),
        ("empty", Algorithm::Ed25519, vec![]),
        (
            "R is the neutral element",
            Algorithm::Ed25519,
            [&[1][..], &[0; 31], &NEUTRAL_S].concat(),
        ),
    ];
    for (name, algorithm, signature) in bad_signatures {
        cases.push(json!({
            "kind": "bad-signature", "name": name, "algorithm": algorithm.name(),
            "public": identity(algorithm).public_key().to_hex(), "message": hex(MESSAGE), "signature": hex(&signature),
        }));
    }
    cases
}

fn node_id(canonical: &[u8]) -> String {
    hex(&Sha256::digest(canonical))
}

fn key_case(algorithm: Algorithm, private: &str) -> Value {
    let identity = identity(algorithm);
    let public = identity.public_key().as_bytes();
    let signature = identity.sign(MESSAGE).unwrap();
    let random: &[&str] = if algorithm == Algorithm::Rsa {
        &["signature"]
    } else {
        &[]
    };
    json!({
        "kind": "key", "algorithm": algorithm.name(), "private": private, "public": hex(public),
        "node_id": node_id(public), "message": hex(MESSAGE), "signature": hex(&signature), "random": random,
    })
}

#[test]
fn identity_vectors() {
    for case in committed("identity.json", ABOUT, build()) {
        let text = |name: &str| case[name].as_str().unwrap();
        let algorithm: Algorithm = text("algorithm").parse().unwrap();
        match text("kind") {
            "key" => {
                let identity =
                    CryptoIdentity::from_pair_hex(algorithm, text("private"), text("public"))
                        .unwrap();
                assert_eq!(identity.node_id().to_string(), text("node_id"));
                identity
                    .verify(&unhex(&case["message"]), &unhex(&case["signature"]))
                    .unwrap();
            }
            "alias" => {
                let key = PublicKey::parse_hex(algorithm, text("text")).unwrap();
                assert_eq!(key.node_id().to_string(), text("node_id"));
            }
            "bad-key" => {
                let bytes = HEXLOWER.decode(text("public").as_bytes()).unwrap();
                assert!(
                    PublicKey::from_canonical(algorithm, &bytes).is_err(),
                    "{case}"
                );
            }
            "bad-signature" => {
                let key = PublicKey::parse_hex(algorithm, text("public")).unwrap();
                assert!(
                    key.verify(&unhex(&case["message"]), &unhex(&case["signature"]))
                        .is_err(),
                    "{case}"
                );
            }
            kind => panic!("unknown kind {kind}"),
        }
    }
}
