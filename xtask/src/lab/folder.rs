//! A folder for everything that runs.

use anyhow::bail;
use std::path::{Path, PathBuf};

/// It is gone when this is dropped; folders of processes that were killed go when the next one is made.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    const PREFIX: &'static str = "dig-lab-";

    pub(super) fn create() -> anyhow::Result<Self> {
        let parent = std::env::temp_dir();
        for entry in std::fs::read_dir(&parent)?.flatten() {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(Self::PREFIX));
            let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else {
                continue;
            };
            if !Path::new("/proc").join(owner.to_string()).exists() {
                // Somebody else may be at it.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let own = parent.join(format!("{}{}", Self::PREFIX, std::process::id()));
        if own.exists() {
            bail!("{} exists", own.display());
        }
        std::fs::create_dir(&own)?;
        Ok(Self(own))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
