//! Packages of Node, against which ours are measured.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

/// Why packages of Node cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NpmError {
    /// There is no npm, or it cannot be started.
    #[error("npm does not run: {0}")]
    Missing(#[source] io::Error),
    /// npm ended without installing them.
    #[error("npm could not install what is listed in {}: {status}", listed.display())]
    Failed {
        /// The folder with the lock file.
        listed: PathBuf,
        /// How npm ended; what it said is on the error output.
        status: ExitStatus,
    },
    /// A folder cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Installs what `package.json` and `package-lock.json` in one folder list into another one, unless it is there already, and returns
/// its `node_modules`. No script of the packages runs. Several processes may call it at the same time.
///
/// # Errors
/// If npm is missing or cannot install them, or a folder cannot be read or written.
pub fn node_modules(listed: &Path, folder: &Path) -> Result<PathBuf, NpmError> {
    fs::create_dir_all(folder)?;
    let alone = File::create(folder.join("installing"))?;
    alone.lock()?;
    let wanted = fs::read(listed.join("package-lock.json"))?;
    let (stamp, modules) = (folder.join("installed"), folder.join("node_modules"));
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    for file in ["package.json", "package-lock.json"] {
        fs::copy(listed.join(file), folder.join(file))?;
    }
    let status = Command::new("npm")
        .args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--silent",
        ])
        .current_dir(folder)
        .stdout(Stdio::null())
        .status()
        .map_err(NpmError::Missing)?;
    if !status.success() {
        let listed = listed.to_owned();
        return Err(NpmError::Failed { listed, status });
    }
    fs::write(stamp, wanted)?;
    Ok(modules)
}
