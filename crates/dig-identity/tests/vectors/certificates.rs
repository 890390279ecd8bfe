//! `certificates.json`: certificates good and bad.

use crate::{committed, hex, identity, unhex};
use dig_identity::{Algorithm, CryptoIdentity, Signer, certificate};
use dig_types::Timestamp;
use ed25519_dalek::{Signer as _, SigningKey};
use rcgen::{CustomExtension, PublicKeyData};
use serde_json::{Value, json};
use std::time::Duration;

const ABOUT: &str = "Section 2. A certificate (DER) judged at `now` (Unix seconds): `verdict` is `ok`, with the identity that is proved, \
or the reason for refusing it (any reason is right, as long as it is refused).";

const OID: [u64; 3] = [2, 25, 8_064_779_717_801_458_205];
const ISSUED: u64 = 1_800_000_000;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
const EXPIRES: u64 = ISSUED + 7 * DAY;

/// The throw-away key of a certificate.
struct Throwaway(SigningKey, [u8; 32]);

impl Throwaway {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = key.verifying_key().to_bytes();
        Self(key, public)
    }

    fn spki(&self) -> Vec<u8> {
        // RFC 8410 §4.
        [
            &[
                0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00,
            ],
            &self.1[..],
        ]
        .concat()
    }
}

impl PublicKeyData for Throwaway {
    fn der_bytes(&self) -> &[u8] {
        &self.1
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Throwaway {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_bytes().to_vec())
    }
}

