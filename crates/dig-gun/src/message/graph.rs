//! Reading the graph of a put.

use super::{
    WireLimits,
    fault::{Cut, Fault},
    loose::{Loose, Text},
};
use crate::{
    graph::{Field, Node},
    value::{Key, Number, Soul, State, Value},
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::HashMap,
    fmt,
};

/// What is noted while a message is read.
pub(super) struct Reading<'a> {
    limits: &'a WireLimits,
    /// Whether `null` may have been written for an infinite state, which gun.js leaks.
    repaired: bool,
    fields: Cell<usize>,
    /// The first thing that was wrong with the graph.
    fault: RefCell<Option<Fault>>,
    /// It was so wrong that reading ended.
    over: Cell<bool>,
}

impl<'a> Reading<'a> {
    pub(super) const fn new(limits: &'a WireLimits, repaired: bool) -> Self {
        Self {
            limits,
            repaired,
            fields: Cell::new(0),
            fault: RefCell::new(None),
            over: Cell::new(false),
        }
    }

    /// What was wrong with the graph.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.borrow_mut().take()
    }

    /// Whether reading ended because of it.
    pub(super) const fn is_over(&self) -> bool {
        self.over.get()
    }

    fn note(&self, fault: impl FnOnce() -> Fault) {
        self.fault.borrow_mut().get_or_insert_with(fault);
    }

    fn end<E: serde::de::Error>(&self, fault: Fault) -> E {
        *self.fault.borrow_mut() = Some(fault);
        self.over.set(true);
        E::custom("over a limit")
    }

    fn count_field<E: serde::de::Error>(&self) -> Result<(), E> {
        let fields = self.fields.get() + 1;
        self.fields.set(fields);
        // Each field stands twice in a node: with its state and with its value.
        if fields > self.limits.max_fields.saturating_mul(2) {
            return Err(self.end(Fault::too_many_fields(self.limits)));
        }
        Ok(())
    }
}

/// Reads a graph; `None` for null.
pub(super) struct GraphSeed<'a, 'r>(pub(super) &'a Reading<'r>);

impl<'de> DeserializeSeed<'de> for GraphSeed<'_, '_> {
    type Value = Option<Vec<Node>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// What no graph, node or map of states can be: taken, noted and left.
macro_rules! reject_scalars {
    ($self:ident => $reject:expr) => {
        fn visit_bool<E>($self, _: bool) -> Result<Self::Value, E> {
            Ok($reject)
        }

        fn visit_i64<E>($self, _: i64) -> Result<Self::Value, E> {
            Ok($reject)
        }

        fn visit_u64<E>($self, _: u64) -> Result<Self::Value, E> {
            Ok($reject)
        }

        fn visit_f64<E>($self, _: f64) -> Result<Self::Value, E> {
            Ok($reject)
        }

        fn visit_str<E>($self, _: &str) -> Result<Self::Value, E> {
            Ok($reject)
        }

        fn visit_seq<A: SeqAccess<'de>>($self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok($reject)
        }
    };
}

impl<'de> Visitor<'de> for GraphSeed<'_, '_> {
    type Value = Option<Vec<Node>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph")
    }

    reject_scalars!(self => {
        self.0.note(|| Fault::NoGraph);
        None
    });

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut graph: A) -> Result<Self::Value, A::Error> {
        let mut nodes = Vec::new();
        let mut count = 0;
        while let Some(Text(soul)) = graph.next_key()? {
            count += 1;
            if count > self.0.limits.max_nodes {
                return Err(self.0.end(Fault::too_many_nodes(self.0.limits)));
            }
            let node = graph.next_value_seed(NodeSeed {
                reading: self.0,
                soul: &soul,
            })?;
            nodes.extend(node.filter(|node| !node.fields.is_empty()));
        }
        Ok(Some(nodes))
    }
}

/// Reads a node; `None` if it is none.
struct NodeSeed<'a, 'r> {
    reading: &'a Reading<'r>,
    soul: &'a str,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_, '_> {
    type Value = Option<Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_, '_> {
    type Value = Option<Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node")
    }

    reject_scalars!(self => {
        self.reading.note(|| Fault::NoNode(Cut::new(self.soul)));
        None
    });

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        self.reading.note(|| Fault::NoNode(Cut::new(self.soul)));
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut node: A) -> Result<Self::Value, A::Error> {
        let mut meta = None;
        let mut values = Vec::new();
        while let Some(Text(key)) = node.next_key()? {
            if key == "_" {
                meta = Some(node.next_value_seed(MetaSeed(self.reading))?);
                continue;
            }
            self.reading.count_field()?;
            values.push((key, node.next_value_seed(ValueSeed)?));
        }
        Ok(self.join(meta, values))
    }
}

