use super::*;
use crate::CryptoIdentity;
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const HOUR: Duration = Duration::from_secs(3600);

fn node(seed: u8) -> CryptoIdentity {
    CryptoIdentity::from_private_bytes(Algorithm::Ed25519, &[seed; 32]).unwrap()
}

fn sign(seed: u8, sequence: u64, body: &Value) -> Result<SignedRecord, SignRecordError> {
    SignedRecord::sign(&node(seed), "dig.test.v1", sequence, NOW, NOW + HOUR, body)
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    name: String,
    hash: NodeId,
}

#[test]
fn a_typed_body_survives_the_way_through_text() {
    let body = Name {
        name: "Grüße".into(),
        hash: NodeId::from_bytes([1; 32]),
    };
    let record = SignedRecord::sign(&node(1), "dig.name.v1", 3, NOW, NOW + HOUR, &body).unwrap();
    let received = SignedRecord::parse(record.as_str(), NOW).unwrap();
    assert_eq!(received, record);
    assert_eq!(received.body::<Name>().unwrap(), body);
    assert_eq!((received.kind(), received.sequence()), ("dig.name.v1", 3));
    assert_eq!((received.issued(), received.expires()), (NOW, NOW + HOUR));
    assert_eq!(received.node_id(), node(1).node_id());
    let error = received.body::<Vec<u8>>().unwrap_err();
    assert!(error.to_string().contains("expected a sequence"), "{error}");
}

#[test]
fn what_cannot_be_received_is_not_signed() {
    for name in RESERVED {
        let error = sign(1, 0, &json!({name: 0})).unwrap_err();
        assert!(matches!(error, SignRecordError::Reserved { .. }), "{name}");
    }
    for body in [
        json!({"a": 1.5}),
        json!({"a": -1}),
        json!({"a": null}),
        json!({"1": 1}),
        json!({"a": 1_u64 << 53}),
    ] {
        assert!(
            matches!(sign(1, 0, &body), Err(SignRecordError::Unsignable(_))),
            "{body}"
        );
    }
    assert!(matches!(
        sign(1, 1 << 53, &json!({})),
        Err(SignRecordError::Unsignable(UnsignableError::Number))
    ));
    assert!(matches!(
        sign(1, 0, &json!([])),
        Err(SignRecordError::NotAnObject)
    ));
    assert!(matches!(
        sign(1, 0, &json!({"a": "a".repeat(MAX_LEN)})),
        Err(SignRecordError::TooLarge { .. })
    ));
    for expires in [NOW, NOW + MAX_LIFETIME + Duration::from_millis(1)] {
        let result = SignedRecord::sign(&node(1), "t", 0, NOW, expires, &json!({}));
        assert!(matches!(result, Err(SignRecordError::Lifetime)));
    }
    let public = CryptoIdentity::public_only(node(1).public_key().clone());
    let result = SignedRecord::sign(&public, "t", 0, NOW, NOW + HOUR, &json!({}));
    assert!(matches!(
        result,
        Err(SignRecordError::Sign(SignError::PublicOnly))
    ));
}

#[test]
fn the_largest_record_that_is_signed_is_received() {
    let empty = sign(1, 0, &json!({"a": ""})).unwrap().as_str().len();
    let full = sign(1, 0, &json!({"a": "a".repeat(MAX_LEN - empty)})).unwrap();
    assert_eq!(full.as_str().len(), MAX_LEN);
    SignedRecord::parse(full.as_str(), NOW).unwrap();
}

#[test]
fn a_record_replaces_older_ones_of_its_node_and_type_only() {
    let seen = sign(1, 5, &json!({})).unwrap();
    let check = |record: SignedRecord| record.succeeds(&seen);
    assert_eq!(
        check(sign(1, 6, &json!({})).unwrap()),
        Ok(Succession::Newer)
    );
    assert_eq!(check(seen.clone()), Ok(Succession::Same));
    assert_eq!(
        check(sign(1, 4, &json!({})).unwrap()),
        Err(SuccessionError::Older)
    );
    assert_eq!(
        check(sign(1, 5, &json!({"a": 1})).unwrap()),
        Err(SuccessionError::Conflict)
    );
    assert_eq!(
        check(sign(2, 6, &json!({})).unwrap()),
        Err(SuccessionError::Unrelated)
    );
    let other =
        SignedRecord::sign(&node(1), "dig.other.v1", 6, NOW, NOW + HOUR, &json!({})).unwrap();
    assert_eq!(check(other), Err(SuccessionError::Unrelated));
}

#[test]
fn clocks_an_hour_or_years_off_neither_accept_nor_keep_a_record() {
    let record = sign(1, 0, &json!({})).unwrap();
    let years = Duration::from_secs(10 * 365 * 86_400);
    let at = |now| SignedRecord::parse(record.as_str(), now).err();
    assert_eq!(at(NOW), None);
    assert_eq!(
        at(Timestamp::from_millis(NOW.as_millis() - 3_600_000)),
        Some(RecordError::NotYetValid)
    );
    assert_eq!(at(NOW + HOUR), Some(RecordError::Expired));
    assert_eq!(at(NOW + years), Some(RecordError::Expired));
}

proptest! {
    #[test]
    fn any_text_is_no_record(text in "\\PC*") {
        prop_assert!(SignedRecord::parse(&text, NOW).is_err());
    }

    #[test]
    fn any_flipped_bit_is_refused(index: prop::sample::Index, bit in 0..7) {
        let record = sign(1, 5, &json!({"a": ["Grüße", 17, true]})).unwrap();
        let mut bytes = record.as_str().as_bytes().to_vec();
        let index = index.index(bytes.len());
        bytes[index] ^= 1_u8 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            prop_assert!(SignedRecord::parse(&text, NOW).is_err(), "{}", text);
        }
    }

    #[test]
    fn any_signable_body_is_received_as_it_was(
        body in prop::collection::btree_map("[a-zA-Z_][ -~]{0,12}", prop_oneof![
            any::<bool>().prop_map(Value::from),
            (0..=MAX_INTEGER).prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
            prop::collection::vec(any::<String>(), 0..4).prop_map(Value::from),
        ], 0..8)
    ) {
        let mut body = serde_json::to_value(body).unwrap();
        RESERVED.iter().for_each(|name| { body.as_object_mut().unwrap().remove(*name); });
        let record = sign(1, 5, &body).unwrap();
        let received = SignedRecord::parse(record.as_str(), NOW).unwrap();
        prop_assert_eq!(received.body::<Value>().unwrap(), body);
    }
}
