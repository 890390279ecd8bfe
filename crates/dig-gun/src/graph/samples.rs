//! Graphs as they stand in captured frames.

use super::Node;
use crate::value::{Key, Number, Soul, State, Value};
use serde_json::Value as Json;

/// The lines of a capture that hold frames of JSON: which connection, whether from the client, when in ms, and what.
pub(crate) fn frames(capture: &str) -> Vec<(u64, bool, f64, Json)> {
    let frame = |line: &str| {
        let line: Json = serde_json::from_str(line).ok()?;
        let frame = serde_json::from_str(line["frame"].as_str()?).ok()?;
        let from_client = line["dir"] == "client->relay";
        Some((
            line["conn"].as_u64()?,
            from_client,
            line["t"].as_f64()?,
            frame,
        ))
    };
    capture.lines().filter_map(frame).collect()
}

/// The nodes of a `put`; `None` if a field has no state or no value (gun.js once gave such answers to an invalid put).
pub(crate) fn nodes(put: &Json) -> Option<Vec<Node>> {
    let node = |(soul, fields): (&String, &Json)| {
        let mut node = Node::new(Soul::new(soul).ok()?);
        for (key, value) in fields.as_object()? {
            if key == "_" {
                continue;
            }
            let state = State::new(fields["_"][">"][key].as_f64()?)?;
            node = node.with(Key::new(key).ok()?, plain(value)?, state);
        }
        Some(node)
    };
    put.as_object()?.iter().map(node).collect()
}

fn plain(value: &Json) -> Option<Value> {
    Some(match value {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => Value::Number(Number::new(number.as_f64()?)?),
        Json::String(text) => Value::text(text),
        link => Value::Link(Soul::new(link["#"].as_str()?).ok()?),
    })
}
