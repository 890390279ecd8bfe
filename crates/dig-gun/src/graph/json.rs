//! Graphs from nested objects, as gun.js makes them in `put` and `set`.

use super::{Graph, Node};
use crate::value::{InvalidName, Key, Number, Soul, State, Value};
use serde_json::Value as Json;

/// Why data cannot be put.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidData {
    /// What is put under a soul is no object.
    #[error("only an object can be put under a soul, not {0}")]
    NotAnObject(&'static str),
    /// An array. Arrays do not merge.
    #[error("Invalid data: Array at {path}: put an object, or one by one into a set")]
    Array {
        /// Where: the soul and the keys that lead there, joined by dots.
        path: String,
    },
    /// A number that is not finite.
    #[error("Invalid data: Number at {path}: it is not finite")]
    NotFinite {
        /// Where.
        path: String,
    },
    /// A key, or a soul given by `_` or `#` or made of the keys that lead there, is none.
    #[error("Invalid data: name at {path}: {source}")]
    Name {
        /// Where.
        path: String,
        /// Why.
        source: InvalidName,
    },
}

impl Graph {
    /// The nodes that putting this object under this soul makes, all of one state.
    ///
    /// An object within becomes a link to a node of its own, whose soul is that of the parent, `/` and the key, or the one that it
    /// names itself (`{"_": {"#": soul}}`). An object that is `{"#": soul}` alone is a link. What `_` holds otherwise is
    /// passed over. A node without fields is not made, but the link to it is.
    ///
    /// gun.js looks up what the graph holds first, and keeps the soul of a link that is there. This is left to the caller.
    pub fn from_json(soul: Soul, data: Json, state: State) -> Result<Self, InvalidData> {
        let Json::Object(fields) = data else {
            return Err(InvalidData::NotAnObject(kind(&data)));
        };
        if link(&fields).is_some() {
            return Err(InvalidData::NotAnObject("a link"));
        }
        let mut graph = Self::new();
        // A stack of its own, so that no nesting is too deep.
        let mut left = vec![(soul.as_str().to_owned(), soul, fields)];
        while let Some((path, soul, fields)) = left.pop() {
            let mut node = Node::new(soul);
            for (name, data) in fields {
                if name == "_" {
                    continue;
                }
                let path = format!("{path}.{name}");
                let key = name_at(Key::new(&name), &path)?;
                let value = match data {
                    Json::Object(fields) => {
                        let (soul, is_link) = child(&node.soul, &name, &fields, &path)?;
                        if !is_link {
                            left.push((path, soul.clone(), fields));
                        }
                        Value::Link(soul)
                    }
                    data => plain(&data, &path)?,
                };
                node = node.with(key, value, state);
            }
            graph.merge(state, &node);
        }
        Ok(graph)
    }

    /// The nodes that adding this to the set under this soul makes, all of one state. A set is a node whose fields are its members.
    ///
    /// An object becomes a node under a [new soul](set_soul), linked from the set. A link, and an object that names its own soul
    /// (`{"_": {"#": soul}}`), is linked under that soul, and nothing else is written. Anything else becomes a field with a new key.
    pub fn set_from_json(
        set: Soul,
        data: Json,
        state: State,
        random: [u8; 16],
    ) -> Result<Self, InvalidData> {
        let named = data
            .as_object()
            .and_then(|fields| link(fields).or_else(|| named(fields)))
            .map(|soul| name_at(Soul::new(soul), set.as_str()))
            .transpose()?;
        let is_known = named.is_some();
        let member = named.unwrap_or_else(|| set_soul(state, random));
        let key = name_at(Key::new(member.as_str()), set.as_str())?;
        let mut graph = Self::new();
        let value = match data {
            Json::Object(_) => {
                if !is_known {
                    graph = Self::from_json(member.clone(), data, state)?;
                }
                Value::Link(member)
            }
            data => plain(&data, &format!("{set}.{key}"))?,
        };
        graph.merge(state, &Node::new(set).with(key, value, state));
        Ok(graph)
    }
}

/// The soul that an object gives itself.
fn named(fields: &serde_json::Map<String, Json>) -> Option<&str> {
    fields.get("_")?.get("#")?.as_str()
}

/// The text of the soul, if this object is a link.
fn link(fields: &serde_json::Map<String, Json>) -> Option<&str> {
    (fields.len() == 1).then(|| fields.get("#")?.as_str())?
}

/// The soul of an object within another, and whether it is a mere link to it.
fn child(
    parent: &Soul,
    key: &str,
    fields: &serde_json::Map<String, Json>,
    path: &str,
) -> Result<(Soul, bool), InvalidData> {
    if let Some(soul) = link(fields) {
        return Ok((name_at(Soul::new(soul), path)?, true));
    }
    let soul = match named(fields) {
        Some(soul) => Soul::new(soul),
        None => Soul::new(&format!("{parent}/{key}")),
    };
    Ok((name_at(soul, path)?, false))
}

fn plain(data: &Json, path: &str) -> Result<Value, InvalidData> {
    let path = || path.to_owned();
    match data {
        Json::Null => Ok(Value::Null),
        Json::Bool(yes) => Ok(Value::Bool(*yes)),
        Json::String(text) => Ok(Value::text(text)),
        Json::Number(number) => match number.as_f64().and_then(Number::new) {
            Some(number) => Ok(Value::Number(number)),
            None => Err(InvalidData::NotFinite { path: path() }),
        },
        Json::Array(_) | Json::Object(_) => Err(InvalidData::Array { path: path() }),
    }
}

fn name_at<T>(name: Result<T, InvalidName>, path: &str) -> Result<T, InvalidData> {
    name.map_err(|source| InvalidData::Name {
        path: path.to_owned(),
        source,
    })
}

const fn kind(data: &Json) -> &'static str {
    match data {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}

/// A soul for a new member of a set, which is its key there too: the state in base 36, so that members sort by age, and 12 characters
/// (71 bits) out of the random bytes.
pub fn set_soul(state: State, random: [u8; 16]) -> Soul {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "negative ones become 0, none is that large"
    )]
    let time = state.get() as u64;
    let mut time: Vec<char> = digits(time.into(), 36).collect();
    time.reverse();
    let random = digits(u128::from_le_bytes(random), 62).chain(std::iter::repeat('0'));
    Soul::of_valid(
        time.into_iter()
            .chain(random.take(12))
            .collect::<String>()
            .into(),
    )
}

/// The digits of a number in this base, the lowest first; none of 0.
fn digits(number: u128, base: u8) -> impl Iterator<Item = char> {
    const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let base = u128::from(base);
    let higher = move |number: &u128| Some(number / base);
    std::iter::successors(Some(number), higher)
        .take_while(|left| *left > 0)
        .filter_map(move |left| {
            DIGITS
                .get(usize::try_from(left % base).ok()?)
                .copied()
                .map(char::from)
        })
}
