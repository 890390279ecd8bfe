//! Reading the graph of a put.

use super::{
    fault::{Cut, Fault},
    given::{Given, ValueSeed},
    loose::{Text, not_an_object},
    meta::{GivenState, Meta, MetaSeed},
    reading::Reading,
};
use crate::{
    graph::{Field, Node},
    value::{InvalidName, Key, Soul},
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, collections::HashMap, fmt};

/// Reads a graph; `None` for null.
pub(super) struct GraphSeed<'a, 'r>(pub(super) &'a Reading<'r>);

impl<'de> DeserializeSeed<'de> for GraphSeed<'_, '_> {
    type Value = Option<Vec<Node>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for GraphSeed<'_, '_> {
    type Value = Option<Vec<Node>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a graph")
    }

    not_an_object!(self => {
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
            if count > self.0.limits().max_nodes {
                return Err(self.0.end(Fault::too_many_nodes(self.0.limits())));
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

    not_an_object!(self => {
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
                // Peers write both in one order.
                Some((same, state)) if *same == key => Some(*state),
                _ => index
                    .get_or_insert_with(|| {
                        states
                            .iter()
                            .map(|(key, state)| (key.as_ref(), *state))
                            .collect::<HashMap<_, _>>()
                    })
                    .get(key.as_ref())
                    .copied(),
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
            Some(GivenState::Null) if self.reading.is_repaired() => return None,
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

    fn bad_name(&self, text: &str, why: InvalidName) {
        self.reading.note(|| Fault::BadName {
            text: Cut::new(text),
            why,
        });
    }
}
