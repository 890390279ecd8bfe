//! How nodes lie in a file: names as bytes that sort as JavaScript sorts text, fields as a kind, a state and what the kind
//! calls for.

use crate::{
    graph::Field,
    store::size,
    value::{Key, Number, Soul, State, Value},
};
use redb::TableDefinition;
use std::{borrow::Cow, str, sync::Arc};

/// What is said of the whole: [`FORMAT`], [`NEXT_ID`], [`SOULS_KEPT`] and [`BYTES_KEPT`].
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// Which layout this is.
pub(super) const FORMAT: &str = "format";
/// What the next new soul is filed under.
pub(super) const NEXT_ID: &str = "next id";
/// [`crate::store::Usage::souls`].
pub(super) const SOULS_KEPT: &str = "souls";
/// [`crate::store::Usage::bytes`].
pub(super) const BYTES_KEPT: &str = "bytes";
/// The layout described here.
pub(super) const THIS_FORMAT: u64 = 1;

/// Every soul, as [`to_ordered`] has it, with its [`Record`].
pub(super) const SOULS: TableDefinition<'_, &[u8], Record> = TableDefinition::new("souls");
/// Every field, by what its soul is filed under and its key as [`to_ordered`] has it, with its value as [`write_field`] has it.
pub(super) const FIELDS: TableDefinition<'_, (u64, &[u8]), &[u8]> = TableDefinition::new("fields");
/// Every soul by when it was written and what it is filed under: the order in which they go.
pub(super) const AGES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("ages");

/// What a soul is filed under, when it was written (milliseconds since 1970), and the bytes it counts for with its fields.
pub(super) type Record = (u64, u64, u64);

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NUMBER: u8 = 3;
const TEXT: u8 = 4;
const LINK: u8 = 5;

/// Bytes before what a value holds: its kind and its state.
const HEAD: usize = 9;

/// Bytes that sort as the text does in UTF-16.
///
/// UTF-8 sorts as UTF-16 does but for one thing: characters beyond U+FFFF, which in UTF-16 begin with a surrogate, come before
/// U+E000 there. UTF-8 begins the former with F0 to F4 and the latter with EE or EF, bytes that stand nowhere else: so these
/// change places.
pub(super) fn to_ordered(text: &str) -> Cow<'_, [u8]> {
    replaced(text.as_bytes(), |byte| match byte {
        0xee | 0xef => byte + 5,
        0xf0..=0xf4 => byte - 2,
        _ => byte,
    })
}

/// The text of such bytes; `None` if there is no such text.
fn from_ordered(bytes: &[u8]) -> Option<Cow<'_, str>> {
    let bytes = replaced(bytes, |byte| match byte {
        0xf3 | 0xf4 => byte - 5,
        0xee..=0xf2 => byte + 2,
        _ => byte,
    });
    match bytes {
        Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    }
}

fn replaced(bytes: &[u8], byte: impl Fn(u8) -> u8) -> Cow<'_, [u8]> {
    if bytes.iter().all(|&byte| byte < 0xee) {
        Cow::Borrowed(bytes)
    } else {
        Cow::Owned(bytes.iter().map(|&old| byte(old)).collect())
    }
}

/// The soul of such bytes, if it is one.
pub(super) fn read_soul(bytes: &[u8]) -> Option<Soul> {
    Soul::new(&from_ordered(bytes)?).ok()
}

/// The key of such bytes, if it is one.
pub(super) fn read_key(bytes: &[u8]) -> Option<Key> {
    Key::new(&from_ordered(bytes)?).ok()
}

/// Writes a field in place of what the buffer held.
pub(super) fn write_field(field: &Field, out: &mut Vec<u8>) {
    out.clear();
    out.push(match &field.value {
        Value::Null => NULL,
        Value::Bool(false) => FALSE,
        Value::Bool(true) => TRUE,
        Value::Number(_) => NUMBER,
        Value::Text(_) => TEXT,
        Value::Link(_) => LINK,
    });
    out.extend_from_slice(&field.state.get().to_le_bytes());
    match &field.value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => out.extend_from_slice(&number.get().to_le_bytes()),
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Link(soul) => out.extend_from_slice(soul.as_str().as_bytes()),
    }
}

