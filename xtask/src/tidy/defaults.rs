//! Defaults: every knob of the source stands in `docs/defaults.md`.
//!
//! A knob is a public field of a public struct that is called `…Config`, `…Options` or `…Limits`.

use super::{Finding, code};

/// The document that names them all.
pub(super) const DOCUMENT: &str = "docs/defaults.md";

/// How the names of structs with knobs end.
const KINDS: &[&str] = &["Config", "Options", "Limits"];

/// Checks one source file against the document.
pub(super) fn check(text: &str, document: &str) -> Vec<Finding> {
    let masked = code::without_tests(&code::mask(text));
    knobs(&masked)
        .into_iter()
        .filter(|(_, owner, field)| !has(document, owner, field))
        .map(|(line, owner, field)| {
            Finding::error(
                line,
                format!("{DOCUMENT} says nothing of `{owner}`'s `{field}`"),
            )
        })
        .collect()
}

/// (line, struct, field) of every knob in masked text.
fn knobs(masked: &str) -> Vec<(usize, &str, &str)> {
    let mut owner = None;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(masked.lines()) {
        if let Some(name) = line.strip_prefix("pub struct ") {
            let name = name.split(|char: char| !char.is_alphanumeric()).next();
            owner = name.filter(|name| KINDS.iter().any(|kind| name.ends_with(kind)));
        } else if line.starts_with('}') {
            owner = None;
        } else if let (Some(owner), Some(field)) = (owner, line.trim_start().strip_prefix("pub ")) {
            found.extend(field.split_once(':').map(|(name, _)| (number, owner, name)));
        }
    }
    found
}

/// Whether a part of the document that begins with `Owner` has a row for `field`: structs of different crates may share a name.
fn has(document: &str, owner: &str, field: &str) -> bool {
    let (owner, row) = (format!("`{owner}`"), format!("| `{field}` |"));
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let begins = !line.starts_with('|') && line.contains(&owner);
        let mut table = lines
            .clone()
            .take_while(|line| line.is_empty() || line.starts_with('|'));
        if begins && table.any(|line| line.starts_with(&row)) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];
    const DOCUMENT: &str = "## crate: `FirstConfig`\n\n| knob | unit |\n|---|---|\n| `one` | s |\n\n\
                            `SecondOptions`\n\n| knob |\n|---|\n| `two` |\n";

    fn missing(text: &str) -> Vec<usize> {
        check(text, DOCUMENT)
            .into_iter()
            .map(|finding| finding.line)
            .collect()
    }

    #[test]
    fn knobs_in_the_document_are_fine() {
        assert_eq!(
            missing(
                "pub struct FirstConfig {\n    /// One.\n    pub one: u8,\n    hidden: u8,\n}\n"
            ),
            NONE
        );
        assert_eq!(
            missing("pub struct SecondOptions {\n    pub two: u8,\n}\n"),
            NONE
        );
        assert_eq!(missing("pub struct Other {\n    pub three: u8,\n}\n"), NONE);
    }

    #[test]
    fn structs_may_share_a_name() {
        let both =
            format!("{DOCUMENT}\n`FirstConfig`, of another crate\n\n| knob |\n|---|\n| `four` |\n");
        let found = check(
            "pub struct FirstConfig {\n    pub one: u8,\n    pub four: u8,\n    pub five: u8,\n}\n",
            &both,
        );
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_missing_knob_is_found() {
        assert_eq!(
            missing("pub struct FirstConfig {\n    pub one: u8,\n    pub two: u8,\n}\n"),
            [3]
        );
        assert_eq!(
            missing("pub struct ThirdConfig {\n    pub one: u8,\n}\n"),
            [2]
        );
    }
}
