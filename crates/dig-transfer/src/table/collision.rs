//! Paths that are distinct in a table, but not on every file system.

use super::{Table, path::parents};
use std::collections::HashMap;
use unicode_normalization::UnicodeNormalization as _;

/// Names that Windows keeps for devices, whatever extension follows.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// A path that a file system could take for another path of the same table, so that one file would
/// overwrite the other there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collision {
    /// The path that comes first in the table.
    pub first: String,
    /// The path that would be written over it or through it.
    pub second: String,
}

impl Table {
    /// Paths that differ only in case or in normal form, or that lead through a file of such a name:
    /// on file systems that ignore these differences they cannot both exist.
    pub fn collisions(&self) -> Vec<Collision> {
        let mut seen: HashMap<String, usize> = HashMap::with_capacity(self.entries.len());
        let mut found = Vec::new();
        let mut report = |first: usize, second: usize| {
            let path = |index: usize| self.entries[index].path.clone();
            found.push(Collision {
                first: path(first.min(second)),
                second: path(first.max(second)),
            });
        };
        let folded: Vec<String> = self.entries.iter().map(|entry| fold(&entry.path)).collect();
        for (index, path) in folded.iter().enumerate() {
            if let Some(earlier) = seen.get(path) {
                report(*earlier, index);
            } else {
                seen.insert(path.clone(), index);
            }
        }
        for (index, path) in folded.iter().enumerate() {
            if let Some(parent) = parents(path).find_map(|parent| seen.get(parent)) {
                report(*parent, index);
            }
        }
        found
    }

    /// Paths that the system this program runs on cannot write: device names and the like on Windows, none elsewhere.
    pub fn unwritable_here(&self) -> Vec<&str> {
        if !cfg!(windows) {
            return Vec::new();
        }
        let paths = self.entries.iter().map(|entry| entry.path.as_str());
        paths
            .filter(|path| !path.split('/').all(windows_can_write))
            .collect()
    }
}

/// Whether Windows can write a file of this name: no device, no character it forbids, no dot or blank at the end.
fn windows_can_write(component: &str) -> bool {
    if component.contains(['<', '>', ':', '"', '|', '?', '*']) || component.ends_with(['.', ' ']) {
        return false;
    }
    let stem = component
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_lowercase();
    let numbered = |prefix: &str| {
        let number = stem
            .strip_prefix(prefix)
            .and_then(|rest| rest.chars().next().filter(|c| rest.len() == c.len_utf8()));
        number.is_some_and(|c| matches!(c, '0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'))
    };
    !DEVICES.contains(&stem.as_str()) && !numbered("com") && !numbered("lpt")
}

/// The form in which two paths are equal on a file system that ignores case and normal form. Upper
/// case first, so that pairs like `ß` and `SS` meet.
fn fold(path: &str) -> String {
    path.to_uppercase().to_lowercase().nfd().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_known() {
        for name in [
            "NUL",
            "con.txt",
            "Com1",
            "lpt9.tar.gz",
            "aux ",
            "a:b",
            "x.",
            "what?",
            "COM\u{b9}",
        ] {
            assert!(!windows_can_write(name), "{name:?}");
        }
        for name in ["null", "com", "com10", "console", ".con", "a b", "lpt"] {
            assert!(windows_can_write(name), "{name:?}");
        }
    }
}