/// The field of such bytes, if it is one.
pub(super) fn read_field(bytes: &[u8]) -> Option<Field> {
    let (&kind, rest) = bytes.split_first()?;
    let (state, payload) = rest.split_first_chunk()?;
    let value = match (kind, payload) {
        (NULL, []) => Value::Null,
        (FALSE, []) => Value::Bool(false),
        (TRUE, []) => Value::Bool(true),
        (NUMBER, _) => {
            let number = payload.try_into().ok()?;
            Value::Number(Number::new(f64::from_le_bytes(number))?)
        }
        (TEXT, _) => Value::Text(Arc::from(str::from_utf8(payload).ok()?)),
        (LINK, _) => Value::Link(Soul::new(str::from_utf8(payload).ok()?).ok()?),
        _ => return None,
    };
    let state = State::new(f64::from_le_bytes(*state))?;
    Some(Field { value, state })
}

/// What a field counts for of which a key of `key` bytes and a value of `value` bytes is stored.
pub(super) const fn bytes_of_field(key: usize, value: usize) -> u64 {
    size::of_parts(key, value.saturating_sub(HEAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::utf16_order;

    /// A text of characters near the borders that matter.
    fn text(random: &mut fastrand::Rng) -> String {
        const CHARS: &[char] = &[
            '\0',
            'a',
            'z',
            '\u{7f}',
            '\u{80}',
            '\u{7ff}',
            '\u{800}',
            '\u{d7ff}',
            '\u{e000}',
            '\u{efff}',
            '\u{f000}',
            '\u{ffff}',
            '\u{10000}',
            '\u{3ffff}',
            '\u{40000}',
            '\u{fffff}',
            '\u{100000}',
            '\u{10ffff}',
        ];
        (0..random.usize(1..5))
            .filter_map(|_| random.choice(CHARS))
            .collect()
    }

    #[test]
    fn names_sort_as_javascript_sorts_them_and_come_back() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let (a, b) = (text(&mut random), text(&mut random));
            assert_eq!(
                to_ordered(&a).cmp(&to_ordered(&b)),
                utf16_order(&a, &b),
                "{a:?} and {b:?}, seed {seed}"
            );
            assert_eq!(
                from_ordered(&to_ordered(&a)).as_deref(),
                Some(&*a),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn fields_come_back_and_count_the_same_everywhere() {
        let link = Soul::new("a/b").unwrap();
        let values = [
            Value::Null,
            Value::Bool(false),
            Value::Bool(true),
            Value::Number(Number::new(5e-324).unwrap()),
            Value::text(""),
            Value::text("\u{1f600} text"),
            Value::Link(link),
        ];
        let key = Key::new("key").unwrap();
        let mut bytes = Vec::new();
        for value in values {
            let state = State::new(1_795_344_990_270.001).unwrap();
            let field = Field { value, state };
            write_field(&field, &mut bytes);
            assert_eq!(read_field(&bytes).as_ref(), Some(&field));
            assert_eq!(bytes_of_field(3, bytes.len()), size::of_field(&key, &field));
        }
    }

    #[test]
    fn bytes_that_are_no_field_are_none() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..random.usize(0..24)).map(|_| random.u8(..)).collect();
            let mut again = Vec::new();
            if let Some(field) = read_field(&bytes) {
                write_field(&field, &mut again);
                assert_eq!(read_field(&again), Some(field), "seed {seed}");
            }
        }
        assert_eq!(read_field(&[TEXT, 0, 0, 0, 0, 0, 0, 0, 0, 0xff]), None);
        assert_eq!(read_field(&[9, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(read_field(&[NULL, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]), None);
        assert_eq!(read_field(&[]), None);
    }
}
