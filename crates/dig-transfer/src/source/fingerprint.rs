//! What tells whether a file is still the one that was hashed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The coarsest time that a file system keeps: FAT's.
const COARSEST_TICK: Duration = Duration::from_secs(2);
/// Ten times what Linux, macOS and Windows advance the times of files by.
const USUAL_TICK: Duration = Duration::from_millis(100);

/// Identity and times of a file. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fingerprint {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified: i64,
    /// When contents, names or permissions changed last; unlike `modified` nobody can set it back.
    pub(crate) changed: i64,
}

/// How a file compares with its fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Likeness {
    /// Nothing has changed.
    Same,
    /// Its contents should be the same, but something happened to it: a new name, new permissions, or a modification
    /// time set back. What is read must be hashed to be sure.
    Doubtful,
    /// It is another file, or its contents changed.
    Changed,
}

impl Fingerprint {
    pub(crate) fn compare(&self, now: &Self) -> Likeness {
        if self == now {
            Likeness::Same
        } else if *self
            == (Self {
                changed: self.changed,
                ..*now
            })
        {
            Likeness::Doubtful
        } else {
            Likeness::Changed
        }
    }

    /// Whether the file changed so recently that it could change once more without its times showing it. What is read of such
    /// a file is hashed to be sure of it.
    pub(crate) fn is_racy(&self, now: SystemTime) -> bool {
        let latest = self.modified.max(self.changed);
        // Whole seconds are the mark of a file system that keeps no others.
        let tick = if latest % 1_000_000_000 == 0 {
            COARSEST_TICK
        } else {
            USUAL_TICK
        };
        self.is_younger(tick, now)
    }

    /// Whether the file is too young to be remembered beyond this process.
    pub(crate) fn is_fresh(&self, now: SystemTime) -> bool {
        self.is_younger(COARSEST_TICK, now)
    }

    fn is_younger(&self, age: Duration, now: SystemTime) -> bool {
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let now = now.duration_since(UNIX_EPOCH).map_or(0, nanos);
        self.modified.max(self.changed).saturating_add(nanos(age)) > now
    }
}

/// What a directory lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    /// A pipe, a socket or a device.
    Special,
}

/// What the system says of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub(crate) kind: Kind,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) executable: bool,
    /// Whether no name leads to the file any more.
    pub(crate) unlinked: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_files_are_told_by_the_grain_of_their_times() {
        let second = 1_000_000_000;
        let file = |modified| Fingerprint {
            modified,
            ..Fingerprint::default()
        };
        let now = UNIX_EPOCH + Duration::from_millis(100_500);
        for (modified, racy, fresh) in [
            (100 * second + 1, false, true),
            (100 * second + 450_000_000, true, true),
            (100 * second, true, true),
            (99 * second, true, true),
            (98 * second, false, false),
            (200 * second + 5, true, true),
        ] {
            assert_eq!(
                (file(modified).is_racy(now), file(modified).is_fresh(now)),
                (racy, fresh),
                "{modified}"
            );
        }
    }
}
