//! Links of the documentation: a relative one leads to a file or folder that exists.

use super::Finding;

/// Checks one Markdown text; `exists` answers for a target relative to it.
pub(super) fn check(text: &str, exists: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        findings.extend(
            targets(line)
                .filter(|target| !exists(target))
                .map(|target| Finding::error(number, format!("the link leads nowhere: {target}"))),
        );
    }
    findings
}

/// Paths that the line links to, without those of other sites and without fragments.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| {
        let target = rest.split([')', ' ']).next()?;
        let path = target.split('#').next()?;
        (!path.is_empty() && !path.contains(':')).then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_files_are_found() {
        let exists = |path: &str| path == "docs/protocol.md";
        let text = "[a](docs/protocol.md) [b](docs/protocol.md#lanes) [c](https://example.org/x) [d](#here)\n\
                    ```\n[e](nowhere.md)\n```\n[f](gone.md#top), [g](docs/protocol.md) [h](lost.md)\n";
        let found: Vec<(usize, String)> = check(text, &exists)
            .into_iter()
            .map(|finding| (finding.line, finding.message))
            .collect();
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].0 == 5 && found[0].1.contains("gone.md"),
            "{found:?}"
        );
        assert!(found[1].1.contains("lost.md"), "{found:?}");
    }
}
