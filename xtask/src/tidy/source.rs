//! One source file: its opening words, its size, its excuses.

use super::{Finding, code};
use std::path::Path;

/// Lines of code above which a file asks to be cut.
const WANTED_LINES: usize = 400;
/// Lines of code above which it must be.
const MOST_LINES: usize = 600;
/// Modules above which the top of a crate asks to be grouped.
const WANTED_MODULES: usize = 12;

/// Checks one file; the path is relative to the workspace.
pub(super) fn check(path: &Path, text: &str) -> Vec<Finding> {
    let masked = code::mask(text);
    let mut findings = excuses(text, &masked);
    let is_test_module = path.ends_with("tests.rs");
    // A `tests.rs` is explained by the module it tests.
    if !is_test_module && !text.trim_start().starts_with("//!") {
        findings.push(Finding::error(
            1,
            "begin the file with `//!` and say what it is for",
        ));
    }
    let is_test = is_test_module || path.components().any(|part| part.as_os_str() == "tests");
    if !is_test {
        findings.extend(size(&masked));
    }
    if path.ends_with("src/lib.rs") {
        findings.extend(breadth(&masked));
    }
    findings
}

fn size(masked: &str) -> Option<Finding> {
    let lines = code::count_lines(&code::without_tests(masked));
    let message = format!("{lines} lines of code without tests");
    if lines > MOST_LINES {
        Some(Finding::error(
            0,
            format!("{message}; {MOST_LINES} are the most"),
        ))
    } else if lines > WANTED_LINES {
        Some(Finding::warning(
            0,
            format!("{message}; {WANTED_LINES} are wanted"),
        ))
    } else {
        None
    }
}

fn breadth(masked: &str) -> Option<Finding> {
    let modules = code::modules(&code::without_tests(masked)).len();
    (modules > WANTED_MODULES).then(|| {
        Finding::warning(
            0,
            format!("{modules} modules at the top; {WANTED_MODULES} are wanted"),
        )
    })
}

/// `allow` and `expect` attributes that give no reason.
fn excuses(text: &str, masked: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for mark in ["[allow(", "[expect("] {
        for (start, _) in masked.match_indices(mark) {
            let attribute = masked[start..].split(']').next().unwrap_or_default();
            if !attribute.contains("reason") {
                let line = masked[..start].matches('\n').count() + 1;
                let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
                findings.push(Finding::error(
                    line,
                    format!("give a `reason = \"…\"`: {shown}"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        check(Path::new(path), text)
            .into_iter()
            .map(
                |Finding {
                     line,
                     message,
                     severity,
                 }| format!("{line} {severity} {message}"),
            )
            .collect()
    }

    fn of_length(lines: usize) -> String {
        format!("//! Long.\n{}", "fn a() {}\n\n// why\n".repeat(lines))
    }

    #[test]
    fn files_say_what_they_are_for() {
        assert!(messages("crates/a/src/b.rs", "\n//! Why.\nfn a() {}\n").is_empty());
        assert_eq!(
            messages("crates/a/src/b.rs", "// why\nfn a() {}\n").len(),
            1
        );
        assert_eq!(messages("crates/a/tests/b.rs", "fn a() {}\n").len(), 1);
        assert!(messages("crates/a/src/b/tests.rs", "fn a() {}\n").is_empty());
    }

    #[test]
    fn long_files_are_noticed() {
        let path = "crates/a/src/b.rs";
        assert!(messages(path, &of_length(WANTED_LINES)).is_empty());
        assert!(messages(path, &of_length(WANTED_LINES + 1))[0].starts_with("0 warning"));
        assert!(messages(path, &of_length(MOST_LINES + 1))[0].starts_with("0 error"));
        assert!(messages("crates/a/tests/b.rs", &of_length(MOST_LINES + 1)).is_empty());
        assert!(messages("crates/a/src/b/tests.rs", &of_length(MOST_LINES + 1)).is_empty());
        let tests = format!(
            "#[cfg(test)]\nmod tests {{\n{}}}\n",
            "fn a() {}\n".repeat(MOST_LINES)
        );
        assert!(messages(path, &format!("//! Short.\n{tests}")).is_empty());
    }

    #[test]
    fn broad_crates_are_noticed() {
        let modules = |count: usize| {
            let lines: String = (0..count)
                .map(|number| format!("mod m{number};\n"))
                .collect();
            format!("//! Broad.\n{lines}")
        };
        assert!(messages("crates/a/src/lib.rs", &modules(WANTED_MODULES)).is_empty());
        assert_eq!(
            messages("crates/a/src/lib.rs", &modules(WANTED_MODULES + 1)).len(),
            1
        );
        assert!(messages("crates/a/src/b.rs", &modules(WANTED_MODULES + 1)).is_empty());
    }

    #[test]
    fn excuses_need_a_reason() {
        let path = "crates/a/src/b.rs";
        let good = "//! A.\n#[allow(dead_code, reason = \"so\")]\nfn a() {}\n// #[allow(x)]\n";
        assert!(messages(path, good).is_empty());
        let bad =
            "//! A.\n\n#[allow(dead_code)]\nfn a() {}\n#[expect(\n    unused\n)]\nfn reason() {}\n";
        let found = messages(path, bad);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("3 error") && found[1].starts_with("5 error"),
            "{found:?}"
        );
    }
}
