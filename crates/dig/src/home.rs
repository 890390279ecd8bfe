//! The home folder: identity, cache, settings and pins of one user, as plain files that any number of
//! processes share. Files are written beside and renamed; nothing is held open but the mark of a running node.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

mod methods;
mod pins;
mod running;

pub(crate) use methods::HomeMethods;
pub(crate) use pins::{Pin, Pins};
pub(crate) use running::{Running, RunningMark};

/// Why the home folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}; choose another home with --home", .path.display())]
pub struct HomeError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub error: io::Error,
}

/// A home folder. Nothing is created before it is needed.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
}

/// What is remembered between runs.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Settings {
    /// The port used last, so that a ticket stays valid after a restart.
    port: u16,
}

impl Home {
    /// The home in `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The home of the user who runs the program: `$XDG_DATA_HOME/dignet`, else `~/.local/share/dignet`.
    pub fn of_user() -> Option<Self> {
        let data = std::env::var_os("XDG_DATA_HOME")
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute());
        let data = data.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
        Some(Self::new(data.join("dignet")))
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the identity is kept.
    pub fn identity_file(&self) -> PathBuf {
        self.dir.join("identity.json")
    }

    /// Where hashes of shared files are kept.
    pub fn cache_dir(&self) -> PathBuf {
        self.dir.join("cache")
    }

    /// Makes the folder, readable by its owner only.
    pub(crate) fn create(&self) -> Result<(), HomeError> {
        create_private_dir(&self.dir).map_err(|error| HomeError {
            path: self.dir.clone(),
            error,
        })
    }

    /// Where standard input is kept while it is shared.
    pub(crate) fn spool_dir(&self) -> PathBuf {
        self.dir.join("spool")
    }

    /// The port used last, 0 if none.
    pub(crate) fn last_port(&self) -> u16 {
        read_json::<Settings>(&self.dir.join("settings.json"))
            .unwrap_or_default()
            .port
    }

    /// Remembers the port in use.
    pub(crate) fn remember_port(&self, port: u16) -> Result<(), HomeError> {
        write_json(&self.dir.join("settings.json"), &Settings { port })
    }
}

fn create_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// The value in a file, or `None` if it is missing or not of this form (written by a later version, say).
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Replaces a file as a whole: readers see the old or the new one.
fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), HomeError> {
    let failed = |error| HomeError {
        path: path.to_owned(),
        error,
    };
    let text = serde_json::to_vec_pretty(value).map_err(|error| failed(error.into()))?;
    let beside = path.with_extension(format!("tmp-{}", std::process::id()));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, path))
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_remembered_and_junk_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::new(dir.path().join("home"));
        assert_eq!(home.last_port(), 0);
        home.create().unwrap();
        home.remember_port(4433).unwrap();
        assert_eq!(home.last_port(), 4433);
        fs::write(home.dir().join("settings.json"), b"{").unwrap();
        assert_eq!(home.last_port(), 0);
    }
}
