//! Both relays, each a program of its own on loopback.

use super::super::process::{Running, build, release, target};
use crate::workspace::Workspace;
use anyhow::Context as _;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

/// The programs.
#[derive(Debug)]
pub(super) struct Programs {
    dignet: PathBuf,
    /// The script that starts gun.js's relay, and where npm put that.
    script: PathBuf,
    modules: PathBuf,
}

/// A relay that runs until it is dropped.
pub(super) struct Relay {
    pub(super) name: &'static str,
    pub(super) addr: SocketAddr,
    pub(super) running: Running,
}

impl Programs {
    /// Builds ours.
    pub(super) fn build(workspace: &Workspace) -> anyhow::Result<()> {
        build(workspace, &["--package", "dig-cli"])?;
        Ok(())
    }

    /// Fetches the other if it is not here, in the version that the tests of dig-gun are held against.
    pub(super) fn fetch(workspace: &Workspace) -> anyhow::Result<()> {
        // The tests use the same folder in the same way.
        let listed = workspace.root.join("crates/dig-gun/tests/interop");
        dig_lab::node_modules(&listed, &node_folder(workspace))?;
        Ok(())
    }

    /// Both, with this dignet or the one that was built.
    pub(super) fn find(workspace: &Workspace, dignet: Option<&Path>) -> Self {
        Self {
            dignet: dignet.map_or_else(|| release(workspace).join("dignet"), Path::to_owned),
            script: workspace.root.join("xtask/src/bench/gun/relay.cjs"),
            modules: node_folder(workspace).join("node_modules"),
        }
    }

    /// `dignet relay` with nothing but Gun, its database in `folder`.
    pub(super) fn ours(&self, folder: &Path) -> anyhow::Result<Relay> {
        let home = folder.to_string_lossy();
        let mut running = Running::start(
            &self.dignet,
            &["--json", "--home", &home, "relay", "--gun", "127.0.0.1:0"],
        )?;
        let ready = running.event("ready")?;
        let (_, addr) = ready.split_once("ws://").context("no address of Gun")?;
        let end = addr.find(['/', '"']).context("an address without end")?;
        Ok(Relay {
            name: "ours",
            addr: addr[..end].parse()?,
            running,
        })
    }

    /// The relay of gun.js, its files in `folder`.
    pub(super) fn theirs(&self, folder: &Path) -> anyhow::Result<Relay> {
        let mut running = Running::spawn(
            Command::new("node")
                .arg(&self.script)
                .arg(folder)
                .env("NODE_PATH", &self.modules),
        )?;
        let ready = running.event("ready")?;
        let ready: serde_json::Value = serde_json::from_str(&ready)?;
        let addr = ready["addr"].as_str().context("no address")?;
        Ok(Relay {
            name: "gun.js",
            addr: addr.parse()?,
            running,
        })
    }
}

/// Where npm puts gun.js.
fn node_folder(workspace: &Workspace) -> PathBuf {
    target(workspace).join("tmp/gun-interop")
}
