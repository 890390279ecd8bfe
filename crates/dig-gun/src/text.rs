//! JSON text exactly as JavaScript writes it, and the hash that Gun takes of it.
//!
//! Peers compare these texts: of two values written at one time the greater text wins, answers are known by the hash of theirs, and
//! signatures are made over them. So every digit and every escape is that of `JSON.stringify` (ECMA-262 §25.5.4.3 QuoteJSONString,
//! §6.1.6.1.20 Number::toString).

mod hash;
mod number;

pub use hash::{graph_hash, hash, node_hash};
pub(crate) use number::NumberText;

use crate::value::{State, Value};

/// Writes this text as JSON. Slashes and everything beyond ASCII stay as they are.
pub fn write_string(out: &mut String, text: &str) {
    out.reserve(text.len() + 2);
    string(out, text);
}

/// Writes this number as JavaScript does: the fewest digits that mean it, `5`, `1e+21`, `1e-7`; -0 is `0`. What is not
/// finite becomes `null`, as in `JSON.stringify`.
pub fn write_number(out: &mut String, number: f64) {
    out.push_str(NumberText::new(number).as_str());
}

/// Writes this value as JSON.
pub fn write_value(out: &mut String, value: &Value) {
    self::value(out, value);
}

/// Writes this state as JSON.
pub fn write_state(out: &mut String, state: State) {
    write_number(out, state.get());
}

/// Writes one character as it stands in a JSON text.
pub(crate) fn push_escaped(out: &mut String, character: char) {
    string_inside(out, character.encode_utf8(&mut [0; 4]));
}

/// Where text goes piece by piece: into a text or into a hash.
trait Sink {
    /// Takes the next piece.
    fn piece(&mut self, text: &str);
}

impl Sink for String {
    fn piece(&mut self, text: &str) {
        self.push_str(text);
    }
}

fn value(out: &mut impl Sink, value: &Value) {
    match value {
        Value::Null => out.piece("null"),
        Value::Bool(true) => out.piece("true"),
        Value::Bool(false) => out.piece("false"),
        Value::Number(number) => out.piece(NumberText::new(number.get()).as_str()),
        Value::Text(text) => string(out, text),
        Value::Link(soul) => {
            out.piece("{\"#\":");
            string(out, soul.as_str());
            out.piece("}");
        }
    }
}

fn string(out: &mut impl Sink, text: &str) {
    out.piece("\"");
    string_inside(out, text);
    out.piece("\"");
}

fn string_inside(out: &mut impl Sink, mut text: &str) {
    loop {
        let (plain, rest) = text.split_at(plain_length(text.as_bytes()));
        out.piece(plain);
        let Some(&byte) = rest.as_bytes().first() else {
            return;
        };
        match byte {
            b'"' => out.piece("\\\""),
            b'\\' => out.piece("\\\\"),
            0x08 => out.piece("\\b"),
            b'\t' => out.piece("\\t"),
            b'\n' => out.piece("\\n"),
            0x0c => out.piece("\\f"),
            b'\r' => out.piece("\\r"),
            0x10.. => out.piece(HIGH[usize::from(byte & 0xf)]),
            _ => out.piece(LOW[usize::from(byte)]),
        }
        text = &rest[1..];
    }
}

/// How many bytes stand as they are before the first that is escaped, which is always a character of its own.
fn plain_length(text: &[u8]) -> usize {
    const STEP: usize = 16;
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    // All of a step, without looking which: that is done for many bytes at once.
    let steps = text.chunks_exact(STEP);
    let plain = steps.take_while(|step| step.iter().fold(true, |all, byte| all & is_plain(byte)));
    let begun = plain.count() * STEP;
    let rest = &text[begun..];
    begun
        + rest
            .iter()
            .position(|byte| !is_plain(byte))
            .unwrap_or(rest.len())
}

/// U+0000 to U+000F; those with a short form are not taken from here.
const LOW: [&str; 16] = [
    "\\u0000", "\\u0001", "\\u0002", "\\u0003", "\\u0004", "\\u0005", "\\u0006", "\\u0007",
    "\\u0008", "\\u0009", "\\u000a", "\\u000b", "\\u000c", "\\u000d", "\\u000e", "\\u000f",
];

/// U+0010 to U+001F.
const HIGH: [&str; 16] = [
    "\\u0010", "\\u0011", "\\u0012", "\\u0013", "\\u0014", "\\u0015", "\\u0016", "\\u0017",
    "\\u0018", "\\u0019", "\\u001a", "\\u001b", "\\u001c", "\\u001d", "\\u001e", "\\u001f",
];

#[cfg(test)]
mod tests;
