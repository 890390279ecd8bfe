//! Lexical ranges of names.

use crate::{
    graph::{Field, Node},
    value::{Key, utf16_order},
};
use std::{ops::Bound, sync::Arc};

/// Names that begin with `prefix` and go on with something from `from` to `to`, ends included, in UTF-16 order. What is `None` is not
/// asked for; so the default is every name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Lex {
    /// `*`: how they begin.
    pub prefix: Option<Arc<str>>,
    /// `>`: what follows the prefix is this or greater.
    pub from: Option<Arc<str>>,
    /// `<`: what follows the prefix is this or less.
    pub to: Option<Arc<str>>,
}

/// Where the names of a range begin and end, in UTF-16 order. Every name between these bounds is in the range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The first one is not before this; none if there is no prefix and no `from`.
    pub from: Bound<String>,
    /// The last one is not behind this.
    pub to: Bound<String>,
}

impl Lex {
    /// All names that begin so.
    pub fn prefix(prefix: &str) -> Self {
        Self {
            prefix: Some(prefix.into()),
            ..Self::default()
        }
    }

    /// All names from one to another, both included.
    pub fn between(from: &str, to: &str) -> Self {
        Self {
            prefix: None,
            from: Some(from.into()),
            to: Some(to.into()),
        }
    }

    /// Whether this name is in the range.
    pub fn matches(&self, name: &str) -> bool {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        name.strip_prefix(prefix).is_some_and(|rest| {
            self.from
                .as_deref()
                .is_none_or(|from| utf16_order(rest, from).is_ge())
                && self
                    .to
                    .as_deref()
                    .is_none_or(|to| utf16_order(rest, to).is_le())
        })
    }

    /// The bounds between which exactly the names of this range lie; `None` if there can be none.
    pub fn range(&self) -> Option<Range> {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        if let (Some(from), Some(to)) = (&self.from, &self.to)
            && utf16_order(from, to).is_gt()
        {
            return None;
        }
        let from = match &self.from {
            None if prefix.is_empty() => Bound::Unbounded,
            from => Bound::Included(format!("{prefix}{}", from.as_deref().unwrap_or_default())),
        };
        let to = match &self.to {
            Some(to) => Bound::Included(format!("{prefix}{to}")),
            None => behind_all(prefix).map_or(Bound::Unbounded, Bound::Excluded),
        };
        Some(Range { from, to })
    }

    /// The fields of a node within the range, in order.
    pub(super) fn fields<'a>(
        &self,
        node: &'a Node,
    ) -> impl DoubleEndedIterator<Item = (&'a Key, &'a Field)> + use<'a> {
        let within = self.range().map(|Range { from, to }| {
            let bounds = (
                from.map(|from| Key::bound(&from)),
                to.map(|to| Key::bound(&to)),
            );
            node.fields.range(bounds)
        });
        within.into_iter().flatten()
    }
}

/// The least text behind all that begin with this one; `None` if there is nothing behind them.
fn behind_all(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // U+D800 to U+DFFF are no characters but halves of those beyond U+FFFF, which therefore come before U+E000.
        let next = match last {
            '\u{d7ff}' => Some('\u{10000}'),
            '\u{10ffff}' => Some('\u{e000}'),
            '\u{ffff}' => None,
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests;
