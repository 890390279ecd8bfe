//! Which crate may depend on which: arrows point from a higher tier to a lower one, never sideways.
//!
//! Two crates of one tier meet in `dig`, which holds the adapter. Development dependencies obey the
//! same arrows, so that each crate's tests run without its siblings; `dig-lab`, the network
//! laboratory, is for tests of every tier, and for `cargo xtask lab`.

use super::Finding;
use crate::workspace::{Dependency, Member};

/// Every crate below `crates/` and its tier. A new crate gets its line here.
const TIERS: &[(&str, u8)] = &[
    ("dig-types", 0),
    ("dig-identity", 1),
    ("dig-nat", 2),
    ("dig-session", 2),
    ("dig-gun", 2),
    ("dig-discovery", 2),
    ("dig-availability", 2),
    ("dig-transfer", 2),
    ("dig-host", 3),
    ("dig-client", 3),
    ("dig", 4),
    ("dig-cli", 5),
];

/// Never published, for tests only.
const LAB: &str = "dig-lab";
/// This program; it runs the product in the laboratory, and is no part of either.
const XTASK: &str = "xtask";

/// Checks the arrows that leave one crate, and that its folder has its name.
pub(super) fn check(member: &Member) -> Vec<Finding> {
    let mut findings: Vec<Finding> = member
        .dependencies
        .iter()
        .filter_map(|dependency| refusal(&member.name, dependency))
        .map(|message| Finding::error(0, message))
        .collect();
    let in_crates = member
        .folder
        .parent()
        .is_some_and(|parent| parent.ends_with("crates"));
    if in_crates && !member.folder.ends_with(&member.name) {
        let name = &member.name;
        findings.push(Finding::error(
            0,
            format!("the folder of crate {name} must be called {name}"),
        ));
    }
    if in_crates && member.name != LAB && tier(&member.name).is_none() {
        findings.push(Finding::error(
            0,
            format!(
                "{} has no tier; give it one in xtask/src/tidy/arrows.rs",
                member.name
            ),
        ));
    }
    findings
}

/// Why `from` may not depend on that, if it may not.
fn refusal(from: &str, dependency: &Dependency) -> Option<String> {
    let to = dependency.name.as_str();
    let to_tier = match tier(to) {
        Some(tier) => tier,
        None if to == LAB && !dependency.dev && from != XTASK => {
            return Some("dig-lab is for tests: put it under [dev-dependencies]".to_owned());
        }
        None => return None,
    };
    match (from, tier(from)) {
        ("dig-examples", _) if to != "dig" => Some(format!(
            "examples use only `dig`, as its users do, and not {to}"
        )),
        (XTASK, _) => Some(format!(
            "xtask builds without the crates of the product, such as {to}"
        )),
        (_, Some(tier)) if to_tier >= tier => Some(format!(
            "{from} (tier {tier}) must not depend on {to} (tier {to_tier}): arrows point down only"
        )),
        _ => None,
    }
}

fn tier(name: &str) -> Option<u8> {
    TIERS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|&(_, tier)| tier)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn findings(folder: &str, name: &str, dependencies: &[(&str, bool)]) -> Vec<String> {
        let member = Member {
            name: name.to_owned(),
            folder: PathBuf::from(folder),
            manifest: String::new(),
            dependencies: dependencies
                .iter()
                .map(|&(name, dev)| Dependency {
                    name: name.to_owned(),
                    dev,
                })
                .collect(),
        };
        check(&member)
            .into_iter()
            .map(|finding| finding.message)
            .collect()
    }

    #[test]
    fn arrows_down_and_foreign_crates_are_fine() {
        let dependencies = [
            ("dig-types", false),
            ("dig-identity", true),
            ("tokio", false),
            (LAB, true),
        ];
        assert_eq!(
            findings("/w/crates/dig-session", "dig-session", &dependencies),
            [""; 0]
        );
        assert_eq!(
            findings("/w/examples", "dig-examples", &[("dig", false)]),
            [""; 0]
        );
        assert_eq!(
            findings("/w/crates/dig-lab", LAB, &[("dig-types", false)]),
            [""; 0]
        );
    }

    #[test]
    fn arrows_up_and_sideways_are_refused() {
        for (from, to) in [
            ("dig-types", "dig-identity"),
            ("dig-transfer", "dig-session"),
            ("dig-host", "dig-client"),
            ("dig-discovery", "dig"),
        ] {
            for dev in [false, true] {
                let found = findings(&format!("/w/crates/{from}"), from, &[(to, dev)]);
                assert!(
                    found.len() == 1 && found[0].contains(to),
                    "{from} -> {to}: {found:?}"
                );
            }
        }
    }

    #[test]
    fn side_crates_have_their_own_rules() {
        assert_eq!(
            findings("/w/examples", "dig-examples", &[("dig-types", false)]).len(),
            1
        );
        assert_eq!(
            findings("/w/xtask", "xtask", &[("dig-types", false)]).len(),
            1
        );
        assert_eq!(findings("/w/crates/dig", "dig", &[(LAB, false)]).len(), 1);
        assert_eq!(findings("/w/xtask", "xtask", &[(LAB, false)]), [""; 0]);
    }

    #[test]
    fn folders_and_tiers_are_checked() {
        assert_eq!(findings("/w/crates/types", "dig-types", &[]).len(), 1);
        assert_eq!(findings("/w/crates/dig-new", "dig-new", &[]).len(), 1);
    }
}
