//! Texts and values for property tests, hard ones more often than chance would have them.

use super::{Number, Soul, Value};
use proptest::prelude::*;

/// Text of characters at the edges of what encodes differently, with long common beginnings.
pub(crate) fn nasty_text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        proptest::sample::select(
            "\0\u{1}\u{8}\t\n\u{b}\u{c}\r\u{1f} !\"#/0Z\\_a\u{7f}\u{80}é\u{7ff}\u{800}\u{2028}\u{d7ff}\u{e000}\u{efff}\u{f000}\u{ffff}\u{10000}😀\u{10ffff}"
                .chars()
                .collect::<Vec<_>>()
        ),
        any::<char>(),
    ];
    let text = proptest::collection::vec(character, 0..6);
    let beginning = proptest::sample::select(vec![
        "",
        "é",
        "0123456789abcde",
        "0123456789abcdef世界",
        "😀😀😀😀😀😀😀😀",
    ]);
    (beginning, text).prop_map(|(beginning, text)| beginning.chars().chain(text).collect())
}

/// Any value.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<f64>().prop_filter_map("finite", |number| Number::new(number).map(Value::Number)),
        (-20..20_i8).prop_filter_map("finite", |number| Number::new(number.into())
            .map(Value::Number)),
        nasty_text().prop_map(|text| Value::text(&text)),
        nasty_text().prop_filter_map("not empty", |text| Soul::new(&text).ok().map(Value::Link)),
    ]
}
