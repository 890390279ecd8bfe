//! `docs/vectors/` against this crate.
//!
//! The cases are built here by hand, byte by byte from `docs/protocol.md`, and not by the code under test. The
//! committed files must hold exactly these cases (but for what is random in them, such as RSA signatures), and the
//! crate must judge each committed case as it says. `DIG_WRITE_VECTORS=1 cargo test -p dig-identity --test vectors`
//! writes them anew.

#![cfg(test)]
#![allow(
    clippy::too_many_lines,
    reason = "tables of cases, a line or more each"
)]

mod auth;
mod certificates;
mod keys;
mod records;

use data_encoding::HEXLOWER;
use dig_identity::{Algorithm, CryptoIdentity};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// The private keys of all vectors. They are published here, so never use them.
const PRIVATE_KEYS: [(Algorithm, &str); 3] = [
    (
        Algorithm::Ed25519,
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    ),
    (
        Algorithm::Secp256k1,
        "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318",
    ),
    (
        Algorithm::Rsa,
        include_str!("../fixtures/rsa-2048.pkcs8.hex"),
    ),
];

fn identity(algorithm: Algorithm) -> CryptoIdentity {
    let (_, private) = PRIVATE_KEYS
        .into_iter()
        .find(|(name, _)| *name == algorithm)
        .unwrap();
    CryptoIdentity::from_private_hex(algorithm, private.trim()).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

/// The cases as committed, after comparing them with `built`. Fields named in a case's `random` list may differ.
fn committed(file: &str, about: &str, built: Vec<Value>) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/vectors")
        .join(file);
    if std::env::var_os("DIG_WRITE_VECTORS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = serde_json::to_string_pretty(&json!({"about": about, "cases": built})).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let mut file: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(file["about"], about);
    let Value::Array(cases) = file["cases"].take() else {
        panic!("{path:?} has no cases")
    };
    assert_eq!(cases.len(), built.len(), "{path:?}");
    for (case, mut built) in cases.iter().zip(built) {
        for field in case["random"].as_array().into_iter().flatten() {
            let field = field.as_str().unwrap();
            built[field] = case[field].clone();
        }
        assert_eq!(*case, built, "{path:?}");
    }
    cases
}
