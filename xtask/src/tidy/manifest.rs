//! Manifests: every crate takes part in the workspace's lints.

use super::Finding;

/// Checks one manifest.
pub(super) fn check(manifest: &str) -> Vec<Finding> {
    let mut lines = manifest.lines().map(str::trim);
    let inherits = lines.any(|line| line == "[lints]")
        && lines
            .take_while(|line| !line.starts_with('['))
            .any(|line| line.replace(' ', "") == "workspace=true");
    if inherits {
        return Vec::new();
    }
    vec![Finding::error(0, "add `[lints]` with `workspace = true`")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_must_be_inherited() {
        assert!(check("[package]\nname = \"a\"\n\n[lints]\nworkspace = true\n").is_empty());
        assert_eq!(check("[package]\nname = \"a\"\n").len(), 1);
        assert_eq!(check("[lints]\nrust.missing_docs = \"allow\"\n").len(), 1);
        assert_eq!(check("[lints]\n[other]\nworkspace = true\n").len(), 1);
    }
}
