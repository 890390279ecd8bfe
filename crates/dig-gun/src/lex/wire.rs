//! Queries as they stand in a message: `get: {"#": soul or range, ".": key or range, "%": budget}`.

use super::{KeyQuery, Lex, Query, SoulQuery};
use crate::{
    text::write_string,
    value::{InvalidName, Key, Soul},
};
use serde_json::{Map, Value as Json};
use std::{fmt::Write as _, sync::Arc};

/// Why a `get` asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    /// It is no object.
    #[error("`get` must be an object with a soul under `#`")]
    NotAnObject,
    /// It names no soul, and no range of souls.
    #[error("`get` must have a soul, or a range with `*`, `>` or `<`, under `#`")]
    NoSoul,
    /// The soul or key is none.
    #[error("in `get`: {0}")]
    Name(#[from] InvalidName),
    /// The key is neither text nor a range, or a range has something else than texts, or texts that are too long.
    #[error(
        "in `get`: a key must be a text or a range with `=`, `*`, `>` or `<`, each a text of at most 4096 bytes"
    )]
    Range,
}

/// What `#` or `.` holds.
enum Names {
    One(Arc<str>),
    Many(Lex),
}

impl Query {
    /// Reads the `get` of a message.
    ///
    /// Taken as they are meant: a range of souls that stands where `#` should be, as gun.js's own interface writes it; a key
    /// `""` or `{}`, which is every key; `-` at any place; a budget that is no number of at least 1, which is none.
    pub(crate) fn parse(get: &Json) -> Result<Self, InvalidQuery> {
        let Json::Object(get) = get else {
            return Err(InvalidQuery::NotAnObject);
        };
        let souls = match get.get("#") {
            Some(Json::String(soul)) => Names::One(soul.as_str().into()),
            Some(Json::Object(souls)) => names(souls)?.ok_or(InvalidQuery::NoSoul)?,
            Some(_) => return Err(InvalidQuery::NoSoul),
            None => names(get)?.ok_or(InvalidQuery::NoSoul)?,
        };
        let soul = match souls {
            Names::One(soul) => SoulQuery::One(Soul::new(&soul)?),
            Names::Many(lex) => SoulQuery::Many(lex),
        };
        let keys = match get.get(".") {
            None | Some(Json::Null) => None,
            Some(Json::String(key)) => (!key.is_empty()).then(|| Names::One(key.as_str().into())),
            Some(Json::Object(keys)) => names(keys)?,
            Some(_) => return Err(InvalidQuery::Range),
        };
        let key = match keys {
            None => None,
            Some(Names::One(key)) => Some(KeyQuery::One(Key::new(&key)?)),
            Some(Names::Many(lex)) => Some(KeyQuery::Many(lex)),
        };
        let inner = |at: &str| get.get(at).and_then(Json::as_object);
        let reverse = [Some(get), inner("#"), inner(".")]
            .into_iter()
            .flatten()
            .any(|at| at.get("-").is_some_and(is_truthy));
        Ok(Self {
            soul,
            key,
            budget: get.get("%").and_then(budget),
            reverse,
        })
    }

    /// Writes the `get` of a message as gun.js's relays understand it.
    pub fn write(&self, out: &mut String) {
        let soul_reverse = self.reverse && matches!(self.soul, SoulQuery::Many(_));
        out.push_str("{\"#\":");
        match &self.soul {
            SoulQuery::One(soul) => write_string(out, soul.as_str()),
            SoulQuery::Many(lex) => write_lex(out, lex, soul_reverse),
        }
        match &self.key {
            None => {}
            Some(KeyQuery::One(key)) => {
                out.push_str(",\".\":");
                write_string(out, key.as_str());
            }
            Some(KeyQuery::Many(lex)) => {
                out.push_str(",\".\":");
                write_lex(out, lex, self.reverse && !soul_reverse);
            }
        }
        if let Some(budget) = self.budget {
            // Writing into a text never fails.
            let _ = write!(out, ",\"%\":{budget}");
        }
        if self.reverse && !soul_reverse && !matches!(self.key, Some(KeyQuery::Many(_))) {
            out.push_str(",\"-\":1");
        }
        out.push('}');
    }
}

/// The name or range that this object means; `None` if it limits nothing.
fn names(lex: &Map<String, Json>) -> Result<Option<Names>, InvalidQuery> {
    let part = |name: &str| match lex.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) if text.len() <= Key::MAX_LEN => {
            Ok(Some(Arc::from(text.as_str())))
        }
        Some(_) => Err(InvalidQuery::Range),
    };
    if let Some(exact) = part("=")? {
        return Ok(Some(Names::One(exact)));
    }
    let lex = Lex {
        prefix: part("*")?,
        from: part(">")?,
        to: part("<")?,
    };
    Ok((lex != Lex::default()).then_some(Names::Many(lex)))
}

fn write_lex(out: &mut String, lex: &Lex, reverse: bool) {
    // A range without any limit would be taken for none.
    let everything = *lex == Lex::default();
    let prefix = if everything {
        Some("")
    } else {
        lex.prefix.as_deref()
    };
    let parts = [
        ("*", prefix),
        (">", lex.from.as_deref()),
        ("<", lex.to.as_deref()),
    ];
    let mut comma = "{";
    for (name, text) in parts {
        let Some(text) = text else { continue };
        out.push_str(comma);
        write_string(out, name);
        out.push(':');
        write_string(out, text);
        comma = ",";
    }
    if reverse {
        out.push_str(",\"-\":1");
    }
    out.push('}');
}

/// What JavaScript takes for yes.
fn is_truthy(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Bool(yes) => *yes,
        Json::Number(number) => number.as_f64() != Some(0.0),
        Json::String(text) => !text.is_empty(),
        Json::Array(_) | Json::Object(_) => true,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` keeps to the bounds of the type, as meant"
)]
fn budget(budget: &Json) -> Option<u32> {
    let number = match budget {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .filter(|number: &f64| *number >= 1.0)
        .map(|number| number.ceil() as u32)
}
