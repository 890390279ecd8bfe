//! Names of modules: each is called after the thing it holds.

use super::Finding;
use std::path::{Component, Path};

/// Names under which anything could stand.
const DRAWERS: &[&str] = &[
    "util", "utils", "helper", "helpers", "common", "misc", "manager", "managers",
];

/// Checks the path of one source file.
pub(super) fn check(path: &Path) -> Vec<Finding> {
    let mut findings: Vec<Finding> = path
        .with_extension("")
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => name.to_str().filter(|name| DRAWERS.contains(name)),
            _ => None,
        })
        .map(|name| {
            Finding::error(
                0,
                format!("`{name}` names nothing: call the module after what it holds"),
            )
        })
        .collect();
    let in_source = path.components().any(|part| part.as_os_str() == "src");
    if in_source && path.ends_with("mod.rs") {
        findings.push(Finding::error(
            0,
            "write `name.rs` beside `name/` instead of `name/mod.rs`",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawers_are_refused() {
        for path in [
            "crates/a/src/util.rs",
            "crates/a/src/helpers/x.rs",
            "crates/a/tests/common.rs",
        ] {
            assert_eq!(check(Path::new(path)).len(), 1, "{path}");
        }
        for path in [
            "crates/a/src/peer_discovery_manager.rs",
            "crates/a/src/lane.rs",
        ] {
            assert!(check(Path::new(path)).is_empty(), "{path}");
        }
    }

    #[test]
    fn mod_files_are_refused() {
        assert_eq!(check(Path::new("crates/a/src/lane/mod.rs")).len(), 1);
        assert!(check(Path::new("crates/a/tests/swarm/mod.rs")).is_empty());
    }
}
