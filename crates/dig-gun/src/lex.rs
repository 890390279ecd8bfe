//! Queries: one node, one field, or all whose names lie in a lexical range ("LEX").
//!
//! gun.js answers these queries differently by what it happens to have in memory, and sometimes not at all. Here each has one meaning:
//!
//! - `{"*": prefix}` is everything that begins so, `{">": from, "<": to}` what lies between, ends included, in UTF-16 order; with
//!   both, the range is that of what follows the prefix, as on gun.js's disk.
//! - A range query yields fields until their sizes reach the budget (`%`): the length of a text in UTF-16 units, 9 for anything else and for an empty
//!   text; the field that reaches it is included. Without a budget that is one field. A budget above [`MAX_BUDGET`] is
//!   taken for [`MAX_BUDGET`] (gun.js: for 1). A budget on a whole node counts the same.
//! - `-` yields the last ones instead of the first ones.

mod range;
mod wire;

pub use range::{Lex, Range};
pub use wire::InvalidQuery;

use crate::{
    graph::Node,
    value::{Key, Soul, Value},
};

/// The largest budget of a query: gun.js's.
pub const MAX_BUDGET: u32 = 100_000;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// Of which node or nodes.
    pub soul: SoulQuery,
    /// Which field or fields; `None` for all.
    pub key: Option<KeyQuery>,
    /// How much, see the [module](self).
    pub budget: Option<u32>,
    /// The last ones rather than the first ones.
    pub reverse: bool,
}

/// Which nodes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SoulQuery {
    /// This one.
    One(Soul),
    /// All these.
    Many(Lex),
}

/// Which fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum KeyQuery {
    /// This one.
    One(Key),
    /// All these.
    Many(Lex),
}

impl Query {
    /// A whole node.
    pub const fn node(soul: Soul) -> Self {
        Self {
            soul: SoulQuery::One(soul),
            key: None,
            budget: None,
            reverse: false,
        }
    }

    /// One field of a node.
    pub const fn field(soul: Soul, key: Key) -> Self {
        Self {
            soul: SoulQuery::One(soul),
            key: Some(KeyQuery::One(key)),
            budget: None,
            reverse: false,
        }
    }

    /// The fields of a node within a range, as many as the budget allows.
    pub const fn fields(soul: Soul, keys: Lex, budget: u32) -> Self {
        Self {
            soul: SoulQuery::One(soul),
            key: Some(KeyQuery::Many(keys)),
            budget: Some(budget),
            reverse: false,
        }
    }

    /// The nodes within a range, as many as the budget allows.
    pub const fn nodes(souls: Lex, budget: u32) -> Self {
        Self {
            soul: SoulQuery::Many(souls),
            key: None,
            budget: Some(budget),
            reverse: false,
        }
    }

    /// The soul, where one node is asked for.
    pub const fn one_soul(&self) -> Option<&Soul> {
        match &self.soul {
            SoulQuery::One(soul) => Some(soul),
            SoulQuery::Many(_) => None,
        }
    }

    /// Whether it asks for (something of) this node.
    pub fn matches_soul(&self, soul: &Soul) -> bool {
        match &self.soul {
            SoulQuery::One(one) => one == soul,
            SoulQuery::Many(lex) => lex.matches(soul.as_str()),
        }
    }

    /// Whether it asks for this field of the nodes it asks for.
    pub fn matches_key(&self, key: &Key) -> bool {
        match &self.key {
            None => true,
            Some(KeyQuery::One(one)) => one == key,
            Some(KeyQuery::Many(lex)) => lex.matches(key.as_str()),
        }
    }

    /// How much may be taken; one budget serves all nodes of an answer.
    pub fn allowance(&self) -> Allowance {
        let ranged =
            matches!(self.soul, SoulQuery::Many(_)) || matches!(self.key, Some(KeyQuery::Many(_)));
        Allowance {
            left: match self.budget {
                Some(budget) => Some(budget.min(MAX_BUDGET).into()),
                None => ranged.then_some(1),
            },
            spent: false,
        }
    }

    /// The fields of this node that are asked for, within the budget; of a node that is not asked for, none.
    pub fn select(&self, node: &Node) -> Node {
        self.select_within(node, &mut self.allowance())
    }

    /// The same with what other nodes of the answer left of the budget.
    pub fn select_within(&self, node: &Node, allowance: &mut Allowance) -> Node {
        let mut selected = Node::new(node.soul.clone());
        if !self.matches_soul(&node.soul) {
            return selected;
        }
        let everything = Lex::default();
        let keys = match &self.key {
            None if allowance.left.is_none() => return node.clone(),
            None => &everything,
            Some(KeyQuery::Many(keys)) => keys,
            Some(KeyQuery::One(key)) => {
                if let Some((key, field)) = node.fields.get_key_value(key)
                    && allowance.take(&field.value)
                {
                    selected.fields.insert(key.clone(), field.clone());
                }
                return selected;
            }
        };
        let mut within = keys.fields(node);
        let mut next = || {
            if self.reverse {
                within.next_back()
            } else {
                within.next()
            }
        };
        while let Some((key, field)) = next() {
            if !allowance.take(&field.value) {
                break;
            }
            selected.fields.insert(key.clone(), field.clone());
        }
        selected
    }
}

/// How much an answer may still hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// `None` for any amount.
    left: Option<u64>,
    spent: bool,
}

impl Allowance {
    /// Whether nothing more may be taken.
    pub const fn is_spent(&self) -> bool {
        self.spent
    }

    /// Takes this value; `false` if it may not be taken. What reaches the budget may, and is the last.
    pub fn take(&mut self, value: &Value) -> bool {
        if self.spent {
            return false;
        }
        if let Some(left) = &mut self.left {
            let size = match value {
                Value::Text(text) if !text.is_empty() => utf16_length(text),
                _ => 9,
            };
            *left = left.saturating_sub(size);
            self.spent = *left == 0;
        }
        true
    }
}

fn utf16_length(text: &str) -> u64 {
    if text.is_ascii() {
        text.len() as u64
    } else {
        text.encode_utf16().count() as u64
    }
}

#[cfg(test)]
mod tests;
