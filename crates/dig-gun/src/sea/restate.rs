//! JSON as JavaScript writes it after reading it: what was signed, whatever the spaces and escapes of the text that carries it.

use crate::text::{write_number, write_string};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::{collections::HashMap, fmt};

/// `JSON.stringify(JSON.parse(text))`; `None` if it is no JSON, has half surrogate pairs or nests deeper than 127.
pub(super) fn restated(text: &str) -> Option<String> {
    serde_json::from_str(text).ok().map(|Restated(text)| text)
}

struct Restated(String);

impl<'de> Deserialize<'de> for Restated {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RestatedVisitor)
    }
}

struct RestatedVisitor;

impl Restated {
    fn number(number: f64) -> Self {
        let mut text = String::new();
        write_number(&mut text, number);
        Self(text)
    }
}

impl<'de> Visitor<'de> for RestatedVisitor {
    type Value = Restated;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Restated("null".to_owned()))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Self::Value, E> {
        Ok(Restated(if is { "true" } else { "false" }.to_owned()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Restated::number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Restated::number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Restated::number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let mut out = String::new();
        write_string(&mut out, text);
        Ok(Restated(out))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut out = String::from("[");
        while let Some(Restated(element)) = list.next_element()? {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&element);
        }
        out.push(']');
        Ok(Restated(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        let mut places = HashMap::new();
        while let Some((key, Restated(value))) = object.next_entry::<String, Restated>()? {
            // A key that comes again keeps its place and changes its value.
            match places.get(&key) {
                Some(&place) => {
                    let (_, old): &mut (String, String) = &mut fields[place];
                    *old = value;
                }
                None => {
                    places.insert(key.clone(), fields.len());
                    fields.push((key, value));
                }
            }
        }
        // Array indices come first, in the order of their numbers (ECMA-262 §10.1.11.1 OrdinaryOwnPropertyKeys).
        fields.sort_by_key(|(key, _)| index(key).map_or((1, 0), |index| (0, index)));
        let mut out = String::from("{");
        for (key, value) in fields {
            if out.len() > 1 {
                out.push(',');
            }
            write_string(&mut out, &key);
            out.push(':');
            out.push_str(&value);
        }
        out.push('}');
        Ok(Restated(out))
    }
}

/// The array index that a key is, if it is one: a number below 2³² − 1 without leading zeros.
fn index(key: &str) -> Option<u32> {
    let plain =
        key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    let index = key.parse().ok().filter(|index| *index != u32::MAX);
    index.filter(|_| plain)
}
