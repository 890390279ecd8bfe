//! Which paths a folder may list. Every path of a table is hostile until it has passed here.

use unicode_normalization::is_nfc;

/// The most bytes of a path.
pub const MAX_PATH: usize = 4_096;
/// The most bytes of a component: what Linux, macOS and Windows file systems take.
pub const MAX_COMPONENT: usize = 255;
/// The most components of a path.
pub const MAX_DEPTH: usize = 64;

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// It is empty, begins or ends with `/`, or has `//`: absolute paths are among these.
    #[error("it is absolute or has an empty component")]
    EmptyComponent,
    /// A component is `.` or `..`.
    #[error("`.` and `..` are not allowed")]
    Dots,
    /// More than [`MAX_PATH`] bytes.
    #[error("it is longer than {MAX_PATH} bytes")]
    TooLong,
    /// A component of more than [`MAX_COMPONENT`] bytes.
    #[error("one of its names is longer than {MAX_COMPONENT} bytes")]
    ComponentTooLong,
    /// More than [`MAX_DEPTH`] components.
    #[error("it is deeper than {MAX_DEPTH} folders")]
    TooDeep,
    /// A control character (U+0000 to U+001F, U+007F to U+009F), which could fool a terminal.
    #[error("it has a control character")]
    Control,
    /// A backslash, which separates components on Windows.
    #[error("it has a backslash")]
    Backslash,
    /// It is not in Unicode normal form C.
    #[error("it is not in Unicode normal form C")]
    NotNormal,
}

/// Checks that a path is relative, normalised, and can be joined to a directory without leaving it.
pub fn check_path(path: &str) -> Result<(), PathError> {
    if path.len() > MAX_PATH {
        return Err(PathError::TooLong);
    }
    // `is_control` is the general category Cc: exactly the two ranges of the rule.
    if path.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    if path.contains('\\') {
        return Err(PathError::Backslash);
    }
    let mut depth = 0;
    for component in path.split('/') {
        depth += 1;
        match component {
            "" => return Err(PathError::EmptyComponent),
            "." | ".." => return Err(PathError::Dots),
            _ if component.len() > MAX_COMPONENT => return Err(PathError::ComponentTooLong),
            _ if depth > MAX_DEPTH => return Err(PathError::TooDeep),
            _ => {}
        }
    }
    if !is_nfc(path) {
        return Err(PathError::NotNormal);
    }
    Ok(())
}

/// The directories above a path, outermost first, without the path itself.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash])
}
