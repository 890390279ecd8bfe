//! Keys and signatures against Node's crypto and against ethers, both ways.
//!
//! Needs `node`, and for ethers `npm` and a registry. Where they are missing the tests say SKIP, except with
//! `CI=true`, where that is a failure.

#![cfg(test)]

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dig_identity::{Algorithm, CryptoIdentity, PublicKey, Signer};
use serde_json::{Value, json};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

const MESSAGE: &str = "Grüße, 世界 \u{1F980}";

/// Runs a script on requests, one a line; the answers. `Err` says what is missing.
fn ask(script: &Path, requests: &[Value]) -> Result<Vec<Value>, String> {
    let mut node = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node does not run: {error}"))?;
    let lines: String = requests
        .iter()
        .map(|request| format!("{request}\n"))
        .collect();
    node.stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{script:?} failed");
    let answers: Vec<Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    assert_eq!(answers.len(), requests.len());
    Ok(answers)
}

fn skip(reason: &str) {
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "cannot be skipped in CI: {reason}"
    );
    println!("SKIP {reason}");
}

fn interop(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/interop")
        .join(file)
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

fn bytes(answer: &Value, name: &str) -> Vec<u8> {
    HEXLOWER_PERMISSIVE
        .decode(text(answer, name).trim_start_matches("0x").as_bytes())
        .unwrap()
}

fn altered(signature: &[u8]) -> Vec<u8> {
    let mut altered = signature.to_vec();
    altered[10] ^= 1;
    altered
}

fn check_against_node(identity: &CryptoIdentity, answer: &Value) {
    let key = identity.public_key();
    assert_eq!(text(answer, "public"), key.to_hex());
    assert_eq!(text(answer, "node_id"), identity.node_id().to_string());
    let signature = bytes(answer, "signature");
    key.verify(MESSAGE.as_bytes(), &signature).unwrap();
    assert!(
        key.verify(MESSAGE.as_bytes(), &altered(&signature))
            .is_err()
    );
    assert!(key.verify(b"another message", &signature).is_err());
    // OpenSSL gives the upper half of s every other time; that form is refused.
    let raw = bytes(answer, "raw");
    assert_eq!(
        key.verify(MESSAGE.as_bytes(), &raw).is_ok(),
        raw == signature
    );
}

#[test]
fn node_crypto_agrees_both_ways() {
    let counts = [
        (Algorithm::Ed25519, 4),
        (Algorithm::Secp256k1, 4),
        (Algorithm::Rsa, 1),
    ];
    let algorithms = counts
        .into_iter()
        .flat_map(|(algorithm, count)| vec![algorithm; count]);
    let identities: Vec<_> = algorithms
        .map(|algorithm| CryptoIdentity::generate(algorithm).unwrap())
        .collect();
    let requests: Vec<_> = identities
        .iter()
        .map(|identity| {
            let signature = identity.sign(MESSAGE.as_bytes()).unwrap();
            json!({
                "algorithm": identity.algorithm().name(),
                "private": identity.private_hex().unwrap().as_str(),
                "message": HEXLOWER.encode(MESSAGE.as_bytes()),
                "signatures": [HEXLOWER.encode(&signature), HEXLOWER.encode(&altered(&signature))],
            })
        })
        .collect();
    let answers = match ask(&interop("node.mjs"), &requests) {
        Ok(answers) => answers,
        Err(reason) => return skip(&reason),
    };
    for (identity, answer) in identities.iter().zip(&answers) {
        println!("{identity:?}");
        check_against_node(identity, answer);
        assert_eq!(answer["verified"], json!([true, false]));
    }
}

#[test]
fn keys_that_node_generates_are_read() {
    let requests: Vec<_> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| json!({"algorithm": algorithm.name(), "message": HEXLOWER.encode(MESSAGE.as_bytes()), "signatures": []}))
        .collect();
    let answers = match ask(&interop("node.mjs"), &requests) {
        Ok(answers) => answers,
        Err(reason) => return skip(&reason),
    };
    for (algorithm, answer) in Algorithm::ALL.into_iter().zip(&answers) {
        let identity = CryptoIdentity::from_pair_hex(
            algorithm,
            text(answer, "private"),
            text(answer, "public"),
        )
        .unwrap();
        check_against_node(&identity, answer);
    }
}

/// Installs ethers as the lock file says, once, outside the sources.
fn ethers_script() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("identity-interop");
    dig_lab::node_modules(&interop(""), &folder).map_err(|error| error.to_string())?;
    std::fs::copy(interop("ethers.mjs"), folder.join("ethers.mjs")).unwrap();
    Ok(folder.join("ethers.mjs"))
}

#[test]
fn ethers_agrees_both_ways() {
    let script = match ethers_script() {
        Ok(script) => script,
        Err(reason) => return skip(&reason),
    };
    let algorithm = Algorithm::Secp256k1;
    let own: Vec<_> = (0..4)
        .map(|_| CryptoIdentity::generate(algorithm).unwrap())
        .collect();
    let ours = own.iter().map(|identity| {
        let signature = identity.sign(MESSAGE.as_bytes()).unwrap();
        let private = identity.private_hex().unwrap();
        json!({"private": private.as_str(), "message": MESSAGE, "signature": HEXLOWER.encode(&signature)})
    });
    let requests: Vec<_> = ours
        .chain((0..4).map(|_| json!({"message": MESSAGE})))
        .collect();
    let answers = match ask(&script, &requests) {
        Ok(answers) => answers,
        Err(reason) => return skip(&reason),
    };
    for (index, answer) in answers.iter().enumerate() {
        let (private, compressed, uncompressed) = (
            text(answer, "private"),
            text(answer, "compressed"),
            text(answer, "uncompressed"),
        );
        assert!(
            private.starts_with("0x")
                && compressed.len() == 2 + 66
                && uncompressed.len() == 2 + 130
        );
        let identity = CryptoIdentity::from_private_hex(algorithm, private).unwrap();
        let bare = CryptoIdentity::from_private_hex(algorithm, &private[2..]).unwrap();
        assert_eq!(bare.public_key(), identity.public_key());
        for form in [
            compressed,
            &compressed[2..],
            uncompressed,
            &uncompressed[2..],
        ] {
            let key = PublicKey::parse_hex(algorithm, form).unwrap();
            assert_eq!(
                (&key, key.node_id()),
                (identity.public_key(), identity.node_id())
            );
            CryptoIdentity::from_pair_hex(algorithm, private, form).unwrap();
        }
        identity
            .verify(MESSAGE.as_bytes(), &bytes(answer, "signature"))
            .unwrap();
        // Both sign after RFC 6979, so the signatures are the same.
        assert_eq!(
            bytes(answer, "signature"),
            identity.sign(MESSAGE.as_bytes()).unwrap()
        );
        if let Some(sent) = own.get(index) {
            assert_eq!(sent.public_key(), identity.public_key());
            assert_eq!(answer["verified"], json!(true));
        }
    }
}
