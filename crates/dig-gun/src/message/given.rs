//! Reading the value of a field.

use super::loose::{Loose, Text};
use crate::value::{InvalidName, Number, Soul, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// What a field is given.
pub(super) enum Given {
    Value(Value),
    Bad(&'static str),
    BadLink(InvalidName),
}

impl Given {
    fn number(number: f64) -> Self {
        Number::new(number).map_or(Self::Bad("number"), |number| {
            Self::Value(Value::Number(number))
        })
    }
}

/// Reads a value.
pub(super) struct ValueSeed;

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Given::Value(Value::Null))
    }

    fn visit_bool<E>(self, is: bool) -> Result<Self::Value, E> {
        Ok(Given::Value(Value::Bool(is)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Given::number(number as f64))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Given::number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Given::number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Given::Value(Value::text(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Given::Bad("array"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut soul = None;
        let mut strange = false;
        while let Some(Text(key)) = object.next_key()? {
            if key != "#" {
                strange = true;
                object.next_value::<IgnoredAny>()?;
                continue;
            }
            soul = Some(object.next_value::<Loose<'_>>()?);
        }
        Ok(match soul {
            Some(Loose::Text(soul)) if !strange => match Soul::new(&soul) {
                Ok(soul) => Given::Value(Value::Link(soul)),
                Err(why) => Given::BadLink(why),
            },
            _ => Given::Bad("object"),
        })
    }
}
