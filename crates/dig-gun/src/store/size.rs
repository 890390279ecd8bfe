//! What a soul and a field count for in a store, wherever it keeps them.

use crate::{
    graph::Field,
    value::{Key, Soul, Value},
};

/// Bytes that a soul takes beside its text, which a file holds twice: once as a name, once in order of age.
const SOUL: usize = 64;
/// Bytes that a field takes beside its key and value: whose it is, its state, and its place in a page.
const FIELD: usize = 24;

/// Bytes a soul counts for, without its fields.
pub(super) fn of_soul(soul: &Soul) -> u64 {
    (SOUL + 2 * soul.as_str().len()) as u64
}

/// Bytes a field counts for.
pub(super) fn of_field(key: &Key, field: &Field) -> u64 {
    of_parts(key.as_str().len(), payload(&field.value))
}

/// Bytes a field counts for whose key and value have these lengths.
pub(super) const fn of_parts(key: usize, payload: usize) -> u64 {
    (FIELD + key + payload) as u64
}

/// Bytes of what a value holds beside its kind.
pub(super) fn payload(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(_) => 8,
        Value::Text(text) => text.len(),
        Value::Link(soul) => soul.as_str().len(),
    }
}
