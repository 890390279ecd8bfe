//! The JSON that may be signed: the part of RFC 8785 on which every implementation agrees.

use serde::Serialize;
use serde_json::Value;

/// Largest integer that every JSON implementation keeps exact (RFC 7493 §2.2).
pub(crate) const MAX_INTEGER: u64 = (1 << 53) - 1;

/// Containers in containers, the outermost counted.
const MAX_DEPTH: usize = 8;

/// The RFC 8785 text of a value.
pub(crate) fn canonical(value: &impl Serialize) -> Result<String, UnsignableError> {
    serde_json_canonicalizer::to_string(value).map_err(|_| UnsignableError::Unwritable)
}

/// Whether a value has only one reading: text, unsigned integers up to [`MAX_INTEGER`], booleans, arrays and
/// objects with ASCII keys that are not integers, at most 8 deep.
pub(crate) fn check(value: &Value) -> Result<(), UnsignableError> {
    check_below(value, MAX_DEPTH)
}

fn check_below(value: &Value, depth: usize) -> Result<(), UnsignableError> {
    match value {
        Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Null => Err(UnsignableError::Null),
        Value::Number(number) => match number.as_u64() {
            Some(..=MAX_INTEGER) => Ok(()),
            _ => Err(UnsignableError::Number),
        },
        Value::Array(_) | Value::Object(_) if depth == 0 => Err(UnsignableError::Depth),
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| check_below(value, depth - 1)),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            check_name(name)?;
            check_below(value, depth - 1)
        }),
    }
}

/// JavaScript moves integer keys to the front; sorting differs between UTF-8 and UTF-16 beyond ASCII.
fn check_name(name: &str) -> Result<(), UnsignableError> {
    let digits = name.strip_prefix('-').unwrap_or(name);
    let integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if integer || !name.is_ascii() {
        Err(UnsignableError::Name)
    } else {
        Ok(())
    }
}

/// Why a JSON value is not one that may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnsignableError {
    /// There is a null; leave the field out instead.
    #[error("null is not allowed: leave the field out")]
    Null,
    /// A number is negative, broken, or above 2^53 - 1.
    #[error("a number is not an integer from 0 to 2^53 - 1: write larger ones as text")]
    Number,
    /// Containers are nested more than 8 deep.
    #[error("arrays and objects are nested more than 8 deep")]
    Depth,
    /// A key is an integer or not ASCII.
    #[error("a key is an integer or is not ASCII")]
    Name,
    /// The value cannot be written as JSON at all.
    #[error("the value cannot be written as JSON")]
    Unwritable,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_values_with_one_reading_pass() {
        let nested = |depth: usize| (1..depth).fold(json!([]), |inner, _| json!([inner]));
        let cases = [
            (json!({"a": "ä", "b": [1, true, {"": MAX_INTEGER}]}), Ok(())),
            (json!({"a1": 0, "1a": 0, "-": 0, "0x1": 0}), Ok(())),
            (nested(8), Ok(())),
            (nested(9), Err(UnsignableError::Depth)),
            (json!([null]), Err(UnsignableError::Null)),
            (json!(MAX_INTEGER + 1), Err(UnsignableError::Number)),
            (json!(-1), Err(UnsignableError::Number)),
            (json!(1.0), Err(UnsignableError::Number)),
            (json!({"1": 0}), Err(UnsignableError::Name)),
            (json!({"-007": 0}), Err(UnsignableError::Name)),
            (json!({"ä": 0}), Err(UnsignableError::Name)),
        ];
        for (value, expected) in cases {
            assert_eq!(check(&value), expected, "{value}");
        }
    }

    #[test]
    fn the_text_is_that_of_rfc_8785() {
        // The strings and literals of RFC 8785 §3.2.2 and the order of §3.2.3.
        let value = json!({"string": "€$\u{f}\nA'B\"\\\\\"/", "literals": [true, false], "numbers": [0, 56]});
        let text = "{\"literals\":[true,false],\"numbers\":[0,56],\"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonical(&value).unwrap(), text);
    }
}
