//! Where a content is to go, and the names beside it.

use dig_types::ContentHash;
use sha2::{Digest as _, Sha256};
use std::{
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// Says of a path in a folder's table whether it is wanted.
pub type Select = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The most bytes that are put behind a name: `.01234567.part.journal.new`.
const MAX_SUFFIX: usize = 26;

/// Where a content is to go.
#[derive(Clone)]
pub struct Target {
    /// The final name. Its folder must be there already.
    pub path: PathBuf,
    /// Whether what has that name may be replaced; no by default. A file takes the place of a file (or symlink); a
    /// folder that is in the way is never removed but renamed to `NAME.old`.
    pub force: bool,
    /// Which files of a folder are wanted; `None`: all.
    pub select: Option<Select>,
    /// A folder of the program's own, where it is remembered which targets are complete, so that getting one
    /// again need not hash it; `None` (default): it is hashed.
    pub memory: Option<PathBuf>,
    /// Whether to refuse at once what the disk has no room for; yes by default. A content of many zeros takes less
    /// room than its size, because zeros are not written.
    pub check_space: bool,
    /// Ends long hashing of what is already there with [`SinkError::Cancelled`](super::SinkError::Cancelled).
    pub cancel: CancellationToken,
}

impl Target {
    /// This name, with the defaults above.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            force: false,
            select: None,
            memory: None,
            check_space: true,
            cancel: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("path", &self.path)
            .field("force", &self.force)
            .field("select", &self.select.is_some())
            .field("memory", &self.memory)
            .field("check_space", &self.check_space)
            .finish_non_exhaustive()
    }
}

/// The names beside a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartNames {
    /// The data, a file or a folder.
    pub(super) part: OsString,
    pub(super) journal: OsString,
    /// The journal that is being written to replace the other.
    pub(super) next_journal: OsString,
}

impl PartNames {
    /// `NAME.part`, and `NAME.<hash8>.part` for when that is somebody else's. Names too long for the file
    /// system are cut, always in the same way.
    pub(super) fn candidates(name: &OsStr, hash: &ContentHash, name_max: usize) -> [Self; 2] {
        let stem = shorten(name, name_max.saturating_sub(MAX_SUFFIX));
        let digits = hash.to_string();
        [
            Self::of(&stem, ".part"),
            Self::of(&stem, &format!(".{}.part", &digits[..8])),
        ]
    }

    fn of(stem: &OsStr, suffix: &str) -> Self {
        let with = |suffix: &str| {
            let mut name = stem.to_owned();
            name.push(suffix);
            name
        };
        Self {
            part: with(suffix),
            journal: with(&format!("{suffix}.journal")),
            next_journal: with(&format!("{suffix}.journal.new")),
        }
    }
}

/// A name of at most `max` bytes: the name itself, or its beginning and eight digits that depend on all of it.
fn shorten(name: &OsStr, max: usize) -> OsString {
    if name.len() <= max {
        return name.to_owned();
    }
    let digits: String = Sha256::digest(name.as_encoded_bytes())
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let text = name.to_string_lossy();
    let start = start_of(&text, max.saturating_sub(digits.len() + 1));
    format!("{start}.{digits}").into()
}

/// The longest beginning of at most `max` bytes.
fn start_of(text: &str, max: usize) -> &str {
    let fits = |index: &usize| text.is_char_boundary(*index);
    let end = (0..=max.min(text.len())).rev().find(fits).unwrap_or(0);
    &text[..end]
}

/// A file name made of what a stranger calls a content: one component, printable, at most 255 bytes. What cannot
/// stay becomes `_`; a name of which nothing is left becomes the content hash.
pub fn file_name_from_hint(hint: &str, hash: &ContentHash) -> String {
    let safe: String = hint
        .chars()
        .map(|char| if is_safe(char) { char } else { '_' })
        .collect();
    let safe = safe.trim_start().trim_end_matches([' ', '.']);
    if safe.chars().all(|char| matches!(char, '.' | '_' | ' ')) {
        return hash.to_string();
    }
    // A hidden name, an option or a home folder is nothing a stranger chooses.
    let safe = match safe.as_bytes() {
        [b'.' | b'-' | b'~', ..] => format!("_{}", &safe[1..]),
        _ => safe.to_owned(),
    };
    let safe = if is_device(&safe) {
        format!("_{safe}")
    } else {
        safe
    };
    if safe.len() <= 255 {
        return safe;
    }
    let extension = safe.rfind('.').map_or("", |dot| &safe[dot..]);
    let extension = if extension.len() <= 16 { extension } else { "" };
    let start = start_of(&safe, 255 - extension.len());
    format!("{start}{extension}")
}

/// Neither a separator, nor special on some system, nor able to fool a terminal or a reader.
fn is_safe(char: char) -> bool {
    let bidirectional = matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    let invisible = matches!(
        char,
        '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}' | '\u{feff}'
    );
    !char.is_control()
        && !bidirectional
        && !invisible
        && !matches!(char, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|')
}

/// Whether Windows keeps the name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_ascii_lowercase();
    let numbered = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|rest| {
            let mut chars = rest.chars();
            let digit = chars.next();
            let is_number = matches!(digit, Some('0'..='9' | '¹' | '²' | '³'));
            is_number && chars.next().is_none()
        })
    };
    matches!(
        stem.as_str(),
        "con" | "prn" | "aux" | "nul" | "conin$" | "conout$"
    ) || numbered("com")
        || numbered("lpt")
}

#[cfg(test)]
mod tests;