/// The fields of the extension.
#[derive(Clone)]
struct Fields {
    version: u8,
    algorithm: u8,
    issued: u64,
    expires: u64,
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl Fields {
    /// What `identity` says about the certificate of `spki`.
    fn signed(identity: &CryptoIdentity, spki: &[u8], issued: u64, expires: u64) -> Self {
        let text = [
            b"dig-tls/1:",
            spki,
            &issued.to_be_bytes(),
            &expires.to_be_bytes(),
        ]
        .concat();
        Self {
            version: 1,
            algorithm: identity.algorithm().code(),
            issued,
            expires,
            key: identity.public_key().as_bytes().to_vec(),
            signature: identity.sign(&text).unwrap(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.version, self.algorithm];
        bytes.extend(self.issued.to_be_bytes());
        bytes.extend(self.expires.to_be_bytes());
        for field in [&self.key, &self.signature] {
            bytes.extend((field.len() as u16).to_be_bytes());
            bytes.extend(field);
        }
        bytes
    }
}

/// The DER OCTET STRING of `bytes`.
fn octets(bytes: &[u8]) -> Vec<u8> {
    let len = bytes.len();
    let header = match len {
        0..0x80 => vec![0x04, len as u8],
        0x80..0x100 => vec![0x04, 0x81, len as u8],
        _ => vec![0x04, 0x82, (len >> 8) as u8, len as u8],
    };
    [header, bytes.to_vec()].concat()
}

fn extension(fields: &Fields) -> CustomExtension {
    CustomExtension::from_oid_content(&OID, octets(&fields.bytes()))
}

fn certificate(key: &impl rcgen::SigningKey, extensions: Vec<CustomExtension>) -> Vec<u8> {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.custom_extensions = extensions;
    parameters.self_signed(key).unwrap().der().to_vec()
}

fn good(name: &str, der: &[u8], now: u64, identity: &CryptoIdentity) -> Value {
    let random: &[&str] = if identity.algorithm() == Algorithm::Rsa {
        &["der"]
    } else {
        &[]
    };
    json!({
        "name": name, "der": hex(der), "now": now, "verdict": "ok", "random": random,
        "algorithm": identity.algorithm().name(), "key": identity.public_key().to_hex(),
        "node_id": identity.node_id().to_string(),
    })
}

fn bad(name: &str, der: &[u8], now: u64, reason: &str) -> Value {
    json!({"name": name, "der": hex(der), "now": now, "verdict": reason})
}

fn good_cases() -> Vec<Value> {
    let throwaway = Throwaway::new(7);
    let spki = throwaway.spki();
    let mut cases: Vec<_> = Algorithm::ALL
        .into_iter()
        .map(|algorithm| {
            let identity = identity(algorithm);
            let fields = Fields::signed(&identity, &spki, ISSUED, EXPIRES);
            good(
                algorithm.name(),
                &certificate(&throwaway, vec![extension(&fields)]),
                ISSUED,
                &identity,
            )
        })
        .collect();
    let identity = identity(Algorithm::Ed25519);
    let week = extension(&Fields::signed(&identity, &spki, ISSUED, EXPIRES));
    let der = certificate(&throwaway, vec![week.clone()]);
    cases.push(good(
        "an hour before its issue",
        &der,
        ISSUED - HOUR,
        &identity,
    ));
    cases.push(good(
        "a second less than an hour after its end",
        &der,
        EXPIRES + HOUR - 1,
        &identity,
    ));
    let month = extension(&Fields::signed(&identity, &spki, ISSUED, ISSUED + 30 * DAY));
    cases.push(good(
        "thirty days",
        &certificate(&throwaway, vec![month]),
        ISSUED,
        &identity,
    ));
    let other = CustomExtension::from_oid_content(&[2, 25, 1], vec![5, 0]);
    cases.push(good(
        "another extension before it",
        &certificate(&throwaway, vec![other, week]),
        ISSUED,
        &identity,
    ));
    cases.push(p256_case(&identity));
    cases
}

/// A certificate key of another algorithm, as other implementations may use.
fn p256_case(identity: &CryptoIdentity) -> Value {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let fields = Fields::signed(identity, &key.subject_public_key_info(), ISSUED, EXPIRES);
    let mut case = good(
        "certificate key of P-256",
        &certificate(&key, vec![extension(&fields)]),
        ISSUED,
        identity,
    );
    case["random"] = json!(["der"]);
    case
}

fn bad_times() -> Vec<Value> {
    let throwaway = Throwaway::new(7);
    let identity = identity(Algorithm::Ed25519);
    let case = |name: &str, issued: u64, expires: u64, now: u64, reason: &str| {
        let fields = Fields::signed(&identity, &throwaway.spki(), issued, expires);
        bad(
            name,
            &certificate(&throwaway, vec![extension(&fields)]),
            now,
            reason,
        )
    };
    vec![
        case(
            "an hour after its end",
            ISSUED,
            EXPIRES,
            EXPIRES + HOUR,
            "Expired",
        ),
        case(
            "more than an hour before its issue",
            ISSUED,
            EXPIRES,
            ISSUED - HOUR - 1,
            "NotYetValid",
        ),
        case(
            "a second more than thirty days",
            ISSUED,
            ISSUED + 30 * DAY + 1,
            ISSUED,
            "Lifetime",
        ),
        case("no time at all", ISSUED, ISSUED, ISSUED, "Lifetime"),
        case("ends before it begins", EXPIRES, ISSUED, ISSUED, "Lifetime"),
        case(
            "times at the end of the range",
            u64::MAX - 1,
            u64::MAX,
            ISSUED,
            "NotYetValid",
        ),
        case(
            "ends at the end of the range",
            0,
            u64::MAX,
            ISSUED,
            "Lifetime",
        ),
    ]
}

fn bad_fields() -> Vec<Value> {
    let throwaway = Throwaway::new(7);
    let spki = throwaway.spki();
    let signed = |algorithm| Fields::signed(&identity(algorithm), &spki, ISSUED, EXPIRES);
    let fields = signed(Algorithm::Ed25519);
    let case = |name: &str, fields: &Fields, reason: &str| {
        bad(
            name,
            &certificate(&throwaway, vec![extension(fields)]),
            ISSUED,
            reason,
        )
    };
    let elsewhere = Fields::signed(
        &identity(Algorithm::Ed25519),
        &Throwaway::new(8).spki(),
        ISSUED,
        EXPIRES,
    );
    let other = CryptoIdentity::from_private_bytes(Algorithm::Ed25519, &[9; 32]).unwrap();
    let mut weak = vec![0; 32];
    weak[0] = 1;
    let secp256k1 = signed(Algorithm::Secp256k1);
    let ecdsa = k256::ecdsa::Signature::from_slice(&secp256k1.signature).unwrap();
    let (r, s) = ecdsa.split_scalars();
    let upper = k256::ecdsa::Signature::from_scalars(*r, -*s)
        .unwrap()
        .to_bytes()
        .to_vec();
    let point = k256::ecdsa::VerifyingKey::from_sec1_bytes(&secp256k1.key)
        .unwrap()
        .to_sec1_point(false);
    vec![
        case("signature for another certificate", &elsewhere, "Signature"),
        case(
            "key of another node",
            &Fields {
                key: other.public_key().as_bytes().to_vec(),
                ..fields.clone()
            },
            "Signature",
        ),
        case(
            "end moved by a second",
            &Fields {
                expires: EXPIRES + 1,
                ..fields.clone()
            },
            "Signature",
        ),
        case(
            "issue moved by a second",
            &Fields {
                issued: ISSUED - 1,
                ..fields.clone()
            },
            "Signature",
        ),
        case(
            "signature cut short",
            &Fields {
                signature: fields.signature[..63].to_vec(),
                ..fields.clone()
            },
            "Signature",
        ),
        case(
            "no signature",
            &Fields {
                signature: vec![],
                ..fields.clone()
            },
            "Signature",
        ),
        case(
            "s in the upper half",
            &Fields {
                signature: upper,
                ..secp256k1.clone()
            },
            "Signature",
        ),
        case(
            "uncompressed key",
            &Fields {
                key: point.as_bytes().to_vec(),
                ..secp256k1
            },
            "Key",
        ),
        case(
            "key cut short",
            &Fields {
                key: fields.key[..31].to_vec(),
                ..fields.clone()
            },
            "Key",
        ),
        case(
            "key of small order",
            &Fields {
                key: weak,
                signature: vec![0; 64],
                ..fields.clone()
            },
            "Key",
        ),
        case(
            "key of another algorithm",
            &Fields {
                algorithm: 2,
                ..fields.clone()
            },
            "Key",
        ),
        case(
            "unknown algorithm",
            &Fields {
                algorithm: 4,
                ..fields.clone()
            },
            "Algorithm",
        ),
        case(
            "version 0",
            &Fields {
                version: 0,
                ..fields.clone()
            },
            "Version",
        ),
        case(
            "version 2",
            &Fields {
                version: 2,
                ..fields
            },
            "Version",
        ),
    ]
}

fn bad_forms() -> Vec<Value> {
    let throwaway = Throwaway::new(7);
    let identity = identity(Algorithm::Ed25519);
    let fields = Fields::signed(&identity, &throwaway.spki(), ISSUED, EXPIRES);
    let case = |name: &str, extensions: Vec<CustomExtension>, reason: &str| {
        bad(name, &certificate(&throwaway, extensions), ISSUED, reason)
    };
    let content = |name: &str, content: Vec<u8>, reason: &str| {
        case(
            name,
            vec![CustomExtension::from_oid_content(&OID, content)],
            reason,
        )
    };
    let bytes = fields.bytes();
    let mut critical = extension(&fields);
    critical.set_criticality(true);
    let other = CustomExtension::from_oid_content(&[2, 25, 1], vec![5, 0]);
    let whole = certificate(&throwaway, vec![extension(&fields)]);
    let mut cut = bytes.clone();
    cut.truncate(19);
    vec![
        case("no extension", vec![], "NoBinding"),
        case("only another extension", vec![other], "NoBinding"),
        case(
            "twice",
            vec![extension(&fields), extension(&fields)],
            "Duplicate",
        ),
        case("critical", vec![critical], "Critical"),
        content("empty extension", vec![], "BindingMalformed"),
        content("empty octet string", octets(&[]), "BindingMalformed"),
        content("without octet string", bytes.clone(), "BindingMalformed"),
        content(
            "cut in the length of the key",
            octets(&cut),
            "BindingMalformed",
        ),
        content(
            "cut in the signature",
            octets(&bytes[..bytes.len() - 1]),
            "BindingMalformed",
        ),
        content(
            "byte after the signature",
            octets(&[&bytes[..], &[0]].concat()),
            "BindingTrailingBytes",
        ),
        content(
            "byte after the octet string",
            [octets(&bytes), vec![0]].concat(),
            "BindingMalformed",
        ),
        bad(
            "byte after the certificate",
            &[&whole[..], &[0]].concat(),
            ISSUED,
            "TrailingBytes",
        ),
        bad(
            "cut certificate",
            &whole[..whole.len() - 1],
            ISSUED,
            "Malformed",
        ),
        bad("nothing", &[], ISSUED, "Malformed"),
        bad(
            "larger than 16 KiB",
            &octets(&[0; 16 * 1024]),
            ISSUED,
            "TooLarge",
        ),
    ]
}

#[test]
fn certificate_vectors() {
    let built = [good_cases(), bad_times(), bad_fields(), bad_forms()].concat();
    for case in committed("certificates.json", ABOUT, built) {
        let now = Timestamp::from_millis(case["now"].as_u64().unwrap() * 1000);
        let result = certificate::verify(&unhex(&case["der"]), now);
        let verdict = match &result {
            Ok(key) => {
                assert_eq!(
                    case["node_id"],
                    key.node_id().to_string(),
                    "{}",
                    case["name"]
                );
                assert_eq!(case["key"], key.to_hex());
                assert_eq!(case["algorithm"], key.algorithm().name());
                "ok".into()
            }
            Err(error) => format!("{error:?}"),
        };
        let word = verdict.split('(').next();
        assert_eq!(
            word,
            case["verdict"].as_str(),
            "{}: {result:?}",
            case["name"]
        );
    }
}

#[test]
fn what_this_crate_issues_has_the_layout_of_the_vectors() {
    let identity = identity(Algorithm::Ed25519);
    let now = Timestamp::from_millis(ISSUED * 1000 + 999);
    let issued = certificate::issue(&identity, now, Duration::from_secs(7 * DAY)).unwrap();
    // RFC 8410 §7: the seed is the last 32 bytes of the PKCS#8 of version 1.
    let seed = &issued.private_key[16..48];
    let key = SigningKey::from_bytes(seed.try_into().unwrap());
    let throwaway = Throwaway(key.clone(), key.verifying_key().to_bytes());
    let fields = Fields::signed(&identity, &throwaway.spki(), ISSUED, EXPIRES);
    for part in [throwaway.spki(), octets(&octets(&fields.bytes()))] {
        assert!(
            issued.der.windows(part.len()).any(|window| window == part),
            "{} is missing",
            hex(&part)
        );
    }
}
