//! Marks of the nodes that run on this home, so that others on the same machine find them without any network.

use super::{Home, HomeError, create_private_dir, read_json, write_json};
use dig_types::NodeId;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::{fs, path::PathBuf};

/// A node that runs on this home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Running {
    /// Who it is.
    pub(crate) node: NodeId,
    /// Its UDP and TCP port.
    pub(crate) port: u16,
}

/// Says that a node runs, until it is dropped or the process ends: the mark counts only while it is locked.
#[derive(Debug)]
pub(crate) struct RunningMark {
    mark: PathBuf,
    lock: PathBuf,
    _locked: fs::File,
}

impl Home {
    fn running_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Marks this process as running a node.
    pub(crate) fn mark_running(&self, running: Running) -> Result<RunningMark, HomeError> {
        let dir = self.running_dir();
        let stem = format!("{}-{}", std::process::id(), running.port);
        let (mark, lock) = (
            dir.join(format!("{stem}.json")),
            dir.join(format!("{stem}.lock")),
        );
        let failed = |error| HomeError {
            path: lock.clone(),
            error,
        };
        create_private_dir(&dir).map_err(failed)?;
        let locked = fs::File::create(&lock).map_err(failed)?;
        flock(&locked, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed(error.into()))?;
        write_json(&mark, &running)?;
        Ok(RunningMark {
            mark,
            lock,
            _locked: locked,
        })
    }

    /// The nodes that run on this home now. Marks of processes that died are cleared away.
    pub(crate) fn running(&self) -> Vec<Running> {
        let Ok(dir) = fs::read_dir(self.running_dir()) else {
            return Vec::new();
        };
        let marks = dir.flatten().map(|entry| entry.path());
        let marks = marks.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        marks.filter_map(|mark| alive(&mark)).collect()
    }
}

fn alive(mark: &std::path::Path) -> Option<Running> {
    let lock = mark.with_extension("lock");
    let file = fs::File::open(&lock).ok()?;
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        let _ = fs::remove_file(mark);
        let _ = fs::remove_file(lock);
        return None;
    }
    read_json(mark)
}

impl Drop for RunningMark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.mark);
        let _ = fs::remove_file(&self.lock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_count_while_they_are_held() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path());
        assert!(home.running().is_empty());
        let running = Running {
            node: NodeId::from_bytes([1; 32]),
            port: 4433,
        };
        let mark = home.mark_running(running).unwrap();
        assert_eq!(home.running(), [running]);
        let left_behind = home.running_dir().join("1-1.json");
        write_json(&left_behind, &running).unwrap();
        fs::write(left_behind.with_extension("lock"), b"").unwrap();
        assert_eq!(
            home.running(),
            [running],
            "a mark without its lock is a dead process's"
        );
        assert!(!left_behind.exists());
        drop(mark);
        assert!(home.running().is_empty());
    }
}
