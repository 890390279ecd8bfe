//! `records.json`: signed records good and bad.

use crate::{committed, hex, identity};
use dig_identity::{Algorithm, Signer, record::SignedRecord};
use dig_types::Timestamp;
use serde_json::{Value, json};

const ABOUT: &str = "Section 10. A record (`text`) judged at `now` (Unix milliseconds): `verdict` is `ok`, with what it says, \
or the reason for refusing it (any reason is right, as long as it is refused). Unless its reason is `Signature`, a bad record is \
signed over the text of its data as it stands.";

const NOW: u64 = 1_800_000_000_000;
const DAY: u64 = 24 * 60 * 60 * 1000;
const LAST: u64 = (1 << 53) - 1;

/// The record of a data text, whatever that is.
fn record(algorithm: Algorithm, data: &str) -> String {
    let signature = hex(&identity(algorithm).sign(data.as_bytes()).unwrap());
    format!(r#"{{"data":{data},"signature":"{signature}"}}"#)
}

/// The data text of a record by the ed25519 identity: `front` and `back` stand before and after the usual fields,
/// which are between `exp` and `t`.
fn data(front: &str, issued: u64, expires: u64, back: &str) -> String {
    data_by(Algorithm::Ed25519, front, issued, expires, back)
}

fn data_by(algorithm: Algorithm, front: &str, issued: u64, expires: u64, back: &str) -> String {
    let key = identity(algorithm).public_key().clone();
    let (name, node) = (key.algorithm(), key.node_id());
    let key = key.to_hex();
    format!(
        r#"{{{front}"alg":"{name}","exp":{expires},"iat":{issued},"key":"{key}","node":"{node}","seq":7,"t":"dig.test.v1"{back}}}"#
    )
}

fn good(name: &str, algorithm: Algorithm, text: String, now: u64, body: Value) -> Value {
    let random: &[&str] = if algorithm == Algorithm::Rsa {
        &["text"]
    } else {
        &[]
    };
    json!({
        "name": name, "text": text, "now": now, "verdict": "ok", "random": random,
        "t": "dig.test.v1", "node_id": identity(algorithm).node_id().to_string(), "seq": 7, "body": body,
    })
}

fn good_cases() -> Vec<Value> {
    let ed25519 = Algorithm::Ed25519;
    let by = |algorithm: Algorithm| {
        let text = record(algorithm, &data_by(algorithm, "", NOW, NOW + DAY, ""));
        good(algorithm.name(), algorithm, text, NOW, json!({}))
    };
    let case = |name: &str, data: String, now: u64, body: Value| {
        good(name, ed25519, record(ed25519, &data), now, body)
    };
    let eight = "[".repeat(7) + &"]".repeat(7);
    vec![
        by(Algorithm::Ed25519),
        by(Algorithm::Secp256k1),
        by(Algorithm::Rsa),
        case(
            "every kind of value",
            data(
                r#""":"","Z":[true,false,[],{}],"#,
                NOW,
                NOW + DAY,
                r#","text":"Grüße 🦀 \" \\ / \b\f\n\r\t\u0000\u001f","z":9007199254740991"#,
            ),
            NOW,
            json!({"": "", "Z": [true, false, [], {}], "text": "Grüße 🦀 \" \\ / \u{8}\u{c}\n\r\t\0\u{1f}", "z": LAST}),
        ),
        case(
            "eight deep",
            data("", NOW, NOW + DAY, &format!(r#","z":{eight}"#)),
            NOW,
            json!({"z": [[[[[[[]]]]]]]}),
        ),
        case(
            "issued two minutes ahead",
            data("", NOW + 120_000, NOW + DAY, ""),
            NOW,
            json!({}),
        ),
        case(
            "a millisecond before its end",
            data("", NOW, NOW + DAY, ""),
            NOW + DAY - 1,
            json!({}),
        ),
        case(
            "thirty days",
            data("", NOW, NOW + 30 * DAY, ""),
            NOW,
            json!({}),
        ),
    ]
}

/// Records whose data is signed as it stands, at `NOW` and by the ed25519 identity.
fn bad_data() -> Vec<(&'static str, String, &'static str)> {
    let usual = data("", NOW, NOW + DAY, "");
    let with = |back: &str| data("", NOW, NOW + DAY, back);
    let replaced = |from: &str, to: &str| {
        assert!(usual.contains(from));
        usual.replacen(from, to, 1)
    };
    let node = identity(Algorithm::Ed25519).node_id().to_string();
    let key = identity(Algorithm::Ed25519).public_key().to_hex();
    let nine = "[".repeat(8) + &"]".repeat(8);
    vec![
        ("space", replaced(":7,", ": 7,"), "NotCanonical"),
        (
            "keys in another order",
            replaced(
                r#""seq":7,"t":"dig.test.v1""#,
                r#""t":"dig.test.v1","seq":7"#,
            ),
            "NotCanonical",
        ),
        (
            "escape that is not needed",
            replaced("dig.test", "d\\u0069g.test"),
            "NotCanonical",
        ),
        ("escaped slash", with(r#","z":"\/""#), "NotCanonical"),
        ("key twice", with(r#","t":"dig.test.v1""#), "NotCanonical"),
        (
            "key twice with two values",
            with(r#","z":1,"z":2"#),
            "NotCanonical",
        ),
        (
            "number with exponent",
            replaced(":7,", ":7e0,"),
            "Unsignable",
        ),
        ("number with fraction", with(r#","z":1.5"#), "Unsignable"),
        ("negative number", with(r#","z":-1"#), "Unsignable"),
        ("negative zero", with(r#","z":-0"#), "Unsignable"),
        (
            "number of 2^53",
            with(r#","z":9007199254740992"#),
            "Unsignable",
        ),
        (
            "number of 2^64",
            with(r#","z":18446744073709551616"#),
            "Unsignable",
        ),
        ("null", with(r#","z":null"#), "Unsignable"),
        (
            "integer as key",
            data(r#""7":0,"#, NOW, NOW + DAY, ""),
            "Unsignable",
        ),
        (
            "integer as key further down",
            with(r#","z":{"0":0}"#),
            "Unsignable",
        ),
        ("key beyond ASCII", with(r#","ä":0"#), "Unsignable"),
        ("nine deep", with(&format!(r#","z":{nine}"#)), "Unsignable"),
        ("half a surrogate pair", with(r#","z":"\ud800""#), "NotJson"),
        ("not an object", "[]".into(), "Envelope"),
        ("empty data", "{}".into(), "Field"),
        ("no type", replaced(r#","t":"dig.test.v1""#, ""), "Field"),
        ("sequence as text", replaced(":7,", r#":"7","#), "Field"),
        (
            "unknown algorithm",
            replaced(r#""ed25519""#, r#""ed448""#),
            "Field",
        ),
        (
            "another algorithm",
            replaced(r#""ed25519""#, r#""secp256k1""#),
            "Key",
        ),
        (
            "key in upper case",
            replaced(&key, &key.to_uppercase()),
            "Field",
        ),
        (
            "key with prefix",
            replaced(&key, &format!("0x{key}")),
            "Field",
        ),
        ("key cut short", replaced(&key, &key[2..]), "Key"),
        (
            "key of small order",
            replaced(&key, &format!("01{}", "00".repeat(31))),
            "Key",
        ),
        (
            "node of another key",
            replaced(&node, &"0".repeat(64)),
            "Node",
        ),
        (
            "node in upper case",
            replaced(&node, &node.to_uppercase()),
            "Node",
        ),
        (
            "issued more than two minutes ahead",
            data("", NOW + 120_001, NOW + DAY, ""),
            "NotYetValid",
        ),
        ("at its end", data("", NOW - DAY, NOW, ""), "Expired"),
        ("no time at all", data("", NOW, NOW, ""), "Lifetime"),
        (
            "more than thirty days",
            data("", NOW, NOW + 30 * DAY + 1, ""),
            "Lifetime",
        ),
        (
            "larger than 16 KiB",
            with(&format!(r#","z":"{}""#, "z".repeat(16 * 1024))),
            "TooLarge",
        ),
    ]
}

/// Records that are bad around their data.
fn bad_envelopes() -> Vec<(&'static str, String, &'static str)> {
    let data = data("", NOW, NOW + DAY, "");
    let whole = record(Algorithm::Ed25519, &data);
    let (_, signature) = whole.rsplit_once(r#","signature":"#).unwrap();
    let signature = &signature[1..129];
    let upper = k256_upper_half();
    vec![
        ("nothing", String::new(), "NotJson"),
        ("text", r#""data""#.into(), "NotJson"),
        ("byte after it", format!("{whole}x"), "NotJson"),
        ("space after it", format!("{whole} "), "NotCanonical"),
        (
            "space in it",
            whole.replacen(r#","signature""#, r#", "signature""#, 1),
            "NotCanonical",
        ),
        (
            "signature first",
            format!(r#"{{"signature":"{signature}","data":{data}}}"#),
            "NotCanonical",
        ),
        (
            "data twice",
            whole.replacen('{', &format!(r#"{{"data":{data},"#), 1),
            "NotCanonical",
        ),
        ("no signature", format!(r#"{{"data":{data}}}"#), "Envelope"),
        (
            "third member",
            whole.replacen('{', r#"{"a":1,"#, 1),
            "Envelope",
        ),
        (
            "signature is a number",
            format!(r#"{{"data":{data},"signature":1}}"#),
            "Envelope",
        ),
        (
            "signature in upper case",
            whole.replace(signature, &signature.to_uppercase()),
            "Envelope",
        ),
        (
            "signature of another text",
            whole.replacen(":7,", ":8,", 1),
            "Signature",
        ),
        (
            "signature cut short",
            whole.replace(signature, &signature[2..]),
            "Signature",
        ),
        ("s in the upper half", upper, "Signature"),
    ]
}

fn k256_upper_half() -> String {
    let data = data_by(Algorithm::Secp256k1, "", NOW, NOW + DAY, "");
    let signature = identity(Algorithm::Secp256k1)
        .sign(data.as_bytes())
        .unwrap();
    let (r, s) = k256::ecdsa::Signature::from_slice(&signature)
        .unwrap()
        .split_scalars();
    let upper = hex(&k256::ecdsa::Signature::from_scalars(*r, -*s)
        .unwrap()
        .to_bytes());
    format!(r#"{{"data":{data},"signature":"{upper}"}}"#)
}

fn build() -> Vec<Value> {
    let signed = bad_data()
        .into_iter()
        .map(|(name, data, reason)| (name, record(Algorithm::Ed25519, &data), reason));
    let bad = signed.chain(bad_envelopes());
    let bad = bad.map(
        |(name, text, reason)| json!({"name": name, "text": text, "now": NOW, "verdict": reason}),
    );
    good_cases().into_iter().chain(bad).collect()
}

#[test]
fn record_vectors() {
    for case in committed("records.json", ABOUT, build()) {
        let text = case["text"].as_str().unwrap();
        let result =
            SignedRecord::parse(text, Timestamp::from_millis(case["now"].as_u64().unwrap()));
        let verdict = match &result {
            Ok(record) => {
                assert_eq!(record.to_string(), text);
                assert_eq!(case["t"], record.kind());
                assert_eq!(case["node_id"], record.node_id().to_string());
                assert_eq!(case["seq"], record.sequence());
                assert_eq!(case["body"], record.body::<Value>().unwrap());
                "ok".into()
            }
            Err(error) => format!("{error:?}"),
        };
        let word = verdict.split(['(', ' ']).next();
        assert_eq!(
            word,
            case["verdict"].as_str(),
            "{}: {result:?}",
            case["name"]
        );
    }
}
