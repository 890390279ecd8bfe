use super::*;
use crate::value::samples::nasty_text;
use proptest::prelude::*;

/// The last character in UTF-16 order.
const LAST: char = '\u{ffff}';

fn part() -> impl Strategy<Value = Option<Arc<str>>> {
    proptest::option::of(nasty_text().prop_map(Arc::from))
}

/// Any range; half of them have the parts of the name itself, so that they meet it.
fn around(name: &str) -> impl Strategy<Value = Lex> + use<> {
    let name: Vec<char> = name.chars().collect();
    let length = name.len();
    let met = (0..=length, 0..=length, any::<bool>(), any::<bool>()).prop_map(
        move |(cut, end, low, high)| {
            let text = |chars: &[char]| Some(Arc::from(chars.iter().collect::<String>()));
            let rest = &name[cut..];
            let near = &rest[..end.min(rest.len())];
            Lex {
                prefix: text(&name[..cut]),
                from: if low { text(near) } else { None },
                to: if high { text(near) } else { None },
            }
        },
    );
    let any = (part(), part(), part()).prop_map(|(prefix, from, to)| Lex { prefix, from, to });
    prop_oneof![met, any]
}

/// What a query means, said again in UTF-16.
fn naive(lex: &Lex, name: &str) -> bool {
    let units = |text: &Option<Arc<str>>| -> Option<Vec<u16>> {
        text.as_ref().map(|text| text.encode_utf16().collect())
    };
    let name: Vec<u16> = name.encode_utf16().collect();
    let prefix = units(&lex.prefix).unwrap_or_default();
    name.strip_prefix(&prefix[..]).is_some_and(|rest| {
        units(&lex.from).is_none_or(|from| rest >= &from[..])
            && units(&lex.to).is_none_or(|to| rest <= &to[..])
    })
}

fn within(range: &Range, name: &str) -> bool {
    let behind = match &range.from {
        Bound::Unbounded => true,
        Bound::Included(from) => utf16_order(name, from).is_ge(),
        Bound::Excluded(from) => utf16_order(name, from).is_gt(),
    };
    behind
        && match &range.to {
            Bound::Unbounded => true,
            Bound::Included(to) => utf16_order(name, to).is_le(),
            Bound::Excluded(to) => utf16_order(name, to).is_lt(),
        }
}

proptest! {
    #[test]
    fn a_name_matches_just_if_it_lies_within_the_bounds(
        (name, lex) in nasty_text().prop_flat_map(|name| (Just(name.clone()), around(&name))),
    ) {
        let matches = lex.matches(&name);
        prop_assert_eq!(matches, naive(&lex, &name));
        prop_assert_eq!(matches, lex.range().is_some_and(|range| within(&range, &name)));
    }

    /// Nothing fits between all that begin with a prefix and the bound behind them.
    #[test]
    fn the_bound_behind_a_prefix_is_the_next_text(prefix in nasty_text(), rest in nasty_text(), other in nasty_text()) {
        match behind_all(&prefix) {
            Some(behind) => {
                let longer = format!("{prefix}{rest}");
                prop_assert!(utf16_order(&longer, &behind).is_lt());
                let between = utf16_order(&other, &prefix).is_ge() && utf16_order(&other, &behind).is_lt();
                prop_assert_eq!(between, other.starts_with(&prefix));
            }
            None => prop_assert_eq!(prefix.trim_start_matches(LAST), ""),
        }
    }
}

#[test]
fn what_follows_a_prefix_is_found_past_the_surrogates() {
    assert_eq!(behind_all("a").as_deref(), Some("b"));
    assert_eq!(behind_all("a\u{ffff}\u{ffff}").as_deref(), Some("b"));
    assert_eq!(behind_all("\u{d7ff}").as_deref(), Some("\u{10000}"));
    assert_eq!(behind_all("\u{10ffff}").as_deref(), Some("\u{e000}"));
    assert_eq!(behind_all("\u{ffff}"), None);
    assert_eq!(behind_all(""), None);
}

#[test]
fn a_range_that_ends_before_it_begins_is_empty() {
    let lex = Lex::between("b", "a");
    assert!(!lex.matches("a") && !lex.matches("b"));
    assert_eq!(lex.range(), None);
}
