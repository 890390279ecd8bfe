use super::*;
use crate::{
    graph::{Node, samples::nodes},
    value::{Key, Number, Soul, samples::nasty_text},
};
use proptest::prelude::*;
use serde_json::Value as Json;

fn number(number: f64) -> String {
    let mut text = String::new();
    write_number(&mut text, number);
    text
}

fn string_of(text: &str) -> String {
    let mut written = String::new();
    write_string(&mut written, text);
    written
}

#[test]
fn numbers_are_written_as_javascript_does() {
    let expected = [
        // Two texts are as short and as near: the even one (ECMA-262 §6.1.6.1.20, note 2).
        (766_286_794_584_371.0 + 0.25, "766286794584371.2"),
        (1_796_030_892_413.0 + 0.156_25, "1796030892413.1562"),
        (0.0, "0"),
        (10.0, "10"),
        (100.0, "100"),
        (-1_000_001.0, "-1000001"),
        (-0.0, "0"),
        (5.0, "5"),
        (-7.0, "-7"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (-0.1, "-0.1"),
        (123.456, "123.456"),
        (1_795_344_990_270.001, "1795344990270.001"),
        (9_007_199_254_740_991.0, "9007199254740991"),
        (9_007_199_254_740_992.0, "9007199254740992"),
        (-9_007_199_254_740_992.0, "-9007199254740992"),
        (1e20, "100000000000000000000"),
        (123_456_789_012_345_680_000.0, "123456789012345680000"),
        (1e21, "1e+21"),
        (-1.5e21, "-1.5e+21"),
        (1.2e100, "1.2e+100"),
        (1e-6, "0.000001"),
        (-1.234_567_890_123_456_7e-6, "-0.0000012345678901234567"),
        (1e-7, "1e-7"),
        (1.5e-7, "1.5e-7"),
        (f64::MAX, "1.7976931348623157e+308"),
        (-f64::MAX, "-1.7976931348623157e+308"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (5e-324, "5e-324"),
        (-5e-324, "-5e-324"),
        (f64::NAN, "null"),
        (f64::NEG_INFINITY, "null"),
    ];
    for (value, text) in expected {
        assert_eq!(number(value), text);
    }
}

#[test]
fn text_is_escaped_as_javascript_does() {
    let text = "\u{0}\u{1}\u{8}\t\n\u{b}\u{c}\r\u{e}\u{f}\u{10}\u{1b}\u{1f} \"\\/\u{7f}é\u{2028}\u{2029}\u{ffff}😀";
    let written = "\"\\u0000\\u0001\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\\u0010\\u001b\\u001f \\\"\\\\/\u{7f}é\u{2028}\u{2029}\u{ffff}😀\"";
    assert_eq!(string_of(text), written);
}

#[test]
fn values_are_written_with_no_blank() {
    let written = |value: &Value| {
        let mut text = String::new();
        write_value(&mut text, value);
        text
    };
    assert_eq!(written(&Value::Null), "null");
    assert_eq!(written(&Value::Bool(true)), "true");
    assert_eq!(written(&Value::Bool(false)), "false");
    assert_eq!(written(&Value::Number(Number::new(1e-7).unwrap())), "1e-7");
    assert_eq!(written(&Value::text("a\"b")), r#""a\"b""#);
    assert_eq!(
        written(&Value::Link(Soul::new("a/\"b").unwrap())),
        r##"{"#":"a/\"b"}"##
    );
}

proptest! {
    #[test]
    fn every_text_is_read_back(text in nasty_text()) {
        prop_assert_eq!(serde_json::from_str::<String>(&string_of(&text)).unwrap(), text);
    }

    #[test]
    fn every_number_is_read_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        prop_assume!(value.is_finite());
        let text = number(value);
        prop_assert_eq!(text.parse::<f64>().unwrap(), value);
        // What is received goes through this one, which has to be as exact.
        prop_assert_eq!(serde_json::from_str::<f64>(&text).unwrap(), value);
    }

    #[test]
    fn the_hash_is_that_of_the_units_whatever_pieces_they_come_in(a in nasty_text(), b in nasty_text()) {
        let naive = |text: &str| text.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
        prop_assert_eq!(hash(&a), naive(&a));
        let node = Node::new(Soul::new(&format!("s{a}")).unwrap());
        let node = match Key::new(&b) {
            Ok(key) => node.with(key, Value::text(&a), State::new(1.5).unwrap()),
            Err(_) => node,
        };
        prop_assert_eq!(node_hash(&node), graph_hash(&[node]));
    }
}

#[test]
fn the_hashes_of_captured_answers_are_found_again() {
    let vectors = include_str!("../../tests/vectors/hash-vectors.jsonl");
    let (mut texts, mut graphs) = (0, 0);
    for line in vectors.lines() {
        let vector: Json = serde_json::from_str(line).unwrap();
        let put = vector["sorted_put"].as_str().unwrap();
        let sorted = vector["matches_sorted_json"].as_bool().unwrap();
        let theirs = vector["hash"].as_i64().unwrap();
        assert_eq!(theirs == i64::from(hash(put)), sorted, "{put}");
        texts += usize::from(sorted);
        let Some(mut nodes) = nodes(&serde_json::from_str(put).unwrap()) else {
            continue;
        };
        nodes.reverse();
        assert_eq!(graph_hash(&nodes), hash(put), "{put}");
        if let [node] = &nodes[..] {
            assert_eq!(node_hash(node), hash(put), "{put}");
        }
        graphs += 1;
    }
    assert_eq!((texts, graphs), (56, 57));
}

#[test]
fn what_gun_says_of_a_node_stands_among_its_keys_by_order() {
    let state = State::new(1.0).unwrap();
    let key = |key| Key::new(key).unwrap();
    let node = Node::new(Soul::new("s").unwrap())
        .with(key("a"), Value::Null, state)
        .with(key("Z"), Value::Null, state);
    let text = r##"{"s":{"Z":null,"_":{"#":"s",">":{"Z":1,"a":1}},"a":null}}"##;
    assert_eq!(node_hash(&node), hash(text));
    let node = Node::new(Soul::new("s").unwrap());
    assert_eq!(node_hash(&node), hash(r##"{"s":{"_":{"#":"s",">":{}}}}"##));
    assert_eq!(graph_hash(&[]), hash("{}"));
}
