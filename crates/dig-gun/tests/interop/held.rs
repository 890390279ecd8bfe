//! What a peer holds, and what it should: in JavaScript's texts, so that numbers are compared to the last digit.

use dig_gun::{
    graph::Node,
    text,
    value::{Number, Soul, Value},
};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// So many differences are told.
const SHOWN: usize = 4;

/// Nodes by soul; none for those that are not there. Of each field the state and the value.
pub(crate) type Held = BTreeMap<String, Option<BTreeMap<String, (String, String)>>>;

/// What a script says that it holds.
pub(crate) fn of_script(answer: &Json) -> Held {
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let node = |node: &Json| {
        let fields = node.as_object()?.iter();
        Some(
            fields
                .map(|(key, field)| (key.clone(), (text(&field[0]), text(&field[1]))))
                .collect(),
        )
    };
    let souls = answer.as_object().unwrap().iter();
    souls
        .map(|(soul, held)| (soul.clone(), node(held)))
        .collect()
}

/// What a node is in these words.
pub(crate) fn of_node(node: &Node) -> BTreeMap<String, (String, String)> {
    let fields = node.fields.iter();
    fields
        .map(|(key, field)| {
            let (mut state, mut value) = (String::new(), String::new());
            text::write_state(&mut state, field.state);
            text::write_value(&mut value, &field.value);
            (key.as_str().to_owned(), (state, value))
        })
        .collect()
}

/// How these nodes differ from those that are wanted, `{soul: {key: value}}` or null for one that is not to be; none if they do not.
pub(crate) fn differs(held: &Held, wanted: &Json) -> Option<String> {
    let mut differences = Vec::new();
    for (soul, wanted) in wanted.as_object().unwrap() {
        match (held.get(soul).and_then(Option::as_ref), wanted.as_object()) {
            (None, None) => {}
            (None, Some(_)) => differences.push(format!("no {soul}")),
            (Some(_), None) => differences.push(format!("a node {soul}")),
            (Some(held), Some(wanted)) => {
                let keys: BTreeSet<_> = held.keys().chain(wanted.keys()).collect();
                for key in keys {
                    let held = held.get(key).map(|(_, value)| value.as_str());
                    let wanted = wanted.get(key).map(text_of);
                    if held != wanted.as_deref() {
                        let (held, wanted) = (cut(&held), cut(&wanted));
                        differences.push(format!("{soul}.{key}: {held}, not {wanted}"));
                    }
                }
            }
        }
    }
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    (!differences.is_empty()).then(|| format!("has {}", differences.join("; ")))
}

/// A value as it would be in a graph.
pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Bool(*bool),
        Json::Number(number) => Value::Number(Number::new(number.as_f64().unwrap()).unwrap()),
        Json::String(text) => Value::text(text),
        other => Value::Link(Soul::new(other["#"].as_str().unwrap()).unwrap()),
    }
}

fn text_of(json: &Json) -> String {
    let mut out = String::new();
    text::write_value(&mut out, &value(json));
    out
}

/// So much of it as helps to see what is wrong.
pub(crate) fn cut(shown: &impl std::fmt::Debug) -> String {
    let text = format!("{shown:?}");
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text,
    }
}
