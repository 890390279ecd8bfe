//! Reading what a node says of itself, under `_`.

use super::{
    loose::{Loose, Text, not_an_object},
    reading::Reading,
};
use crate::value::State;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// What `_` says of a node.
pub(super) struct Meta<'de> {
    pub(super) soul: Option<Cow<'de, str>>,
    pub(super) states: Option<States<'de>>,
}

/// The states of fields, by their keys.
pub(super) type States<'de> = Vec<(Cow<'de, str>, GivenState)>;

#[derive(Clone, Copy)]
pub(super) enum GivenState {
    State(State),
    Null,
    Bad,
}

/// Reads `_`.
pub(super) struct MetaSeed<'a, 'r>(pub(super) &'a Reading<'r>);

impl<'de> DeserializeSeed<'de> for MetaSeed<'_, '_> {
    type Value = Meta<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MetaSeed<'_, '_> {
    type Value = Meta<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what a node says of itself")
    }

    not_an_object!(self => Meta { soul: None, states: None });

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Meta {
            soul: None,
            states: None,
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut meta = Meta {
            soul: None,
            states: None,
        };
        while let Some(Text(key)) = object.next_key()? {
            match key.as_ref() {
                "#" => {
                    meta.soul = match object.next_value()? {
                        Loose::Text(soul) => Some(soul),
                        _ => None,
                    }
                }
                ">" => meta.states = object.next_value_seed(StatesSeed(self.0))?,
                _ => {
                    object.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(meta)
    }
}

/// Reads the states of a node.
struct StatesSeed<'a, 'r>(&'a Reading<'r>);

impl<'de> DeserializeSeed<'de> for StatesSeed<'_, '_> {
    type Value = Option<States<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StatesSeed<'_, '_> {
    type Value = Option<States<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("states")
    }

    not_an_object!(self => None);

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut states = Vec::new();
        while let Some(Text(key)) = object.next_key()? {
            self.0.count_field()?;
            let state = match object.next_value()? {
                Loose::Number(number) => {
                    State::new(number).map_or(GivenState::Bad, GivenState::State)
                }
                Loose::Null => GivenState::Null,
                _ => GivenState::Bad,
            };
            states.push((key, state));
        }
        Ok(Some(states))
    }
}