impl NodeSeed<'_, '_> {
    /// The node of these fields, as far as nothing is wrong with them.
    fn join(&self, meta: Option<Meta<'_>>, values: Vec<(Cow<'_, str>, Given)>) -> Option<Node> {
        let Some(meta) = meta else {
            self.reading.note(|| Fault::NoMeta(Cut::new(self.soul)));
            return None;
        };
        if meta.soul.as_deref() != Some(self.soul) {
            self.reading
                .note(|| Fault::SoulNotSame(Cut::new(self.soul)));
            return None;
        }
        let Some(states) = meta.states else {
            self.reading.note(|| Fault::NoStates(Cut::new(self.soul)));
            return None;
        };
        let soul = Soul::new(self.soul)
            .map_err(|why| self.bad_name(self.soul, why))
            .ok()?;
        let mut node = Node::new(soul);
        let mut index = None;
        for (at, (key, given)) in values.into_iter().enumerate() {
            let state = match states.get(at) {
                Some((same, state)) if *same == key && states.len() == 1 => Some(*state),
                _ => index
                    .get_or_insert_with(|| StateIndex::new(&states))
                    .find(&key),
            };
            if let Some((key, field)) = self.field(&key, given, state) {
                node.fields.insert(key, field);
            }
        }
        Some(node)
    }

    fn field(&self, key: &str, given: Given, state: Option<GivenState>) -> Option<(Key, Field)> {
        let soul = || Cut::new(self.soul);
        let value = match given {
            Given::Value(value) => value,
            Given::Bad(kind) => {
                self.reading.note(|| Fault::BadValue {
                    soul: soul(),
                    key: Cut::new(key),
                    kind,
                });
                return None;
            }
            Given::BadLink(why) => {
                self.bad_name(key, why);
                return None;
            }
        };
        let state = match state {
            Some(GivenState::State(state)) => state,
            // gun.js wrote `-Infinity`: it knows no state.
            Some(GivenState::Null) if self.reading.repaired => return None,
            Some(GivenState::Null | GivenState::Bad) => {
                self.reading.note(|| Fault::BadState {
                    soul: soul(),
                    key: Cut::new(key),
                });
                return None;
            }
            None => {
                self.reading.note(|| Fault::NoState {
                    soul: soul(),
                    key: Cut::new(key),
                });
                return None;
            }
        };
        let key = Key::new(key).map_err(|why| self.bad_name(key, why)).ok()?;
        Some((key, Field { value, state }))
    }

    fn bad_name(&self, text: &str, why: crate::value::InvalidName) {
        self.reading.note(|| Fault::BadName {
            text: Cut::new(text),
            why,
        });
    }
}

/// What `_` says of a node.
struct Meta<'de> {
    soul: Option<Cow<'de, str>>,
    states: Option<Vec<(Cow<'de, str>, GivenState)>>,
}

#[derive(Clone, Copy)]
enum GivenState {
    State(State),
    Null,
    Bad,
}

/// The states of a node's fields by their keys. A key that is there twice counts with its last state, as in JavaScript.
enum StateIndex<'s, 'de> {
    /// Few, or in the order of the fields.
    List(&'s [(Cow<'de, str>, GivenState)]),
    Map(HashMap<&'s str, GivenState>),
}

impl<'s, 'de> StateIndex<'s, 'de> {
    const FEW: usize = 16;

    fn new(states: &'s [(Cow<'de, str>, GivenState)]) -> Self {
        if states.len() <= Self::FEW {
            return Self::List(states);
        }
        Self::Map(
            states
                .iter()
                .map(|(key, state)| (key.as_ref(), *state))
                .collect(),
        )
    }

    fn find(&self, key: &str) -> Option<GivenState> {
        match self {
            Self::List(states) => states
                .iter()
                .rev()
                .find(|(known, _)| known == key)
                .map(|(_, state)| *state),
            Self::Map(states) => states.get(key).copied(),
        }
    }
}

/// Reads `_`.
struct MetaSeed<'a, 'r>(&'a Reading<'r>);

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

    reject_scalars!(self => Meta { soul: None, states: None });

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
    type Value = Option<Vec<(Cow<'de, str>, GivenState)>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StatesSeed<'_, '_> {
    type Value = Option<Vec<(Cow<'de, str>, GivenState)>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("states")
    }

    reject_scalars!(self => None);

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

/// What a field is given.
enum Given {
    Value(Value),
    Bad(&'static str),
    BadLink(crate::value::InvalidName),
}

impl Given {
    fn number(number: f64) -> Self {
        Number::new(number).map_or(Self::Bad("number"), |number| {
            Self::Value(Value::Number(number))
        })
    }
}

/// Reads a value.
struct ValueSeed;

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
