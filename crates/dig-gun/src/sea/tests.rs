use super::*;
use crate::value::Number;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

const NOW: f64 = 1_795_345_227_000.0;

/// A user who signs as `sea.js` does.
struct User {
    keys: EcdsaKeyPair,
    name: String,
}

impl User {
    fn new() -> Self {
        let document =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .unwrap();
        let keys =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref()).unwrap();
        let point = keys.public_key().as_ref();
        let name = format!(
            "{}.{}",
            BASE64URL_NOPAD.encode(&point[1..33]),
            BASE64URL_NOPAD.encode(&point[33..])
        );
        Self { keys, name }
    }

    fn soul(&self, path: &str) -> String {
        format!("~{}{path}", self.name)
    }

    fn sign(&self, text: &str) -> String {
        let signature = self
            .keys
            .sign(&SystemRandom::new(), &Sha256::digest(text.as_bytes()))
            .unwrap();
        BASE64.encode(signature.as_ref())
    }

    /// The text of a signed value; `value` is JSON as JavaScript writes it.
    fn signed(&self, soul: &str, key: &str, value: &str) -> String {
        let statement = format!(
            r##"{{"#":{},".":{},":":{value},">":{NOW}}}"##,
            json!(soul),
            json!(key)
        );
        format!(r#"{{":":{value},"~":"{}"}}"#, self.sign(&statement))
    }

    /// The same as someone else than the node's owner, with what allows it.
    fn signed_with(&self, soul: &str, key: &str, certificate: &str) -> String {
        let plain = self.signed(soul, key, "1");
        format!(
            r#"{},"+":{certificate},"*":"{}"}}"#,
            &plain[..plain.len() - 1],
            self.name
        )
    }

    fn certificate(&self, terms: &Json) -> String {
        let terms = restate::restated(&terms.to_string()).unwrap();
        format!(r#"{{"m":{terms},"s":"{}"}}"#, self.sign(&terms))
    }
}

fn check(soul: &str, key: &str, value: Value) -> Result<(), SeaError> {
    check_at(soul, key, value, NOW)
}

fn check_at(soul: &str, key: &str, value: Value, state: f64) -> Result<(), SeaError> {
    let state = State::new(state).unwrap();
    verify(
        State::new(NOW).unwrap(),
        &Soul::new(soul).unwrap(),
        &Key::new(key).unwrap(),
        &Field { value, state },
    )
}

fn link_to(soul: &str) -> Value {
    Value::Link(Soul::new(soul).unwrap())
}

#[test]
fn public_nodes_are_anyones() {
    for soul in ["mark", "a/b.c", "a<b", "~", "~abc"] {
        assert_eq!(check(soul, "k", Value::Null), Ok(()), "{soul}");
    }
    assert!(!is_protected(&Soul::new("mark/<>?").unwrap()));
    for soul in ["~a", "x~", "a#", "a<?9"] {
        assert!(is_protected(&Soul::new(soul).unwrap()), "{soul}");
    }
}

#[test]
fn only_the_owner_writes() {
    let (alice, eve) = (User::new(), User::new());
    let soul = alice.soul("/profile");
    for value in [
        "1",
        "null",
        "\"hé \\\"😀\"",
        "{\"#\":\"x\"}",
        "[1,{\"b\":2,\"a\":1e+21}]",
    ] {
        assert_eq!(
            check(&soul, "k", Value::text(&alice.signed(&soul, "k", value))),
            Ok(()),
            "{value}"
        );
        assert_eq!(
            check(&soul, "k", Value::text(&eve.signed(&soul, "k", value))),
            Err(SeaError::Unverified)
        );
    }
    for value in [
        Value::Null,
        Value::text("x"),
        Value::Bool(true),
        Value::text(r#"{":":1}"#),
        Value::text("{}"),
    ] {
        assert_eq!(check(&soul, "k", value), Err(SeaError::Unverified));
    }
    // The owner may be named anywhere in a soul.
    let soul = format!("notes~{}.{}", alice.name, "x");
    assert_eq!(
        check(&soul, "k", Value::text(&alice.signed(&soul, "k", "1"))),
        Ok(())
    );
    assert_eq!(
        check("a~b/c", "k", Value::text("1")),
        Err(SeaError::Unverified)
    );
}

#[test]
fn the_way_a_value_is_spelled_is_no_matter() {
    let alice = User::new();
    let soul = alice.soul("");
    let signed = alice.signed(&soul, "k", "\"aé\"");
    let spelled = signed.replace("{\":\":\"aé\"", "{ \":\" : \"\\u0061\\u00e9\" ");
    assert_ne!(spelled, signed);
    assert_eq!(check(&soul, "k", Value::text(&spelled)), Ok(()));
}

#[test]
fn a_users_node_states_its_own_key() {
    let alice = User::new();
    assert_eq!(
        check(&alice.soul(""), "pub", Value::text(&alice.name)),
        Ok(())
    );
    assert_eq!(
        check(&alice.soul(""), "pub", Value::text("x.y")),
        Err(SeaError::OtherAccount)
    );
    assert_eq!(
        check(&alice.soul("/a"), "pub", Value::text(&alice.name)),
        Err(SeaError::Unverified)
    );
}

#[test]
fn aliases_link_to_what_they_say() {
    assert_eq!(check("~@bob", "~x.y", link_to("~x.y")), Ok(()));
    assert_eq!(
        check("~@bob", "~x.y", link_to("~x.z")),
        Err(SeaError::OtherAlias)
    );
    assert_eq!(check("~@", "bob", link_to("~@bob")), Ok(()));
    assert_eq!(
        check("~@", "bob", link_to("~@eve")),
        Err(SeaError::OtherAlias)
    );
    assert_eq!(
        check("~@", "bob", link_to("bob")),
        Err(SeaError::OtherAlias)
    );
    for (soul, null, text) in [
        ("~@", SeaError::NoData, SeaError::OtherAlias),
        ("~@bob", SeaError::NoAlias, SeaError::OtherAlias),
    ] {
        assert_eq!(check(soul, "k", Value::Null), Err(null.clone()));
        assert_eq!(check(soul, "k", Value::text("")), Err(null));
        assert_eq!(check(soul, "k", Value::text("k")), Err(text));
    }
}

#[test]
fn content_is_its_own_address() {
    let number = Value::Number(Number::new(42.0).unwrap());
    assert_eq!(
        content_key(&Value::text("hello")),
        "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="
    );
    assert_eq!(
        content_key(&number),
        "c0dctApWjo2ooEXO0RATfhWfiQrE2og7axfcZRs6gEk="
    );
    for value in [
        number,
        Value::text(""),
        Value::Null,
        Value::Bool(false),
        link_to("x"),
    ] {
        let key = content_key(&value);
        assert_eq!(check("dig#", &key, value.clone()), Ok(()));
        assert_eq!(
            check("#", &format!("path#with#{key}"), value.clone()),
            Ok(())
        );
        assert_eq!(
            check("dig#", &format!("{key}#"), value.clone()),
            Err(SeaError::OtherHash)
        );
    }
    let hex = "6a6fdc600b14345b595b030d4dddc2ccf36ed2d954e997082f5f6a8fa68cd7ad";
    assert_eq!(check("#", hex, Value::text("hello hex")), Ok(()));
    assert_eq!(
        check("#", &hex.to_uppercase(), Value::text("hello hex")),
        Ok(())
    );
    assert_eq!(check("#", hex, Value::Null), Err(SeaError::OtherHash));
}

#[test]
fn some_nodes_forget() {
    assert_eq!(check_at("old<?9", "k", Value::Null, NOW - 8_999.0), Ok(()));
    assert_eq!(
        check_at("old<?9", "k", Value::Null, NOW - 9_001.0),
        Err(SeaError::Forgotten)
    );
    assert_eq!(
        check_at("old<? 0.5s", "k", Value::Null, NOW - 501.0),
        Err(SeaError::Forgotten)
    );
    for never in ["old<?", "old<?x", "old<?0", "old<?.", "old<?-"] {
        assert_eq!(check_at(never, "k", Value::Null, 0.0), Ok(()), "{never}");
    }
}

/// What becomes of a write by another than the owner, with a certificate of these terms besides those for the user and `inbox…`.
fn write_with(path: &str, key: &str, more: &Json) -> Result<(), SeaError> {
    let (alice, bob) = (User::new(), User::new());
    let key = key.replace("BOB", &bob.name);
    let mut terms = json!({"c": bob.name, "w": [{"*": "inbox"}]});
    for (name, term) in more.as_object().unwrap() {
        terms[name] = term.clone();
    }
    let soul = alice.soul(path);
    let value = bob.signed_with(&soul, &key, &alice.certificate(&terms));
    check(&soul, &key, Value::text(&value))
}

#[test]
fn certificates_open_the_places_they_name() {
    let both = json!({"#": {"*": "a"}, ".": "k"});
    let either = json!({".": {">": "k", "<": "m"}});
    for (path, key, place) in [
        ("", "inbox", json!({"*": "inbox"})),
        ("/inbox/1", "k", json!({"*": "inbox"})),
        ("", "inbox", json!("inbox")),
        ("/a", "k", both.clone()),
        // The path alone is enough.
        ("/a", "l", both.clone()),
        ("/b", "l", either.clone()),
    ] {
        assert_eq!(
            write_with(path, key, &json!({"w": place})),
            Ok(()),
            "{path} {key} {place}"
        );
    }
    for (path, key, place) in [
        ("", "other", json!({"*": "inbox"})),
        ("", "inbox2", json!("inbox")),
        ("/b", "k", both),
        ("/b", "n", either),
        ("", "inbox", json!({"*": ""})),
        ("", "inbox", json!([])),
        ("", "inbox", json!(null)),
    ] {
        let refused = Err(SeaError::BadCertificate);
        assert_eq!(
            write_with(path, key, &json!({"w": place})),
            refused,
            "{path} {key} {place}"
        );
    }
}

#[test]
fn certificates_have_users_and_an_end() {
    let inbox = |more: Json| write_with("", "inbox", &more);
    assert_eq!(inbox(json!({"c": "*"})), Ok(()));
    assert_eq!(inbox(json!({"c": ["x", "*"]})), Ok(()));
    assert_eq!(inbox(json!({"c": "x"})), Err(SeaError::BadCertificate));
    assert_eq!(inbox(json!({"c": null})), Err(SeaError::BadCertificate));
    assert_eq!(inbox(json!({"e": NOW + 1.0})), Ok(()));
    assert_eq!(inbox(json!({"e": NOW - 1.0})), Err(SeaError::Expired));
    assert_eq!(
        inbox(json!({"e": (NOW - 1.0).to_string()})),
        Err(SeaError::Expired)
    );
    assert_eq!(inbox(json!({"wb": "blocked"})), Err(SeaError::WriteBlock));
    assert_eq!(
        inbox(json!({"wb": {"#": "blocked"}})),
        Err(SeaError::WriteBlock)
    );
    let named = json!({"w": {"*": "inbox", "+": "*"}});
    assert!(matches!(
        write_with("/inbox", "k", &named),
        Err(SeaError::NoName { .. })
    ));
    assert_eq!(write_with("/inbox", "BOB", &named), Ok(()));
}

#[test]
fn certificates_are_the_owners_and_the_signers() {
    let (alice, bob, eve) = (User::new(), User::new(), User::new());
    let terms = json!({"c": bob.name, "w": {"*": "inbox"}});
    let soul = alice.soul("");
    let check = |value: String| check(&soul, "inbox", Value::text(&value));
    assert_eq!(
        check(bob.signed_with(&soul, "inbox", &eve.certificate(&terms))),
        Err(SeaError::BadCertificate)
    );
    assert_eq!(
        check(eve.signed_with(&soul, "inbox", &alice.certificate(&terms))),
        Err(SeaError::BadCertificate)
    );
    assert_eq!(
        check(bob.signed_with(&soul, "inbox", "null")),
        Err(SeaError::Unverified)
    );
    assert_eq!(
        check(bob.signed_with(&soul, "inbox", "{}")),
        Err(SeaError::BadCertificate)
    );
    let forged = bob
        .signed_with(&soul, "inbox", &alice.certificate(&terms))
        .replace("inbox", "inbix");
    assert_eq!(check(forged), Err(SeaError::BadCertificate));
    // A certificate as the text that `SEA.certify` gives has the terms as an object; a text of them is signed as that text.
    let text = terms.to_string();
    let as_text = format!(r#"{{"m":{},"s":"{}"}}"#, json!(text), alice.sign(&text));
    assert_eq!(check(bob.signed_with(&soul, "inbox", &as_text)), Ok(()));
    let huge = json!({"c": bob.name, "w": ["x".repeat(70_000), {"*": "inbox"}]});
    assert_eq!(
        check(bob.signed_with(&soul, "inbox", &alice.certificate(&huge))),
        Err(SeaError::BadCertificate)
    );
}

#[test]
fn json_is_restated_as_javascript_does() {
    let restated = |text: &str| restate::restated(text).unwrap();
    assert_eq!(
        restated(r#" { "b" : 1.0 , "10":2, "9" : [ ] , "a":{}, "01":3 } "#),
        r#"{"9":[],"10":2,"b":1,"a":{},"01":3}"#
    );
    assert_eq!(restated(r#"{"a":1,"b":2,"a":3}"#), r#"{"a":3,"b":2}"#);
    assert_eq!(
        restated(r#"{"4294967295":1,"4294967294":2}"#),
        r#"{"4294967294":2,"4294967295":1}"#
    );
    assert_eq!(
        restated("[1e21,1E-7,-0,9007199254740993,\"\\u001F\\/\"]"),
        "[1e+21,1e-7,0,9007199254740992,\"\\u001f/\"]"
    );
    assert_eq!(restate::restated(&"[".repeat(200)), None);
    assert_eq!(restate::restated("\"\\ud83d\""), None);
}

proptest! {
    #[test]
    fn whatever_is_written_is_judged(soul in "[~@#<?.0-9a/*]{1,12}", key in "[~@#a=]{1,8}", text in r#"[{}":~*+ms\[\],1]{0,40}"#, state: i32) {
        for value in [Value::text(&text), Value::Null, link_to(&key)] {
            let _ = check_at(&soul, &key, value, state.into());
        }
    }
}
