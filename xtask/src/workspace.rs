//! The workspace as cargo sees it: its members, their manifests and what they depend on.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The workspace that holds this program.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Its root folder.
    pub(crate) root: PathBuf,
}

/// A member of the workspace.
#[derive(Debug)]
pub(crate) struct Member {
    /// Name of the package.
    pub(crate) name: String,
    /// Folder of its manifest.
    pub(crate) folder: PathBuf,
    /// Text of its manifest.
    pub(crate) manifest: String,
    /// Packages that it names as dependencies.
    pub(crate) dependencies: Vec<Dependency>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Name of the package.
    pub(crate) name: String,
    /// It stands under `[dev-dependencies]`.
    pub(crate) dev: bool,
}

impl Workspace {
    /// Finds the workspace by the place of this program's own manifest.
    pub(crate) fn find() -> Result<Self> {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().context("xtask has no parent folder")?;
        ensure!(
            root.join("Cargo.toml").is_file(),
            "{} holds no workspace; was this program built elsewhere?",
            root.display()
        );
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// The members, in the order of their names.
    pub(crate) fn members(&self) -> Result<Vec<Member>> {
        let output = Command::new(cargo())
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            .current_dir(&self.root)
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(
            output.status.success(),
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        let metadata: Value = serde_json::from_slice(&output.stdout)?;
        let mut members = packages(&metadata)?;
        members.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(members)
    }

    /// Every file below `folders` (relative to the root) with this extension, sorted; hidden folders
    /// and build products are passed over.
    pub(crate) fn files(&self, folders: &[&str], extension: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in folders {
            let folder = self.root.join(folder);
            if folder.is_dir() {
                collect(&folder, extension, &mut found)?;
            }
        }
        found.sort();
        Ok(found)
    }

    /// A path as people read it: relative to the root.
    pub(crate) fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

/// The cargo that started this program, so that all steps use one toolchain.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn packages(metadata: &Value) -> Result<Vec<Member>> {
    let text = |value: &Value, key: &str| -> Result<String> {
        let text = value[key].as_str();
        Ok(text
            .with_context(|| format!("cargo metadata without {key}"))?
            .to_owned())
    };
    let mut members = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let manifest_path = PathBuf::from(text(package, "manifest_path")?);
        let mut dependencies = Vec::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            dependencies.push(Dependency {
                name: text(dependency, "name")?,
                dev: dependency["kind"] == "dev",
            });
        }
        members.push(Member {
            name: text(package, "name")?,
            folder: manifest_path
                .parent()
                .map(Path::to_owned)
                .unwrap_or_default(),
            manifest: fs::read_to_string(&manifest_path)
                .with_context(|| format!("cannot read {}", manifest_path.display()))?,
            dependencies,
        });
    }
    Ok(members)
}

fn collect(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if name.starts_with('.') || name == "target" || name == "node_modules" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            collect(&path, extension, found)?;
        } else if path.extension().is_some_and(|have| have == extension) {
            found.push(path);
        }
    }
    Ok(())
}
