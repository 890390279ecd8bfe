use super::*;
use crate::{
    text::write_value,
    value::{
        Number, Soul,
        samples::{nasty_text, value},
    },
};
use proptest::prelude::*;

fn json(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn by_units(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

proptest! {
    #[test]
    fn texts_compare_by_utf16_units(a in nasty_text(), b in nasty_text()) {
        prop_assert_eq!(utf16_order(&a, &b), by_units(&a, &b));
        prop_assert_eq!(utf16_order(&a, &a), Ordering::Equal);
    }

    #[test]
    fn values_compare_as_their_json_does(a in value(), b in value()) {
        prop_assert_eq!(a.json_order(&b), by_units(&json(&a), &json(&b)));
        prop_assert_eq!(a.json_order(&a.clone()), Ordering::Equal);
    }
}

#[test]
fn kinds_follow_each_other_by_their_first_character() {
    let number = |number| Value::Number(Number::new(number).unwrap());
    let link = |soul| Value::Link(Soul::new(soul).unwrap());
    let ascending = [
        // The quote that ends a text comes behind a blank and before a letter.
        Value::text(""),
        Value::text("a "),
        Value::text("a"),
        Value::text("\u{10000}"),
        Value::text("\u{e000}"),
        number(-1.0),
        number(-5.0),
        number(0.0),
        number(10.0),
        number(1e21),
        number(9.0),
        Value::Bool(false),
        Value::Null,
        Value::Bool(true),
        link("a"),
        link("b"),
    ];
    for pair in ascending.windows(2) {
        assert_eq!(pair[0].json_order(&pair[1]), Ordering::Less, "{pair:?}");
        assert_eq!(pair[1].json_order(&pair[0]), Ordering::Greater, "{pair:?}");
    }
}
